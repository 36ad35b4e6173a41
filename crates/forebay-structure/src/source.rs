//! The modules of a crate, and what a path in one of them names.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Ident, Item, ItemUse, Meta, UseTree, visit::Visit};

/// The segments of a path.
pub(crate) type Segments = Vec<String>;

/// A crate's modules, and the files they are in.
#[derive(Default)]
pub(crate) struct Source {
    /// The files, relative to `src`. Other types name a file by its index here.
    pub(crate) files: Vec<String>,
    /// The modules, the root first.
    pub(crate) modules: Vec<Module>,
    /// The file that defines each `macro_rules!`, for macros that are in scope by their place in the text.
    pub(crate) macros: HashMap<String, usize>,
}

/// One module.
pub(crate) struct Module {
    /// The file that it is in.
    pub(crate) file: usize,
    /// Its items, without the modules among them.
    pub(crate) items: Vec<Item>,
    parent: Option<usize>,
    names: HashMap<String, Vec<Definition>>,
    globs: Vec<Segments>,
}

/// The meaning of a name in a module.
enum Definition {
    Item,
    Module(usize),
    Import(Segments),
}

/// The definition that a path leads to.
#[derive(Default)]
pub(crate) struct Target {
    /// The files that define it. There are two if, for example, a type and a function share the name.
    pub(crate) files: BTreeSet<usize>,
    modules: Vec<usize>,
    /// Whether the path starts with a name that the crate does not define.
    pub(crate) external: bool,
}

impl Source {
    /// Reads the crate whose root is `src/lib.rs`, or `src/main.rs` if there is no library.
    ///
    /// # Errors
    /// A file that is missing or does not parse.
    pub(crate) fn read(src: &Path) -> Result<Self, Box<dyn Error>> {
        let mut source = Self::default();
        let root = if src.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
        source.read_file(src, Path::new(root), Path::new(""), None)?;
        Ok(source)
    }

    fn read_file(
        &mut self,
        src: &Path,
        file: &Path,
        children: &Path,
        parent: Option<usize>,
    ) -> Result<usize, Box<dyn Error>> {
        let text =
            fs::read_to_string(src.join(file)).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text)
            .map_err(|error| format!("{}:{}: {error}", file.display(), error.span().start().line))?;
        self.files.push(file.display().to_string());
        self.add_module(src, self.files.len() - 1, children, parent, parsed.items)
    }

    fn add_module(
        &mut self,
        src: &Path,
        file: usize,
        children: &Path,
        parent: Option<usize>,
        items: Vec<Item>,
    ) -> Result<usize, Box<dyn Error>> {
        let id = self.modules.len();
        let module = Module { file, items: Vec::new(), parent, names: HashMap::new(), globs: Vec::new() };
        self.modules.push(module);
        for item in items {
            let Item::Mod(child) = item else {
                self.add_item(id, item);
                continue;
            };
            let name = child.ident.to_string();
            if is_test(&child.attrs) || name == "tests" {
                continue;
            }
            let folder = children.join(&name);
            let child = if let Some((_, items)) = child.content {
                self.add_module(src, file, &folder, Some(id), items)?
            } else {
                let own_folder = folder.join("mod.rs");
                let path: PathBuf =
                    if src.join(&own_folder).exists() { own_folder } else { folder.with_extension("rs") };
                self.read_file(src, &path, &folder, Some(id))?
            };
            self.modules[id].define(name, Definition::Module(child));
        }
        Ok(id)
    }

    fn add_item(&mut self, id: usize, item: Item) {
        let module = &mut self.modules[id];
        if let Some(name) = name_of(&item) {
            if matches!(item, Item::Macro(_)) {
                self.macros.insert(name.to_string(), module.file);
            }
            module.define(name.to_string(), Definition::Item);
        }
        // Imports inside functions count for the whole module: names are rarely reused for something else.
        Imports(module).visit_item(&item);
        module.items.push(item);
    }

    /// Resolves `path` in `module`.
    #[must_use]
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Target {
        self.find(module, path, &mut HashSet::new())
    }

    fn find<'a>(
        &'a self,
        mut module: usize,
        path: &'a [String],
        seen: &mut HashSet<(usize, &'a [String])>,
    ) -> Target {
        let mut target = Target::default();
        if !seen.insert((module, path)) {
            return target;
        }
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" => module = 0,
                "super" => module = self.modules[module].parent.unwrap_or(0),
                "self" => {}
                _ => break,
            }
            rest = &rest[1..];
        }
        let relative = rest.len() == path.len();
        let Some((name, rest)) = rest.split_first() else {
            target.modules.push(module);
            return target;
        };
        let found = self.look_up(module, name, seen);
        target.external = found.external || (relative && found.files.is_empty() && found.modules.is_empty());
        if rest.is_empty() || found.modules.is_empty() {
            // A segment after an item names one of its variants or associated items.
            return Target { external: target.external, ..found };
        }
        for child in found.modules {
            // A name below a module is never looked for outside it.
            let inner = self.find(child, rest, seen);
            target.files.extend(inner.files);
            target.modules.extend(inner.modules);
        }
        target
    }

    /// Resolves `name` in `module`.
    fn look_up<'a>(&'a self, module: usize, name: &str, seen: &mut HashSet<(usize, &'a [String])>) -> Target {
        let mut target = Target::default();
        let Some(definitions) = self.modules[module].names.get(name) else {
            for glob in &self.modules[module].globs {
                // Modules may import each other's names: each glob is followed once on the way to a name.
                let mut way = seen.clone();
                for other in self.find(module, glob, &mut way).modules {
                    target.merge(self.look_up(other, name, &mut way));
                }
            }
            return target;
        };
        for definition in definitions {
            match definition {
                Definition::Item => _ = target.files.insert(self.modules[module].file),
                Definition::Module(child) => target.modules.push(*child),
                Definition::Import(path) => target.merge(self.find(module, path, seen)),
            }
        }
        target
    }
}

