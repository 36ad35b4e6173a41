//! Splits a text into records, with their position and the hash of the text before them.

use std::io::{self, Read};

use memchr::memchr;
use xxhash_rust::xxh3::Xxh3;

use super::record_end::{Ends, Search};
use crate::replay::fill;

/// The longest record, in bytes without its end.
pub(super) const MAX_RECORD: usize = 64 * 1024;

/// The bytes of one read.
const CHUNK: usize = 256 * 1024;

/// Bytes of a record that is too long that are shown.
const HEAD: usize = 128;

/// The mark that some programs write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// All of it, without the line end.
    Whole(&'a [u8]),
    /// The beginning of a line that is longer than [`MAX_RECORD`].
    TooLong(&'a [u8]),
    /// A line with a quote that is not closed within [`MAX_RECORD`]. The next line is a record of its own.
    OpenQuote(&'a [u8]),
}

/// The records of a text. Memory is bounded for any input.
pub(super) struct Records<R> {
    stream: R,
    ends: Ends,
    /// `buffer[start..end]` is read and not returned yet.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the text before `start`.
    position: u64,
    /// Lines before `start`.
    lines: u64,
    hash: Xxh3,
    /// Whether the last record had no line end.
    is_cut: bool,
    head: Vec<u8>,
}

impl<R: Read> Records<R> {
    /// The records of `stream`. A byte order mark is no part of the first one.
    pub(super) fn new(stream: R, ends: Ends) -> Self {
        let buffer = vec![0; MAX_RECORD + CHUNK].into();
        Self {
            stream,
            ends,
            buffer,
            start: 0,
            end: 0,
            position: 0,
            lines: 0,
            hash: Xxh3::new(),
            is_cut: false,
            head: vec![],
        }
    }

    /// The bytes before the next record.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The lines before the next record.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The hash of the bytes before the next record.
    pub(super) fn digest(&self) -> u128 {
        self.hash.digest128()
    }

    /// Whether the last record had no line end.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The stream.
    pub(super) fn stream(&self) -> &R {
        &self.stream
    }

    /// Sets how a record ends, before the first one is read.
    pub(super) fn set_ends(&mut self, ends: Ends) {
        self.ends = ends;
    }

    /// The first byte of the text that is no blank, without reading it away.
    ///
    /// # Errors
    /// If the stream fails.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        self.skip_mark()?;
        let mut seen = 0;
        loop {
            let unread = &self.buffer[self.start + seen..self.end];
            match unread.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(byte) => return Ok(Some(*byte)),
                None if seen + unread.len() > MAX_RECORD => return Ok(None),
                None => seen += unread.len(),
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Skips text up to a position of an earlier read. Returns whether the text is that long.
    ///
    /// # Errors
    /// If the stream fails.
    pub(super) fn skip_to(&mut self, position: u64, lines: u64) -> io::Result<bool> {
        while self.position < position {
            if self.start == self.end && self.fill()? == 0 {
                return Ok(false);
            }
            let left = usize::try_from(position - self.position).unwrap_or(usize::MAX);
            self.consume(left.min(self.end - self.start));
        }
        self.lines = lines;
        Ok(self.position == position)
    }

    /// The next record, also a last one without a line end.
    ///
    /// # Errors
    /// If the stream fails. The incomplete record is lost then.
    pub(super) fn advance(&mut self) -> io::Result<Option<Record<'_>>> {
        self.skip_mark()?;
        let mut search = Search::new(self.ends);
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(length) = search.find_end(unread) {
                return Ok(Some(self.split(length)));
            }
            if unread.len() > MAX_RECORD + 1 {
                return self.give_up(&search).map(Some);
            }
            if self.fill()? == 0 {
                return match self.end - self.start {
                    0 => Ok(None),
                    _ if search.is_quoted() => self.give_up(&search).map(Some),
                    length => {
                        self.is_cut = true;
                        Ok(Some(self.split(length)))
                    }
                };
            }
        }
    }

    fn skip_mark(&mut self) -> io::Result<()> {
        if self.position > 0 {
            return Ok(());
        }
        while self.end - self.start < BYTE_ORDER_MARK.len() {
            if self.fill()? == 0 {
                return Ok(());
            }
        }
        if self.buffer[self.start..self.end].starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
        }
        Ok(())
    }

    /// Returns the next `length` bytes, and skips the line end after them.
    fn split(&mut self, length: usize) -> Record<'_> {
        let begin = self.start;
        let line_end = usize::from(begin + length < self.end);
        let newlines = memchr::memchr_iter(b'\n', &self.buffer[begin..begin + length]).count() as u64;
        self.lines += newlines + 1;
        self.consume(length + line_end);
        let record = &self.buffer[begin..begin + length];
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        if record.len() > MAX_RECORD { Record::TooLong(&record[..HEAD]) } else { Record::Whole(record) }
    }

    /// Returns a line of a record that does not end: that of the open quote, or one that is too long.
    fn give_up(&mut self, search: &Search) -> io::Result<Record<'_>> {
        let unread = &self.buffer[self.start..self.end];
        if search.is_quoted()
            && let Some(length) =
                memchr(b'\n', unread).or((unread.len() <= MAX_RECORD).then_some(unread.len()))
        {
            return Ok(match self.split(length) {
                Record::Whole(line) | Record::TooLong(line) | Record::OpenQuote(line) => {
                    Record::OpenQuote(line)
                }
            });
        }
        self.head.clear();
        self.head.extend_from_slice(&unread[..HEAD]);
        self.lines += 1;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(length) = memchr(b'\n', unread) {
                self.consume(length + 1);
                break;
            }
            self.consume(unread.len());
            if self.fill()? == 0 {
                break;
            }
        }
        Ok(Record::TooLong(&self.head))
    }

    fn consume(&mut self, length: usize) {
        self.hash.update(&self.buffer[self.start..self.start + length]);
        self.start += length;
        self.position += length as u64;
    }

    /// Reads more bytes; returns how many.
    fn fill(&mut self) -> io::Result<usize> {
        fill(&mut self.stream, &mut self.buffer, (&mut self.start, &mut self.end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    /// Gives at most `step` bytes per read, as a pipe does.
    struct Trickle<'a> {
        text: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            let step = self.step.min(space.len());
            self.text.by_ref().take(step as u64).read(space)
        }
    }

    /// Each record as text with a sign, and the lines before the next one.
    fn all(text: &[u8], ends: Ends, step: usize) -> Vec<(String, u64)> {
        let mut records = Records::new(Trickle { text, step }, ends);
        let mut found = vec![];
        loop {
            let record = match records.advance().expect("a slice can be read") {
                None => break,
                Some(Record::Whole(text)) => String::from_utf8_lossy(text).into_owned(),
                Some(Record::TooLong(_)) => "too long".to_owned(),
                Some(Record::OpenQuote(text)) => format!("open: {}", String::from_utf8_lossy(text)),
            };
            let position = usize::try_from(records.position()).expect("small");
            if position < 1_000 {
                assert_eq!(records.digest(), xxh3_128(&text[..position]));
            }
            found.push((record, records.lines()));
        }
        assert_eq!(records.position(), text.len() as u64);
        found
    }

    fn rows(text: &str) -> Vec<(String, u64)> {
        let whole = all(text.as_bytes(), Ends::UnquotedLine, usize::MAX);
        assert_eq!(all(text.as_bytes(), Ends::UnquotedLine, 1), whole);
        whole
    }

    fn told(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
        rows.iter().map(|(text, lines)| ((*text).to_owned(), *lines)).collect()
    }

    #[test]
    fn a_row_ends_with_a_line_outside_of_quotes() {
        assert_eq!(rows("a,b\r\nc\n\nd"), told(&[("a,b", 1), ("c", 2), ("", 3), ("d", 4)]));
        assert_eq!(rows("\"a\nb\"\"\r\n\",1\nc\n"), told(&[("\"a\nb\"\"\r\n\",1", 3), ("c", 4)]));
        assert_eq!(rows("5\" disk,1\nc,x\"\ny"), told(&[("5\" disk,1", 1), ("c,x\"", 2), ("y", 3)]));
        assert_eq!(rows("\u{feff}a\n"), told(&[("a", 1)]));
        assert!(rows("").is_empty() && rows("\u{feff}").is_empty());
    }

    #[test]
    fn an_open_quote_costs_one_line() {
        assert_eq!(rows("a\n\"b,1\nc,2\n"), told(&[("a", 1), ("open: \"b,1", 2), ("c,2", 3)]));
        let long = format!("\"b\n{}c\n", "x\n".repeat(MAX_RECORD));
        let found = all(long.as_bytes(), Ends::UnquotedLine, usize::MAX);
        assert_eq!((found[0].0.as_str(), found.len()), ("open: \"b", MAX_RECORD + 2));
        let endless = format!("\"{}\nb\n", "x".repeat(3 * CHUNK));
        assert_eq!(
            all(endless.as_bytes(), Ends::UnquotedLine, usize::MAX),
            told(&[("too long", 1), ("b", 2)])
        );
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself() {
        for (length, fits) in [(MAX_RECORD, true), (MAX_RECORD + 1, false), (3 * CHUNK, false)] {
            for ends in [Ends::Line, Ends::UnquotedLine] {
                let text = format!("a\n{}\nb", "x".repeat(length));
                let found = all(text.as_bytes(), ends, 70_000);
                assert_eq!((found.len(), found[1].0 != "too long"), (3, fits), "{length}");
            }
        }
    }

    #[test]
    fn a_position_is_found_again() {
        let text = "a\nbc\nd";
        let mut records = Records::new(text.as_bytes(), Ends::Line);
        records.advance().expect("a line");
        let (position, digest) = (records.position(), records.digest());
        let mut again = Records::new(text.as_bytes(), Ends::Line);
        assert_eq!(again.peek().expect("read"), Some(b'a'));
        assert!(again.skip_to(position, 1).expect("read"));
        assert_eq!((again.digest(), again.lines()), (digest, 1));
        assert_eq!(again.advance().expect("a line"), Some(Record::Whole(b"bc")));
        assert!(!again.skip_to(100, 9).expect("read"));
    }

    proptest! {
        #[test]
        fn the_size_of_reads_does_not_matter(text in "[ab,\"\r\n]{0,60}", step in 1..9_usize) {
            for ends in [Ends::Line, Ends::UnquotedLine] {
                prop_assert_eq!(all(text.as_bytes(), ends, step), all(text.as_bytes(), ends, usize::MAX));
            }
        }
    }
}
