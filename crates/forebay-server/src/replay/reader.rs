//! From an open log to ordered events, step by step and on one thread.

use std::time::Duration;

use forebay::{Error, ErrorKind, Timestamp};

use super::{
    BadLine, Event, Fault, Input, Line, Lines, MAX_LINE, Parser, Reorder, Source, guess::looks_like,
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
    /// What the first line looks like that could not be read, if no line could be.
    pub looks_like: Option<&'static str>,
    /// Bytes after the end of the gzip data, which were passed over.
    pub padding: u64,
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
    parser: Parser,
    order: Reorder,
    tally: Tally,
}

impl Reader {
    /// Reads `input` as `parser` says, such as a key field, and orders within the span `reorder`.
    pub fn new(input: Input, parser: impl Into<Parser>, reorder: Duration) -> Self {
        let order = Reorder::new(reorder);
        Self { lines: Lines::new(input), parser: parser.into(), order, tally: Tally::default() }
    }

    /// What has been read so far, including what is still held back for its turn.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Reads one line, and hands on the events whose turn has come; at the end, all that were held back.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the input fails, such as a gzip file that was cut. Nothing can be
    /// read after that; all that was held back has been handed on.
    pub fn advance(&mut self, mut pass: impl FnMut(Event)) -> Result<Step, Error> {
        let number = self.lines.number() + 1;
        let line = match self.lines.advance() {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.tally.padding = self.lines.stream().padding();
                self.order.finish(pass);
                return Ok(Step::End);
            }
            Err(cause) => {
                self.order.finish(pass);
                return Err(self.lines.stream().failed(&cause));
            }
        };
        let (text, event) = match line {
            Line::Whole(text) if text.trim_ascii().is_empty() => return Ok(Step::Line),
            Line::Whole(text) => (text, self.parser.event(text)),
            Line::TooLong(head) => (head, Err(Fault::at(MAX_LINE, format!("longer than {MAX_LINE} bytes")))),
        };
        self.tally.lines += u64::from(!matches!(event, Ok(None)));
        match event {
            Ok(None) => Ok(Step::Line),
            Ok(Some(event)) => {
                self.tally.looks_like = None;
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
                if self.tally.bad == 0 && self.tally.lines == 1 {
                    self.tally.looks_like = looks_like(text);
                }
                self.tally.bad += 1;
                Ok(Step::Bad(BadLine::new(number, fault, text)))
            }
        }
    }
}

/// Reads a log through, for its first and last time, and how many lines are bad.
///
/// For what has to know the end before the beginning, such as shifting a log so that it ends now.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for standard input, which cannot be read twice; [`ErrorKind::Unavailable`]
/// if the file cannot be opened. One that fails later, as a gzip file that was cut does, ends there.
///
/// # Cost
/// As much as reading the log; blocks.
pub fn survey(source: &Source, parser: impl Into<Parser>, reorder: Duration) -> Result<Tally, Error> {
    if *source == Source::Stdin {
        let message = "standard input cannot be read twice: write the log to a file and name that";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut reader = Reader::new(source.open()?, parser, reorder);
    while !matches!(reader.advance(drop), Ok(Step::End) | Err(_)) {}
    Ok(reader.tally())
}
