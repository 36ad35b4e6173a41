//! Each public type of the library shows a use of it: an example in its documentation.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Expr, Item, Lit, Meta, Visibility};

/// The conformance suite is functions for authors of engines.
const WITHOUT: &str = "engine/conformance";

/// Collects the source files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Whether documentation has a block of code that is compiled.
fn has_example(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::NameValue(meta) = &attribute.meta else { return false };
        let Expr::Lit(literal) = &meta.value else { return false };
        let Lit::Str(text) = &literal.lit else { return false };
        meta.path.is_ident("doc") && matches!(text.value().trim(), "```" | "```no_run")
    })
}

#[test]
fn each_public_type_has_an_example() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../forebay/src");
    let mut files = vec![];
    collect(&src, &mut files);
    let (mut types, mut missing) = (0, vec![]);
    for path in files.iter().filter(|path| !path.starts_with(src.join(WITHOUT))) {
        let file = syn::parse_file(&fs::read_to_string(path).expect("text")).expect("Rust");
        for item in file.items {
            // `unreachable_pub` is denied, so a `pub` item is a part of the public API.
            let (visibility, name, attributes) = match &item {
                Item::Struct(item) => (&item.vis, &item.ident, &item.attrs),
                Item::Enum(item) => (&item.vis, &item.ident, &item.attrs),
                Item::Trait(item) => (&item.vis, &item.ident, &item.attrs),
                Item::Type(item) => (&item.vis, &item.ident, &item.attrs),
                _ => continue,
            };
            if matches!(visibility, Visibility::Public(_)) {
                types += 1;
                if !has_example(attributes) {
                    missing.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(types > 80, "only {types} types: are these the sources?");
    assert!(missing.is_empty(), "without an example:\n{}", missing.join("\n"));
}
