//! The reasons why lines are skipped.

use std::{borrow::Cow, fmt};

use crate::text::shown;

/// The reason why a line cannot be read, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte of the line, counted from 1, at which reading stopped.
    pub column: usize,
    /// The expected or the found text.
    pub why: Cow<'static, str>,
}

impl Fault {
    /// A fault at the byte `offset`, counted from 0.
    pub(super) fn at(offset: usize, why: impl Into<Cow<'static, str>>) -> Self {
        Self { column: offset + 1, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.why)
    }
}

/// A line that was skipped.
///
/// Prints as `line 17, column 24: there is no month "Mai": 83.149.9.216 - - [17/Mai/2015:10:05…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The number of the line, counted from 1.
    pub number: u64,
    /// The reason why it was skipped.
    pub fault: Fault,
    /// The beginning of the line, with control characters escaped.
    pub excerpt: String,
}

/// The most bytes of a bad line that are shown.
const MAX_EXCERPT: usize = 80;

impl BadLine {
    pub(super) fn new(number: u64, fault: Fault, line: &[u8]) -> Self {
        let head = &line[..line.len().min(MAX_EXCERPT)];
        let text: String = head.utf8_chunks().map(|chunk| chunk.valid()).collect();
        let mut excerpt = shown(&text).into_owned();
        if head.len() < line.len() {
            excerpt.push('…');
        }
        Self { number, fault, excerpt }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {}: {}", self.number, shown(&self.fault.to_string()), self.excerpt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_shown_without_its_control_characters() {
        let line = b"a\x1b[31m\xff\n".repeat(100);
        let bad = BadLine::new(17, Fault::at(23, "there is no month"), &line);
        let shown = bad.to_string();
        assert!(shown.starts_with("line 17, column 24: there is no month: a\\u{1b}[31m\\na"), "{shown}");
        assert!(shown.ends_with('…') && !shown.contains('\u{1b}'), "{shown}");
    }
}
