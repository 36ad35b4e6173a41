//! From an open log to ordered events, step by step and on one thread.

use std::time::Duration;

use forebay::{Error, ErrorKind, Timestamp};

use super::{
    BadLine, Event, Fault, Input, KeyField, Line, Lines, MAX_LINE, Reorder, Source, log::AccessLine, ndjson,
};

/// What has been read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines, without empty ones.
    pub lines: u64,
    /// Of them, those that could not be read and were skipped.
    pub bad: u64,
    /// Of them, those that were read too late to be put in order.
    pub late: u64,
    /// The earliest time of a good line.
    pub first: Option<Timestamp>,
    /// The latest time of a good line.
    pub last: Option<Timestamp>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read, or is empty.
    Line,
    /// It was skipped.
    Bad(BadLine),
    /// There is no more.
    End,
}

/// Reads events, in order, from an open log.
#[derive(Debug)]
pub struct Reader {
    lines: Lines<Input>,
    key: KeyField,
    order: Reorder,
    tally: Tally,
}

impl Reader {
    /// Reads `input`, takes each line's key from `key`, and orders within the span `reorder`.
    pub fn new(input: Input, key: KeyField, reorder: Duration) -> Self {
        let order = Reorder::new(reorder);
        Self { lines: Lines::new(input), key, order, tally: Tally::default() }
    }

    /// What has been read so far, including what is still held back for its turn.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Reads one line, and hands on the events whose turn has come; at the end, all that were held back.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the input fails, such as a gzip file that was cut. Nothing can be
    /// read after that.
    pub fn advance(&mut self, mut pass: impl FnMut(Event)) -> Result<Step, Error> {
        let number = self.lines.number() + 1;
        let line = match self.lines.advance() {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.order.finish(pass);
                return Ok(Step::End);
            }
            Err(cause) => return Err(self.lines.stream().failed(&cause)),
        };
        let (text, event) = match line {
            Line::Whole(text) if text.trim_ascii().is_empty() => return Ok(Step::Line),
            Line::Whole(text) => (text, event(text, &self.key)),
            Line::TooLong(head) => (head, Err(Fault::at(MAX_LINE, format!("longer than {MAX_LINE} bytes")))),
        };
        self.tally.lines += 1;
        match event {
            Ok(event) => {
                let Tally { first, last, late, .. } = &mut self.tally;
                *first = Some(first.map_or(event.at, |first| first.min(event.at)));
                *last = (*last).max(Some(event.at));
                self.order.push(event, |event| {
                    *late += u64::from(event.late);
                    pass(event);
                });
                Ok(Step::Line)
            }
            Err(fault) => {
                self.tally.bad += 1;
                Ok(Step::Bad(BadLine::new(number, fault, text)))
            }
        }
    }
}

/// The event of a line of either format.
fn event(text: &[u8], key: &KeyField) -> Result<Event, Fault> {
    if text.trim_ascii_start().starts_with(b"{") {
        return ndjson::parse(text, key);
    }
    let line = AccessLine::parse(text)?;
    Ok(Event { at: line.at, key: key.of_access(&line)?, late: false })
}

/// Reads a log through, for its first and last time, and how many lines are bad.
///
/// For what has to know the end before the beginning, such as shifting a log so that it ends now.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for standard input, which cannot be read twice; [`ErrorKind::Unavailable`]
/// if the file fails.
///
/// # Cost
/// As much as reading the log; blocks.
pub fn survey(source: &Source, key: KeyField, reorder: Duration) -> Result<Tally, Error> {
    if *source == Source::Stdin {
        let message = "standard input cannot be read twice: write the log to a file and name that";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut reader = Reader::new(source.open()?, key, reorder);
    while reader.advance(drop)? != Step::End {}
    Ok(reader.tally())
}
