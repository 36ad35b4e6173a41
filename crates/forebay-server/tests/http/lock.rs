use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use forebay_testkit::wait_until;
use serde_json::{Value, json};

use crate::support::{Client, Server};

fn state(client: &Client) -> Value {
    client.get("/v1/locks/report").expect(200)
}

fn waiters(client: &Client, n: u64) {
    wait_until("the waiters to queue", || state(client)["waiters"] == n);
}

#[test]
fn a_lock_is_acquired_renewed_and_released() {
    let server = Server::example();
    let client = server.client();
    assert_eq!(
        state(&client),
        json!({"holder": null, "age": null, "fence": null, "remaining": null, "waiters": 0})
    );
    let lease = client.post("/v1/locks/report", "{}").expect(201);
    let (token, fence) = (lease["token"].as_str().expect("a token"), &lease["fence"]);
    let expires_in = lease["expires_in"].as_f64().expect("seconds");
    assert!(expires_in > 9.8 && expires_in < 10.0, "{lease}");
    assert!(lease["waited"].as_f64().is_some_and(|waited| waited < 5.0), "{lease}");

    let held = client.post("/v1/locks/report", r#"{"ttl":"30s"}"#);
    let detail = held.problem(409);
    let holder = held.json()["holder"].as_str().expect("a holder").to_owned();
    assert_eq!(detail, format!("the lock \"report\" is held by {holder}"));
    assert!(!token.contains(&holder), "who asks must not get the token");
    assert_eq!(held.json()["ahead"], 0);

    let seen = state(&client);
    assert_eq!((&seen["holder"], &seen["fence"], &seen["waiters"]), (&json!(holder), fence, &json!(0)));
    assert!(seen["age"].is_number() && seen["remaining"].as_f64().is_some_and(|left| left <= 10.0), "{seen}");

    let body = json!({"token": token}).to_string();
    let renewed = client.post("/v1/locks/report/renew", &body).expect(200);
    assert_eq!(renewed, json!({"expires_in": expires_in}));
    let longer = json!({"token": token, "ttl": "1h"}).to_string();
    let renewed = client.post("/v1/locks/report/renew", &longer).expect(200);
    assert!(renewed["expires_in"].as_f64().is_some_and(|left| left > 3_500.0), "{renewed}");
    client.post("/v1/locks/report/release", &body).expect(204);
    client.post("/v1/locks/report/release", &body).problem(409);
    let detail = client.post("/v1/locks/report/renew", &body).problem(409);
    assert_eq!(detail, "the token does not hold the lock \"report\"");

    let next = client.post("/v1/locks/report", r#"{"ttl":"100ms","wait":"0s"}"#).expect(201);
    assert!(next["fence"].as_u64() > fence.as_u64(), "{next} after {fence}");
    wait_until("the lease to run out", || state(&client)["holder"].is_null());
}

#[test]
fn a_waiter_is_answered_when_the_lock_is_released() {
    let server = Server::example();
    let client = server.client();
    let lease = client.post("/v1/locks/report", r#"{"ttl":"10m"}"#).expect(201);
    let waiter = std::thread::spawn({
        let client = client.clone();
        move || client.post("/v1/locks/report", r#"{"wait":"60s"}"#).expect(201)
    });
    waiters(&client, 1);
    client.post("/v1/locks/report/release", json!({"token": lease["token"]}).to_string()).expect(204);
    let next = waiter.join().expect("no panic");
    assert!(next["fence"].as_u64() > lease["fence"].as_u64());

    let held = client.post("/v1/locks/report", r#"{"wait":"200ms"}"#);
    assert!(held.problem(409).contains("is still held by"), "{held:?}");
    assert_eq!(state(&client)["waiters"], 0);

    let forced = client.post("/v1/locks/report/force-release", "").expect(200);
    assert_eq!(forced, json!({"released": true}));
    assert_eq!(client.post("/v1/locks/report/force-release", "").expect(200), json!({"released": false}));
    client.post("/v1/locks/report/renew", json!({"token": next["token"]}).to_string()).problem(409);
}

#[test]
fn a_caller_who_hangs_up_leaves_the_queue() {
    let server = Server::example();
    let client = server.client();
    let lease = client.post("/v1/locks/report", r#"{"ttl":"10m"}"#).expect(201);
    for how in [Some(Shutdown::Both), Some(Shutdown::Write), None] {
        let mut stream = client.connect();
        let body = r#"{"wait":"60s"}"#;
        let head =
            format!("POST /v1/locks/report HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("a request");
        waiters(&client, 1);
        match how {
            Some(how) => stream.shutdown(how).expect("it hangs up"),
            None => drop(stream),
        }
        waiters(&client, 0);
    }
    client.post("/v1/locks/report/release", json!({"token": lease["token"]}).to_string()).expect(204);
    assert_eq!(state(&client)["holder"], Value::Null, "nobody is left to be granted it");
}

#[test]
fn waiters_are_served_in_order() {
    let server = Server::example();
    let client = server.client();
    let lease = client.post("/v1/locks/report", r#"{"ttl":"10m"}"#).expect(201);
    let queue: Vec<_> = (1..=5)
        .map(|n| {
            let other = client.clone();
            let waiter = std::thread::spawn(move || {
                let lease = other.post("/v1/locks/report", r#"{"wait":"60s"}"#).expect(201);
                other
                    .post("/v1/locks/report/release", json!({"token": lease["token"]}).to_string())
                    .expect(204);
                lease["fence"].as_u64().expect("a fence")
            });
            waiters(&client, n);
            waiter
        })
        .collect();
    client.post("/v1/locks/report/release", json!({"token": lease["token"]}).to_string()).expect(204);
    let fences: Vec<u64> = queue.into_iter().map(|waiter| waiter.join().expect("no panic")).collect();
    assert!(fences.is_sorted_by(|one, two| one < two), "{fences:?}");
}

#[test]
fn bad_requests_name_the_field_and_the_range() {
    let server = Server::example();
    let client = server.client();
    let long = "x".repeat(513);
    let short = json!({"token": "018f0000-0000-7000-8000-000000000000", "ttl": "99ms"}).to_string();
    for (path, body, words) in [
        ("/v1/locks/report", r#"{"ttl":"99ms"}"#, "100ms to 24h"),
        ("/v1/locks/report", r#"{"ttl":"25h"}"#, "100ms to 24h"),
        ("/v1/locks/report", r#"{"ttl":"10"}"#, "ttl"),
        ("/v1/locks/report", r#"{"ttl":10}"#, "ttl"),
        ("/v1/locks/report", r#"{"wait":"61s"}"#, "60s"),
        ("/v1/locks/report", r#"{"tll":"10s"}"#, "tll"),
        ("/v1/locks/report/renew", r#"{"token":"42"}"#, "token"),
        ("/v1/locks/report/renew", "{}", "token"),
        ("/v1/locks/report/renew", &short, "100ms to 24h"),
        ("/v1/locks/report/release", r#"{"token":42}"#, "token"),
        (&format!("/v1/locks/{long}"), "{}", "1 to 512 bytes"),
    ] {
        let detail = client.post(path, body).problem(422);
        assert!(detail.contains(words), "{path} {body}: {detail}");
    }
    client.post("/v1/locks/report", "[").problem(400);
    assert_eq!(state(&client)["holder"], Value::Null);
}

#[test]
fn a_name_may_be_any_text() {
    let server = Server::example();
    let client = server.client();
    for name in ["%2F", "a%2Fb%20c", "%7B%7D", "%E6%97%A5", "..%2F..", "%00", "a%0Ab"] {
        client.post(&format!("/v1/locks/{name}"), "{}").expect(201);
        client.post(&format!("/v1/locks/{name}"), "{}").problem(409);
    }
}

#[test]
fn a_wait_does_not_hold_up_the_end_of_the_server() {
    let mut server = Server::example();
    let client = server.client();
    client.post("/v1/locks/report", r#"{"ttl":"10m"}"#).expect(201);
    let waiter = std::thread::spawn({
        let client = client.clone();
        move || {
            let mut stream = client.connect();
            stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
            let body = r#"{"wait":"60s"}"#;
            let head = format!(
                "POST /v1/locks/report HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}",
                body.len()
            );
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("a request");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        }
    });
    waiters(&client, 1);
    let clock = forebay::Clock::system();
    let begun = clock.monotonic();
    server.stop();
    // This is less than the grace period of requests under way.
    assert!(clock.monotonic().saturating_sub(begun) < Duration::from_secs(8));
    let answer = waiter.join().expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("shutting-down"), "{answer}");
}
