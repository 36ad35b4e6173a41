//! The notations for spans, rates and moments, and suggestions for misspelt names.
//!
//! The configuration file, HTTP and the command line share them. No function panics on any input, and every error names the
//! accepted forms.

pub mod allowance;
pub mod duration;
pub mod moment;
pub mod pattern;
pub mod rate;
pub mod step;
pub mod suggest;

pub use allowance::Allowance;
pub use duration::Span;
pub use moment::moment;
pub use pattern::{Pattern, Template};
pub use rate::{Rate, Window};
pub use step::Step;
pub use suggest::{nearest, unknown};

use std::{borrow::Cow, time::Duration};

use forebay::{
    Error, ErrorKind, Timestamp,
    buffer::{ColumnType, Value},
};

/// The characters of a text that an error message repeats.
const MAX_QUOTED: usize = 48;

/// An [`ErrorKind::Invalid`] error.
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// Seconds, rounded down to microseconds, which is the unit of limits. A deadline must not be too late.
pub fn seconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e6
}

/// Reads a value of a column. A time is written in RFC 3339, not in the microseconds of stores.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the text is not of that type.
pub fn value(column_type: ColumnType, text: &str) -> Result<Value, Error> {
    match column_type {
        ColumnType::Timestamp => text.parse::<Timestamp>().map(Value::Timestamp),
        _ => Value::from_text(column_type, text),
    }
}

/// Quotes a text for an error message: escapes control characters, and truncates a long text.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Escapes a text for a terminal: it stays on one line, without characters that move the cursor, set colours or change the
/// direction of writing. A text from others, such as a key, could otherwise forge the output around it.
pub fn shown(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// Like [`shown`], for text of this program: line ends and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// Escapes the same characters in JSON. They occur only within strings, where the escapes have the same meaning.
pub fn shown_json(json: &str) -> Cow<'_, str> {
    // Line ends are layout; within strings they are escaped already.
    let is_unsafe = |c| is_unsafe(c) && c != '\n';
    if !json.contains(is_unsafe) {
        return json.into();
    }
    let escaped = |c: char| if is_unsafe(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(escaped).collect()
}

/// `1 row`, `2 rows`.
pub fn count(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// A number with its thousands separated: `1,234,567`.
pub(crate) fn grouped(n: u64, separator: char) -> String {
    let mut text = n.to_string();
    for place in (1..text.len()).rev().skip(2).step_by(3) {
        text.insert(place, separator);
    }
    text
}

/// An error and its causes, joined with colons. A cause that an outer message contains is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(next.trim()) {
            text = format!("{}: {next}", text.trim_end());
        }
        cause = error.source();
    }
    text
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped.into()
}

/// Returns whether a terminal may interpret the character, or show the following text elsewhere.
fn is_unsafe(c: char) -> bool {
    c.is_control() || turns_direction(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Returns whether the character changes the direction in which the text after it is written.
pub(crate) fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_gets_text_without_control_characters() {
        let hostile = "a\x1b[31m\x1b]0;title\x07\r\n\t\x7f\u{9b}2J\u{202e}b\u{2028}é\u{feff}";
        let expected = r"a\u{1b}[31m\u{1b}]0;title\u{7}\r\n\t\u{7f}\u{9b}2J\u{202e}b\u{2028}é\u{feff}";
        assert_eq!(shown(hostile), expected);
        assert_eq!(shown_lines("a\n\tb\x1b"), "a\n\tb\\u{1b}");
        // People's names and paths are left as they are.
        let plain = r#"C:\Users\é "日本" 'x'"#;
        assert_eq!(shown(plain), plain);
    }

    #[test]
    fn json_means_the_same_when_it_is_shown() {
        let text = "a\x1b\n\t\x7f\u{9b}\u{202e}\u{feff}é\"\\";
        let json = serde_json::to_string_pretty(&serde_json::json!({ text: [text] })).expect("JSON");
        let shown = shown_json(&json);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            serde_json::json!({ text: [text] })
        );
        assert!(!shown.contains(|c| is_unsafe(c) && c != '\n'), "{shown}");
    }

    #[test]
    fn a_cause_is_printed_once() {
        let inner = || std::io::Error::other("no such host");
        let twice =
            forebay::Error::new(ErrorKind::Unavailable, "buffer a: no such host").with_source(inner());
        let error = anyhow::Error::new(twice).context("flushing buffer a");
        assert_eq!(chain(&*error), "flushing buffer a: buffer a: no such host");
        let once =
            forebay::Error::new(ErrorKind::Unavailable, "redis a:1: cannot connect").with_source(inner());
        assert_eq!(chain(&once), "redis a:1: cannot connect: no such host");
        let equal = anyhow::Error::new(inner()).context("no such host");
        assert_eq!(chain(&*equal), "no such host");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in ".*") {
            prop_assert!(!shown(&text).contains(is_unsafe));
            let json = serde_json::to_string(&text).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<String>(&shown_json(&json)).expect("JSON"), text);
        }
    }
}
