//! A connection that is kept open answers the next request. Otherwise its last answer says that it closes.

use std::time::Duration;

use crate::support::{Client, Connection, Server};

const TOKEN: &str = "\n[[tokens]]\nname = \"all\"\ntoken = \"s3same\"\nscopes = [\"read\", \"write\", \"admin\"]\n\
    [[tokens]]\nname = \"look\"\ntoken = \"r3ad\"\nscopes = [\"read\"]\n";

const LAST: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

const ALL: &str = "Authorization: Bearer s3same\r\n";

/// Requests that are answered before their bodies are read.
static EARLY: [(u16, &str, &str); 12] = [
    (401, "POST /v1/events/hit", ""),
    (401, "POST /v1/events/hit", "Authorization: Bearer wrong\r\n"),
    (401, "POST /v1/limits/hits", "Idempotency-Key: 1\r\n"),
    (403, "POST /v1/events/hit", "Authorization: Bearer r3ad\r\n"),
    (404, "POST /v1/events/none", ALL),
    (404, "POST /nothing", ALL),
    (405, "PATCH /v1/limits/hits", ALL),
    (415, "POST /v1/events/hit", "Content-Encoding: br\r\nAuthorization: Bearer s3same\r\n"),
    (204, "DELETE /v1/limits/hits?key=a", ALL),
    (400, "DELETE /v1/limits/hits?key=%ff", ALL),
    (200, "POST /v1/buffers/projects/flush", ALL),
    (200, "GET /healthz", ""),
];

/// The requests of [`EARLY`] whose body is never read. An event reads the body before it looks up its name.
fn unread() -> impl Iterator<Item = &'static (u16, &'static str, &'static str)> {
    EARLY.iter().filter(|(_, request, _)| !request.ends_with("/none"))
}

fn head(request: &str, headers: &str, body: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: localhost\r\n{headers}{body}\r\n")
}

/// Reads two answers. Unless the first announces the end of the connection, the second must come.
#[track_caller]
fn is_kept(connection: &mut Connection, status: u16, what: &str) -> bool {
    let first = connection.answer().unwrap_or_else(|| panic!("{what}: no answer"));
    assert_eq!(first.status, status, "{what}: {}", first.body);
    let closes = first.header("connection") == Some("close");
    let second = connection.answer();
    match second {
        Some(second) => assert!(second.status == 200 && !closes, "{what}: {}", second.body),
        None => assert!(closes, "{what}: the connection ended without a word"),
    }
    !closes
}

#[test]
fn a_small_body_that_arrives_after_an_early_answer_costs_no_connection() {
    let server = Server::with(|example| example + TOKEN);
    let mut kept = 0;
    for round in 0..17 {
        for (status, request, headers) in EARLY {
            let mut connection = server.client().keep_alive();
            // The body has not arrived when the head is read. In one case it waits for an answer, in another it is in a
            // later packet.
            let (length, body) = match round % 3 {
                1 => ("Transfer-Encoding: chunked\r\n", "b\r\n{\"key\":\"a\"}\r\n0\r\n\r\n"),
                _ => ("Content-Length: 11\r\n", "{\"key\":\"a\"}"),
            };
            connection.send(head(request, headers, length));
            if round < 4 {
                connection.is_answered_within(Duration::from_millis(5));
            }
            let (begin, rest) = body.split_at(if round % 2 == 0 { 0 } else { 4 });
            connection.send(begin);
            connection.send(rest);
            connection.send(LAST);
            assert!(
                is_kept(&mut connection, status, request),
                "{status} {request}: the connection was given up"
            );
            kept += 1;
        }
    }
    assert_eq!(kept, 17 * EARLY.len());
}

#[test]
fn a_body_that_does_not_come_ends_the_connection_with_connection_close() {
    let server = Server::with(|example| example + TOKEN);
    let waits: Vec<_> = unread()
        .map(|&(status, request, headers)| {
            let mut connection = server.client().keep_alive();
            connection.send(head(request, headers, "Content-Length: 11\r\n"));
            connection.send("{\"key");
            (connection, status, request)
        })
        .collect();
    for (mut connection, status, request) in waits {
        let answer = connection.answer().expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{request}");
        assert!(connection.is_at_end(), "{request}");
    }
}

