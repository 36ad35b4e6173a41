//! Every bad request gets a 4xx problem that says what would be accepted, and counts nothing.

use crate::support::{Client, Server};

/// Checks that the refused requests charged nothing to the key "a" and counted nothing.
fn nothing_was_counted(client: &Client) {
    assert_eq!(client.get("/v1/limits/hits?key=a").expect(200)["used"], 0);
    assert_eq!(client.get("/v1/series/hits/sum?key=a").expect(200)["sum"], 0);
    assert_eq!(client.get("/v1/series/hits.limited/sum?key=a").expect(200)["sum"], 0);
    assert_eq!(client.get("/v1/buffers/projects/stats").expect(200)["pending_rows"], 0);
}

#[test]
fn a_bad_body_is_answered_with_what_would_be_accepted() {
    let server = Server::example();
    let client = server.client();
    let long = format!(r#"{{"key":"{}"}}"#, "x".repeat(513));
    let cases = [
        ("", 400, "the body is not JSON: EOF"),
        ("{", 400, "the body is not JSON: EOF"),
        ("key=a", 400, "the body is not JSON"),
        (r#"{"key":"a"}{"key":"a"}"#, 400, "trailing characters"),
        ("\u{feff}{}", 400, "the body is not JSON"),
        (r#"{"key":"a","m":1}"#, 422, "unknown field `m`, expected one of `key`, `labels`, `n`, `at`"),
        (r#"{"key":"a","key":"a"}"#, 422, "duplicate field `key`"),
        (r#"{"n":1}"#, 422, "missing field `key`"),
        (r#"{"key":""}"#, 422, "key: key of 0 bytes: a key has 1 to 512 bytes"),
        (long.as_str(), 422, "key: key of 513 bytes: a key has 1 to 512 bytes"),
        (
            r#"{"key":["a"]}"#,
            422,
            "key: invalid type: sequence, expected a string of 1 to 512 bytes, or an integer",
        ),
        (r#"{"key":1.5}"#, 422, "key: invalid type: floating point `1.5`"),
        (
            r#"{"key":"a","n":0}"#,
            422,
            "n: invalid value: integer `0`, expected an integer from 1 to 2147483648",
        ),
        (
            r#"{"key":"a","n":-1}"#,
            422,
            "n: invalid value: integer `-1`, expected an integer from 1 to 2147483648",
        ),
        (r#"{"key":"a","n":2147483649}"#, 422, "n: invalid value: integer `2147483649`"),
        (
            r#"{"key":"a","n":"1"}"#,
            422,
            "n: invalid type: string \"1\", expected an integer from 1 to 2147483648",
        ),
        (r#"{"key":"a","at":"2999-01-01T00:00:00Z"}"#, 422, "s ahead of the clock: at most 300"),
        (
            r#"{"key":"a","at":"yesterday"}"#,
            422,
            "at: invalid value: \"yesterday\", expected a time: RFC 3339",
        ),
        (r#"{"key":"a","at":"now"}"#, 422, "expected a time: RFC 3339"),
        (r#"{"key":"a","at":1e300}"#, 422, "expected a time: RFC 3339"),
        // The time is in milliseconds rather than seconds.
        (r#"{"key":"a","at":99999999999999}"#, 422, "s ahead of the clock: at most 300"),
        ("7", 422, "expected an object with key"),
        ("null", 422, "expected an object with key"),
    ];
    for path in ["/v1/events/hit", "/v1/series/hits"] {
        for (body, status, expected) in cases {
            let detail = client.post(path, body).problem(status);
            assert!(detail.contains(expected), "{path} {body}: {detail}");
        }
        let not_text = client.post(path, b"{\"key\":\"\xff\"}").problem(400);
        assert!(not_text.contains("the body is not JSON"), "{not_text}");
    }
    nothing_was_counted(&client);
}

#[test]
fn unknown_names_are_404_with_the_nearest() {
    let server = Server::example();
    let client = server.client();
    for (path, expected) in [
        ("/v1/events/hti", "unknown event \"hti\": did you mean \"hit\"?"),
        ("/v1/series/hist", "unknown series \"hist\": did you mean \"hits\"?"),
        ("/v1/buffers/projcts", "unknown buffer \"projcts\": did you mean \"projects\"?"),
        ("/v1/limits/hists", "unknown limit \"hists\": did you mean \"hits\"?"),
        ("/v1/events/%F0%9F%92%A5%00", "unknown event"),
    ] {
        let body = if path.contains("buffers") {
            r#"{"row":{"id":"a"},"columns":{"hits":1}}"#
        } else {
            r#"{"key":"a"}"#
        };
        let detail = client.post(path, body).problem(404);
        assert!(detail.contains(expected), "{detail}");
    }
    for path in ["/v1", "/v1/events", "/v1/events/hit/", "/v1/locks", "/v2/events/hit"] {
        let detail = client.post(path, "{}").problem(404);
        assert!(detail.contains("there is nothing at /"), "{detail}");
    }
    let answer = client.request("PATCH", "/v1/limits/hits", b"");
    answer.problem(405);
    assert_eq!(
        answer.header("allow").map(|allow| allow.split(',').any(|method| method == "delete")),
        Some(true)
    );
    nothing_was_counted(&client);
}

#[test]
fn a_body_has_at_most_one_mebibyte() {
    let server = Server::example();
    let client = server.client();
    let body = |length: usize| format!(r#"{{"key":"a"{}}}"#, " ".repeat(length - 11));
    assert_eq!(client.post("/v1/limits/hits/refund", body(1 << 20)).status, 200);
    for length in [(1 << 20) + 1, 5 << 20] {
        let detail = client.post("/v1/events/hit", body(length)).problem(413);
        assert!(detail.contains("at most 1048576 bytes"), "{detail}");
    }
    // Without a length, the server cannot refuse the body at once.
    let head = "POST /v1/events/hit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let chunked = format!("{head}{}0\r\n\r\n", chunk.repeat(40));
    client.raw(chunked.as_bytes()).problem(413);
    nothing_was_counted(&client);
}

#[test]
fn a_hundred_thousand_brackets_are_refused_not_fatal() {
    let server = Server::example();
    let client = server.client();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    for body in [
        open.clone(),
        format!("{open}{close}"),
        format!(r#"{{"key":{open}{close}}}"#),
        format!(r#"[{{"key":"a"}},{open}{close}]"#),
        "{\"key\":".repeat(100_000),
    ] {
        for path in
            ["/v1/events/hit", "/v1/series/hits", "/v1/limits/hits", "/v1/limits", "/v1/buffers/projects"]
        {
            let detail = client.post(path, &body).problem(400);
            assert!(detail.contains("at most 32 levels"), "{detail}");
        }
    }
    nothing_was_counted(&client);
}

#[test]
fn bytes_that_are_not_http_do_not_end_the_server() {
    let server = Server::example();
    let client = server.client();
    let status = |bytes: &[u8]| client.raw(bytes).status;
    assert_eq!(status(b"nonsense\r\n\r\n"), 400);
    let many_headers = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n",
        "A: b\r\n".repeat(100)
    );
    assert_eq!(status(many_headers.as_bytes()), 431);
    let long_header = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nA: {}\r\n\r\n",
        "b".repeat(40_000)
    );
    assert_eq!(status(long_header.as_bytes()), 431);
    assert_eq!(client.get("/healthz").status, 200);
}
