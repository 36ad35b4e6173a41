//! Recognizes formats that cannot be read, for error messages.

use memchr::memmem;

use super::{elb::ElbLine, log::AccessLine};

/// The format that an unreadable line looks like, with a hint.
pub(super) fn looks_like(line: &[u8]) -> Option<&'static str> {
    for (start, what) in MAGIC {
        if line.starts_with(start) {
            return Some(what);
        }
    }
    // ASCII text in UTF-16 has a zero in every second byte.
    if line.starts_with(b"\xff\xfe")
        || line.starts_with(b"\xfe\xff")
        || memmem::find(line, b"\0 \0").is_some()
    {
        return Some("UTF-16 text: iconv -f UTF-16 -t UTF-8 makes it readable");
    }
    // The other formats are text. Their signs also occur in binary data.
    let text = String::from_utf8_lossy(line);
    if text.contains(is_noise) {
        return None;
    }
    let text = text.trim_start();
    KINDS.iter().find(|(is_one, _)| is_one(text)).map(|(_, what)| *what)
}

/// The first bytes of binary files.
const MAGIC: [(&[u8], &str); 5] = [
    (b"\x28\xb5\x2f\xfd", "data compressed by zstd: zstd -dc FILE | forebay replay - …"),
    (b"BZh", "data compressed by bzip2: bzip2 -dc FILE | forebay replay - …"),
    (b"\xfd7zXZ", "data compressed by xz: xz -dc FILE | forebay replay - …"),
    (b"PK\x03\x04", "a zip archive: unzip -p FILE | forebay replay - …"),
    (b"\x1f\x8b", "gzip data within the log"),
];

type Kind = (fn(&str) -> bool, &'static str);

/// The signs of text formats, the most reliable first.
const KINDS: [Kind; 16] = [
    (
        |text| text.starts_with("{\"log\":\""),
        "the JSON of Docker's log driver: jq -rj .log takes the lines out of it",
    ),
    (
        |text| text == "{" || text == "[" || text == "[{",
        "JSON over several lines: jq -c . makes it one object a line, jq -c '.[]' if it is a list",
    ),
    (
        |text| text.starts_with('['),
        "the log of Envoy or an error log of Apache, or a list in JSON: of JSON one object a line is read",
    ),
    (|text| text.starts_with('{'), "JSON without a time, or without a member as --key wants it"),
    (
        |text| text.starts_with('#'),
        "a log in the IIS W3C extended format, or comments: --format w3c reads the former",
    ),
    (
        |text| is_shape(text, "0000-00-00 00:00:00 "),
        "a log in the IIS W3C extended format without its #Fields line",
    ),
    (|text| is_shape(text, "0000/00/00 00:00:00 ["), "nginx's error log: its access log is needed"),
    (|text| ElbLine::is_one(text.as_bytes()), "the log of an AWS load balancer: --format elb reads it"),
    (
        |text| is_shape(text, "0000-00-00T00:00:00"),
        "a log whose lines begin with an RFC 3339 time, such as syslog's: what comes after it may be readable alone",
    ),
    (|text| text.contains("haproxy["), "the log of HAProxy: option httplog clf makes it readable"),
    (is_syslog, "an access log behind a header of syslog: sed 's/^.*]: //' takes it off"),
    (
        |text| {
            text.split(' ')
                .next()
                .is_some_and(|word| word.len() == 64 && word.bytes().all(|c| c.is_ascii_hexdigit()))
        },
        "the access log of S3",
    ),
    (
        |text| text.split(' ').next().is_some_and(|word| word.contains('=') && !word.starts_with('"')),
        "logfmt: JSON is read",
    ),
    (
        |text| AccessLine::parse(text.as_bytes()).is_ok(),
        "an access log that lacks what --key asks for: names of hosts instead of addresses, or no user",
    ),
    (
        |text| text.contains("] \"") && text.contains(" ["),
        "an access log with other fields than the common or the combined format has",
    ),
    (|text| text.matches([',', ';', '\t']).count() >= 3, "a table of values: JSON is read"),
];

/// A character that no text log contains. Escape characters are in logs of hostile requests.
fn is_noise(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{8}' | '\u{e}'..='\u{1a}')
}

/// Returns whether the text begins with a shape, in which 0 stands for any digit.
fn is_shape(text: &str, shape: &str) -> bool {
    let fits = |(found, shape): (u8, u8)| if shape == b'0' { found.is_ascii_digit() } else { found == shape };
    text.len() >= shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// `May 17 10:05:03 host nginx: …`
fn is_syslog(text: &str) -> bool {
    let text = text.strip_prefix('<').and_then(|text| text.split_once('>')).map_or(text, |(_, text)| text);
    text.get(3..16).is_some_and(|time| is_shape(&time.replacen("  ", " 0", 1), " 00 00:00:00 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_formats_are_recognised() {
        for (line, what) in [
            (&b"2015-05-17 10:05:03 W3SVC1 10.0.0.1 GET / - 443 - 203.0.113.7 x 200"[..], "IIS W3C"),
            (b"#Fields: date time", "IIS W3C"),
            (b"https 2018-07-02T22:23:00.186641Z app/lb/50 192.0.2.7:2817", "AWS load balancer"),
            (b"{\"log\":\"203.0.113.7 - - [17/May/2015:10:05:03 +0000] ...", "Docker"),
            (b"{", "JSON over several lines"),
            (b"[{", "JSON over several lines"),
            (b"{\"a\":1}", "JSON without a time"),
            (b"2015/05/17 10:05:03 [error] 12#0: *1 open() failed", "nginx's error log"),
            (b"[Sun May 17 10:05:03.1 2015] [core:error] [pid 1] x", "error log of Apache"),
            (b"[2016-04-15T20:17:00.310Z] \"POST /api HTTP/2\" 204 -", "Envoy"),
            (b"May 17 10:05:03 web1 nginx: 203.0.113.7 - - [17/May/2015:10:05:03 +0000] \"GET", "syslog"),
            (b"<190>May  7 10:05:03 web1 nginx: 203.0.113.7 - -", "syslog"),
            (b"2015-05-17T10:05:03+00:00 web1 nginx: 203.0.113.7", "RFC 3339"),
            (b"79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be bucket [06/Feb/2019:00:00:38 +0000]", "S3"),
            (b"ts=2015-05-17T10:05:03Z ip=203.0.113.7", "logfmt"),
            (b"time,ip,path,status", "table"),
            (b"Oct 10 10:00:00 lb haproxy[14389]: 10.0.1.2:33317 [06/Feb/2026:12:14:14.655] in s/1 0/0 200", "HAProxy"),
            (b"client.example.net - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1", "lacks what --key"),
            (b"203.0.113.7 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 0.2 200 1", "other fields"),
            (b"\xff\xfe2\x000\x003\x00", "UTF-16"),
            (b"2\x000\x003\x00.\x000\x00 \x00-\x00", "UTF-16"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd"),
            (b"BZh91AY", "bzip2"),
            (b"PK\x03\x04\x14", "zip"),
        ] {
            let found = looks_like(line);
            assert!(found.is_some_and(|found| found.contains(what)), "{}: {found:?}", line.escape_ascii());
        }
        assert_eq!(looks_like(b"nonsense"), None);
        assert_eq!(looks_like(b""), None);
        assert_eq!(looks_like("é ä ö".as_bytes()), None);
        assert_eq!(looks_like(b"\x05a=\xff\x1f,,,,] \" ["), None);
        assert_eq!(looks_like(b"\x05a=,,,,] \" ["), None);
    }
}
