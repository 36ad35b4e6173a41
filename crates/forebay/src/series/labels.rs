//! The labels of a series: the texts of keys that hold their values.
//!
//! A key is the values in the order of the definition, joined by `|`. Empty values at the end are left out, so that a label which is
//! defined later is empty in the keys that are there. A `|` in a value is `\|` in a key, and a `\` is `\\`.

use std::sync::Arc;

use crate::error::{Result, invalid, out_of_range};

const SEPARATOR: char = '|';
const ESCAPE: char = '\\';

/// The maximum number of labels of a series.
pub const MAX_LABELS: usize = 8;

/// The longest name of a label, in bytes.
const MAX_NAME: usize = 64;

/// The names of the labels of a series, in the order in which its keys have their values. Without any, keys are plain texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(Arc<[Box<str>]>);

impl Labels {
    /// Checks names.
    pub(super) fn new(names: &[String]) -> Result<Self> {
        if names.len() > MAX_LABELS {
            return Err(out_of_range(format!("{} labels: at most {MAX_LABELS}", names.len())));
        }
        for (place, name) in names.iter().enumerate() {
            let is_letter = |c: u8| c.is_ascii_lowercase() || c == b'_';
            let is_name = name.bytes().next().is_some_and(is_letter)
                && name.bytes().all(|c| is_letter(c) || c.is_ascii_digit())
                && name.len() <= MAX_NAME
                && !name.starts_with("__");
            if !is_name {
                return Err(invalid(format!(
                    "label {name:?}: a label has 1 to {MAX_NAME} of a-z, 0-9 and _, and begins with a letter or one _"
                )));
            }
            if names[..place].contains(name) {
                return Err(invalid(format!("label {name:?} is there twice")));
            }
        }
        Ok(Self(names.iter().map(|name| name.as_str().into()).collect()))
    }

    pub(super) fn names(&self) -> &[Box<str>] {
        &self.0
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a label.
    pub(super) fn place(&self, name: &str) -> Result<usize> {
        self.0.iter().position(|other| **other == *name).ok_or_else(|| {
            let known = if self.are_none() { "none".to_owned() } else { self.0.join(", ") };
            invalid(format!("label {name:?}: the labels are: {known}"))
        })
    }

    /// The key with these values, of each label in order.
    pub(super) fn join(values: &[impl AsRef<str>]) -> String {
        let used = values.iter().rposition(|value| !value.as_ref().is_empty()).map_or(0, |last| last + 1);
        let mut key = String::new();
        for (place, value) in values[..used].iter().enumerate() {
            if place > 0 {
                key.push(SEPARATOR);
            }
            push_escaped(&mut key, value.as_ref());
        }
        key
    }

    /// The values of a key, one for each label. The last label has all that is left.
    pub(super) fn split(&self, key: &str) -> Vec<String> {
        let mut values = Vec::with_capacity(self.0.len());
        let mut value = String::new();
        let mut letters = key.chars();
        while let Some(letter) = letters.next() {
            match letter {
                ESCAPE => value.push(letters.next().unwrap_or(ESCAPE)),
                SEPARATOR if values.len() + 1 < self.0.len() => values.push(std::mem::take(&mut value)),
                other => value.push(other),
            }
        }
        values.push(value);
        values.resize(self.0.len(), String::new());
        values
    }

    /// Refuses a key that is not the one of its values: their counts would be at two keys.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        if self.are_none() || Self::join(&self.split(key)) == key {
            return Ok(());
        }
        Err(invalid(format!(
            "key {key:?} is not made of the labels {}: at most {} values, joined by | ; in a value, | is written \\| and \\ is \
             \\\\, and no | ends the key",
            self.0.join(", "),
            self.0.len()
        )))
    }
}

/// The text with which all keys begin that have this value of the first label.
pub(super) fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    push_escaped(&mut text, value);
    text
}

fn push_escaped(key: &mut String, value: &str) {
    for letter in value.chars() {
        if matches!(letter, SEPARATOR | ESCAPE) {
            key.push(ESCAPE);
        }
        key.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Labels {
        Labels::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("labels")
    }

    /// Counts of the same values must meet in one key, and those of others must not.
    #[test]
    fn each_combination_of_values_has_one_key() {
        let three = labels(&["a", "b", "c"]);
        let texts = ["", "x", "|", "\\", "\\|", "|\\", "||", "\\\\", "x|y", "ä|"];
        let mut keys = std::collections::BTreeSet::new();
        for a in texts {
            for b in texts {
                for c in texts {
                    let key = Labels::join(&[a, b, c]);
                    assert_eq!(three.split(&key), [a, b, c], "{key}");
                    three.check(&key).expect("a key of labels");
                    assert!(keys.insert(key.clone()), "{key} is there twice");
                }
            }
        }
    }

    #[test]
    fn keys_that_are_written_otherwise_are_refused() {
        let two = labels(&["a", "b"]);
        for key in ["x|", "x|y|z", "x\\y", "x\\", "|", "x||"] {
            let problem = two.check(key).expect_err(key).to_string();
            assert!(problem.contains("at most 2 values"), "{problem}");
        }
        assert_eq!(two.split("x|y|z"), ["x", "y|z"]);
        labels(&[]).check("x|y\\").expect("a plain key");
    }

    /// Keys of a time when there were fewer labels.
    #[test]
    fn a_label_that_is_added_at_the_end_is_empty_in_known_keys() {
        assert_eq!(labels(&["a", "b", "c"]).split(&Labels::join(&["x", "y"])), ["x", "y", ""]);
        assert_eq!(Labels::join(&["x", "y", ""]), "x|y");
        assert_eq!(Labels::join(&["", "", "z"]), "||z");
        assert_eq!(Labels::join(&["x", "|", ""]), "x|\\|");
        assert_eq!(Labels::join(&["x", "\\", ""]), "x|\\\\");
    }

    #[test]
    fn names_that_are_no_labels_are_refused() {
        let refused = |names: &[&str]| {
            Labels::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect_err("not labels")
                .to_string()
        };
        assert!(refused(&["Status"]).contains("label \"Status\""));
        assert!(refused(&["__name__"]).contains("one _"));
        assert!(refused(&["1a"]).contains("begins with"));
        assert!(refused(&["a", "a"]).contains("twice"));
        assert!(refused(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]).contains("9 labels: at most 8"));
        assert!(refused(&[&"x".repeat(65)]).contains("64"));
    }
}
