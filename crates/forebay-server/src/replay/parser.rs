//! Chooses the format of a line, and reads it as an event.

use super::{Event, Fault, Format, KeyField, elb::ElbLine, log::AccessLine, ndjson, w3c::W3c};

/// Reads lines as events.
#[derive(Clone, Debug)]
pub struct Parser {
    key: KeyField,
    format: Format,
    w3c: W3c,
}

/// Some editors write it before the first line, and `cat` of several files puts it before others.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    /// A parser that takes the key from the field `key`.
    pub fn new(key: KeyField, format: Format) -> Self {
        Self { key, format, w3c: W3c::default() }
    }

    /// Reads a line as an event; `None` for a line that describes the others.
    ///
    /// # Errors
    /// The reason why the line cannot be read.
    pub fn event(&mut self, line: &[u8]) -> Result<Option<Event>, Fault> {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let is_w3c = matches!(self.format, Format::Auto | Format::W3c);
        if line.first() == Some(&b'#') && is_w3c && self.w3c.directive(line) {
            return Ok(None);
        }
        let (at, key) = match self.format_of(line) {
            Format::W3c => {
                let line = self.w3c.parse(line)?;
                (line.at, self.key.of_w3c(&line)?)
            }
            Format::Elb => {
                let line = ElbLine::parse(line)?;
                (line.at, self.key.of_fields(|field| line.field(field))?)
            }
            Format::Auto | Format::Access => {
                let line = AccessLine::parse(line)?;
                (line.at, self.key.of_fields(|field| line.field(field))?)
            }
            _ => return ndjson::parse(line, &self.key, self.format).map(Some),
        };
        Ok(Some(Event { at, key, late: false }))
    }

    fn format_of(&self, line: &[u8]) -> Format {
        match self.format {
            Format::Auto if line.trim_ascii_start().starts_with(b"{") => Format::Json,
            Format::Auto if self.w3c.has_columns() => Format::W3c,
            Format::Auto if ElbLine::is_one(line) => Format::Elb,
            named => named,
        }
    }
}

impl From<KeyField> for Parser {
    fn from(key: KeyField) -> Self {
        Self::new(key, Format::Auto)
    }
}
