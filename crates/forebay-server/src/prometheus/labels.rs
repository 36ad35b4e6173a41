//! The labels of a key. No other file knows which labels there are.

use crate::promql::{Labels, MatchOp, Matcher, NAME};

/// The label that holds the key of a series.
const KEY: &str = "key";

/// The names of all labels.
pub(crate) const LABEL_NAMES: [&str; 2] = [NAME, KEY];

/// The keys that a selector may mean. Those that it means fit its conditions, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// One of these.
    Named(Vec<String>),
    /// Any that begins with a text.
    Prefix(String),
}

/// The labels of a key of a metric.
pub(super) fn labels(metric: &str, key: &str) -> Labels {
    Labels::new([(NAME, metric), (KEY, key)])
}

/// Whether the labels fit the conditions of a selector.
pub(super) fn fits(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name)))
}

/// The keys that the conditions allow: as few as can be told without a list of all keys.
pub(super) fn keys(matchers: &[Matcher]) -> Keys {
    let mut prefix = String::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name == KEY) {
        match matcher.op {
            MatchOp::Equal => return named([matcher.value.clone()]),
            MatchOp::Re(_) => {
                let inner = matcher.value.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
                let pattern = inner.unwrap_or(&matcher.value);
                if let Some(literals) = literals(pattern) {
                    return named(literals);
                }
                prefix = literal_prefix(&matcher.value);
            }
            _ => {}
        }
    }
    Keys::Prefix(prefix)
}

fn named(keys: impl IntoIterator<Item = String>) -> Keys {
    // There is no empty key, and a longer one than the longest would be refused.
    let can_exist = |key: &String| forebay::key::Key::new(key).is_ok();
    let mut keys: Vec<String> = keys.into_iter().filter(can_exist).collect();
    keys.sort_unstable();
    keys.dedup();
    Keys::Named(keys)
}

/// The texts of a pattern that is only a choice between texts: the form in which Grafana sends several values of a variable.
fn literals(pattern: &str) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '|' => {
                texts.push(String::new());
                continue;
            }
            '\\' => letters.next().filter(char::is_ascii_punctuation)?,
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => other,
        };
        texts.last_mut()?.push(literal);
    }
    Some(texts)
}

/// The text with which all matches of a pattern begin.
fn literal_prefix(pattern: &str) -> String {
    let is_plain =
        |letter: &char| letter.is_alphanumeric() || matches!(letter, ':' | '_' | '-' | '/' | '@' | ' ' | '=');
    let plain: String = pattern.chars().take_while(is_plain).collect();
    match pattern[plain.len()..].chars().next() {
        // A choice may begin with another text.
        _ if pattern.contains('|') => String::new(),
        // The last letter may be repeated, or missing.
        Some('*' | '?' | '{') => plain.chars().take(plain.chars().count().saturating_sub(1)).collect(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse_selector;

    fn chosen(conditions: &str) -> Keys {
        keys(&parse_selector(&format!("hits{{{conditions}}}")).expect("a selector"))
    }

    #[test]
    fn a_condition_that_names_keys_needs_no_list() {
        let named = |keys: &[&str]| Keys::Named(keys.iter().map(|key| (*key).to_owned()).collect());
        assert_eq!(chosen("key=\"user:1\""), named(&["user:1"]));
        assert_eq!(chosen("key=~\"b|a\", key!=\"x\""), named(&["a", "b"]));
        assert_eq!(chosen(r#"key=~"(a\\.b|c\\|d)""#), named(&["a.b", "c|d"]));
        assert_eq!(chosen("key=\"\""), named(&[]));
        assert_eq!(chosen(&format!("key=\"{}\"", "k".repeat(513))), named(&[]));
    }

    #[test]
    fn a_pattern_gives_the_text_with_which_its_keys_begin() {
        for (conditions, prefix) in [
            ("", ""),
            ("key!=\"a\"", ""),
            ("key!~\"a.*\"", ""),
            ("key=~\"user:.*\"", "user:"),
            ("key=~\"user:1*\"", "user:"),
            ("key=~\"user:1+\"", "user:1"),
            ("key=~\"user:1?\"", "user:"),
            ("key=~\"user:1{2}\"", "user:"),
            ("key=~\"user:.|host\"", ""),
            ("key=~\"(a|b).*\"", ""),
            ("key=~\"[ab]c\"", ""),
            ("key=~\"(?i)a\"", ""),
            (r#"key=~"a\\d""#, "a"),
        ] {
            assert_eq!(chosen(conditions), Keys::Prefix(prefix.to_owned()), "{conditions}");
        }
    }

    #[test]
    fn conditions_on_labels_that_no_key_has_are_of_an_empty_text() {
        let labels = labels("hits", "a");
        for (text, expected) in [
            ("hits{key=\"a\"}", true),
            ("hits{key=\"a\", job=\"\"}", true),
            ("hits{job=\"x\"}", false),
            ("hits{job!=\"x\"}", true),
            ("{__name__=~\"h.*\"}", true),
            ("hits_total", false),
        ] {
            assert_eq!(fits(&parse_selector(text).expect("a selector"), &labels), expected, "{text}");
        }
    }
}
