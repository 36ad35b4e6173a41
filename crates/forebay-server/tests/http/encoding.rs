//! HTTP as clients send it: compressed bodies, several lines, another version.

use std::{
    io::{Read, Write},
    time::Duration,
};

use flate2::{
    Compression,
    read::GzDecoder,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use serde_json::json;

use crate::support::{Client, Server};

type Compress = fn(&[u8]) -> Vec<u8>;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn encoded(client: &Client, encoding: &str) -> Client {
    client.header("Content-Encoding", encoding)
}

#[test]
fn compressed_bodies_are_read_wherever_bodies_are() {
    let server = Server::example();
    let client = server.client();
    let forms: [(&str, Compress); 6] = [
        ("gzip", gzip),
        ("x-gzip", gzip),
        ("GZIP", gzip),
        ("deflate", zlib),
        ("deflate", deflate),
        ("identity", <[u8]>::to_vec),
    ];
    for (n, (encoding, compress)) in forms.into_iter().enumerate() {
        let client = encoded(&client, encoding);
        let key = format!("k{n}");
        let one = json!({"key": key}).to_string();
        client.post("/v1/events/hit", compress(one.as_bytes())).expect(202);
        client.post("/v1/limits/hits", compress(one.as_bytes())).expect(200);
        client.post("/v1/series/hits", compress(one.as_bytes())).expect(202);
        let lines = format!("{one}\n{{\"kez\":1}}\n{one}\n");
        let lines_client = client.header("Content-Type", "application/x-ndjson");
        let batch = lines_client.post("/v1/events/hit", compress(lines.as_bytes())).expect(200);
        assert_eq!((&batch["accepted"], &batch["invalid"]), (&json!(2), &json!(1)), "{batch}");
        let used = server.client().get(&format!("/v1/limits/hits?key={key}")).expect(200)["used"].clone();
        assert_eq!(used, 4, "{encoding}");
        let bad = client.post("/v1/limits/hits", compress(b"{\"key\":\"a\",\"cots\":1}")).problem(422);
        assert!(bad.contains("unknown field `cots`"), "{bad}");
    }
    // A logger that appends to a gzip file writes one member after the other.
    let two = [gzip(b"{\"key\":"), gzip(b"\"m\"}")].concat();
    encoded(&client, "gzip").post("/v1/events/hit", two).expect(202);
    assert_eq!(client.get("/v1/limits/hits?key=m").expect(200)["used"], 1);
}

#[test]
fn a_body_that_cannot_be_decoded_is_refused_and_not_counted() {
    let server = Server::example();
    let client = server.client();
    let body = b"{\"key\":\"a\"}";
    for encoding in ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "identity, gzip", "gz ip", "é"]
    {
        let answer = encoded(&client, encoding).post("/v1/events/hit", gzip(body));
        assert!(answer.problem(415).contains("gzip, deflate"), "{}", answer.body);
        assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate"), "{encoding}");
    }
    encoded(&encoded(&client, "gzip"), "gzip").post("/v1/events/hit", gzip(&gzip(body))).problem(415);
    let (gz, zl) = (gzip(body), zlib(body));
    for (encoding, bytes) in [
        ("gzip", body.to_vec()),
        ("deflate", body.to_vec()),
        ("gzip", zl.clone()),
        ("gzip", gz[..gz.len() - 1].to_vec()),
        ("gzip", gz[..9].to_vec()),
        ("gzip", [&gz[..], b"more"].concat()),
        ("deflate", zl[..zl.len() - 1].to_vec()),
        ("deflate", [&zl[..], b"more"].concat()),
    ] {
        let detail = encoded(&client, encoding).post("/v1/events/hit", bytes).problem(400);
        assert!(detail.contains(&format!("not {encoding}")), "{detail}");
    }
    assert!(encoded(&client, "gzip").post("/v1/events/hit", b"").problem(400).contains("not JSON"));
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 0);
}

