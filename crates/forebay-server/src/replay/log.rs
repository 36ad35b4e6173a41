//! Access logs of Apache and nginx.

use forebay::Timestamp;

use super::{
    Fault,
    cursor::{Cursor, present},
    field::AccessField,
    request::{method_of, path_of},
};

/// A line in the combined log format, or in the common log format, which ends after the size.
///
/// ```text
/// 192.0.2.7 - alice [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 5324 "https://example.org/" "curl/8"
/// ```
///
/// Borrows from the line. Text keeps its escapes (`\"`, `\\`, `\xe4`): to undo them would cost a copy and would not tell more
/// keys apart. Fields are bytes, because a client may send any. A field that the server wrote as `-` is `None`.
///
/// A virtual host may come first (`example.org:443`, `example.org`). Instead of one address there may be a list from proxies
/// (`203.0.113.7, 10.0.0.1`); its first address counts.
///
/// Further fields after the user agent are ignored. A line that was truncated inside the referer or the user agent is
/// accepted, because a replay needs only the fields before. So is a request line that is not HTTP, such as `-` for a client
/// that sent nothing, or the bytes of a TLS handshake.
///
/// # Source
/// <https://httpd.apache.org/docs/2.4/logs.html#combined>,
/// <https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLine<'a> {
    /// The client: an IPv4 or IPv6 address, or a host name if the server resolves them.
    pub client: &'a [u8],
    /// The authenticated user.
    pub user: Option<&'a [u8]>,
    /// The time at which the request arrived.
    pub at: Timestamp,
    /// The request line.
    pub request: &'a [u8],
    /// The status of the answer: three digits.
    pub status: Option<&'a [u8]>,
    /// The size of the answer's body, in bytes.
    pub bytes: Option<u64>,
    /// The page that led to the request.
    pub referer: Option<&'a [u8]>,
    /// The name of the client program.
    pub agent: Option<&'a [u8]>,
}

