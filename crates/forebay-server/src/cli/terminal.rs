//! Output to the terminal.
//!
//! Everything that a terminal shows goes through these functions, which escape control characters. Line ends and tabs stay,
//! because this program writes them: text from others passes through `text::shown` before it becomes part of a line.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use anyhow::Result;
use console::{Color, Style, Term, colors_enabled};
use serde::Serialize;

use crate::{
    chart::{Line, Look},
    text::{shown, shown_json, shown_lines},
};

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

/// When colours are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colours {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Colours {
    pub(super) fn are_shown(self) -> bool {
        match self {
            Self::Auto => colors_enabled(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The columns and lines of the terminal; without one, `COLUMNS` and `LINES`, or 80 × 24.
pub(super) fn size() -> (usize, usize) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (lines, columns) = Term::stdout().size_checked().map_or_else(
        || (variable("LINES").unwrap_or(24), variable("COLUMNS").unwrap_or(80)),
        |(lines, columns)| (usize::from(lines), usize::from(columns)),
    );
    (columns.clamp(20, 500), lines.clamp(5, 500))
}

/// Prints lines of a picture.
pub(super) fn say_lines(lines: &[Line], colours: bool) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text_of(lines, colours, "\n").as_bytes()).and_then(|()| out.flush());
}

/// The only place that writes colours.
fn text_of(lines: &[Line], colours: bool, end: &str) -> String {
    // Neighbours differ in lightness, on dark and on light ground.
    const ROWS: [Color; 6] =
        [Color::Blue, Color::Yellow, Color::Green, Color::Magenta, Color::Cyan, Color::Red];
    let mut text = String::new();
    for line in lines {
        let mut pieces: Vec<_> = line.iter().map(|piece| (shown(&piece.text), piece.look)).collect();
        // Lines end with their last mark.
        while let Some((last, _)) = pieces.last_mut() {
            let kept = last.trim_end().len();
            if kept > 0 {
                last.to_mut().truncate(kept);
                break;
            }
            pieces.pop();
        }
        for (words, look) in pieces {
            let style = Style::new().force_styling(true);
            let style = match look {
                _ if !colours => None,
                Look::Plain => None,
                Look::Faint => Some(style.dim()),
                Look::Bold => Some(style.bold()),
                Look::Row(row) => Some(style.fg(ROWS[row % ROWS.len()])),
                Look::Partial(row) => Some(style.fg(ROWS[row % ROWS.len()]).dim()),
            };
            let _ = match style {
                Some(style) => write!(text, "{}", style.apply_to(words)),
                None => write!(text, "{words}"),
            };
        }
        text.push_str(end);
    }
    text
}

/// A picture that is drawn again in its place; without a terminal, one after the other.
pub(super) struct Screen {
    colours: bool,
    is_redrawn: bool,
    /// The lines that stand on the terminal, and its size when they were drawn.
    drawn: usize,
    size: (usize, usize),
}

impl Screen {
    pub(super) fn new(colours: bool) -> Self {
        let term = Term::stdout();
        let is_redrawn = term.is_term() && std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        Self { colours, is_redrawn, drawn: 0, size: size() }
    }

    /// Returns whether a picture replaces the one before.
    pub(super) fn is_redrawn(&self) -> bool {
        self.is_redrawn
    }

    /// Shows a picture. On a terminal, it is cut to the lines that there are.
    ///
    /// The cursor is never hidden, so that it is there however the program ends. Lines are overwritten and not cleared before,
    /// so that nothing flickers.
    ///
    /// # Errors
    /// If stdout is closed.
    pub(super) fn show(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.is_redrawn {
            out.write_all(text_of(lines, self.colours, "\n").as_bytes())?;
            return out.write_all(b"\n").and_then(|()| out.flush());
        }
        let now = size();
        let lines = &lines[..lines.len().min(now.1 - 1)];
        // Lines that were wrapped by a narrower terminal are not where they were.
        let start = if now != self.size {
            "\x1b[2J\x1b[H".to_owned()
        } else if self.drawn > 0 {
            format!("\x1b[{}A\r", self.drawn)
        } else {
            String::new()
        };
        (self.size, self.drawn) = (now, lines.len());
        let picture = start + &text_of(lines, self.colours, "\x1b[K\n") + "\x1b[J";
        out.write_all(picture.as_bytes()).and_then(|()| out.flush())
    }

    /// Leaves the last picture, with the prompt below it.
    pub(super) fn leave(&self) {
        if self.is_redrawn {
            // The terminal shows ^C at the cursor.
            let _ = io::stdout().lock().write_all(b"\r\x1b[K");
        }
    }
}
