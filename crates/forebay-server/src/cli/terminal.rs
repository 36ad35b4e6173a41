//! Output to the terminal.
//!
//! Everything that a terminal shows goes through these functions, which escape control characters. Line ends and tabs stay,
//! because this program writes them: text from others passes through `text::shown` before it becomes part of a line.

use std::io::{self, IsTerminal, Write};

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

/// Writes lines of a file to stdout as they are, or escaped if it is a terminal. Returns what is left: a part of a line, for the
/// next call.
///
/// # Errors
/// If stdout is closed, or the disk is full.
pub(super) fn write_lines(lines: &[u8]) -> io::Result<&[u8]> {
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        return out.write_all(lines).map(|()| &[][..]);
    }
    let end = lines.iter().rposition(|&c| c == b'\n').map_or(0, |place| place + 1);
    out.write_all(shown_lines(&String::from_utf8_lossy(&lines[..end])).as_bytes())?;
    Ok(&lines[end..])
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints an error or a warning to stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", shown_lines(text));
}
