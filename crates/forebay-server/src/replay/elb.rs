//! Access logs of AWS load balancers.

use forebay::Timestamp;

use super::{
    Fault,
    field::AccessField,
    request::{method_of, path_of},
};

/// A line of an application load balancer, or of a classic load balancer, which has no type before the time.
///
/// ```text
/// https 2018-07-02T22:23:00.186641Z app/lb/50dc6c495c0c9188 192.0.2.7:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://example.org:443/a HTTP/1.1" "curl/7.46.0" …
/// ```
///
/// # Source
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>,
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/access-log-collection.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElbLine<'a> {
    pub(super) at: Timestamp,
    client: &'a [u8],
    status: &'a [u8],
    request: &'a [u8],
    agent: &'a [u8],
}

const TYPES: [&[u8]; 6] = [b"http", b"https", b"h2", b"grpcs", b"ws", b"wss"];

impl<'a> ElbLine<'a> {
    /// Returns whether a line begins like one of a load balancer.
    pub(super) fn is_one(line: &[u8]) -> bool {
        let mut words = line.split(|&c| c == b' ');
        let Some(first) = words.next() else { return false };
        is_time(first) || (TYPES.contains(&first) && words.next().is_some_and(is_time))
    }

    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let mut words = Words { line, at: 0 };
        let first = words.next("the type, or the time")?;
        let time = if TYPES.contains(&first) { words.next("the time")? } else { first };
        let at = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
        let at =
            at.ok_or_else(|| words.fault("expected a time such as 2018-07-02T22:23:00.186641Z before this"))?;
        words.next("the load balancer")?;
        let client = words.next("the client")?;
        for what in ["the target", "the request's time", "the target's time", "the response's time"] {
            words.next(what)?;
        }
        let status = words.next("the status")?;
        for what in ["the target's status", "the bytes received", "the bytes sent"] {
            words.next(what)?;
        }
        let request = words.next("the request line")?;
        // The rest is not needed, and a truncated line lacks it.
        let agent = words.next("the user agent").unwrap_or(b"-");
        Ok(Self { at, client, status, request, agent })
    }

    /// A field of the line, if it has one.
    pub(super) fn field(&self, field: AccessField) -> Option<&'a [u8]> {
        let found = match field {
            AccessField::Ip | AccessField::Client => Some(self.client),
            AccessField::Method => method_of(self.request),
            AccessField::Path => path_of(self.request),
            AccessField::Status => Some(self.status),
            AccessField::Agent => Some(self.agent),
            AccessField::User | AccessField::Referer => None,
        };
        found.filter(|text| *text != b"-" && !text.is_empty())
    }
}

/// Returns whether this looks like `2018-07-02T22:23:00.186641Z`.
fn is_time(word: &[u8]) -> bool {
    word.len() >= 20 && word[4] == b'-' && word[10] == b'T' && word.ends_with(b"Z")
}

/// Words separated by blanks; some are in quotes.
struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self, expected: &str) -> Result<&'a [u8], Fault> {
        let rest = &self.line[self.at..];
        if rest.is_empty() {
            return Err(self.fault(&format!("the line ends before {expected}")));
        }
        let end_at = |text: &[u8], end| text.iter().position(|&c| c == end).unwrap_or(text.len());
        let (word, length) = if let Some(inside) = rest.strip_prefix(b"\"") {
            let end = end_at(inside, b'"');
            (&inside[..end], end + 2)
        } else {
            let end = end_at(rest, b' ');
            (&rest[..end], end)
        };
        self.at = (self.at + length + 1).min(self.line.len());
        Ok(word)
    }

    fn fault(&self, why: &str) -> Fault {
        Fault::at(self.at, why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALB: &str = r#"https 2018-07-02T22:23:00.186641Z app/shop/50dc6c495c0c9188 203.0.113.7:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://shop.example.org:443/cart?id=7 HTTP/1.1" "Mozilla/5.0 (X11) Gecko" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:x "Root=1-58337281-1d84f3d73c47ec4e58577259" "shop.example.org" "-" 1 2018-07-02T22:22:48.364000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-""#;

    fn field(line: &str, field: AccessField) -> Option<String> {
        let line = ElbLine::parse(line.as_bytes()).expect(line);
        line.field(field).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn application_and_classic_load_balancers_are_read() {
        assert!(ElbLine::is_one(ALB.as_bytes()));
        let line = ElbLine::parse(ALB.as_bytes()).expect("a line");
        assert_eq!(line.at.to_string(), "2018-07-02T22:23:00.186641Z");
        for (name, text) in [
            (AccessField::Client, "203.0.113.7:2817"),
            (AccessField::Method, "GET"),
            (AccessField::Path, "/cart"),
            (AccessField::Status, "200"),
            (AccessField::Agent, "Mozilla/5.0 (X11) Gecko"),
        ] {
            assert_eq!(field(ALB, name).as_deref(), Some(text));
        }
        assert_eq!(field(ALB, AccessField::User), None);

        let classic = r#"2015-05-13T23:39:43.945958Z shop 192.0.2.39:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://www.example.org:80/ HTTP/1.1" "curl/7.38.0" - -"#;
        assert!(ElbLine::is_one(classic.as_bytes()));
        assert_eq!(field(classic, AccessField::Path).as_deref(), Some("/"));
        assert_eq!(field(classic, AccessField::Agent).as_deref(), Some("curl/7.38.0"));
        // A TCP listener has no request.
        let tcp = r#"2015-05-13T23:39:43.945958Z shop 192.0.2.39:2817 10.0.0.1:80 0.001069 0.000028 0.000041 - - 82 305 "- - - " "-" - -"#;
        for name in [AccessField::Method, AccessField::Path, AccessField::Status, AccessField::Agent] {
            assert_eq!(field(tcp, name), None);
        }
    }

    #[test]
    fn requests_that_never_reached_a_target_are_read() {
        let line = r#"h2 2022-04-01T08:00:00.000000Z app/shop/5 [2001:db8::7]:49152 - -1 -1 -1 400 - 0 0 "- http://shop.example.org:80- -" "-" - - - "-" "-" "-" - 2022-04-01T07:59:59.000000Z "-" "-" "-" "-" "-" "-" "-""#;
        assert!(ElbLine::is_one(line.as_bytes()));
        assert_eq!(field(line, AccessField::Status).as_deref(), Some("400"));
        assert_eq!(field(line, AccessField::Method), None);
        // Cut within the user agent.
        assert_eq!(
            field(&ALB[..ALB.find("\" ECDHE").expect("a cipher") - 3], AccessField::Path).as_deref(),
            Some("/cart")
        );
    }

    #[test]
    fn faults_say_what_is_missing() {
        for (line, why) in [
            ("", "the line ends before the type"),
            ("https", "the line ends before the time"),
            ("https yesterday", "expected a time"),
            ("2015-05-13T23:39:43.945958Z shop", "the line ends before the client"),
            (
                "2015-05-13T23:39:43.945958Z shop c t 0 0 0 200 200 0 29",
                "the line ends before the request line",
            ),
        ] {
            let fault = ElbLine::parse(line.as_bytes()).expect_err(line);
            assert!(fault.why.contains(why), "{fault}");
        }
        for line in ["", "http", "http - - [", "203.0.113.7 - - [", "2015-05-17 10:05:03 W3SVC1"] {
            assert!(!ElbLine::is_one(line.as_bytes()), "{line}");
        }
    }
}
