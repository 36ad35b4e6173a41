//! Chooses the format of a line, and reads it as an event.

use forebay::Timestamp;

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
    /// Why the line cannot be read.
    pub fn event(&mut self, line: &[u8]) -> Result<Option<Event>, Fault> {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let is_w3c = matches!(self.format, Format::Auto | Format::W3c);
        if line.first() == Some(&b'#') && is_w3c && self.w3c.directive(line) {
            return Ok(None);
        }
        let event = |(at, key): (Timestamp, String)| Some(Event { at, key, late: false });
        match self.format {
            Format::Auto => self.detect(line).map(event),
            Format::Access => self.access(line).map(event),
            Format::Json | Format::Caddy | Format::Traefik => self.json(line).map(event),
            Format::W3c => self.w3c(line).map(event),
            Format::Elb => self.elb(line).map(event),
        }
    }

    fn detect(&self, line: &[u8]) -> Result<(Timestamp, String), Fault> {
        if line.trim_ascii_start().starts_with(b"{") {
            self.json(line)
        } else if self.w3c.has_columns() {
            self.w3c(line)
        } else if ElbLine::is_one(line) {
            self.elb(line)
        } else {
            self.access(line)
        }
    }

    fn json(&self, line: &[u8]) -> Result<(Timestamp, String), Fault> {
        ndjson::parse(line, &self.key, self.format).map(|event| (event.at, event.key))
    }

    fn access(&self, line: &[u8]) -> Result<(Timestamp, String), Fault> {
        let line = AccessLine::parse(line)?;
        Ok((line.at, self.key.of_access(&line)?))
    }

    fn elb(&self, line: &[u8]) -> Result<(Timestamp, String), Fault> {
        let line = ElbLine::parse(line)?;
        Ok((line.at, self.key.of_fields(|field| line.field(field))?))
    }

    fn w3c(&self, line: &[u8]) -> Result<(Timestamp, String), Fault> {
        let line = self.w3c.parse(line)?;
        Ok((line.at, self.key.of_w3c(&line)?))
    }
}

impl From<KeyField> for Parser {
    fn from(key: KeyField) -> Self {
        Self::new(key, Format::Auto)
    }
}