impl Target {
    fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        self.modules.extend(other.modules);
        self.external |= other.external;
    }
}

impl Module {
    fn define(&mut self, name: String, definition: Definition) {
        self.names.entry(name).or_default().push(definition);
    }
}

/// Adds the imports below an item to its module.
struct Imports<'a>(&'a mut Module);

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_test(&item.attrs) || item.leading_colon.is_some() {
            return;
        }
        for leaf in leaves(item) {
            match leaf.name {
                Some(name) => self.0.define(name, Definition::Import(leaf.path)),
                None => self.0.globs.push(leaf.path),
            }
        }
    }
}

/// One path of a `use` item.
pub(crate) struct Leaf {
    /// The path that is imported.
    pub(crate) path: Segments,
    /// The name that it gets; none for `*`.
    pub(crate) name: Option<String>,
    /// Its line.
    pub(crate) line: usize,
}

/// The paths of a `use` item.
#[must_use]
pub(crate) fn leaves(item: &ItemUse) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    collect(&item.tree, &[], &mut leaves);
    leaves
}

fn collect(tree: &UseTree, before: &[String], into: &mut Vec<Leaf>) {
    let path_to = |ident: &Ident| {
        let mut path = before.to_vec();
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        path
    };
    let mut add = |path: Segments, name: Option<String>, ident: &Ident| {
        into.push(Leaf { path, name, line: ident.span().start().line });
    };
    match tree {
        UseTree::Path(inner) => collect(&inner.tree, &path_to(&inner.ident), into),
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, before, into)),
        UseTree::Name(leaf) => add(path_to(&leaf.ident), path_to(&leaf.ident).pop(), &leaf.ident),
        UseTree::Rename(leaf) => add(path_to(&leaf.ident), Some(leaf.rename.to_string()), &leaf.ident),
        UseTree::Glob(star) => {
            into.push(Leaf {
                path: before.to_vec(),
                name: None,
                line: star.star_token.spans[0].start().line,
            });
        }
    }
}

/// Whether an item is compiled for tests or documentation only.
#[must_use]
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && ["test", "doctest", "doc"].contains(&condition.as_str())
            || condition.starts_with("all(test,")
    })
}

fn name_of(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}
