//! Logs of JSON lines, one object each.

use std::{borrow::Cow, fmt};

use forebay::Timestamp;
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{Event, Fault, Format, KeyField, access_time::clf_time, key::MEMBERS};
use crate::text::moment::absolute;

/// The members that may hold the time. If a line has several, the first in this list counts.
///
/// `StartUTC` is Traefik's time of the request's start; its `time` is that of the end. The last three are common names for
/// nginx's variables.
pub const TIME_FIELDS: [&str; 9] =
    ["StartUTC", "time", "at", "timestamp", "ts", "@timestamp", "time_iso8601", "time_local", "msec"];

/// Reads a line that is a JSON object.
///
/// The time is the first of [`TIME_FIELDS`] that the line has: a text in RFC 3339 or as in an access log, or a number (also
/// as text) since 1970 whose size tells its unit, as [`absolute`] reads it. The key is a text, or an integer, which becomes
/// its decimal text, or the first item of a list of them. If a member occurs twice, the last one counts.
///
/// `ip`, `path` and the other fields of access logs are also read from the members of Caddy and Traefik.
///
/// # Errors
/// If it is not a JSON object, or has no time or no key.
pub fn parse(line: &[u8], field: &KeyField, format: Format) -> Result<Event, Fault> {
    let (mut found, mut inner) = (Found::default(), vec![]);
    let members =
        Members { paths: field.members(format), is_line: true, found: &mut found, inner: &mut inner };
    members.read(line)?;
    while let Some((paths, object)) = inner.pop() {
        let members = Members { paths, is_line: false, found: &mut found, inner: &mut inner };
        members.read(object.get().as_bytes())?;
    }
    let Some((_, time)) = found.time else {
        let names = TIME_FIELDS.join(", ");
        return Err(Fault::at(0, format!("no time: one of the members {names} is needed")));
    };
    let at = moment(&time).ok_or_else(|| {
        Fault::at(0, "the time is neither RFC 3339, such as 2026-01-01T00:00:00Z, nor a number since 1970")
    })?;
    let key = match found.key {
        Some((place, Value::String(text))) => field.of_member(place, &text)?,
        Some((place, Value::Number(number))) if !number.is_f64() => {
            field.of_member(place, &number.to_string())?
        }
        Some(_) => return Err(Fault::at(0, format!("the {field} is neither a text nor a whole number"))),
        None => return Err(Fault::at(0, format!("no member {field}"))),
    };
    Ok(Event { at, key, late: false })
}

fn moment(time: &Value) -> Option<Timestamp> {
    match time {
        Value::String(text) => absolute(text).or_else(|| clf_time(text)),
        Value::Number(number) => absolute(&number.to_string()),
        _ => None,
    }
}

/// The message of `serde_json`, without its line, which is always 1.
fn fault(error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    Fault::at(error.column().saturating_sub(1), format!("not a JSON object: {}", &message[..end]))
}

#[derive(Default)]
struct Found {
    /// The time, with the place of its name in [`TIME_FIELDS`].
    time: Option<(usize, Value)>,
    /// The key, with the place of its path among the searched ones.
    key: Option<(usize, Value)>,
}

impl Found {
    /// Takes a value that comes before the found one in the order of preference, or replaces it.
    fn take(slot: &mut Option<(usize, Value)>, place: usize, mut value: Value) {
        // The first item of a list counts. Caddy writes headers as lists.
        while let Value::Array(items) = value {
            value = items.into_iter().next().unwrap_or_default();
        }
        if slot.as_ref().is_none_or(|(best, _)| place <= *best) {
            *slot = Some((place, value));
        }
    }
}

/// A member's name, borrowed from the line unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The paths of the key, relative to an object.
type Paths<'f> = [Option<&'f str>; MEMBERS];

/// Reads the time and the key of an object, and skips the other members.
struct Members<'o, 'f, 'a> {
    paths: Paths<'f>,
    /// True if the object is the whole line, which has the time.
    is_line: bool,
    found: &'o mut Found,
    /// The objects on the paths, to be read afterwards.
    inner: &'o mut Vec<(Paths<'f>, &'a RawValue)>,
}

impl<'a> Members<'_, '_, 'a> {
    fn read(self, object: &'a [u8]) -> Result<(), Fault> {
        let mut json = serde_json::Deserializer::from_slice(object);
        json.deserialize_map(self).and_then(|()| json.end()).map_err(|error| fault(&error))
    }
}

