use serde_json::json;

use crate::support::{Client, Server};

const TOKENS: &str = "\n[[tokens]]\nname = \"look\"\ntoken = \"r3ad\"\nscopes = [\"read\"]\n\
    [[tokens]]\nname = \"ingest\"\ntoken = \"wr1te\"\nscopes = [\"write\"]\n\
    [[tokens]]\nname = \"operate\"\ntoken = \"adm1n\"\nscopes = [\"admin\"]\n\
    [[tokens]]\nname = \"app\"\ntoken = \"m4p\"\nscopes = [\"map\"]\n";

/// Every operation of the OpenAPI document, with the scope it names.
fn operations(client: &Client) -> Vec<(String, String, Option<String>)> {
    let document = client.get("/openapi.json").expect(200);
    let mut operations = vec![];
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let scope = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            operations.push((method.to_uppercase(), path.clone(), scope));
        }
    }
    assert!(operations.len() > 15, "{operations:?}");
    operations
}

#[test]
fn each_operation_asks_for_the_scope_that_it_documents() {
    let server = Server::with(|example| example + TOKENS);
    let client = server.client();
    let bearer = |token: &str| client.header("Authorization", &format!("Bearer {token}"));
    for (method, path, scope) in operations(&client) {
        let path = path.replace("{event}", "hit").replace("{buffer}", "projects");
        let path = path.replace("{limit}", "hits").replace("{series}", "hits");
        // Without a number of lines the stream would not end.
        let path = path.replace("/v1/live", "/v1/live?lines=1");
        let anonymous = client.request(&method, &path, b"{}");
        let Some(scope) = scope else {
            assert!(anonymous.status < 400, "{method} {path} is open: {}", anonymous.body);
            continue;
        };
        anonymous.problem(401);
        assert!(anonymous.header("www-authenticate").is_some_and(|value| value.starts_with("bearer")));
        bearer("n0body").request(&method, &path, b"{}").problem(401);
        for (token, its) in [("r3ad", "read"), ("wr1te", "write"), ("adm1n", "admin"), ("m4p", "map")] {
            let answer = bearer(token).request(&method, &path, b"{}");
            assert_eq!(answer.status == 403, its != scope, "{method} {path} with {its}: {}", answer.body);
            assert_ne!(answer.status, 401, "{method} {path}");
        }
    }
}

#[test]
fn with_tokens_any_host_may_be_named() {
    let server = Server::with(|example| example + TOKENS);
    let client = server.client().header("Host", "forebay.example.com");
    assert_eq!(client.get("/healthz").status, 200);
    client.get("/metrics").problem(401);
}

#[test]
fn without_tokens_the_host_must_be_this_machine() {
    let server = Server::example();
    for good in ["localhost", "localhost:7070", "127.0.0.1:1", "[::1]:7070"] {
        assert_eq!(server.client().header("Host", good).get("/healthz").status, 200, "{good}");
    }
    for bad in ["evil.example.com", "evil.example.com:7070", "127.0.0.1.evil.example.com", ""] {
        server.client().header("Host", bad).get("/healthz").problem(403);
    }
    let without = server.client().raw(b"GET /healthz HTTP/1.0\r\n\r\n");
    without.problem(403);
}

