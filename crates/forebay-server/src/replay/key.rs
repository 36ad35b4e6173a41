//! The field of a line that is the key.

use std::{fmt, str::FromStr};

use forebay::{Error, ErrorKind, key::Key};

use super::{
    Fault, Format,
    address::address,
    field::{ACCESS_FIELDS, AccessField},
    request::path_of_target,
    w3c::W3cLine,
};
use crate::text::{quoted, unknown};

/// The field of a line that is its key, as in `--key ip`.
///
/// In an access log: `ip`, `client`, `user`, `method`, `path` (without the query), `status`, `referer` or `agent`. `ip`
/// accepts only an address; `client` accepts any text in that place. In the W3C extended format also the name of a column.
/// In JSON the name of a member: `request.remote_ip` is the member `remote_ip` of the object `request`, and `.ip` is the
/// member `ip` with any content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyField {
    name: String,
    access: Option<AccessField>,
}

/// The most members of a JSON line that may hold a field.
pub(super) const MEMBERS: usize = 5;

impl FromStr for KeyField {
    type Err = Error;

    /// Reads the name of a field.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is empty. Whether a line has the field is checked when the line is read.
    fn from_str(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name == "." {
            return Err(Error::new(ErrorKind::Invalid, "key field \"\": name a field, such as ip or path"));
        }
        let access = ACCESS_FIELDS.iter().find(|(_, names)| names.key == name).map(|(field, _)| *field);
        Ok(Self { name: name.to_owned(), access })
    }
}

impl KeyField {
    /// The members of a JSON line that may hold it, in order of preference.
    pub(super) fn members(&self, format: Format) -> [Option<&str>; MEMBERS] {
        let mut members = [None; MEMBERS];
        let Some(access) = self.access else {
            members[0] = Some(self.name.strip_prefix('.').unwrap_or(&self.name));
            return members;
        };
        let plain = matches!(format, Format::Auto | Format::Json).then_some(self.name.as_str());
        let is = |one| matches!(format, Format::Auto) || format == one;
        let caddy = access.names().caddy.iter().copied().filter(|_| is(Format::Caddy));
        let traefik = is(Format::Traefik).then(|| access.names().traefik);
        members[0] = plain;
        for (place, member) in members[1..].iter_mut().zip(caddy.chain(traefik)) {
            *place = Some(member);
        }
        members
    }

    /// The key in a member of a JSON line; `place` is that of the member in [`members`](Self::members).
    pub(super) fn of_member(&self, place: usize, text: &str) -> Result<String, Fault> {
        match self.access {
            Some(AccessField::Ip) => self.ip(text.as_bytes()),
            // Servers write the path with the query.
            Some(AccessField::Path) if place > 0 => {
                let path = path_of_target(text.as_bytes());
                self.key(&String::from_utf8_lossy(path))
            }
            Some(_) if text.is_empty() || text == "-" => Err(self.missing()),
            _ => self.key(text),
        }
    }

