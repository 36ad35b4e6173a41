//! Sections of definitions under names.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use forebay::Name;

use super::fields::{Fields, Node};
use crate::text::Span;

/// The definitions of a section. `None` is one with mistakes: its name is known, so that its uses are no mistakes.
pub(super) type Declared<T> = BTreeMap<Name, Option<T>>;

/// A span of time within a range.
pub(super) fn span_within(node: &Node<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
    let span = node.parse::<Span>()?;
    if range.contains(&span.0) {
        return Some(span.0);
    }
    node.mistake(format!("{span} is outside {} to {}", Span(*range.start()), Span(*range.end())));
    None
}

/// The number of partitions of a buffer or a series.
pub(super) fn read_partitions(node: &Node<'_>) -> Option<u16> {
    node.number(1..=1_024).map(|partitions| u16::try_from(partitions).expect("at most 1024"))
}

/// Reads a table of definitions.
pub(super) fn section<T>(
    top: &mut Fields<'_>,
    section: &'static str,
    read: impl Fn(&Name, &Node<'_>) -> Option<T>,
) -> Declared<T> {
    let mut all = BTreeMap::new();
    for (text, node) in top.optional(section).iter().flat_map(Node::entries) {
        let name = node.accept(Name::new(text));
        // The value is read also under an invalid name, so that its other mistakes show in the same run.
        let value = read(name.as_ref().unwrap_or(&stand_in(text)), &node);
        if let Some(name) = name {
            all.insert(name, value);
        }
    }
    all
}

/// A valid name close to an invalid one, so that its definition can be read.
fn stand_in(text: &str) -> Name {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '-') => c,
        _ => '_',
    };
    let near: String = text.chars().map(letter).take(forebay::key::MAX_NAME - 1).collect();
    let near = near.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    Name::new(near).unwrap_or_else(|_| Name::new("x").expect("a letter"))
}