#[test]
fn pages_of_another_origin_are_refused_always() {
    for server in [Server::example(), Server::with(|example| example + TOKENS)] {
        let client = server.client().header("Host", "localhost:7070").header("Authorization", "Bearer wr1te");
        for foreign in [
            "https://evil.example.com",
            "http://localhost:7071",
            "null",
            "http://localhost:7070.evil.example.com",
        ] {
            client.header("Origin", foreign).post("/v1/events/hit", r#"{"key":"a"}"#).problem(403);
        }
        client.header("Origin", "http://localhost:7070").post("/v1/events/hit", r#"{"key":"a"}"#).expect(202);
    }
}

/// The host and origin that a proxy has checked must be the ones that this server reads.
#[test]
fn a_second_host_or_origin_and_the_url_of_another_host_are_refused() {
    for (server, foreign) in [(Server::example(), 403), (Server::with(|example| example + TOKENS), 400)] {
        let client = server.client();
        let status = |target: &str, headers: &str| {
            let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
            client.raw(request.as_bytes()).status
        };
        assert_eq!(status("/healthz", "Host: localhost\r\n"), 200);
        for second in ["localhost", "evil.example.com", ""] {
            assert_eq!(
                status("/healthz", &format!("Host: localhost\r\nHost: {second}\r\n")),
                400,
                "{second:?}"
            );
            assert_eq!(
                status("/healthz", &format!("Host: {second}\r\nhost: localhost\r\n")),
                400,
                "{second:?}"
            );
        }
        for second in ["http://localhost", "https://evil.example.com", "null", ""] {
            let headers = format!("Host: localhost\r\nOrigin: http://localhost\r\nOrigin: {second}\r\n");
            assert_eq!(status("/healthz", &headers), 400, "{second:?}");
        }
        assert_eq!(status("http://localhost/healthz", "Host: localhost\r\n"), 200);
        assert_eq!(status("http://LOCALHOST:7070/healthz", "Host: localhost:7070\r\n"), 200);
        for target in [
            "http://evil.example.com/healthz",
            "https://evil.example.com/healthz",
            "http://localhost.evil.example.com/healthz",
            "http://localhost@evil.example.com/healthz",
            "http://localhost:7071/healthz",
        ] {
            let status = status(target, "Host: localhost\r\n");
            assert!(status == foreign || status == 400, "{target}: {status}");
        }
        // The host is the same in both places but not this machine. Without tokens the usual rule applies.
        let both = status("http://evil.example.com/healthz", "Host: evil.example.com\r\n");
        assert_eq!(both, if foreign == 403 { 403 } else { 200 });
    }
}

/// Any caller learns that something is wrong, and its kind. Names and addresses are for callers with the scope `read`.
#[test]
fn without_a_token_readyz_tells_codes_and_no_names() {
    if forebay_testkit::without("redis") {
        return;
    }
    let redis = forebay_testkit::Redis::builder().append_only().start();
    let store = format!("store = {:?}", redis.url());
    let line = |line: &str| if line.starts_with("store = ") { store.clone() } else { line.to_owned() };
    let server = Server::with(|example| example.lines().map(line).collect::<Vec<_>>().join("\n") + TOKENS);
    let client = server.client();
    let bearer = |token: &str| client.header("Authorization", &format!("Bearer {token}"));
    let ready = |client: &Client| client.get("/readyz").json();
    bearer("adm1n").post("/v1/buffers/projects/pause", "").expect(200);
    let strangers = [client.clone(), bearer("wr1te"), bearer("adm1n"), bearer("n0body")];
    for stranger in &strangers {
        let body = ready(stranger);
        assert_eq!(body, json!({"store": "ok", "database": "ok", "warnings": ["buffer-paused"]}));
    }
    let told = ready(&bearer("r3ad"));
    assert!(
        told["warnings"][0].as_str().is_some_and(|text| text.contains("buffer projects is paused")),
        "{told}"
    );

    redis.kill();
    forebay_testkit::wait_until("/readyz to notice", || client.get("/readyz").status == 503);
    for stranger in &strangers {
        let answer = stranger.get("/readyz");
        answer.problem(503);
        let body = answer.json();
        let code = body["store"].as_str().expect("a code");
        assert!(["unavailable", "timeout", "overloaded", "ambiguous"].contains(&code), "{body}");
        for secret in [&redis.port().to_string(), "127.0.0.1", "projects", "redis"] {
            assert!(!answer.body.contains(secret), "{secret}: {}", answer.body);
        }
    }
    let told = ready(&bearer("r3ad"));
    assert!(told["store"].as_str().is_some_and(|text| text.contains(' ')), "{told}");
    redis.restart();
    forebay_testkit::wait_until("/readyz to recover", || client.get("/readyz").status == 200);
    bearer("adm1n").post("/v1/buffers/projects/resume", "").expect(200);
}
