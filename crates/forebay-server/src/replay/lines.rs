//! Splits a stream into lines, without a copy and with bounded memory.

use std::io::{self, Read};

use memchr::memchr;

/// The longest line, in bytes without its end. Apache's own bound for a request line is an eighth of it.
pub const MAX_LINE: usize = 64 * 1024;

/// The bytes of one read.
const CHUNK: usize = 256 * 1024;

/// The bytes of a line that is too long that are kept, to show them.
const HEAD: usize = 128;

/// The lines of a stream.
///
/// Memory is bounded for any input: a line longer than [`MAX_LINE`] is dropped while it is read.
#[derive(Debug)]
pub struct Lines<R> {
    stream: R,
    /// `buffer[start..end]` is read and not returned yet.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    number: u64,
    /// The beginning of a long line whose rest was overwritten.
    head: Vec<u8>,
}

/// A line of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its end, `\n` or `\r\n`.
    Whole(&'a [u8]),
    /// The beginning of a line that is longer than [`MAX_LINE`].
    TooLong(&'a [u8]),
}

impl<R: Read> Lines<R> {
    /// The lines of `stream`, from its current position.
    pub fn new(stream: R) -> Self {
        // An incomplete line stays before the next chunk.
        let buffer = vec![0; MAX_LINE + CHUNK].into();
        Self { stream, buffer, start: 0, end: 0, number: 0, head: Vec::new() }
    }

    /// The number of the last returned line, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The stream.
    pub fn stream(&self) -> &R {
        &self.stream
    }

    /// The next line, also a last line without a line end. `None` at the end of the stream.
    ///
    /// # Errors
    /// If the stream fails. The incomplete line is lost then.
    pub fn advance(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        let length = loop {
            if searched == 0 {
                self.skip_zeros();
            }
            let unread = &self.buffer[self.start..self.end];
            if let Some(length) = memchr(b'\n', &unread[searched..]) {
                break searched + length;
            }
            searched = unread.len();
            if searched > MAX_LINE + 1 {
                return self.skip_long().map(Some);
            }
            if self.fill()? == 0 {
                if searched == 0 {
                    return Ok(None);
                }
                break searched;
            }
        };
        Ok(Some(self.split(length)))
    }

    /// Skips zeros before a line. A log that was copied and truncated while its writer had it open begins with zeros, as
    /// many as it was long.
    fn skip_zeros(&mut self) {
        let unread = &self.buffer[self.start..self.end];
        self.start += unread.iter().position(|&c| c != 0).unwrap_or(unread.len());
    }

    /// Returns the next `length` bytes, and skips the line end after them.
    fn split(&mut self, length: usize) -> Line<'_> {
        let line = &self.buffer[self.start..self.start + length];
        self.start = self.end.min(self.start + length + 1);
        self.number += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE { Line::TooLong(&line[..HEAD]) } else { Line::Whole(line) }
    }

    /// Skips a line that does not end within the bound.
    fn skip_long(&mut self) -> io::Result<Line<'_>> {
        self.head.clear();
        self.head.extend_from_slice(&self.buffer[self.start..self.start + HEAD]);
        self.number += 1;
        loop {
            if let Some(length) = memchr(b'\n', &self.buffer[self.start..self.end]) {
                self.start += length + 1;
                break;
            }
            self.start = self.end;
            if self.fill()? == 0 {
                break;
            }
        }
        Ok(Line::TooLong(&self.head))
    }

    /// Reads more bytes; returns how many.
    fn fill(&mut self) -> io::Result<usize> {
        fill(&mut self.stream, &mut self.buffer, (&mut self.start, &mut self.end))
    }
}

/// Moves the unread bytes `start..end` to the beginning of a buffer, and reads more behind them. Returns how many.
pub(crate) fn fill(
    stream: &mut impl Read,
    buffer: &mut [u8],
    (start, end): (&mut usize, &mut usize),
) -> io::Result<usize> {
    buffer.copy_within(*start..*end, 0);
    (*start, *end) = (0, *end - *start);
    loop {
        match stream.read(&mut buffer[*end..]) {
            Ok(read) => {
                *end += read;
                return Ok(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    fn all(text: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(Trickle { text, step });
        let mut all = Vec::new();
        while let Some(line) = lines.advance().expect("a slice can be read") {
            all.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong(_) => None,
            });
        }
        assert_eq!(lines.number(), all.len() as u64);
        all
    }

    #[test]
    fn line_ends_are_no_part_of_a_line() {
        let lines: Vec<_> = all(b"a\r\n\nb\rc\nd", 3).into_iter().map(Option::unwrap).collect();
        assert_eq!(lines, [&b"a"[..], b"", b"b\rc", b"d"]);
        assert!(all(b"", 1).is_empty());
    }

    #[test]
    fn only_a_line_longer_than_the_bound_is_too_long() {
        for end in ["\n", "\r\n"] {
            for (length, fits) in
                [(MAX_LINE, true), (MAX_LINE + 1, false), (MAX_LINE + 2, false), (3 * CHUNK, false)]
            {
                let text = format!("a{end}{}{end}b", "x".repeat(length));
                for step in [1_000, usize::MAX] {
                    let lines = all(text.as_bytes(), step);
                    let fit: Vec<bool> = lines.iter().map(Option::is_some).collect();
                    assert_eq!(fit, [true, fits, true], "{length} {end:?} {step}");
                }
            }
        }
    }

    #[test]
    fn zeros_before_a_line_are_no_part_of_it_however_many() {
        for zeros in [1, MAX_LINE, 3 * CHUNK] {
            let text = [&vec![0; zeros], &b"a\n\0\0b\0c\n"[..], &vec![0; zeros]].concat();
            for step in [1_000, usize::MAX] {
                let lines: Vec<_> = all(&text, step).into_iter().map(Option::unwrap).collect();
                assert_eq!(lines, [&b"a"[..], b"b\0c"], "{zeros} {step}");
            }
        }
    }

    #[test]
    fn a_long_line_without_an_end_is_one_line() {
        assert_eq!(all(&b"x".repeat(5 * CHUNK), 70_000), [None]);
    }

    proptest! {
        #[test]
        fn the_size_of_reads_does_not_matter(text in "[ab\r\n]{0,60}", step in 1..9_usize) {
            let expected: Vec<_> = text
                .split_inclusive('\n')
                .map(|line| line.strip_suffix('\n').unwrap_or(line))
                .map(|line| Some(line.strip_suffix('\r').unwrap_or(line).as_bytes().to_vec()))
                .collect();
            prop_assert_eq!(all(text.as_bytes(), step), expected);
        }
    }
}
