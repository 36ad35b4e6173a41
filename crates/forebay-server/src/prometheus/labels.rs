//! The labels of a key. No other file knows which labels there are.

use forebay::series::{Filter, SeriesHandle};

use crate::promql::{Labels, MatchOp, Matcher, NAME};

/// The label that holds the key of a series without labels of its own.
const KEY: &str = "key";

/// The keys that a selector may mean. Those that it means fit its conditions, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// One of these.
    Named(Vec<String>),
    /// Any of a filter.
    Filter(Filter),
}

/// The names of the labels that keys of a series have, beside that of the metric.
pub(crate) fn names(series: &SeriesHandle) -> Vec<&str> {
    if series.label_names().len() == 0 { vec![KEY] } else { series.label_names().collect() }
}

/// The labels of a key that have a value: the series' own, or the key.
pub(crate) fn labels_of<'a>(series: &'a SeriesHandle, key: &str) -> impl Iterator<Item = (&'a str, String)> {
    let plain = (series.label_names().len() == 0).then(|| (KEY, key.to_owned()));
    series.labels_of(key).filter(|(_, value)| !value.is_empty()).chain(plain)
}

/// The labels of a key of a metric.
pub(super) fn labels(metric: &str, series: &SeriesHandle, key: &str) -> Labels {
    let own: Vec<(&str, String)> = labels_of(series, key).collect();
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    Labels::new(own.chain([(NAME, metric)]))
}

/// Whether the labels fit the conditions of a selector.
pub(super) fn fits(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.is_match(labels.get(&matcher.name)))
}

/// The keys that the conditions allow: as few as can be told without a list of all keys.
pub(super) fn keys(matchers: &[Matcher], series: &SeriesHandle) -> Keys {
    if series.label_names().len() == 0 { plain_keys(matchers) } else { labelled_keys(matchers, series) }
}

/// The keys of a series without labels.
fn plain_keys(matchers: &[Matcher]) -> Keys {
    let mut prefix = String::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name == KEY) {
        match &matcher.op {
            MatchOp::Equal => return named([matcher.value.clone()]),
            MatchOp::Re(_) => match choice(&matcher.value) {
                Some(literals) => return named(literals),
                None => prefix = literal_prefix(&matcher.value),
            },
            _ => {}
        }
    }
    Keys::Filter(Filter::new().prefix(prefix))
}

/// The keys of a series with labels. A condition on the first label limits the keys that the store lists.
fn labelled_keys(matchers: &[Matcher], series: &SeriesHandle) -> Keys {
    let values = |matcher: &Matcher| match &matcher.op {
        MatchOp::Equal => Some(vec![matcher.value.clone()]),
        MatchOp::Re(_) => choice(&matcher.value),
        _ => None,
    };
    let all: Option<Vec<(&str, String)>> = series
        .label_names()
        .map(|name| {
            let only = |matcher: &&Matcher| matcher.op == MatchOp::Equal;
            Some((name, of_label(matchers, name).find(only)?.value.clone()))
        })
        .collect();
    if let Some(all) = all {
        // Without any value there is no key.
        return named(series.key_of(all).ok());
    }
    let mut filter = Filter::new();
    for (place, name) in series.label_names().enumerate() {
        for matcher in of_label(matchers, name) {
            filter = match (values(matcher), &matcher.op) {
                (Some(values), _) => filter.label_in(name, values),
                (None, MatchOp::NotEqual) => filter.label_not(name, &matcher.value),
                // The characters of such a prefix are the same in a key.
                (None, MatchOp::Re(_)) if place == 0 => filter.prefix(literal_prefix(&matcher.value)),
                (None, _) => filter,
            };
        }
    }
    Keys::Filter(filter)
}

/// The conditions on a label.
fn of_label<'a>(matchers: &'a [Matcher], name: &'a str) -> impl Iterator<Item = &'a Matcher> {
    matchers.iter().filter(move |matcher| matcher.name == name)
}

/// The texts of a pattern that is a choice between texts, perhaps in parentheses.
fn choice(pattern: &str) -> Option<Vec<String>> {
    let inner = pattern.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    literals(inner.unwrap_or(pattern))
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
    use forebay::{Forebay, Series};

    use super::*;
    use crate::promql::parse_selector;

    async fn series(labels: &[&str]) -> SeriesHandle {
        let bay = Forebay::open("memory:").await.expect("opens");
        bay.series(Series::new("hits").labels(labels.iter().copied())).expect("valid")
    }

    fn chosen(conditions: &str, series: &SeriesHandle) -> Keys {
        keys(&parse_selector(&format!("hits{{{conditions}}}")).expect("a selector"), series)
    }

    fn named(keys: &[&str]) -> Keys {
        Keys::Named(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    #[tokio::test]
    async fn a_condition_that_names_keys_needs_no_list() {
        let hits = series(&[]).await;
        assert_eq!(chosen("key=\"user:1\"", &hits), named(&["user:1"]));
        assert_eq!(chosen("key=~\"b|a\", key!=\"x\"", &hits), named(&["a", "b"]));
        assert_eq!(chosen(r#"key=~"(a\\.b|c\\|d)""#, &hits), named(&["a.b", "c|d"]));
        assert_eq!(chosen("key=\"\"", &hits), named(&[]));
        assert_eq!(chosen(&format!("key=\"{}\"", "k".repeat(513)), &hits), named(&[]));
    }

    #[tokio::test]
    async fn a_pattern_gives_the_text_with_which_its_keys_begin() {
        let hits = series(&[]).await;
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
            assert_eq!(chosen(conditions, &hits), Keys::Filter(Filter::new().prefix(prefix)), "{conditions}");
        }
    }

    #[tokio::test]
    async fn conditions_on_labels_are_a_filter_or_name_the_key() {
        let hits = series(&["path", "status"]).await;
        let all = || Filter::new();
        for (conditions, expected) in [
            ("status=\"500\", path=\"/a|b\"", named(&["/a\\|b|500"])),
            ("status=\"\", path=\"/a\"", named(&["/a"])),
            ("status=\"\", path=\"\"", named(&[])),
            ("", Keys::Filter(all())),
            ("key=\"x\", job!=\"y\"", Keys::Filter(all())),
            ("path=\"/a\"", Keys::Filter(all().label("path", "/a"))),
            (
                "path=\"/a\", status!=\"500\"",
                Keys::Filter(all().label("path", "/a").label_not("status", "500")),
            ),
            ("status=~\"500|\"", Keys::Filter(all().label_in("status", ["500", ""]))),
            ("status=~\"5..\", path=~\"/api/.*\"", Keys::Filter(all().prefix("/api/"))),
            ("path!~\"/api.*\"", Keys::Filter(all())),
        ] {
            assert_eq!(chosen(conditions, &hits), expected, "{conditions}");
        }
    }

    #[tokio::test]
    async fn conditions_on_labels_that_no_key_has_are_of_an_empty_text() {
        let hits = series(&[]).await;
        let labels = labels("hits", &hits, "a");
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
