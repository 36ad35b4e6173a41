//! Lines of an access log, as Apache and nginx write them.

use forebay::Timestamp;
use jiff::{civil, tz::Offset};
use memchr::{memchr, memchr2};

use super::Fault;

/// A line in the combined log format, or in the common one, which ends after the size.
///
/// ```text
/// 192.0.2.7 - alice [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 5324 "https://example.org/" "curl/8"
/// ```
///
/// Borrows from the line. Text is kept as it was written, escapes included (`\"`, `\\`, `\xe4`):
/// undoing them would cost a copy and could not tell more keys apart. Bytes, since a client may send
/// any. A field that the server wrote as `-` is `None`.
///
/// Further fields after the user agent are ignored. A line that was cut inside the referer or the user
/// agent is good: what a replay needs comes before. So is a request line that is not HTTP, such as the
/// `-` of a client that said nothing, or the bytes of a TLS greeting.
///
/// # Source
/// <https://httpd.apache.org/docs/2.4/logs.html#combined>,
/// <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLine<'a> {
    /// The client: an IPv4 or IPv6 address, or a host name where the server looks them up.
    pub ip: &'a [u8],
    /// The authenticated user.
    pub user: Option<&'a [u8]>,
    /// When the request arrived.
    pub at: Timestamp,
    /// The request line as a whole.
    pub request: &'a [u8],
    /// The status of the answer: three digits.
    pub status: Option<&'a [u8]>,
    /// The size of the answer's body, in bytes.
    pub bytes: Option<u64>,
    /// Where the client came from.
    pub referer: Option<&'a [u8]>,
    /// What the client calls itself.
    pub agent: Option<&'a [u8]>,
}

impl<'a> AccessLine<'a> {
    /// Reads a line, given without its line end.
    ///
    /// # Errors
    /// The first thing that is not as the format has it, with its column.
    pub fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let mut rest = Cursor { line, at: 0 };
        let ip = rest.word("the client's address")?;
        rest.word("the identity, usually -")?;
        let (user, at) = rest.user_and_time()?;
        let request = rest.quoted("the request line")?;
        rest.blank("the status")?;
        let status = rest.status()?;
        rest.blank("the size of the answer")?;
        let bytes = rest.size()?;
        let (referer, agent) = (rest.trailing(), rest.trailing());
        Ok(Self { ip, user: present(user), at, request, status: present(status), bytes, referer, agent })
    }

    /// The request's method, if the request line is HTTP.
    pub fn method(&self) -> Option<&'a [u8]> {
        Some(self.request_parts()?.0)
    }

    /// The request's path without the query, if the request line is HTTP.
    pub fn path(&self) -> Option<&'a [u8]> {
        let target = self.request_parts()?.1;
        Some(&target[..memchr(b'?', target).unwrap_or(target.len())])
    }

    /// Method and target. HTTP/0.9 has no version after them.
    fn request_parts(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut words = self.request.split(|&c| c == b' ');
        let method =
            words.next().filter(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphabetic))?;
        let target = words.next().filter(|word| !word.is_empty())?;
        Some((method, target))
    }
}

