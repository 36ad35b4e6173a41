//! Finds the end of a record: that of a line, for CSV outside of quotes.

use memchr::memchr;

/// The end of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The end of its line.
    Line,
    /// The end of its line, outside of quotes.
    UnquotedLine,
}

/// Looks for the end of a record, and remembers how far it has looked.
pub(super) struct Search {
    ends: Ends,
    place: Place,
    searched: usize,
}

/// The place in a row of CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    CellStart,
    Plain,
    Quoted,
    /// After a quote in quotes: its end, or the first of two.
    Quote,
}

impl Search {
    pub(super) fn new(ends: Ends) -> Self {
        Self { ends, place: Place::CellStart, searched: 0 }
    }

    pub(super) fn is_quoted(&self) -> bool {
        self.place == Place::Quoted
    }

    /// The length of the record, if it ends in `unread`, whose begin was searched before.
    pub(super) fn find_end(&mut self, unread: &[u8]) -> Option<usize> {
        let rest = &unread[self.searched..];
        if self.ends == Ends::Line {
            let found = memchr(b'\n', rest).map(|length| self.searched + length);
            self.searched = unread.len();
            return found;
        }
        for (offset, byte) in rest.iter().enumerate() {
            self.place = match (self.place, byte) {
                (Place::Quoted, b'"') => Place::Quote,
                (Place::Quoted, _) | (Place::CellStart | Place::Quote, b'"') => Place::Quoted,
                (_, b'\n') => return Some(self.searched + offset),
                (_, b',') => Place::CellStart,
                _ => Place::Plain,
            };
        }
        self.searched = unread.len();
        None
    }
}
