//! Which file uses which.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Meta, visit, visit::Visit};

use crate::source::{Segments, Source, is_test, leaves};

/// The uses between the files of a crate.
#[derive(Default)]
pub(crate) struct Arrows {
    /// From a file to another one that defines something it uses: the names, each with the line of its first use.
    pub(crate) between: BTreeMap<(usize, usize), BTreeMap<String, usize>>,
    /// The paths into other crates: file, line, path.
    pub(crate) outside: Vec<(usize, usize, String)>,
}

impl Arrows {
    /// Collects them from the code of all files.
    #[must_use]
    pub(crate) fn of(source: &Source) -> Self {
        let mut walk = Walk { source, module: 0, arrows: Self::default() };
        for (id, module) in source.modules.iter().enumerate() {
            walk.module = id;
            module.items.iter().for_each(|item| walk.visit_item(item));
        }
        walk.arrows
    }
}

struct Walk<'a> {
    source: &'a Source,
    module: usize,
    arrows: Arrows,
}

impl Walk<'_> {
    fn record(&mut self, path: &[String], line: usize) {
        let from = self.source.modules[self.module].file;
        let target = self.source.resolve(self.module, path);
        for to in target.files {
            if to != from {
                let name = path.last().cloned().unwrap_or_default();
                self.arrows.between.entry((from, to)).or_default().entry(name).or_insert(line);
            }
        }
        if target.external && path.len() > 1 {
            self.arrows.outside.push((from, line, path.join("::")));
        }
    }

    /// Records the paths among tokens that have no syntax tree: in a macro or an attribute.
    fn scan(&mut self, tokens: TokenStream, strings: bool) {
        let mut tokens = tokens.into_iter().peekable();
        let mut dots = 0;
        while let Some(token) = tokens.next() {
            let after_dots = std::mem::take(&mut dots);
            match token {
                TokenTree::Group(group) => self.scan(group.stream(), strings),
                TokenTree::Punct(punct) if punct.as_char() == '.' => dots = after_dots + 1,
                // `#[serde(with = "path")]`
                TokenTree::Literal(literal) if strings => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                        && let Ok(path) = text.parse::<syn::Path>()
                    {
                        self.record(&segments(&path), literal.span().start().line);
                    }
                }
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while tokens.next_if(is_colon).is_some() && tokens.next_if(is_colon).is_some() {
                        let Some(TokenTree::Ident(next)) =
                            tokens.next_if(|token| matches!(token, TokenTree::Ident(_)))
                        else {
                            break;
                        };
                        path.push(next.to_string());
                    }
                    // After one dot stands a field or a method.
                    if after_dots != 1 {
                        self.record(&path, first.span().start().line);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}

fn line_of(path: &syn::Path) -> usize {
    path.segments.first().map_or(0, |segment| segment.ident.span().start().line)
}

fn segments(path: &syn::Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Visits a node unless it is compiled for tests or documentation only.
macro_rules! unless_test {
    ($($method:ident: $node:ty),* $(,)?) => {
        $(fn $method(&mut self, node: &'ast $node) {
            if !is_test(&node.attrs) {
                visit::$method(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Walk<'_> {
    unless_test! {
        visit_field: syn::Field,
        visit_impl_item_const: syn::ImplItemConst,
        visit_impl_item_fn: syn::ImplItemFn,
        visit_item_const: syn::ItemConst,
        visit_item_enum: syn::ItemEnum,
        visit_item_fn: syn::ItemFn,
        visit_item_impl: syn::ItemImpl,
        visit_item_macro: syn::ItemMacro,
        visit_item_static: syn::ItemStatic,
        visit_item_struct: syn::ItemStruct,
        visit_item_trait: syn::ItemTrait,
        visit_item_type: syn::ItemType,
        visit_local: syn::Local,
        visit_variant: syn::Variant,
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A re-export gives a name to what another file defines. Only those who use the name depend on that file.
        if matches!(item.vis, syn::Visibility::Inherited) && !is_test(&item.attrs) {
            for leaf in leaves(item) {
                self.record(&leaf.path, leaf.line);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.record(&segments(path), line_of(path));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let from = self.source.modules[self.module].file;
        if let Some(name) = call.path.get_ident().map(ToString::to_string)
            && let Some(&to) = self.source.macros.get(&name)
            && to != from
        {
            let line = line_of(&call.path);
            self.arrows.between.entry((from, to)).or_default().entry(name).or_insert(line);
        }
        self.visit_path(&call.path);
        self.scan(call.tokens.clone(), false);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone(), true);
        }
    }
}
