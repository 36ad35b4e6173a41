//! `GET /v1/series/{series}/export`.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::support::{Client, Server};

const NASTY: [&str; 7] = ["a", "a,b", "say \"hi\"", "two\nlines\r\n", "=1+1", "日本é", " blank "];

/// A series of two years by quarters of an hour, and one by days.
fn server() -> Server {
    let fine = "\n[series.fine-grain]\nresolutions = [\"15m/2y\", \"1d/3y\"]\n";
    Server::with(|config| config + fine + "\n[series.daily]\nresolutions = [\"1d/2y\"]\n")
}

fn add(client: &Client, key: &str, n: u64, time: &str) {
    let body = json!({"key": key, "n": n, "at": format!("2026-01-01T{time}:00Z")}).to_string();
    client.post("/v1/series/fine-grain", body).expect(202);
}

fn export(client: &Client, rest: &str) -> String {
    export_of("fine-grain", client, rest)
}

fn export_of(series: &str, client: &Client, rest: &str) -> String {
    let answer = client.get(&format!("/v1/series/{series}/export?{rest}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    unchunked(&answer.body)
}

/// The text of a chunked body, whose last chunk is empty.
pub(crate) fn unchunked(body: &str) -> String {
    let (mut rest, mut text) = (body, String::new());
    loop {
        let (length, after) = rest.split_once("\r\n").expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        text.push_str(&after[..length]);
        rest = &after[length + 2..];
        if length == 0 {
            assert_eq!(rest, "", "nothing follows the last chunk");
            return text;
        }
    }
}

#[test]
fn counts_are_exported_as_csv_json_and_openmetrics() {
    let server = server();
    let client = server.client();
    add(&client, "a", 2, "00:10");
    add(&client, "a", 3, "01:01");
    add(&client, "b,\"c\"", 4, "00:30");
    let csv = export(&client, "format=csv");
    assert_eq!(
        csv,
        "key,at,n,step\na,2026-01-01T00:00:00Z,2,900\na,2026-01-01T01:00:00Z,3,900\n\
         \"b,\"\"c\"\"\",2026-01-01T00:30:00Z,4,900\n"
    );
    let json = export(&client, "format=json&key=a&step=1d");
    assert_eq!(json, "{\"key\":\"a\",\"at\":\"2026-01-01T00:00:00Z\",\"n\":5,\"step\":86400}\n");
    let zeros = export(&client, "key=a&zeros=true");
    assert_eq!(zeros.lines().filter(|line| line.ends_with(",0,900")).count(), 3, "{zeros}");
    assert_eq!(
        export(&client, "key=a&from=2026-01-01T00:50:00Z&to=2026-01-01T01:01:00Z"),
        "key,at,n,step\na,2026-01-01T01:00:00Z,3,900\n",
        "edges are widened to whole buckets"
    );
    let text = export(&client, "format=openmetrics");
    let start = 1_767_225_600;
    let told = [
        "# HELP fine_grain_total Sum of the counts since the first one in this text.".to_owned(),
        "# TYPE fine_grain_total unknown".to_owned(),
        format!("fine_grain_total{{key=\"a\"}} 2 {}", start + 900),
        format!("fine_grain_total{{key=\"a\"}} 2 {}", start + 1_800),
        format!("fine_grain_total{{key=\"a\"}} 2 {}", start + 2_700),
        format!("fine_grain_total{{key=\"a\"}} 2 {}", start + 3_600),
        format!("fine_grain_total{{key=\"a\"}} 5 {}", start + 4_500),
        format!("fine_grain_total{{key=\"b,\\\"c\\\"\"}} 4 {}", start + 2_700),
        "# HELP fine_grain Count of the bucket that ends at this time.".to_owned(),
        "# TYPE fine_grain gauge".to_owned(),
        format!("fine_grain{{key=\"a\"}} 2 {}", start + 900),
        format!("fine_grain{{key=\"a\"}} 0 {}", start + 1_800),
        format!("fine_grain{{key=\"a\"}} 0 {}", start + 2_700),
        format!("fine_grain{{key=\"a\"}} 0 {}", start + 3_600),
        format!("fine_grain{{key=\"a\"}} 3 {}", start + 4_500),
        format!("fine_grain{{key=\"b,\\\"c\\\"\"}} 4 {}", start + 2_700),
        "# EOF\n".to_owned(),
    ];
    assert_eq!(text, told.join("\n"));
    let kind = client.get("/v1/series/fine-grain/export?format=openmetrics&key=a");
    let kind = kind.header("content-type").expect("a type").to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let limited = unchunked(&client.get("/v1/series/fine-grain.limited/export?format=openmetrics").body);
    assert!(limited.contains("# TYPE fine_grain_limited gauge\n# EOF\n"), "{limited}");
}

#[test]
fn keys_are_named_or_have_a_prefix_and_all_are_more_than_a_page() {
    let server = server();
    let client = server.client();
    let lines = |keys: std::ops::Range<u32>| {
        let line = |n| {
            json!({"key": format!("user:{n}"), "n": n + 1, "at": "2026-01-01T00:00:00Z"}).to_string() + "\n"
        };
        keys.map(line).collect::<String>()
    };
    let ndjson = client.header("Content-Type", "application/x-ndjson");
    for from in [0, 6_000] {
        ndjson.post("/v1/series/daily", lines(from..from + 6_000)).expect(202);
    }
    client.post("/v1/series/daily", r#"{"key":"host","at":"2026-01-01T00:00:00Z"}"#).expect(202);
    let all = export_of("daily", &client, "format=json");
    let sum = |text: &str| {
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        rows.map(|row| row["n"].as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!((all.lines().count(), sum(&all)), (12_001, 12_000 * 12_001 / 2 + 1));
    let users = export_of("daily", &client, "prefix=user:1");
    assert!(users.lines().skip(1).all(|line| line.starts_with("user:1")), "{users}");
    assert_eq!(users.lines().count(), 1 + 1 + 10 + 100 + 1_000 + 2_000);
    let order: Vec<String> =
        export_of("daily", &client, "key=user:9&key=host").lines().skip(1).map(str::to_owned).collect();
    assert!(order[0].starts_with("user:9,") && order[1].starts_with("host,"), "{order:?}");
}

#[test]
fn an_export_that_is_not_possible_is_refused_with_what_is() {
    let server = server();
    let client = server.client();
    for (rest, told) in [
        ("format=xml", "format: \"xml\": one of csv, json, openmetrics"),
        ("key=a&key=a", "key: \"a\" is there twice"),
        ("key=", "1 to 512 bytes"),
        ("key=a&prefix=b", "keys and a prefix: one of them"),
        ("step=7m", "step: 7m: a multiple of 900s, the finest resolution"),
        ("step=day", "step: day: points of an export have one length, such as 1d"),
        ("zeros=1", "zeros: \"1\": one of true, false"),
        ("from=now&to=-1h", "a span ends after it begins"),
        ("show=rate", "unknown field `show`"),
    ] {
        let detail = client.get(&format!("/v1/series/fine-grain/export?{rest}")).problem(422);
        assert!(detail.contains(told), "{rest}: {detail}");
    }
    client.get("/v1/series/fine/export").problem(404);
}

/// The server ends while a client reads slowly. What the client has must not look complete.
#[test]
fn an_export_that_breaks_off_has_no_end() {
    let mut server = server();
    let client = server.client();
    let key = |n: u32| format!("{n}-{}", "x".repeat(500));
    let line = |n| json!({"key": key(n), "at": "2026-01-01T00:00:00Z"}).to_string() + "\n";
    let ndjson = client.header("Content-Type", "application/x-ndjson");
    for from in (0..12_000).step_by(1_500) {
        ndjson.post("/v1/series/daily", (from..from + 1_500).map(line).collect::<String>()).expect(202);
    }
    let mut stream = client.connect();
    let request = "GET /v1/series/daily/export?format=openmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut begin = [0; 1_000];
    stream.read_exact(&mut begin).expect("a begin");
    server.stop();
    let mut rest = vec![];
    let _ = stream.read_to_end(&mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(
        !rest.contains("# EOF") && !rest.ends_with("0\r\n\r\n"),
        "{}",
        &rest[rest.len().saturating_sub(200)..]
    );
}

/// An export in the finest buckets that is added to another series has the same sums everywhere.
#[test]
fn what_an_export_wrote_can_be_added_again() {
    let (one, two) = (server(), server());
    for (place, key) in NASTY.iter().enumerate() {
        for n in 0..10 {
            add(&one.client(), key, n + 1, &format!("0{n}:{}5", place % 6));
        }
    }
    let lines = export(&one.client(), "format=json");
    let points = lines.lines().map(|line| {
        let mut point: Value = serde_json::from_str(line).expect("JSON");
        point.as_object_mut().expect("an object").remove("step");
        point.to_string() + "\n"
    });
    let ndjson = two.client().header("Content-Type", "application/x-ndjson");
    ndjson.post("/v1/series/fine-grain", points.collect::<String>()).expect(202);
    for format in ["csv", "json", "openmetrics"] {
        for step in ["", "&step=1h", "&step=1d"] {
            let rest = format!("format={format}{step}");
            assert_eq!(export(&one.client(), &rest), export(&two.client(), &rest), "{rest}");
        }
    }
}
