//! Output to the terminal.
//!
//! Everything that a terminal shows goes through these functions, which escape control characters. Line ends and tabs stay,
//! because this program writes them: text from others passes through `text::shown` before it becomes part of a line.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::text::{shown_json, shown_lines};

/// Prints an answer: as JSON, or as text.
pub(super) fn answer<T: Serialize>(json: bool, answer: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    if json {
        say_json(&serde_json::to_string(answer)?);
    } else {
        say(&text(answer));
    }
    Ok(())
}

/// Prints text for the user. A closed pipe is no error.
pub(super) fn say(text: &str) {
    print(&shown_lines(text));
}

/// Prints JSON for a program. A terminal may show it as well.
pub(super) fn say_json(json: &str) {
    print(&shown_json(json));
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints an error or a warning to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", shown_lines(text));
}