#[test]
fn a_bomb_is_refused_like_any_body_that_is_too_large() {
    let server = Server::example();
    let client = server.client();
    let body = |length: usize| format!(r#"{{"key":"a"{}}}"#, " ".repeat(length - 11));
    for (encoding, compress) in [("gzip", gzip as Compress), ("deflate", zlib), ("deflate", deflate)] {
        let client = encoded(&client, encoding);
        client.post("/v1/limits/hits/refund", compress(body(1 << 20).as_bytes())).expect(200);
        for length in [(1 << 20) + 1, 8 << 20] {
            let bomb = compress(body(length).as_bytes());
            assert!(bomb.len() < 1 << 20);
            assert!(client.post("/v1/events/hit", &bomb).problem(413).contains("at most 1048576 bytes"));
            let keyed = client.header("Idempotency-Key", "bomb");
            keyed.post("/v1/events/hit", &bomb).problem(413);
        }
    }
    // The text is small, but the encoded body is too large.
    let members = gzip(b"").repeat(60_000);
    assert!(members.len() > 1 << 20);
    encoded(&client, "gzip").post("/v1/events/hit", members).problem(413);
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 0);
}

/// A client may compress the first request and not its repeat.
#[test]
fn under_an_idempotency_key_a_body_is_the_same_however_it_was_sent() {
    let server = Server::example();
    let client = server.client().header("Idempotency-Key", "one");
    let body = b"{\"key\":\"a\",\"n\":3}";
    client.post("/v1/events/hit", body).expect(202);
    for (encoding, bytes) in [("gzip", gzip(body)), ("deflate", zlib(body)), ("identity", body.to_vec())] {
        let again = encoded(&client, encoding).post("/v1/events/hit", bytes);
        assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")), "{encoding}");
    }
    let other = encoded(&client, "gzip").post("/v1/events/hit", gzip(b"{\"key\":\"a\",\"n\":4}"));
    assert!(other.problem(422).contains("another body"), "{}", other.body);
    assert_eq!(server.client().get("/v1/limits/hits?key=a").expect(200)["used"], 3);
}

/// The head in lower case, and the bytes of the body.
fn download(client: &Client, path: &str, accepts: &str) -> (String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accepts}\r\n");
    let bytes = client.raw_bytes(request.as_bytes());
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&bytes[..end]).to_lowercase(), bytes[end + 4..].to_vec())
}

#[test]
fn documents_are_compressed_for_clients_that_accept_it() {
    let server = Server::example();
    let client = server.client();
    for path in ["/openapi.json", "/", "/assets/dashboard.js", "/assets/dashboard.css", "/assets/icon.svg"] {
        let (head, plain) = download(&client, path, "");
        assert!(head.contains("vary: accept-encoding") && !head.contains("content-encoding"), "{head}");
        for accepts in ["gzip", "br, gzip;q=0.8", "*"] {
            let (zipped, bytes) = download(&client, path, &format!("Accept-Encoding: {accepts}\r\n"));
            assert!(zipped.contains("content-encoding: gzip"), "{path} {accepts}: {zipped}");
            let kind =
                |head: &str| head.lines().find(|line| line.starts_with("content-type:")).map(str::to_owned);
            assert_eq!(kind(&zipped), kind(&head));
            let mut text = vec![];
            GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("gzip");
            assert!(text == plain, "{path}");
            if path == "/openapi.json" {
                assert!(bytes.len() * 5 < plain.len(), "{} of {}", bytes.len(), plain.len());
            }
        }
        for refuses in ["identity", "gzip;q=0", "br"] {
            let (head, bytes) = download(&client, path, &format!("Accept-Encoding: {refuses}\r\n"));
            assert!(!head.contains("content-encoding") && bytes == plain, "{path} {refuses}");
        }
    }
}

#[test]
fn a_client_of_http_2_gets_an_answer_that_names_http_1_1() {
    let server = Server::example();
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\xa0\0\0\0\x02\0\0\0\0",
    ] {
        let detail = server.client().raw(preface).problem(505);
        assert!(detail.contains("HTTP/1.1"), "{detail}");
    }
    // The result does not depend on how the preface is cut into packets.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for at in 1..preface.len() {
        let mut connection = server.client().keep_alive();
        for part in [&preface[..at], &preface[at..]] {
            connection.send(part);
            connection.is_answered_within(Duration::from_millis(5));
        }
        assert_eq!(connection.answer().expect("an answer").status, 505, "cut after {at} bytes");
        assert!(connection.answer().is_none(), "cut after {at} bytes");
    }
    // A client that asks for an upgrade in HTTP/1.1 is answered in HTTP/1.1.
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    assert_eq!(server.client().raw(upgrade.as_bytes()).status, 200);
    assert_eq!(server.client().get("/healthz").status, 200);
}