#[test]
fn a_large_body_or_expect_100_ends_the_connection_with_connection_close() {
    let server = Server::with(|example| example + TOKEN);
    let large = "x".repeat(300_000);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    for &(status, request, headers) in unread() {
        for (length, body) in [
            ("Content-Length: 300000\r\n", large.as_str()),
            ("Transfer-Encoding: chunked\r\n", chunked.as_str()),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", "{    "),
        ] {
            let mut connection = server.client().keep_alive();
            connection.send(head(request, headers, length));
            connection.send(body);
            connection.send(LAST);
            assert!(!is_kept(&mut connection, status, request), "{status} {request} {length}");
        }
    }
}

/// A client that writes its whole request before it reads sees the answer rather than a reset.
#[test]
fn an_answer_to_a_body_that_nobody_reads_arrives() {
    let server = Server::with(|example| example + TOKEN);
    let client = server.client();
    let body = "x".repeat(5 << 20);
    for _ in 0..10 {
        client.post("/v1/events/hit", &body).problem(401);
        let client = client.header("Authorization", "Bearer s3same");
        client.post("/v1/events/none", &body).problem(404);
        client.post("/v1/events/hit", &body).problem(413);
        client.post("/v1/buffers/projects/flush", &body).expect(200);
    }
}

#[test]
fn a_body_that_was_read_costs_no_connection() {
    let server = Server::example();
    let mut connection = server.client().keep_alive();
    for (status, request, body) in [
        (202, "POST /v1/events/hit", "{\"key\":\"a\"}".to_owned()),
        (200, "POST /v1/limits/hits", "{\"key\":\"a\"}".to_owned()),
        (400, "POST /v1/limits/hits", "{".to_owned()),
        (422, "POST /v1/limits/hits", "{}".to_owned()),
        (400, "POST /v1/limits/hits", "[".repeat(200_000)),
        (200, "POST /v1/limits/hits/refund", format!("{{\"key\":\"a\"{}}}", " ".repeat((1 << 20) - 11))),
    ] {
        connection.send(head(request, "", &format!("Content-Length: {}\r\n", body.len())));
        connection.send(&body);
        let answer = connection.answer().expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (status, None), "{request}");
    }
    // This client sends `Expect: 100-continue` and is told to go on.
    connection.send(head("POST /v1/limits/hits", "", "Content-Length: 11\r\nExpect: 100-continue\r\n"));
    assert_eq!(connection.answer().expect("an answer").status, 100);
    connection.send("{\"key\":\"a\"}");
    let answer = connection.answer().expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

/// An ambiguous request is read as one request, or the connection ends. It is never read as two.
#[test]
fn no_second_request_hides_in_the_first() {
    let server = Server::example();
    let hidden = "DELETE /v1/limits/hits?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let long = "x".repeat(20_000);
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let post = "POST /v1/limits/hits HTTP/1.1\r\nHost: localhost\r\n";
    let cases = [
        (
            "two lengths",
            format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()),
        ),
        ("a list of lengths", format!("{post}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len())),
        ("a signed length", format!("{post}Content-Length: +0\r\n\r\n{hidden}")),
        ("a length of words", format!("{post}Content-Length: nought\r\n\r\n{hidden}")),
        ("an unknown coding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}")),
        (
            "chunked, and then another",
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunked in HTTP/1.0",
            format!("{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", post.replace("1.1", "1.0")),
        ),
        ("a folded header", format!("{get}A: b\r\n c: d\r\n\r\n{hidden}")),
        ("a blank before the colon", format!("{get}Content-Length : 0\r\n\r\n{hidden}")),
        ("a carriage return in a header", format!("{get}A: b\rc\r\n\r\n{hidden}")),
        ("a null in a header", format!("{get}A: b\0c\r\n\r\n{hidden}")),
        ("a hexadecimal prefix", format!("{post}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}")),
        (
            "a chunk of 2^64",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{hidden}"),
        ),
        (
            "a long chunk extension",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n0;{long}\r\n\r\n{hidden}"),
        ),
        (
            "a chunk that is longer than it says",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n{hidden}"),
        ),
    ];
    for (what, request) in cases {
        let client = server.client();
        client.post("/v1/limits/hits", r#"{"key":"a"}"#).expect(200);
        let mut connection = client.keep_alive();
        connection.send(&request);
        let answer = connection.answer().unwrap_or_else(|| panic!("{what}: no answer"));
        assert!(answer.status >= 400, "{what}: {}", answer.status);
        assert!(connection.is_at_end(), "{what}: a second answer came");
        assert!(used(&client) > 0, "{what}: the hidden request was carried out");
        client.delete("/v1/limits/hits?key=a").expect(204);
    }
}

fn used(client: &Client) -> u64 {
    client.get("/v1/limits/hits?key=a").expect(200)["used"].as_u64().expect("a count")
}

/// The standard permits the same length twice, bare line feeds and chunk extensions. It also permits chunks together with
/// a length. The length is then ignored and the connection ends, because a proxy may have used the length.
#[test]
fn an_unambiguous_request_is_answered() {
    let server = Server::example();
    let post = "POST /v1/limits/hits HTTP/1.1\r\nHost: localhost\r\n";
    let body = "{\"key\":\"a\"}";
    for (what, request) in [
        ("the same length twice", format!("{post}Content-Length: 11\r\nContent-Length: 11\r\n\r\n{body}")),
        ("line feeds", format!("{}Content-Length: 11\n\n{body}", post.replace("\r\n", "\n"))),
        (
            "a short chunk extension",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nb;a=b\r\n{body}\r\n0\r\n\r\n"),
        ),
    ] {
        let mut connection = server.client().keep_alive();
        connection.send(&request);
        connection.send(LAST);
        assert!(is_kept(&mut connection, 200, what), "{what}");
    }
    let mut connection = server.client().keep_alive();
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n";
    connection.send(format!("{post}{both}{body}\r\n0\r\n\r\n{LAST}"));
    assert!(!is_kept(&mut connection, 200, "a length and chunks"));
}