    /// The key of a line with the fields of access logs.
    pub(super) fn of_fields<'a>(
        &self,
        find: impl FnOnce(AccessField) -> Option<&'a [u8]>,
    ) -> Result<String, Fault> {
        let Some(access) = self.access else {
            let fields = ACCESS_FIELDS.iter().map(|(_, names)| names.key);
            return Err(Fault::at(0, unknown("access log field", &self.name, fields).to_string()));
        };
        self.of_bytes(find(access))
    }

    /// The key of a line in the W3C extended format.
    pub(super) fn of_w3c(&self, line: &W3cLine<'_>) -> Result<String, Fault> {
        if let Some(access) = self.access {
            return self.of_bytes(line.field(access).as_deref());
        }
        let found = line.column(&self.name);
        if found.is_none() && !line.columns().contains(&self.name.to_ascii_lowercase()) {
            let columns = line.columns().iter().map(String::as_str);
            let fields = ACCESS_FIELDS.iter().map(|(_, names)| names.key);
            let unknown = unknown("field or column", &self.name, fields.chain(columns));
            return Err(Fault::at(0, unknown.to_string()));
        }
        self.of_bytes(found.as_deref())
    }

    fn of_bytes(&self, text: Option<&[u8]>) -> Result<String, Fault> {
        let text = text.ok_or_else(|| self.missing())?;
        if self.access == Some(AccessField::Ip) {
            return self.ip(text);
        }
        let text = std::str::from_utf8(text)
            .map_err(|_| Fault::at(0, format!("the {} is not UTF-8 and so cannot be a key", self.name)))?;
        self.key(text)
    }

    /// Accepts an address only.
    fn ip(&self, text: &[u8]) -> Result<String, Fault> {
        let Some(found) = address(text) else {
            let shown = quoted(&String::from_utf8_lossy(text));
            let why =
                format!("{shown} is no IP address (--key client accepts any text; for JSON, --key .ip)");
            return Err(Fault::at(0, why));
        };
        self.key(found)
    }

    fn missing(&self) -> Fault {
        Fault::at(0, format!("the line has no {}", self.name))
    }

    /// Accepts a key by the library's bounds, so that a replay skips what a server would refuse.
    pub(super) fn key(&self, text: &str) -> Result<String, Fault> {
        let key = Key::new(text).map_err(|error| Fault::at(0, format!("the {}: {error}", self.name)))?;
        Ok(key.as_str().to_owned())
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
    use crate::replay::log::AccessLine;

    const LINE: &[u8] = b"::1 - - [17/May/2015:10:05:03 +0000] \"GET /a?b HTTP/1.1\" 200 1 \"-\" \"\xff\"";

    fn key(field: &str) -> Result<String, Fault> {
        let line = AccessLine::parse(LINE)?;
        field.parse::<KeyField>().expect("a field").of_fields(|field| line.field(field))
    }

    #[test]
    fn a_field_of_the_line_becomes_the_key() {
        for (field, text) in [("ip", "::1"), ("path", "/a"), ("method", "GET"), ("status", "200")] {
            assert_eq!(key(field).expect(field), text);
        }
    }

    #[test]
    fn an_invalid_key_is_refused_with_the_reason() {
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
    fn the_field_ip_accepts_only_addresses() {
        let field: KeyField = "ip".parse().expect("a field");
        let client: KeyField = "client".parse().expect("a field");
        for text in ["client.example.net", "unknown", "203.0.113", "W3SVC1", "unix:"] {
            let line = String::from_utf8_lossy(LINE).replace("::1", text);
            let line = AccessLine::parse(line.as_bytes()).expect("a line");
            let fault = field.of_fields(|field| line.field(field)).expect_err(text);
            assert!(fault.why.contains(&format!("{text:?} is no IP address")), "{fault}");
            assert_eq!(client.of_fields(|field| line.field(field)).as_deref(), Ok(text));
        }
        for (text, ip) in [("203.0.113.7:51234", "203.0.113.7"), ("[::1]:9", "::1"), ("10.0.0.1", "10.0.0.1")]
        {
            let line = String::from_utf8_lossy(LINE).replace("::1", text);
            let line = AccessLine::parse(line.as_bytes()).expect("a line");
            assert_eq!(field.of_fields(|field| line.field(field)).as_deref(), Ok(ip));
        }
        let line = String::from_utf8_lossy(LINE).replace("::1", "-");
        let line = AccessLine::parse(line.as_bytes()).expect("a line");
        assert!(
            field
                .of_fields(|field| line.field(field))
                .expect_err("nobody")
                .why
                .contains("the line has no ip")
        );
    }

    #[test]
    fn a_key_is_bounded_as_everywhere() {
        let field: KeyField = "path".parse().expect("a field");
        assert!(field.key(&"x".repeat(512)).is_ok());
        assert!(field.key(&"x".repeat(513)).is_err() && field.key("").is_err());
    }
}