/// `None` for the `-` that stands for nothing.
fn present(field: &[u8]) -> Option<&[u8]> {
    (field != b"-").then_some(field)
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    fn fault(&self, expected: &str) -> Fault {
        let found = if self.rest().is_empty() { "the line ends before " } else { "expected " };
        Fault::at(self.at, format!("{found}{expected}"))
    }

    /// Takes what comes before the next blank, and the blank.
    fn word(&mut self, expected: &str) -> Result<&'a [u8], Fault> {
        match memchr(b' ', self.rest()) {
            None | Some(0) => Err(self.fault(expected)),
            Some(length) => {
                let word = &self.rest()[..length];
                self.at += length + 1;
                Ok(word)
            }
        }
    }

    fn blank(&mut self, before: &str) -> Result<(), Fault> {
        if self.rest().first() != Some(&b' ') {
            return Err(self.fault(&format!("a blank and {before}")));
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the user and the time, and stands at the request's quote then.
    ///
    /// A user's name is chosen by the client and may hold blanks and brackets, so the time is looked
    /// for from behind: it ends where the first quote begins, and a quote in a name is escaped.
    fn user_and_time(&mut self) -> Result<(&'a [u8], Timestamp), Fault> {
        let quote = unescaped_quote(self.rest())
            .ok_or_else(|| self.fault("the user, the time and the request in quotes"))?;
        let before = &self.rest()[..quote];
        let split = before.len().checked_sub(TIME).and_then(|user| before.split_at_checked(user));
        let Some((user, time)) = split.and_then(|(user, time)| Some((user.strip_suffix(b" ")?, time))) else {
            self.at += memchr(b'[', before).unwrap_or(0);
            return Err(self.fault(&format!("the user and {A_TIME}")));
        };
        let start = self.at + quote - TIME;
        let at = access_time(time).map_err(|(offset, why)| Fault::at(start + offset, why))?;
        self.at += quote;
        Ok((user, at))
    }

    /// Takes a text in quotes.
    fn quoted(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let inside = &self.rest()[1..];
        let end =
            unescaped_quote(inside).ok_or_else(|| self.fault(&format!("{what} to end with a quote")))?;
        self.at += end + 2;
        Ok(&inside[..end])
    }

    fn status(&mut self) -> Result<&'a [u8], Fault> {
        let status = self.until_blank();
        if status != b"-" && !(status.len() == 3 && status.iter().all(u8::is_ascii_digit)) {
            return Err(self.fault("a status of three digits, or -"));
        }
        self.at += status.len();
        Ok(status)
    }

    fn size(&mut self) -> Result<Option<u64>, Fault> {
        let size = self.until_blank();
        let bytes = match size {
            b"-" => None,
            _ => Some(number(size).ok_or_else(|| self.fault("the size of the answer in bytes, or -"))?),
        };
        self.at += size.len();
        Ok(bytes)
    }

    /// Takes ` "referer"` or ` "agent"`, if it is there.
    fn trailing(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest().strip_prefix(b" \"")?;
        let end = unescaped_quote(inside).unwrap_or(inside.len());
        self.at = (self.at + end + 3).min(self.line.len());
        present(&inside[..end])
    }

    fn until_blank(&self) -> &'a [u8] {
        &self.rest()[..memchr(b' ', self.rest()).unwrap_or(self.rest().len())]
    }
}

/// Where the first quote stands that no backslash escapes.
fn unescaped_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[found] == b'"' {
            return Some(found);
        }
        from = found + 2;
    }
}

/// What a time looks like, for messages.
const A_TIME: &str = "a time such as [17/May/2015:10:05:03 +0000]";

/// The length of a time with its brackets and the blank after it.
const TIME: usize = 29;

/// Reads `[17/May/2015:10:05:03 +0000] `; the error has its offset.
fn access_time(text: &[u8]) -> Result<Timestamp, (usize, String)> {
    const SHAPE: &[u8; TIME] = b"[00/Aaa/0000:00:00:00 +0000] ";
    for (offset, (&found, &shape)) in text.iter().zip(SHAPE).enumerate() {
        let fits = match shape {
            b'0' => found.is_ascii_digit(),
            b'A' | b'a' => found.is_ascii_alphabetic(),
            b'+' => found == b'+' || found == b'-',
            other => found == other,
        };
        if !fits {
            return Err((offset, format!("expected {A_TIME}")));
        }
    }
    let two = |at: usize| (text[at] - b'0').cast_signed() * 10 + (text[at + 1] - b'0').cast_signed();
    let year = i16::from(two(8)) * 100 + i16::from(two(10));
    let month = month(&text[4..7])
        .ok_or_else(|| (4, format!("there is no month {:?}", String::from_utf8_lossy(&text[4..7]))))?;
    let time = civil::DateTime::new(year, month, two(1), two(13), two(16), two(19), 0)
        .map_err(|_| (1, "there is no such day or time of day".to_owned()))?;
    let east = i32::from(two(23)) * 3_600 + i32::from(two(25)) * 60;
    let offset = Offset::from_seconds(if text[22] == b'-' { -east } else { east });
    let at = offset.and_then(|offset| offset.to_timestamp(time));
    let at = at.map_err(|_| (22, "the zone is not within a day of UTC".to_owned()))?;
    Ok(Timestamp::from_micros(at.as_microsecond()))
}

