//! Reads an open log as sorted events, line by line.

use std::time::Duration;

use forebay::{Error, ErrorKind, Timestamp};

use super::{
    BadLine, Event, Fault, Input, Line, Lines, MAX_LINE, Parser, Reorder, Source, guess::looks_like,
};

/// The numbers of the lines that were read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines, without empty ones.
    pub lines: u64,
    /// Lines that could not be read and were skipped.
    pub bad: u64,
    /// Lines that arrived too late to be sorted.
    pub late: u64,
    /// The earliest time of a readable line.
    pub first: Option<Timestamp>,
    /// The latest time of a readable line.
    pub last: Option<Timestamp>,
    /// The format that the first line looks like, if no line could be read.
    pub looks_like: Option<&'static str>,
    /// Skipped bytes after the end of the gzip data.
    pub padding: u64,
}

/// The result of reading a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read, or is empty.
    Line,
    /// It was skipped.
    Bad(BadLine),
    /// The log has ended.
    End,
}

/// Reads sorted events from an open log.
#[derive(Debug)]
pub struct Reader {
    lines: Lines<Input>,
    parser: Parser,
    order: Reorder,
    tally: Tally,
}

impl Reader {
    /// Reads `input` with `parser`, for which a key field is enough, and sorts within the span `reorder`.
    pub fn new(input: Input, parser: impl Into<Parser>, reorder: Duration) -> Self {
        let order = Reorder::new(reorder);
        Self { lines: Lines::new(input), parser: parser.into(), order, tally: Tally::default() }
    }

    /// The numbers so far, which include events that are still held back.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Reads one line, and passes the events that can no longer be preceded; at the end, all held events.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the input fails, such as a truncated gzip file. Nothing can be read after that; the held
    /// events have been passed.
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

/// Reads a whole log, for its first and last time and its number of bad lines: to shift a log so that it ends now, the end
/// must be known first.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for standard input, which cannot be read twice; [`ErrorKind::Unavailable`]
/// if the file cannot be opened. A file that fails later, such as a truncated gzip file, ends there.
///
/// # Cost
/// Reads the whole log, and blocks.
pub fn survey(source: &Source, parser: impl Into<Parser>, reorder: Duration) -> Result<Tally, Error> {
    if *source == Source::Stdin {
        let message = "standard input cannot be read twice: write the log to a file and name that";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut reader = Reader::new(source.open()?, parser, reorder);
    while !matches!(reader.advance(drop), Ok(Step::End) | Err(_)) {}
    Ok(reader.tally())
}
