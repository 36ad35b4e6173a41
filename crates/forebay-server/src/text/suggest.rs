//! Suggestions for misspelt names.

use forebay::Error;

use crate::text::{invalid, quoted};

/// The longest text that is compared, in bytes. Names have at most 64, and a comparison costs the product of the lengths,
/// which a request must not control.
const MAX_COMPARED: usize = 64;

/// The most known names that an error message lists.
const MAX_LISTED: usize = 16;

/// The known name nearest to `name`, if it is near enough.
///
/// Near enough means at most one edit in three characters (a letter missing, added, wrong, or two swapped), ignoring case,
/// or one is the beginning of the other. Among equally near names, the first in alphabetical order.
///
/// ```
/// use forebay_server::text::nearest;
/// assert_eq!(nearest("hist", ["hits", "logins"]), Some("hits"));
/// assert_eq!(nearest("orders", ["hits", "logins"]), None);
/// ```
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > MAX_COMPARED {
        return None;
    }
    let name = name.to_lowercase();
    let near = known.into_iter().filter_map(|candidate| Some((edits(&name, candidate)?, candidate)));
    near.min().map(|(_, candidate)| candidate)
}

/// The edits from a known name to the lower-case `name`, if they are few enough.
fn edits(name: &str, known: &str) -> Option<usize> {
    let known = known.to_lowercase();
    let edits = strsim::osa_distance(name, &known);
    let length = name.chars().count().max(known.chars().count());
    let is_beginning =
        name.len().min(known.len()) >= 3 && (name.starts_with(&known) || known.starts_with(name));
    (is_beginning || edits <= (length / 3).max(1)).then_some(edits)
}

/// The error for an unknown name, with the nearest and the known names.
///
/// `what` is the kind of name: `event`, `field`, `time zone`.
///
/// ```
/// use forebay_server::text::unknown;
/// let error = unknown("event", "hist", ["hits", "logins"]);
/// assert_eq!(error.to_string(), r#"unknown event "hist": did you mean "hits"? (known: hits, logins)"#);
/// ```
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    unknown_of(what, name, known.into_iter().collect())
}

/// [`unknown`], compiled once for all callers.
fn unknown_of(what: &str, name: &str, mut known: Vec<&str>) -> Error {
    known.sort_unstable();
    known.dedup();
    let nearest = nearest(name, known.iter().copied());
    let hint = nearest.map(|nearest| format!(": did you mean \"{nearest}\"?")).unwrap_or_default();
    let list = match known.len() {
        0 => "none is known".to_owned(),
        1..=MAX_LISTED => format!("known: {}", known.join(", ")),
        n => format!("known: {} and {} more", known[..MAX_LISTED].join(", "), n - MAX_LISTED),
    };
    invalid(format!("unknown {what} {}{hint} ({list})", quoted(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_finds_the_name() {
        let known = ["listen", "prefix", "store", "database", "hit"];
        let cases = [
            ("lisen", Some("listen")),
            ("listne", Some("listen")),
            ("STORE", Some("store")),
            ("data", Some("database")),
            ("hits", Some("hit")),
            ("hti", Some("hit")),
            ("", None),
            ("colour", None),
        ];
        for (name, meant) in cases {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }

    #[test]
    fn equally_near_names_have_a_fixed_order() {
        assert_eq!(nearest("hit", ["hix", "hia"]), Some("hia"));
        assert_eq!(nearest("hit", ["hia", "hix"]), Some("hia"));
    }

    #[test]
    fn the_message_lists_what_is_known_within_bounds() {
        assert_eq!(unknown("event", "x", []).to_string(), "unknown event \"x\" (none is known)");
        let twice = unknown("field", "x", ["tokens", "store", "tokens"]).to_string();
        assert_eq!(twice, "unknown field \"x\" (known: store, tokens)");
        let many: Vec<String> = (0..20).map(|n| format!("name{n:02}")).collect();
        let message =
            unknown("event", &"y\u{1b}".repeat(1_000_000), many.iter().map(String::as_str)).to_string();
        assert!(message.ends_with("name15 and 4 more)"), "{message}");
        assert!(message.len() < 600 && !message.contains('\u{1b}'), "{message}");
    }

    proptest! {
        #[test]
        fn one_slip_in_a_name_is_always_understood(name in "[a-z]{3,12}", at: prop::sample::Index) {
            let mut slip = name.clone();
            slip.remove(at.index(name.len()));
            prop_assert_eq!(nearest(&slip, [name.as_str(), "0123456789012345"]), Some(name.as_str()));
        }

        #[test]
        fn never_panics(what in ".{0,9}", name in ".*", known in prop::collection::vec(".*", 0..5)) {
            let _ = unknown(&what, &name, known.iter().map(String::as_str));
        }
    }
}
