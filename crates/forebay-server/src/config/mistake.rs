//! Mistakes in a configuration.

use std::fmt;

use serde::Serialize;

use crate::text::shown;

/// A mistake, and its location.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// The file, the flag, or the environment variable.
    source: String,
    /// The line in the file, counted from 1.
    line: Option<usize>,
    message: String,
}

impl Mistake {
    /// A mistake in a line of a file.
    pub(super) fn in_line(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { source: file.to_owned(), line: Some(line), message: message.into() }
    }

    /// A mistake in a flag, an environment variable, or a whole file.
    pub(super) fn of(source: &str, message: impl Into<String>) -> Self {
        Self { source: source.to_owned(), line: None, message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, message) = (shown(&self.source), shown(&self.message));
        match self.line {
            Some(line) => write!(f, "{source}:{line}: {message}"),
            None => write!(f, "{source}: {message}"),
        }
    }
}

/// All mistakes of a configuration, in the order of the file. It prints one mistake a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// `Ok(value)` if there is no mistake, else all of them.
    pub(super) fn unless_empty<T>(mut mistakes: Vec<Mistake>, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => {
                mistakes.sort();
                mistakes.dedup();
                Err(Self(mistakes))
            }
        }
    }

    /// One mistake, in a flag, an environment variable, or a whole file.
    pub(crate) fn of(source: &str, message: impl Into<String>) -> Self {
        Self(vec![Mistake::of(source, message)])
    }

    /// The mistakes; at least one.
    pub fn as_slice(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}