fn month(name: &[u8]) -> Option<i8> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

/// Reads a whole number.
fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"192.0.2.7 - alice [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 5324 "https://example.org/" "curl/8""#;

    fn parse(line: &str) -> AccessLine<'_> {
        AccessLine::parse(line.as_bytes()).expect(line)
    }

    #[test]
    fn each_field_is_found() {
        let line = parse(LINE);
        let expected = AccessLine {
            ip: b"192.0.2.7",
            user: Some(b"alice"),
            at: Timestamp::from_secs(1_431_857_103),
            request: b"GET /a?b=c HTTP/1.1",
            status: Some(b"200"),
            bytes: Some(5324),
            referer: Some(b"https://example.org/"),
            agent: Some(b"curl/8"),
        };
        assert_eq!(line, expected);
        assert_eq!((line.method(), line.path()), (Some(&b"GET"[..]), Some(&b"/a"[..])));
    }

    #[test]
    fn what_servers_leave_out_is_none() {
        let line = parse(r#"2001:db8::1 - - [01/Jan/2026:00:00:00 +0000] "-" - - "-" "-""#);
        assert_eq!(line.ip, b"2001:db8::1");
        assert_eq!(
            (line.user, line.status, line.bytes, line.referer, line.agent),
            (None, None, None, None, None)
        );
        assert_eq!((line.method(), line.path()), (None, None));
        let common = parse(r#"::1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.0" 304 0"#);
        assert_eq!((common.bytes, common.referer, common.agent), (Some(0), None, None));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_text() {
        let line = parse(
            r#"h - a\"b [01/Jan/2026:00:00:00 +0000] "GET /\"\\ HTTP/1.1" 200 1 "\\" "a \"b\" c" "more""#,
        );
        assert_eq!(line.user, Some(&br#"a\"b"#[..]));
        assert_eq!(line.path(), Some(&br#"/\"\\"#[..]));
        assert_eq!((line.referer, line.agent), (Some(&br"\\"[..]), Some(&br#"a \"b\" c"#[..])));
    }

    #[test]
    fn a_user_s_name_cannot_forge_the_time() {
        let forged = "x [01/Jan/2036:00:00:00 +0000] y";
        let line = LINE.replace("alice", forged);
        assert_eq!(parse(&line).at, parse(LINE).at);
        assert_eq!(parse(&line).user, Some(forged.as_bytes()));
    }

    #[test]
    fn a_line_cut_in_its_last_texts_is_good() {
        let after_size = LINE.find(" \"https").expect("a referer");
        for end in after_size..LINE.len() {
            assert_eq!(parse(&LINE[..end]).path(), Some(&b"/a"[..]), "{}", &LINE[..end]);
        }
        assert_eq!(parse(&LINE[..LINE.len() - 3]).agent, Some(&b"curl"[..]));
    }

    #[test]
    fn requests_that_are_not_http_have_no_path() {
        for (request, path) in [
            ("GET /old", Some("/old")),
            (r"\x16\x03\x01\x02", None),
            ("", None),
            (" ", None),
            ("GET", None),
            ("OPTIONS * HTTP/1.1", Some("*")),
            ("GET /?a HTTP/1.1", Some("/")),
        ] {
            let line = LINE.replace("GET /a?b=c HTTP/1.1", request);
            assert_eq!(parse(&line).path(), path.map(str::as_bytes), "{request}");
        }
    }

    #[test]
    fn the_offset_is_taken_off() {
        for (zone, hours) in [("+0200", -2), ("-0700", 7), ("+0000", 0), ("-0000", 0)] {
            let line = LINE.replace("+0000", zone);
            assert_eq!(parse(&line).at, Timestamp::from_secs(1_431_857_103 + hours * 3_600), "{zone}");
        }
        let line = LINE.replace("+0000", "+0530");
        assert_eq!(parse(&line).at, Timestamp::from_secs(1_431_857_103 - 19_800));
    }

    #[test]
    fn faults_say_what_and_where() {
        let cases = [
            ("", 1, "the line ends before the client's address"),
            ("hello", 1, "expected the client's address"),
            (" - - ", 1, "expected the client's address"),
            ("h ", 3, "the line ends before the identity"),
            ("h - alice [17/May/2015:10:05:03 +0000]", 5, "the request in quotes"),
            ("h - [17/May/2015:10:05:03 +0000] \"GET", 5, "the user and a time such as"),
            ("h - alice 17/May/2015:10:05:03 \"GET", 5, "the user and a time such as"),
            ("h - alice [17/May/2015:10:05:03] \"GET", 11, "the user and a time such as"),
            ("h - alice [17-May-2015:10:05:03 +0000] \"GET", 14, "a time such as [17/May/2015"),
            ("h - alice [17/Mai/2015:10:05:03 +0000] \"GET", 15, "there is no month \"Mai\""),
            ("h - alice [31/Jun/2015:10:05:03 +0000] \"GET", 12, "no such day or time of day"),
            ("h - alice [30/Jun/2015:24:05:03 +0000] \"GET", 12, "no such day or time of day"),
            ("h - alice [30/Jun/2015:10:05:03 +9999] \"GET", 33, "not within a day of UTC"),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET", 40, "the request line to end with a quote"),
            (
                "h - alice [17/May/2015:10:05:03 +0000] \"GET\"",
                45,
                "the line ends before a blank and the status",
            ),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET\"200", 45, "expected a blank and the status"),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET\" 20 1", 46, "a status of three digits"),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET\" 2000 1", 46, "a status of three digits"),
            (
                "h - alice [17/May/2015:10:05:03 +0000] \"GET\" 200",
                49,
                "the line ends before a blank and the size",
            ),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET\" 200 1k", 50, "the size of the answer in bytes"),
            ("h - alice [17/May/2015:10:05:03 +0000] \"GET\" 200 99999999999999999999", 50, "the size"),
        ];
        for (line, column, why) in cases {
            let fault = AccessLine::parse(line.as_bytes()).expect_err(line);
            assert!(fault.column == column && fault.why.contains(why), "{line}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn any_time_is_read_as_it_was_written(secs in 0..253_402_300_800_i64) {
            let at = jiff::Timestamp::from_second(secs).expect("before the year 10000");
            let line = LINE.replace("17/May/2015:10:05:03 +0000", &at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string());
            prop_assert_eq!(parse(&line).at, Timestamp::from_secs(secs));
        }

        #[test]
        fn never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = AccessLine::parse(&noise).map(|line| line.path().map(<[u8]>::len));
        }

        #[test]
        fn a_damaged_line_is_read_or_refused_within_its_columns(
            at in 0..LINE.len(),
            noise in prop::collection::vec(prop::sample::select(&b"\"\\[] -+/:aA09?\xff"[..]), 0..4),
            drop in 0..6_usize,
        ) {
            let mut line = LINE.as_bytes().to_vec();
            line.splice(at..(at + drop).min(LINE.len()), noise);
            if let Err(fault) = AccessLine::parse(&line) {
                prop_assert!((1..=line.len() + 1).contains(&fault.column), "{}", fault);
            }
        }
    }
}
