//! Which field of a line is the key.

use std::{fmt, str::FromStr};

use forebay::{Error, ErrorKind};

use super::{Fault, log::AccessLine};
use crate::text::unknown;

/// The longest key, in bytes: the library's bound, so that a replay skips what a server would refuse.
const LONGEST: usize = 512;

/// The field of a line that is its key, as in `--key ip`.
///
/// In an access log: `ip`, `user`, `method`, `path` (without the query), `status`, `referer` or
/// `agent`. In a JSON line: the member of that name; `request.remote_ip` also is the member `remote_ip`
/// of the object `request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyField {
    name: String,
    access: Option<AccessField>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccessField {
    Ip,
    User,
    Method,
    Path,
    Status,
    Referer,
    Agent,
}

const ACCESS_FIELDS: [(&str, AccessField); 7] = [
    ("ip", AccessField::Ip),
    ("user", AccessField::User),
    ("method", AccessField::Method),
    ("path", AccessField::Path),
    ("status", AccessField::Status),
    ("referer", AccessField::Referer),
    ("agent", AccessField::Agent),
];

impl FromStr for KeyField {
    type Err = Error;

    /// Takes a field's name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is empty. Whether a line has the field shows when it is read.
    fn from_str(name: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "key field \"\": name a field, such as ip or path"));
        }
        let access = ACCESS_FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
        Ok(Self { name: name.to_owned(), access })
    }
}

impl KeyField {
    /// The field's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of an access log line.
    ///
    /// # Errors
    /// The line or the format has no such field, or its text cannot be a key.
    pub fn of_access(&self, line: &AccessLine<'_>) -> Result<String, Fault> {
        let Some(access) = self.access else {
            let fields = ACCESS_FIELDS.iter().map(|(name, _)| *name);
            return Err(Fault::at(0, unknown("access log field", &self.name, fields).to_string()));
        };
        let text = match access {
            AccessField::Ip => Some(line.ip),
            AccessField::User => line.user,
            AccessField::Method => line.method(),
            AccessField::Path => line.path(),
            AccessField::Status => line.status,
            AccessField::Referer => line.referer,
            AccessField::Agent => line.agent,
        };
        let text = text.ok_or_else(|| Fault::at(0, format!("the line has no {}", self.name)))?;
        let text = std::str::from_utf8(text)
            .map_err(|_| Fault::at(0, format!("the {} is not UTF-8 and so cannot be a key", self.name)))?;
        self.key(text)
    }

    /// Takes a text that is short enough.
    pub(super) fn key(&self, text: &str) -> Result<String, Fault> {
        if text.is_empty() || text.len() > LONGEST {
            let why = format!("the {} has {} bytes: a key has 1 to {LONGEST}", self.name, text.len());
            return Err(Fault::at(0, why));
        }
        Ok(text.to_owned())
    }
}

impl fmt::Display for KeyField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"::1 - - [17/May/2015:10:05:03 +0000] \"GET /a?b HTTP/1.1\" 200 1 \"-\" \"\xff\"";

    fn key(field: &str) -> Result<String, Fault> {
        let line = AccessLine::parse(LINE)?;
        field.parse::<KeyField>().expect("a field").of_access(&line)
    }

    #[test]
    fn a_field_of_the_line_becomes_the_key() {
        for (field, text) in [("ip", "::1"), ("path", "/a"), ("method", "GET"), ("status", "200")] {
            assert_eq!(key(field).expect(field), text);
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_said() {
        for (field, why) in [
            ("user", "the line has no user"),
            ("referer", "the line has no referer"),
            ("agent", "not UTF-8"),
            ("pth", "did you mean \"path\"?"),
        ] {
            let fault = key(field).expect_err(field);
            assert!(fault.why.contains(why), "{fault}");
        }
        assert!("".parse::<KeyField>().is_err());
    }

    #[test]
    fn a_key_is_bounded_as_everywhere() {
        let field: KeyField = "path".parse().expect("a field");
        assert!(field.key(&"x".repeat(512)).is_ok());
        assert!(field.key(&"x".repeat(513)).is_err() && field.key("").is_err());
    }
}
