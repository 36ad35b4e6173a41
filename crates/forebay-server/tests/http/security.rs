use crate::support::{Client, Server};

const TOKENS: &str = "\n[[tokens]]\nname = \"look\"\ntoken = \"r3ad\"\nscopes = [\"read\"]\n\
    [[tokens]]\nname = \"ingest\"\ntoken = \"wr1te\"\nscopes = [\"write\"]\n\
    [[tokens]]\nname = \"operate\"\ntoken = \"adm1n\"\nscopes = [\"admin\"]\n";

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
        // It would not end by itself.
        let path = path.replace("/v1/live", "/v1/live?lines=1");
        let anonymous = client.request(&method, &path, b"{}");
        let Some(scope) = scope else {
            assert!(anonymous.status < 400, "{method} {path} is open: {}", anonymous.body);
            continue;
        };
        anonymous.problem(401);
        assert!(anonymous.header("www-authenticate").is_some_and(|value| value.starts_with("bearer")));
        bearer("n0body").request(&method, &path, b"{}").problem(401);
        for (token, its) in [("r3ad", "read"), ("wr1te", "write"), ("adm1n", "admin")] {
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
