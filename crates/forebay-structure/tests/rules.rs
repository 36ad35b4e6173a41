//! Each rule is broken in a small source tree, and the violation is found.

use std::{fs, path::Path};

use forebay_structure::{
    check::check,
    rules::{Layer, Rules},
};

const NO_RULES: Rules = Rules { folder: "one", layers: &[], pure: &[] };

/// The violations of a crate in the folder `one` that has these files below `src`.
fn violations(rules: &Rules, files: &[(&str, &str)]) -> Vec<String> {
    let workspace = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = workspace.path().join(Path::new("one/src")).join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        fs::write(path, text).expect("a new file");
    }
    check(workspace.path(), rules).expect("files that parse")
}

fn only_circle(files: &[(&str, &str)]) -> String {
    let mut found = violations(&NO_RULES, files);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("a circle of "), "{found:?}");
    found.remove(0)
}

#[test]
fn circle_is_found_through_re_exports() {
    let text = only_circle(&[
        ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::*;"),
        ("a.rs", "use crate::B;\npub struct A(B);"),
        ("b/mod.rs", "mod inner;\npub use inner::B;"),
        ("b/inner.rs", "\npub struct B(Option<Box<super::super::A>>);"),
    ]);
    let expected = "a circle of 2 files in one:\n    one/src/a.rs:1 -> b/inner.rs (B)\n    one/src/b/inner.rs:2 -> a.rs (A)";
    assert_eq!(text, expected);
}

#[test]
fn circle_of_three_is_one_circle() {
    let text = only_circle(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("a.rs", "pub fn a() { crate::b::b() }"),
        ("b.rs", "use super::c;\npub fn b() { c::c() }"),
        ("c.rs", "use crate::a::a as other;\npub fn c() { other(); super::d::d() }"),
        ("d.rs", "pub fn d() {}"),
    ]);
    assert!(text.starts_with("a circle of 3 files") && !text.contains("d.rs"), "{text}");
}

#[test]
fn parent_and_child_that_use_each_other_are_a_circle() {
    let text = only_circle(&[
        ("lib.rs", "mod child;\npub struct Parent(child::Child);"),
        ("child.rs", "pub struct Child;\nimpl Child { pub fn of(_: &super::Parent) {} }"),
    ]);
    assert!(text.contains("lib.rs:2 -> child.rs (Child)"), "{text}");
}

#[test]
fn parent_that_declares_and_re_exports_does_not_depend_on_its_child() {
    let files = [
        ("lib.rs", "mod child;\npub use child::Child;\npub struct Shared;"),
        ("child.rs", "pub struct Child(super::Shared);"),
    ];
    assert_eq!(violations(&NO_RULES, &files), [""; 0]);
}

#[test]
fn tests_may_use_what_uses_their_file() {
    let files = [
        ("lib.rs", "mod a;\nmod b;"),
        (
            "a.rs",
            "pub struct A;\n#[cfg(doc)]\nuse crate::b::B;\n#[cfg(test)]\nmod tests { use crate::b::B; }\n\
             impl A { #[cfg(all(test, unix))]\nfn b() -> crate::b::B {} }",
        ),
        ("b.rs", "pub struct B(crate::a::A);"),
    ];
    assert_eq!(violations(&NO_RULES, &files), [""; 0]);
}

#[test]
fn paths_in_macros_and_attributes_are_seen() {
    for user in [
        "fn b() { println!(\"{}\", crate::b::B) }",
        "macro_rules! b { () => { $crate::b::B } }",
        "use crate::b;\n#[serde(with = \"b::B\")]\nstruct S;",
        "fn b() { use crate::b::*; vec![..B]; }",
        "fn b() { letter!() }",
    ] {
        let a = format!("pub struct A;\n{user}");
        let b = "macro_rules! letter { () => {} }\npub struct B(crate::a::A);";
        only_circle(&[("lib.rs", "#[macro_use]\nmod b;\nmod a;"), ("a.rs", &a), ("b.rs", b)]);
    }
}

#[test]
fn fields_and_other_crates_of_the_same_name_are_not_arrows() {
    let files = [
        ("lib.rs", "mod a;\nmod redis;"),
        ("a.rs", "use redis::Client;\npub struct A { redis: u8 }\nfn f(a: A) { dbg!(a.redis, redis::x()) }"),
        ("redis.rs", "pub struct Client(crate::a::A);\npub fn x() {}"),
    ];
    assert_eq!(violations(&NO_RULES, &files), [""; 0]);
}

#[test]
fn arrow_up_is_found() {
    const RULES: Rules =
        Rules { layers: &[Layer::Together(&["low"]), Layer::Together(&["high", "lib"])], ..NO_RULES };
    let files = [
        ("lib.rs", "mod low;\nmod high;"),
        ("low.rs", "\nuse crate::high::High;\npub struct Low(High);"),
        ("high.rs", "pub struct High;"),
    ];
    let expected = "up: one/src/low.rs:2 -> high.rs (High) from `low` to `high`";
    assert_eq!(violations(&RULES, &files), [expected]);
}

#[test]
fn parts_that_stand_apart_do_not_use_each_other() {
    const RULES: Rules =
        Rules { layers: &[Layer::Apart(&["left", "right"]), Layer::Together(&["lib"])], ..NO_RULES };
    let files = [
        ("lib.rs", "mod left;\nmod right;"),
        ("left/mod.rs", "mod own;\nmod other;"),
        ("left/own.rs", "pub struct Own(super::other::Other, crate::right::Right);"),
        ("left/other.rs", "pub struct Other;"),
        ("right.rs", "pub struct Right;"),
    ];
    let expected = "across: one/src/left/own.rs:1 -> right.rs (Right) from `left` to `right`";
    assert_eq!(violations(&RULES, &files), [expected]);
}

#[test]
fn pure_file_knows_no_clock_and_no_runtime() {
    const RULES: Rules = Rules { pure: &["sum"], ..NO_RULES };
    let sum = "use crate::clock::Clock;\nuse std::time::{Duration, Instant};\nfn f() { tokio::spawn(g()) }";
    let files = [("lib.rs", "mod sum;\nmod clock;"), ("clock.rs", "pub struct Clock;"), ("sum.rs", sum)];
    let expected = [
        "not pure: one/src/sum.rs:1 -> clock.rs (Clock)",
        "not pure: one/src/sum.rs:2 uses std::time::Instant",
        "not pure: one/src/sum.rs:3 uses tokio",
    ];
    assert_eq!(violations(&RULES, &files), expected);
}

#[test]
fn table_and_files_name_the_same() {
    const RULES: Rules = Rules { layers: &[Layer::Together(&["lib", "gone"])], pure: &["moved"], ..NO_RULES };
    let found = violations(&RULES, &[("lib.rs", "mod new;"), ("new.rs", "")]);
    let expected = [
        "one/src/new.rs is in no layer",
        "rules.rs names `gone`, which is not in one/src",
        "rules.rs names `moved`, which is not in one/src",
    ];
    assert_eq!(found, expected);
}
