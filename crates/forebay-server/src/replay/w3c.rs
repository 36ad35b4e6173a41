//! Logs in the W3C extended format, as IIS and CloudFront write them.

use std::borrow::Cow;

use forebay::Timestamp;

use super::{Fault, field::AccessField};

/// The columns and the date that the log declares.
///
/// ```text
/// #Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status
/// 2015-05-17 10:05:03 10.0.0.1 GET /a.aspx id=7 443 - 203.0.113.7 Mozilla/5.0+(X11) 200
/// ```
///
/// Times are in UTC. The columns may change within a log: IIS declares them again whenever it starts.
///
/// # Source
/// <https://www.w3.org/TR/WD-logfile.html>,
/// <https://learn.microsoft.com/en-us/windows/win32/http/w3c-logging>
#[derive(Clone, Debug, Default)]
pub(super) struct W3c {
    columns: Vec<String>,
    /// The last `#Date`, for lines that have only a time.
    date: Option<String>,
}

/// A line with the names of its columns.
#[derive(Debug)]
pub(super) struct W3cLine<'a> {
    columns: &'a [String],
    values: Vec<&'a [u8]>,
    pub(super) at: Timestamp,
}

/// The directives of the format. Other lines with `#` are comments.
const DIRECTIVES: [&str; 7] = ["version", "software", "date", "start-date", "end-date", "fields", "remark"];

impl W3c {
    /// Returns whether the columns are known.
    pub(super) fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Reads a directive; false if the line is none.
    pub(super) fn directive(&mut self, line: &[u8]) -> bool {
        let Some(text) = line.strip_prefix(b"#").and_then(|text| std::str::from_utf8(text).ok()) else {
            return false;
        };
        let Some((name, value)) = text.split_once(':') else { return false };
        let name = name.trim().to_ascii_lowercase();
        if !DIRECTIVES.contains(&&*name) {
            return false;
        }
        match &*name {
            "fields" => self.columns = value.split_whitespace().map(str::to_ascii_lowercase).collect(),
            "date" | "start-date" => self.date = value.split_whitespace().next().map(str::to_owned),
            _ => {}
        }
        true
    }

    /// Reads a line with the columns that were declared last.
    pub(super) fn parse<'a>(&'a self, line: &'a [u8]) -> Result<W3cLine<'a>, Fault> {
        if self.columns.is_empty() {
            return Err(Fault::at(0, "no #Fields line before it, which names the columns"));
        }
        let separator = if line.contains(&b'\t') { b'\t' } else { b' ' };
        let values: Vec<_> =
            line.trim_ascii().split(|&c| c == separator).filter(|value| !value.is_empty()).collect();
        if values.len() != self.columns.len() {
            let why = format!("{} values, but #Fields names {}", values.len(), self.columns.len());
            return Err(Fault::at(0, why));
        }
        let column = |name: &str| {
            let value = self.columns.iter().position(|column| column == name).map(|place| values[place]);
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        let day = column("date").or(self.date.as_deref());
        let at = day.zip(column("time")).and_then(|(day, time)| format!("{day}T{time}Z").parse().ok());
        let at = at.ok_or_else(|| Fault::at(0, "no columns date and time such as 2015-05-17 10:05:03"))?;
        Ok(W3cLine { columns: &self.columns, values, at })
    }
}

impl W3cLine<'_> {
    /// A field of the line, if it has one.
    pub(super) fn field(&self, field: AccessField) -> Option<Cow<'_, [u8]>> {
        let value = self.column(field.names().w3c)?;
        if field != AccessField::Agent {
            return Some(value);
        }
        // Blanks are written as plus signs.
        Some(value.iter().map(|&c| if c == b'+' { b' ' } else { c }).collect())
    }

    /// The value of a column, if the line has one.
    pub(super) fn column(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let place = self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        self.values.get(place).copied().filter(|value| *value != b"-").map(Cow::Borrowed)
    }

    /// The names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken";
    const LINE: &str = "2015-05-17 10:05:03 10.0.0.1 GET /a.aspx id=7 443 - 203.0.113.7 Mozilla/5.0+(X11) https://example.org/ 200 0 0 15";

    fn log(directives: &[&str]) -> W3c {
        let mut log = W3c::default();
        for line in directives {
            assert!(log.directive(line.as_bytes()), "{line}");
        }
        log
    }

    #[test]
    fn the_columns_are_those_that_the_log_declares() {
        let log = log(&[
            "#Software: Microsoft Internet Information Services 10.0",
            "#Version: 1.0",
            "#Date: 2015-05-17 10:05:00",
            FIELDS,
        ]);
        let line = log.parse(LINE.as_bytes()).expect("a line");
        assert_eq!(line.at, Timestamp::from_secs(1_431_857_103));
        for (field, text) in [
            (AccessField::Ip, Some("203.0.113.7")),
            (AccessField::User, None),
            (AccessField::Method, Some("GET")),
            (AccessField::Path, Some("/a.aspx")),
            (AccessField::Status, Some("200")),
            (AccessField::Referer, Some("https://example.org/")),
            (AccessField::Agent, Some("Mozilla/5.0 (X11)")),
        ] {
            assert_eq!(line.field(field).as_deref(), text.map(str::as_bytes), "{field:?}");
        }
        assert_eq!(line.column("S-IP").as_deref(), Some(&b"10.0.0.1"[..]));
        assert_eq!(line.column("cs-host"), None);
    }

    #[test]
    fn tabs_times_without_a_date_and_new_columns_are_read() {
        // This is CloudFront's form.
        let tabs = log(&[
            "#Version: 1.0",
            "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status",
        ]);
        let line = tabs
            .parse(b"2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td1.example.org\t/a b.html\t200")
            .expect("a line");
        assert_eq!(line.field(AccessField::Path).as_deref(), Some(&b"/a b.html"[..]));

        let mut short = log(&["#Date: 2015-05-17 09:00:00", "#Fields: time c-ip"]);
        assert_eq!(short.parse(b"10:05:03 ::1").expect("a line").at, Timestamp::from_secs(1_431_857_103));
        assert!(short.directive(b"#Fields:\tc-ip time date"));
        let line = short.parse(b"::1 10:05:60 2016-12-31").expect("a leap second");
        assert_eq!(line.at.to_string(), "2016-12-31T10:05:59Z");
    }

    #[test]
    fn a_line_that_does_not_fit_the_columns_is_refused_with_the_reason() {
        let log = log(&[FIELDS]);
        let cut = &LINE[..60];
        for (line, why) in [
            (cut, "9 values, but #Fields names 15"),
            (&LINE.replace("10:05:03", "10-05-03"), "no columns date and time"),
        ] {
            let fault = log.parse(line.as_bytes()).expect_err(line);
            assert!(fault.why.contains(why), "{fault}");
        }
        assert!(W3c::default().parse(LINE.as_bytes()).expect_err("no columns").why.contains("no #Fields"));
        for line in ["# a comment", "#", "#Fields date", "date", "#x: y"] {
            assert!(!W3c::default().directive(line.as_bytes()), "{line}");
        }
    }
}
