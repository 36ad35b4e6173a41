//! The position of an import, in a file, and the file of refused lines.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use forebay::{Clock, Timestamp, time::hours};
use serde::{Deserialize, Serialize};

use super::output;
use crate::{
    export::csv_cell,
    import::{Position, RefusedLine},
    text::shown,
};

/// A server remembers the keys of requests for 24 hours.
const REMEMBERED: Duration = hours(23);

/// The progress of an import of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) series: String,
    pub(super) id: Option<String>,
    /// The lines before it count.
    pub(super) position: Position,
    /// Whether no other lines can have been counted.
    pub(super) is_settled: bool,
    /// When it was written.
    pub(super) saved: String,
}

impl State {
    /// Reads the state of an import of the same series; `None` if there is no file.
    ///
    /// # Errors
    /// If it is of another import, or so old that a server has forgotten the lines that were under way.
    pub(super) fn read(
        path: &Path,
        series: &str,
        id: Option<&str>,
        accept_repeats: bool,
    ) -> Result<Option<Self>> {
        let name = shown(&path.to_string_lossy()).into_owned();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("reading {name}"))?,
        };
        let state: Self =
            serde_json::from_str(&text).with_context(|| format!("{name} is no position of an import"))?;
        ensure!(
            state.series == series && state.id.as_deref() == id,
            "{name} is the position of another import: of series {}{}",
            shown(&state.series),
            state.id.as_ref().map_or(String::new(), |id| format!(", id {}", shown(id)))
        );
        let saved: Timestamp =
            state.saved.parse().with_context(|| format!("{name} is no position of an import"))?;
        if !state.is_settled && Clock::system().now().since(saved) > REMEMBERED && !accept_repeats {
            bail!(
                "{name}: the import was stopped more than a day ago, and lines after line {} that were under way may count \
                 already; --accept-repeats goes on, and may count some thousand lines twice",
                state.position.lines
            );
        }
        Ok(Some(state))
    }

    /// Writes the position.
    pub(super) fn save(&mut self, path: &Path, position: &Position) -> Result<()> {
        self.position = position.clone();
        self.saved = Clock::system().now().to_string();
        output::write(path, serde_json::to_string(self)?.as_bytes())
    }
}

/// The file of refused lines: CSV, with the line's number, the reason, details, and the text.
pub(super) struct Rejects(File);

impl Rejects {
    /// Creates the file; adds to it if the import goes on.
    pub(super) fn open(path: &Path, goes_on: bool) -> Result<Self> {
        let name = shown(&path.to_string_lossy()).into_owned();
        let file = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(path);
        let mut file = file.with_context(|| format!("opening {name}"))?;
        if file.metadata().is_ok_and(|file| file.len() == 0) {
            file.write_all(b"line,reason,detail,text\n").with_context(|| format!("writing {name}"))?;
        }
        Ok(Self(file))
    }

    /// Adds lines.
    pub(super) fn add(&mut self, refused: &[RefusedLine]) -> Result<()> {
        let row = |line: &RefusedLine| {
            let RefusedLine { line, reason, detail, text } = line;
            format!("{line},{reason},{},{}\n", csv_cell(detail), csv_cell(&String::from_utf8_lossy(text)))
        };
        let rows: String = refused.iter().map(row).collect();
        self.0.write_all(rows.as_bytes()).context("writing the refused lines")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_of_one_import_and_of_today() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.state");
        let read = |accept| {
            State::read(&file, "hits", None, accept).map(|state| state.map(|state| state.position.lines))
        };
        assert_eq!(read(false).expect("no file"), None);
        let position = Position { bytes: 100, lines: 9, digest: "0".to_owned() };
        let (series, saved) = ("hits".to_owned(), String::new());
        let mut state = State { series, id: None, position: Position::default(), is_settled: false, saved };
        state.save(&file, &position).expect("written");
        assert_eq!(read(false).expect("a position"), Some(9));
        let error = State::read(&file, "hits", Some("b"), false).expect_err("another id").to_string();
        assert!(error.contains("the position of another import: of series hits"), "{error}");

        state.saved = Clock::system().now().minus(hours(30)).to_string();
        let write =
            |state: &State| fs::write(&file, serde_json::to_vec(state).expect("JSON")).expect("written");
        write(&state);
        let error = read(false).expect_err("forgotten").to_string();
        assert!(
            error.contains("after line 9 that were under way") && error.contains("--accept-repeats"),
            "{error}"
        );
        assert_eq!(read(true).expect("accepted"), Some(9));
        write(&State { is_settled: true, ..state });
        assert_eq!(read(false).expect("nothing was under way"), Some(9));
        fs::write(&file, "{}").expect("written");
        assert!(read(false).is_err());
    }
}