impl<'a> AccessLine<'a> {
    /// Reads a line without its line end.
    ///
    /// # Errors
    /// The first deviation from the format, with its column.
    pub fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let mut rest = Cursor::new(line);
        let client = rest.client()?;
        rest.word("the identity, usually -")?;
        let (user, at) = rest.user_and_time()?;
        let request = rest.request()?;
        rest.blank("the status")?;
        let status = rest.status()?;
        rest.blank("the size of the answer")?;
        let bytes = rest.size()?;
        let (referer, agent) = (rest.trailing(), rest.trailing());
        let (user, status) = (present(user), present(status));
        Ok(Self { client, user, at, request, status, bytes, referer, agent })
    }

    /// A field of the line, if it has one.
    pub(super) fn field(&self, field: AccessField) -> Option<&'a [u8]> {
        match field {
            AccessField::Ip | AccessField::Client => present(self.client),
            AccessField::User => self.user,
            AccessField::Method => method_of(self.request),
            AccessField::Path => path_of(self.request),
            AccessField::Status => self.status,
            AccessField::Referer => self.referer,
            AccessField::Agent => self.agent,
        }
    }
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
            client: b"192.0.2.7",
            user: Some(b"alice"),
            at: Timestamp::from_secs(1_431_857_103),
            request: b"GET /a?b=c HTTP/1.1",
            status: Some(b"200"),
            bytes: Some(5324),
            referer: Some(b"https://example.org/"),
            agent: Some(b"curl/8"),
        };
        assert_eq!(line, expected);
        assert_eq!(
            (line.field(AccessField::Method), line.field(AccessField::Path)),
            (Some(&b"GET"[..]), Some(&b"/a"[..]))
        );
    }

    #[test]
    fn fields_that_servers_leave_out_are_none() {
        let line = parse(r#"2001:db8::1 - - [01/Jan/2026:00:00:00 +0000] "-" - - "-" "-""#);
        assert_eq!(line.client, b"2001:db8::1");
        assert_eq!(
            (line.user, line.status, line.bytes, line.referer, line.agent),
            (None, None, None, None, None)
        );
        assert_eq!((line.field(AccessField::Method), line.field(AccessField::Path)), (None, None));
        let common = parse(r#"::1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.0" 304 0"#);
        assert_eq!((common.bytes, common.referer, common.agent), (Some(0), None, None));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_text() {
        let line = parse(
            r#"h - a\"b [01/Jan/2026:00:00:00 +0000] "GET /\"\\ HTTP/1.1" 200 1 "\\" "a \"b\" c" "more""#,
        );
        assert_eq!(line.user, Some(&br#"a\"b"#[..]));
        assert_eq!(line.field(AccessField::Path), Some(&br#"/\"\\"#[..]));
        assert_eq!((line.referer, line.agent), (Some(&br"\\"[..]), Some(&br#"a \"b\" c"#[..])));
    }

    #[test]
    fn the_first_address_of_a_proxy_list_is_the_client() {
        for (client, expected) in [
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("203.0.113.7,10.0.0.1", "203.0.113.7"),
            ("203.0.113.7, 10.0.0.1, 10.0.0.2", "203.0.113.7"),
            ("unknown, 203.0.113.7", "203.0.113.7"),
            ("2001:db8::1, 10.0.0.1", "2001:db8::1"),
            ("unknown, hidden", "unknown"),
            // The client follows a virtual host, with a port or without.
            ("example.org:443 203.0.113.7", "203.0.113.7"),
            ("example.org:443 203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("example.org 203.0.113.7", "203.0.113.7"),
            ("192.0.2.1:80 203.0.113.7", "203.0.113.7"),
            ("192.0.2.1 203.0.113.7", "203.0.113.7"),
            ("[2001:db8::2]:443 2001:db8::1", "2001:db8::1"),
            ("example.org:443 client.example.net", "client.example.net"),
            // No virtual host.
            ("client.example.net", "client.example.net"),
            ("203.0.113.7:51234", "203.0.113.7:51234"),
            ("-", "-"),
        ] {
            let text = LINE.replace("192.0.2.7", client);
            let line = parse(&text);
            assert_eq!(String::from_utf8_lossy(line.client), expected, "{client}");
            assert_eq!((line.user, line.at), (Some(&b"alice"[..]), parse(LINE).at), "{client}");
        }
        // An address in the place of the identity does not count as the client.
        let text = LINE.replace("192.0.2.7 - alice", "203.0.113.7 10.0.0.1 alice");
        assert_eq!(parse(&text).client, b"203.0.113.7");
        // A user's name may look like anything.
        let text = LINE.replace("alice", "alice, 198.51.100.1 - x");
        assert_eq!(
            (parse(&text).client, parse(&text).user),
            (&b"192.0.2.7"[..], Some(&b"alice, 198.51.100.1 - x"[..]))
        );
    }

    #[test]
    fn a_user_may_be_empty_or_in_quotes() {
        for (user, expected) in
            [("\"\"", None), ("\"alice\"", Some("alice")), ("\"-\"", None), (r#""a \"b""#, Some(r#"a \"b"#))]
        {
            let text = LINE.replace("alice", user);
            let line = parse(&text);
            assert_eq!((line.user, line.at), (expected.map(str::as_bytes), parse(LINE).at), "{user}");
            assert_eq!(line.field(AccessField::Path), Some(&b"/a"[..]));
        }
        let forged = LINE.replace("alice", "\"x [01/Jan/2036:00:00:00 +0000] y\"");
        assert_eq!(parse(&forged).at, parse(LINE).at);
        for cut in
            ["h - \"\"", "h - \"\" [17/May/2015:10:05:03 +0000] GET", "h - \"\" [17/May/2015:10:05:03 +0000]"]
        {
            assert!(AccessLine::parse(cut.as_bytes()).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_leap_second_is_the_second_before_it() {
        let line = LINE.replace("17/May/2015:10:05:03", "31/Dec/2016:23:59:60");
        assert_eq!(parse(&line).at.to_string(), "2016-12-31T23:59:59Z");
        let line = LINE.replace("10:05:03", "10:05:61");
        assert!(AccessLine::parse(line.as_bytes()).is_err());
    }

    #[test]
    fn a_quote_that_the_server_did_not_escape_does_not_end_the_request() {
        let line = LINE.replace("/a?b=c", "/a?b=\"c\"&d=\"");
        assert_eq!(parse(&line).field(AccessField::Path), Some(&b"/a"[..]));
        assert_eq!((parse(&line).status, parse(&line).agent), (Some(&b"200"[..]), Some(&b"curl/8"[..])));
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
            assert_eq!(parse(&LINE[..end]).field(AccessField::Path), Some(&b"/a"[..]), "{}", &LINE[..end]);
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
            assert_eq!(parse(&line).field(AccessField::Path), path.map(str::as_bytes), "{request}");
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
            let _ = AccessLine::parse(&noise).map(|line| line.field(AccessField::Path).map(<[u8]>::len));
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
