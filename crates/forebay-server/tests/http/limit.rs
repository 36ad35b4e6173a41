use serde_json::json;

use crate::support::{Client, Server};

/// The example with limits whose windows do not end while a test runs.
fn server() -> Server {
    Server::with(|example| {
        example.replace("20/1m", "20/1d")
            + "\n[limits.bucket]\nrate = \"1/1h\"\nburst = 3\n[limits.small]\nrate = \"2/1d\"\n"
    })
}

#[test]
fn take_charges_and_peek_does_not() {
    let server = server();
    let client = server.client();
    let taken = client.post("/v1/limits/hits", r#"{"key":"k","cost":3}"#).expect(200);
    for (member, value) in [
        ("allowed", json!(true)),
        ("used", json!(3)),
        ("limit", json!(20)),
        ("remaining", json!(17)),
        ("retry_after", json!(null)),
        ("source", json!("engine")),
        ("degraded", json!(false)),
    ] {
        assert_eq!(taken[member], value, "{member} of {taken}");
    }
    let reset_after = taken["reset_after"].as_f64().expect("seconds");
    assert!(reset_after > 0.0 && reset_after <= 86_400.0, "{taken}");
    for _ in 0..2 {
        assert_eq!(client.get("/v1/limits/hits?key=k").expect(200)["used"], 3);
    }
}

#[test]
fn a_denial_is_a_problem_with_the_decision() {
    let server = server();
    let client = server.client();
    client.post("/v1/limits/bucket", r#"{"key":"k","cost":3}"#).expect(200);
    let answer = client.post("/v1/limits/bucket", r#"{"key":"k"}"#);
    answer.problem(429);
    let body = answer.json();
    let retry_after = body["retry_after"].as_f64().expect("seconds");
    assert!(retry_after > 3_500.0 && retry_after <= 3_600.0, "{body}");
    assert_eq!(answer.header("retry-after"), Some(format!("{}", retry_after.ceil()).as_str()));
    assert_eq!((&body["allowed"], &body["used"], &body["remaining"]), (&json!(false), &json!(3), &json!(0)));
    // A peek at a full limit succeeds, because it denies nothing.
    assert_eq!(client.get("/v1/limits/bucket?key=k").expect(200)["allowed"], false);
}

#[test]
fn refund_gives_back_and_reset_forgets() {
    let server = server();
    let client = server.client();
    client.post("/v1/limits/hits", r#"{"key":"k","cost":10}"#).expect(200);
    assert_eq!(client.post("/v1/limits/hits/refund", r#"{"key":"k","cost":4}"#).expect(200)["used"], 6);
    let reset = client.delete("/v1/limits/hits?key=k");
    assert_eq!((reset.status, reset.body.as_str()), (204, ""));
    assert_eq!(client.get("/v1/limits/hits?key=k").expect(200)["used"], 0);
}

#[test]
fn several_limits_are_charged_all_or_none() {
    let server = server();
    let client = server.client();
    let take = r#"{"take":[{"limit":"hits","key":"k","cost":5},{"limit":"small","key":"k"}]}"#;
    for used in [(5, 1), (10, 2)] {
        let decisions = client.post("/v1/limits", take).expect(200);
        assert_eq!(decisions["allowed"], true);
        assert_eq!(
            (&decisions["limits"][0]["used"], &decisions["limits"][1]["used"]),
            (&json!(used.0), &json!(used.1))
        );
    }
    let answer = client.post("/v1/limits", take);
    answer.problem(429);
    let body = answer.json();
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        (&body["allowed"], &body["limits"][0]["allowed"], &body["limits"][1]["allowed"]),
        (&json!(false), &json!(true), &json!(false))
    );
    assert_eq!(client.get("/v1/limits/hits?key=k").expect(200)["used"], 10);
}

#[test]
fn an_invalid_take_is_refused() {
    let server = server();
    let client = server.client();
    let cases = [
        ("/v1/limits/hits", r#"{"key":"k","cost":21}"#, 422, "a cost is 1 to 20"),
        (
            "/v1/limits/hits",
            r#"{"key":"k","cost":-1}"#,
            422,
            "cost: invalid value: integer `-1`, expected an integer from 0 to 2147483648",
        ),
        ("/v1/limits/hist", r#"{"key":"k"}"#, 404, "did you mean \"hits\"?"),
        ("/v1/limits/hits/refund", r#"{"key":"k","cost":21}"#, 422, "a cost is 1 to 20"),
        ("/v1/limits", r#"{"take":[]}"#, 422, "1 to 64 limits"),
        ("/v1/limits", r#"{"take":[{"limit":"hist","key":"k"}]}"#, 404, "did you mean \"hits\"?"),
        (
            "/v1/limits",
            r#"{"take":[{"limit":"hits","key":"k"},{"limit":"hits","key":"k"}]}"#,
            422,
            "named twice",
        ),
        ("/v1/limits", r#"{"take":[{"limit":"hits","kez":"k"}]}"#, 422, "take[0].kez: unknown field `kez`"),
    ];
    for (path, body, status, expected) in cases {
        let detail = client.post(path, body).problem(status);
        assert!(detail.contains(expected), "{path} {body}: {detail}");
    }
    assert_eq!(client.get("/v1/limits/hits?key=k").expect(200)["used"], 0);
}

#[test]
fn leases_are_granted_extended_and_released() {
    let server =
        Server::with(|example| example + "\n[limits.jobs]\nkind = \"concurrency\"\nmax = 1\nttl = \"1h\"\n");
    let client = server.client();
    let lent = client.post("/v1/limits/jobs/leases", r#"{"key":"k/ey"}"#).expect(201);
    assert_eq!((&lent["allowed"], &lent["used"], &lent["remaining"]), (&json!(true), &json!(1), &json!(0)));
    let seconds = |body: &serde_json::Value| body["expires_in"].as_f64().expect("seconds");
    assert!(seconds(&lent) > 3_500.0 && seconds(&lent) < 3_600.0, "{lent}");
    let denied = client.post("/v1/limits/jobs/leases", r#"{"key":"k/ey"}"#);
    assert!(denied.problem(429).contains("1 of 1 leases in use"));
    let first_end = denied.json()["first_end"].as_f64().expect("seconds");
    assert!(first_end > 3_500.0 && first_end <= 3_600.0, "{first_end}");
    assert_eq!(denied.json()["retry_after"], json!(null));

    let lease = format!("/v1/limits/jobs/leases/{}", lent["lease"].as_str().expect("a text"));
    assert!(seconds(&client.request("PUT", &lease, b"").expect(200)) > 3_500.0);
    assert_eq!(client.get("/v1/limits/jobs?key=k/ey").expect(200)["used"], 1);
    assert_eq!(client.delete(&lease).status, 204);
    assert!(client.delete(&lease).problem(409).contains("has expired"));
    client.request("PUT", &lease, b"").problem(409);
    client.post("/v1/limits/jobs/leases", r#"{"key":"k/ey"}"#).expect(201);

    assert!(
        client
            .request("PUT", "/v1/limits/jobs/leases/42", b"")
            .problem(404)
            .contains("not a lease of this limit")
    );
    let mixed_up = client.post("/v1/limits/jobs", r#"{"key":"k"}"#).problem(422);
    assert!(mixed_up.contains("it lends leases"), "{mixed_up}");
    client.post("/v1/limits/hits/leases", r#"{"key":"k"}"#).problem(422);
}

#[test]
fn an_override_by_a_request_survives_a_restart() {
    let mut server = server();
    let put =
        |client: &Client| client.request("PUT", "/v1/limits/small/overrides?key=k", br#"{"allow":"3/1d"}"#);
    put(&server.client()).expect(200);
    server.stop();
    server.start();
    let list = server.client().get("/v1/limits/small/overrides").expect(200);
    assert_eq!(list, json!([{"key": "k", "allow": "3/1d", "set_by": "request"}]));
    assert_eq!(server.client().get("/v1/limits/small?key=k").expect(200)["limit"], 3);
}

#[test]
fn keys_near_a_limit_are_listed_and_counted() {
    let server = server();
    let client = server.client();
    for (key, cost) in [("far", 15), ("near", 17), ("full", 20)] {
        client.post("/v1/limits/hits", json!({"key": key, "cost": cost}).to_string()).expect(200);
    }
    let one =
        |key: &str, used: u64, share: f64| json!({"key": key, "used": used, "limit": 20, "share": share});
    assert_eq!(
        client.get("/v1/limits/hits/near").expect(200),
        json!([one("full", 20, 1.0), one("near", 17, 0.85)])
    );
    assert_eq!(client.get("/v1/limits/hits/near?limit=1").expect(200), json!([one("full", 20, 1.0)]));
    client.get("/v1/limits/hits/near?limit=0").problem(422);
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("forebay_limit_near_keys{limit=\"hits\"} 2"), "{metrics}");
    assert!(metrics.contains("forebay_limit_near_keys{limit=\"small\"} 0"), "{metrics}");
}

#[test]
fn a_key_may_have_an_override() {
    let server = Server::with(|example| {
        example.replace("rate = \"20/1m\"", "rate = \"2/1d\"\noverrides = { \"vip\" = \"3/1d\" }")
    });
    let client = server.client();
    let take = |key: &str| client.post("/v1/limits/hits", format!(r#"{{"key":"{key}"}}"#)).status;
    assert_eq!([take("vip"), take("vip"), take("vip"), take("vip")], [200, 200, 200, 429]);
    assert_eq!([take("k"), take("k"), take("k")], [200, 200, 429]);
    let put = |key: &str, allow: &str| {
        let body = format!(r#"{{"allow":"{allow}"}}"#);
        client.request("PUT", &format!("/v1/limits/hits/overrides?key={key}"), body.as_bytes())
    };
    let raised = put("k", "5/1d").expect(200);
    assert_eq!((&raised["used"], &raised["limit"], &raised["remaining"]), (&json!(2), &json!(5), &json!(3)));
    assert_eq!(take("k"), 200);
    assert_eq!(put("k", "unlimited").expect(200)["source"], "definition");
    assert_eq!(put("k", "blocked").expect(200)["allowed"], false);
    let denied = client.post("/v1/limits/hits", r#"{"key":"k"}"#).problem(429);
    assert!(denied.contains("the key is blocked"), "{denied}");
    assert_eq!(client.delete("/v1/limits/hits/overrides?key=k").status, 204);
    assert_eq!(client.get("/v1/limits/hits?key=k").expect(200)["limit"], 2);
    put("k", "7/1d").expect(200);
    put("vip", "4/1d burst 5").problem(422);
    put("vip", "4/1d").expect(200);
    let list = |query: &str| client.get(&format!("/v1/limits/hits/overrides{query}")).expect(200);
    let one = |key: &str, allow: &str, by: &str| json!({"key": key, "allow": allow, "set_by": by});
    assert_eq!(list(""), json!([one("k", "7/1d", "request"), one("vip", "4/1d", "request")]));
    assert_eq!(list("?after=k&limit=1"), json!([one("vip", "4/1d", "request")]));
    assert_eq!(client.delete("/v1/limits/hits/overrides?key=vip").status, 204);
    assert_eq!(list("?after=k"), json!([one("vip", "3/1d", "configuration")]));
    client.get("/v1/limits/hits/overrides?limit=0").problem(422);
    assert!(put("k", "much").problem(422).contains("a rate such as"));
    put("k", "5").problem(422);
}

#[test]
fn a_shadow_says_what_it_would_have_denied() {
    let server =
        Server::with(|example| example.replace("rate = \"20/1m\"", "rate = \"1/1d\"\nshadow = true"));
    let client = server.client();
    for shadowed in [false, true] {
        let taken = client.post("/v1/limits/hits", r#"{"key":"k"}"#).expect(200);
        assert_eq!((&taken["allowed"], &taken["shadowed"]), (&json!(true), &json!(shadowed)));
    }
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("forebay_limit_shadowed_total{limit=\"hits\"} 1"), "{metrics}");
}

#[test]
fn a_reservation_is_settled_once_at_its_real_cost() {
    let server = server();
    let client = server.client();
    let reserve = |cost: u64| {
        client.post("/v1/limits/hits/reservations", format!(r#"{{"key":"k","cost":{cost},"ttl":"5m"}}"#))
    };
    let path = |body: &serde_json::Value, verb: &str| {
        let id = body["reservation"].as_str().expect("a text");
        format!("/v1/limits/hits/reservations/{id}/{verb}")
    };
    let (one, two) = (reserve(8).expect(201), reserve(8).expect(201));
    assert_eq!((&two["used"], &two["allowed"]), (&json!(16), &json!(true)));
    reserve(5).problem(429);
    assert_eq!(client.post(&path(&one, "commit"), r#"{"cost":3}"#).expect(200)["used"], 11);
    client.post(&path(&one, "commit"), r#"{"cost":3}"#).problem(409);
    assert_eq!(client.post(&path(&two, "release"), "").expect(200)["used"], 3);
    client.post(&path(&two, "release"), "").problem(409);
    let three = reserve(1).expect(201);
    assert_eq!(client.post(&path(&three, "commit"), r#"{"cost":100}"#).expect(200)["used"], 103);
    client.post("/v1/limits/hits/reservations/42/release", "").problem(404);
    let late = client.post("/v1/limits/hits/reservations", r#"{"key":"k","ttl":"1ms"}"#).problem(422);
    assert!(late.contains("1 s to 24 h"), "{late}");
}

#[test]
fn headers_name_the_policies_and_the_remaining_quota() {
    let server = server();
    let client = server.client();
    let taken =
        client.post("/v1/limits", r#"{"take":[{"limit":"hits","key":"k"},{"limit":"small","key":"k"}]}"#);
    assert_eq!(taken.status, 200);
    assert_eq!(taken.header("ratelimit-policy"), Some(r#""hits";q=20;w=86400, "small";q=2;w=86400"#));
    let told = taken.header("ratelimit").expect("told");
    assert!(told.starts_with(r#""hits";r=19;t="#) && told.contains(r#", "small";r=1;t="#), "{told}");
    assert_eq!(taken.header("x-ratelimit-limit"), Some("2"), "the tighter of the two");
    assert_eq!(taken.header("x-ratelimit-remaining"), Some("1"));

    let bucket = || client.post("/v1/limits/bucket", r#"{"key":"k","cost":3}"#);
    assert_eq!(bucket().header("ratelimit-policy"), Some(r#""bucket";q=3;w=10800"#));
    let denied = bucket();
    assert_eq!(denied.status, 429);
    assert_eq!(denied.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(denied.header("retry-after"), denied.header("x-ratelimit-reset"));
}

#[test]
fn the_keys_that_are_denied_most_are_listed() {
    let server = server();
    let client = server.client();
    for (key, takes) in [("often", 6), ("seldom", 3), ("never", 2)] {
        for _ in 0..takes {
            client.post("/v1/limits/small", format!(r#"{{"key":"{key}"}}"#));
        }
    }
    let top = client.get("/v1/limits/small/top").expect(200);
    let denied = |key: &str, denied: u64| json!({"key": key, "denied": denied, "error": 0});
    assert_eq!(top, json!([denied("often", 4), denied("seldom", 1)]));
    assert_eq!(client.get("/v1/limits/small/top?limit=1").expect(200), json!([denied("often", 4)]));
    client.get("/v1/limits/small/top?limit=0").problem(422);
}

/// With a time to retry, a polite client would come back each second for ever.
#[test]
fn a_blocked_key_gets_no_retry_after() {
    let server = Server::with(|example| {
        example.replace("20/1m", "20/1d")
            + "\n[limits.none]\nrate = \"blocked\"\n[limits.all]\nrate = \"unlimited\"\n"
            + "[limits.jobs]\nkind = \"concurrency\"\nmax = 1\nttl = \"1h\"\noverrides = { b = \"blocked\" }\n"
    });
    let client = server.client();
    client.request("PUT", "/v1/limits/hits/overrides?key=k", br#"{"allow":"blocked"}"#).expect(200);
    let take = r#"{"take":[{"limit":"hits","key":"full"},{"limit":"none","key":"k"}]}"#;
    client.post("/v1/limits/hits", r#"{"key":"full","cost":20}"#).expect(200);
    for (path, body) in [
        ("/v1/limits/none", r#"{"key":"k"}"#),
        ("/v1/limits/hits", r#"{"key":"k"}"#),
        ("/v1/limits", take),
        ("/v1/limits/jobs/leases", r#"{"key":"b"}"#),
        ("/v1/events/hit", r#"{"key":"k"}"#),
    ] {
        let answer = client.post(path, body);
        assert!(answer.problem(429).contains("the key is blocked"), "{path}: {}", answer.body);
        assert_eq!(answer.header("retry-after"), None, "{path}");
        assert_eq!(answer.header("x-ratelimit-reset"), None, "{path}");
        if path != "/v1/limits" {
            assert_eq!(
                (&answer.json()["retry_after"], &answer.json()["limit"]),
                (&json!(null), &json!(0)),
                "{path}"
            );
        }
    }
    let live = client.raw(b"GET /v1/live?lines=1 HTTP/1.0\r\nHost: localhost\r\n\r\n").body;
    let live: serde_json::Value = serde_json::from_str(live.lines().next().expect("a line")).expect("JSON");
    let declared = |name: &str| {
        [live["declared"]["limits"][name]["quota"].clone(), live["declared"]["limits"][name]["per"].clone()]
    };
    assert_eq!(declared("none"), [json!(0), json!(null)]);
    assert_eq!(declared("all"), [json!(null), json!(null)]);
}

#[test]
fn reset_after_is_zero_where_nothing_is_used() {
    let server = Server::with(|example| {
        let of = |name: &str, kind: &str| format!("\n[limits.{name}]\nrate = \"5/1h\"\nkind = \"{kind}\"\n");
        example
            + &of("window", "fixed-window")
            + &of("sliding", "sliding-window")
            + &of("bucket", "token-bucket")
            + "\n[limits.jobs]\nkind = \"concurrency\"\nmax = 2\nttl = \"1h\"\n"
    });
    let client = server.client();
    for limit in ["window", "sliding", "bucket", "jobs"] {
        let path = format!("/v1/limits/{limit}?key=k");
        let reset_after = || client.get(&path).expect(200)["reset_after"].as_f64().expect("seconds");
        assert!(reset_after().abs() < f64::EPSILON, "{limit}");
        let take =
            if limit == "jobs" { "/v1/limits/jobs/leases".into() } else { format!("/v1/limits/{limit}") };
        assert!([200, 201].contains(&client.post(&take, r#"{"key":"k"}"#).status));
        assert!(reset_after() > 0.0, "{limit}");
    }
}

#[test]
fn a_reset_reports_the_outstanding_part() {
    let server =
        Server::with(|example| example + "\n[limits.jobs]\nkind = \"concurrency\"\nmax = 3\nttl = \"1h\"\n");
    let client = server.client();
    assert_eq!(client.delete("/v1/limits/jobs?key=k").status, 204);
    for _ in 0..2 {
        client.post("/v1/limits/jobs/leases", r#"{"key":"k"}"#).expect(201);
    }
    let left = client.delete("/v1/limits/jobs?key=k").expect(200);
    assert_eq!(left["outstanding"], 2);
    let until: forebay::Timestamp = left["until"].as_str().expect("a time").parse().expect("RFC 3339");
    assert!(until > forebay::Clock::system().now(), "{left}");
    assert_eq!(client.get("/v1/limits/jobs?key=k").expect(200)["used"], 2, "they stand");
}