impl<'a> Visitor<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(name) = members.next_key::<Name<'a>>()? {
            let name = name.0.as_ref();
            let time = TIME_FIELDS.iter().position(|field| self.is_line && *field == name);
            let rest = self.paths.map(|path| path?.strip_prefix(name));
            if let Some(place) = rest.iter().position(|path| *path == Some("")) {
                Found::take(&mut self.found.key, place, members.next_value()?);
            } else if let Some(place) = time {
                Found::take(&mut self.found.time, place, members.next_value()?);
            } else {
                let paths = rest.map(|path| path?.strip_prefix('.'));
                if paths.iter().all(Option::is_none) {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
                let value: &RawValue = members.next_value()?;
                if value.get().starts_with('{') {
                    self.inner.push((paths, value));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str, field: &str) -> Result<Event, Fault> {
        parse(line.as_bytes(), &field.parse().expect("a field"), Format::Auto)
    }

    #[test]
    fn the_time_may_have_any_of_the_usual_forms() {
        for time in [
            r#""time":"2015-05-17T10:05:03.25Z""#,
            r#""at":"2015-05-17T12:05:03.25+02:00""#,
            r#""timestamp":1431857103.25"#,
            r#""ts":1431857103250"#,
            r#""@timestamp":1431857103250000"#,
            r#""ts":1431857103250000000"#,
            r#""ts":1431857103250.0"#,
            r#""ts":"1431857103.25""#,
            r#""ts":"1431857103250""#,
            r#""ts":"1431857103250.000""#,
            r#""ts":"1431857103250000""#,
            r#""ts":"1431857103250000000""#,
            r#""ts":1.43185710325E9"#,
            r#""msec":"1431857103.250""#,
            r#""time_iso8601":"2015-05-17T10:05:03.25+0000""#,
            r#""ts":1,"at":2,"time":1431857103.25"#,
            r#""time":1431857103.25,"ts":1"#,
            r#""time":1,"time":1431857103.25"#,
        ] {
            let event = read(&format!("{{{time},\"ip\":\"::1\"}}"), "ip").expect(time);
            assert_eq!(event.at, Timestamp::from_millis(1_431_857_103_250), "{time}");
        }
    }

    #[test]
    fn the_key_is_a_text_or_a_whole_number_at_any_depth() {
        let line = r#" {"id":42,"big":18446744073709551615,"minus":-1,"a.b":"flat","req":{"ts":9,"ip":"::1","h":{"ua":"\u00e9"}},"x":[[{}]],"ts":1} "#;
        for (field, key) in [
            ("id", "42"),
            ("big", "18446744073709551615"),
            ("minus", "-1"),
            ("a.b", "flat"),
            ("req.ip", "::1"),
            ("req.h.ua", "é"),
        ] {
            let event = read(line, field).expect(field);
            assert_eq!((event.key.as_str(), event.at), (key, Timestamp::from_secs(1)), "{field}");
        }
    }

    #[test]
    fn an_address_is_found_in_a_member_that_holds_more() {
        for (ip, key) in [
            (r#""203.0.113.7, 10.0.0.1""#, "203.0.113.7"),
            (r#""203.0.113.7:51234""#, "203.0.113.7"),
            (r#"["203.0.113.7","10.0.0.1"]"#, "203.0.113.7"),
        ] {
            let line = format!(r#"{{"ts":1,"ip":{ip},"request":"GET / HTTP/1.1"}}"#);
            assert_eq!(read(&line, "ip").expect(ip).key, key);
        }
        assert_eq!(read(r#"{"ts":1,"ip":"anonymous"}"#, ".ip").expect("any text").key, "anonymous");
    }

    const CADDY: &str = r#"{"level":"info","ts":1646861401.5241024,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"10.0.0.9","remote_port":"41342","client_ip":"203.0.113.7","proto":"HTTP/2.0","method":"GET","host":"example.org","uri":"/a?b=c","headers":{"User-Agent":["curl/7.82.0"],"Accept":["*/*"],"Referer":["https://example.org/"]},"tls":{"resumed":false,"version":772}},"bytes_read":0,"user_id":"","duration":0.000929675,"size":10900,"status":200,"resp_headers":{"Server":["Caddy"]}}"#;
    const TRAEFIK: &str = r#"{"ClientAddr":"203.0.113.7:51234","ClientHost":"203.0.113.7","ClientPort":"51234","ClientUsername":"-","DownstreamContentSize":2,"DownstreamStatus":200,"Duration":1514,"RequestAddr":"example.org","RequestCount":7,"RequestHost":"example.org","RequestMethod":"GET","RequestPath":"/a?b=c","RequestPort":"-","RequestProtocol":"HTTP/1.1","StartLocal":"2022-03-09T21:30:01.5241024Z","StartUTC":"2022-03-09T21:30:01.5241024Z","entryPointName":"web","level":"info","msg":"","request_Referer":"https://example.org/","request_User-Agent":"curl/7.82.0","time":"2022-03-09T21:30:02Z"}"#;

    #[test]
    fn caddy_and_traefik_have_the_fields_of_access_logs() {
        for (line, format) in [(CADDY, Format::Caddy), (TRAEFIK, Format::Traefik)] {
            for format in [format, Format::Auto] {
                for (field, key) in [
                    ("ip", "203.0.113.7"),
                    ("client", "203.0.113.7"),
                    ("method", "GET"),
                    ("path", "/a"),
                    ("status", "200"),
                    ("referer", "https://example.org/"),
                    ("agent", "curl/7.82.0"),
                ] {
                    let event =
                        parse(line.as_bytes(), &field.parse().expect("a field"), format).expect(field);
                    assert_eq!(event.key, key, "{field} {format:?}");
                    assert_eq!(event.at.as_millis(), 1_646_861_401_524, "{format:?}");
                }
                let user = parse(line.as_bytes(), &"user".parse().expect("a field"), format);
                assert!(user.expect_err("nobody").why.contains("the line has no user"));
            }
        }
        // Caddy before version 2.5 writes this line. The forms of the time vary.
        let old = CADDY
            .replace(r#""remote_ip":"10.0.0.9""#, r#""remote_addr":"203.0.113.8:41342""#)
            .replace("client_ip", "x");
        for time in [
            r#""2022-03-09T21:30:01.524Z""#,
            "1646861401524.1024",
            "1646861401524102400",
            r#""09/Mar/2022:21:30:01 +0000""#,
        ] {
            let line = old.replace("1646861401.5241024", time);
            let event = read(&line, "ip").expect(time);
            assert_eq!((event.key.as_str(), event.at.as_secs()), ("203.0.113.8", 1_646_861_401), "{time}");
        }
        // A member of that name takes precedence over the field.
        let both = CADDY.replacen('{', r#"{"ip":"198.51.100.1","#, 1);
        assert_eq!(read(&both, "ip").expect("a line").key, "198.51.100.1");
        assert!(parse(TRAEFIK.as_bytes(), &"ip".parse().expect("a field"), Format::Json).is_err());
    }

    #[test]
    fn faults_say_what_is_missing() {
        for (line, why) in [
            ("", "not a JSON object: EOF"),
            ("[1]", "expected an object"),
            (r#"{"ts":1,"ip":"a""#, "not a JSON object: EOF"),
            (r#"{"ts":1,"ip":"a"} x"#, "trailing characters"),
            (r#"{"ip":"a"}"#, "time, at, timestamp, ts, @timestamp"),
            (r#"{"ts":true,"ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":"2015-05-17T10:05:03","ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":1e300,"ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":"NaN","ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":1}"#, "no member ip"),
            (r#"{"ts":"2015-05-17 10:05:03","ip":"a"}"#, "neither RFC 3339"),
            (r#"{"ts":-1,"ip":"::1"}"#, "neither RFC 3339"),
            (r#"{"ts":1,"ip":"host"}"#, "\"host\" is no IP address"),
            (r#"{"ts":1,"ip":42}"#, "\"42\" is no IP address"),
            (r#"{"ts":1,"ip":""}"#, "\"\" is no IP address"),
            (r#"{"ts":1,"ip":"::1","request":"GET / HTTP/1.1"}x"#, "trailing characters"),
            (r#"{"ts":1,"ip":1.5}"#, "neither a text nor a whole number"),
            (r#"{"ts":1,"ip":{"a":[1,{"b":null}]}}"#, "neither a text nor a whole number"),
        ] {
            let fault = read(line, "ip").expect_err(line);
            assert!(fault.why.contains(why), "{line}: {fault}");
        }
        let fault = read(r#"{"ts":1,"ip":?}"#, "ip").expect_err("a question mark");
        assert_eq!(fault.column, 14);
    }

    #[test]
    fn deep_nesting_is_refused_or_skipped_not_a_stack_overflow() {
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        assert!(read(&format!(r#"{{"x":{deep},"ts":1,"ip":"::1"}}"#), "ip").is_ok());
        assert!(read(&format!(r#"{{"ts":{deep},"ip":"a"}}"#), "ip").is_err());
        let deep = r#"{"a":"#.repeat(10_000);
        assert!(read(&deep, &vec!["a"; 10_000].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(line in ".*", number in "-?[0-9]{1,40}(\\.[0-9]{1,9})?(e[0-9]{1,4})?") {
            let _ = read(&line, "ip");
            let _ = read(&format!(r#"{{"ts":{number},"ip":{number}}}"#), "ip");
            let _ = read(&format!(r#"{{"ts":"{number}","ip":"{number}"}}"#), "ip");
        }
    }
}