#[test]
fn several_lines_sent_as_json_get_a_hint_to_ndjson() {
    let server = Server::example();
    let client = server.client();
    let line = r#"{"key":"a"}"#;
    let write = r#"{"row":{"id":"a"},"columns":{"hits":1}}"#;
    for (path, line) in [("/v1/events/hit", line), ("/v1/series/hits", line), ("/v1/buffers/projects", write)]
    {
        for body in [
            format!("{line}\n{line}\n"),
            format!("{line}\r\n{line}"),
            format!("{line}\n\n  {line}\n{line}\n"),
            format!("{{\"kez\":1}}\n{line}\n"),
            format!("{line}\nnonsense"),
        ] {
            for kind in ["application/json", "application/json; charset=utf-8", "text/plain"] {
                let detail = client.header("Content-Type", kind).post(path, &body).problem(400);
                assert!(detail.contains("send it as application/x-ndjson"), "{path} {body:?}: {detail}");
            }
        }
        // One JSON value in any layout, and text that is not a JSON value.
        client.post(path, format!("\n{}\n\n", line.replace(',', ",\n"))).expect(202);
        for body in ["{\n\n", "nonsense\nnonsense", &format!("{line}{line}")] {
            assert!(client.post(path, body).problem(400).contains("not JSON"), "{body:?}");
        }
    }
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 1);
}

#[test]
fn the_declared_limits_are_listed() {
    let server = Server::with(|example| {
        example
            + "\n[limits.bucket]\nrate = \"100/1m\"\nburst = 500\nshadow = true\non_error = \"closed\"\ndeadline = \"20ms\"\n\
               [limits.free]\nrate = \"unlimited\"\n\
               [limits.off]\nrate = \"blocked\"\non_error = \"local\"\noverrides = { \"a\" = \"1/1m\" }\n\
               [limits.slots]\nkind = \"concurrency\"\nmax = 7\nttl = \"20s\"\n\
               [limits.window]\nrate = \"5/1d\"\nphase = \"by-key\"\nmode = \"leased\"\n\
               [limits.month]\nrate = \"10000/month\"\nzone = \"Europe/Berlin\"\n"
    });
    let limits = server.client().get("/v1/limits").expect(200);
    let limit = |name: &str| {
        let all = limits.as_array().expect("a list");
        all.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("{name}: {limits}")).clone()
    };
    assert_eq!(
        limit("hits"),
        json!({
            "name": "hits", "kind": "fixed-window", "zone": null, "allow": "20/1m", "ttl": null, "phase": "0s", "mode": "exact",
            "shadow": false, "on_error": "open", "deadline": "50ms", "overrides": 0,
        })
    );
    assert_eq!(
        limit("month"),
        json!({
            "name": "month", "kind": "calendar-window", "allow": "10000/month", "zone": "Europe/Berlin", "ttl": null,
            "phase": null, "mode": "exact", "shadow": false, "on_error": "open", "deadline": "50ms", "overrides": 0,
        })
    );
    assert_eq!(
        limit("bucket"),
        json!({
            "name": "bucket", "kind": "token-bucket", "zone": null, "allow": "100/1m burst 500", "ttl": null, "phase": null,
            "mode": "exact", "shadow": true, "on_error": "closed", "deadline": "20ms", "overrides": 0,
        })
    );
    assert_eq!(limit("free")["allow"], "unlimited");
    let off = limit("off");
    assert_eq!(
        (&off["allow"], &off["overrides"], &off["on_error"]),
        (&json!("blocked"), &json!(1), &json!("local"))
    );
    let slots = limit("slots");
    assert_eq!(
        (&slots["kind"], &slots["allow"], &slots["ttl"]),
        (&json!("concurrency"), &json!("7"), &json!("20s"))
    );
    let window = limit("window");
    assert_eq!((&window["mode"], &window["phase"]), (&json!("leased"), &json!("by-key")));
    let names: Vec<&str> =
        limits.as_array().expect("a list").iter().filter_map(|limit| limit["name"].as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
}
