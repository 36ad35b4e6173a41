//! Commands on plain keys.

use forebay_testkit::{Reply, wait_until, without};
use serde_json::{Value, json};

use crate::{
    cluster::{health, three},
    support::{Client, Server},
};

fn run(client: &Client, commands: &Value) -> Value {
    client.post("/v1/map", json!({ "commands": commands }).to_string()).expect(200)
}

fn column(answers: &Value, name: &str) -> Vec<Value> {
    answers["answers"].as_array().expect("answers").iter().map(|answer| answer[name].clone()).collect()
}

#[test]
fn each_command_has_its_own_answer_in_order() {
    let server = Server::example();
    let client = server.client();
    let answers = run(
        &client,
        &json!([
            { "op": "incr", "key": "n" }, { "op": "incr", "key": "n" }, { "op": "incr", "key": "n", "by": -5 },
            { "op": "set", "key": "text", "value": "näme" }, { "op": "incr", "key": "text" },
            { "op": "get", "key": "text" }, { "op": "get", "key": "none" }, { "op": "set", "key": 7, "value": 8 },
            { "op": "get", "key": "7" }, { "op": "expire", "key": "n", "ttl": "1d" }, { "op": "del", "key": "n" },
            { "op": "del", "key": "n" }, { "op": "raw", "key": "n", "name": "STRLEN" },
        ]),
    );
    assert_eq!(
        column(&answers, "value"),
        json!([1, 2, -3, null, null, "näme", null, null, "8", true, true, false, null])
            .as_array()
            .expect("a list")[..]
    );
    let status = column(&answers, "status");
    assert_eq!(
        (&status[4], &status[12], &answers["failed"]),
        (&json!("rejected"), &json!("not-sent"), &json!(2))
    );
    assert_eq!(status.iter().filter(|status| **status == "ok").count(), 11);
    let refused = &answers["answers"][4];
    assert_eq!((&refused["retry"], &refused["host"]), (&json!("never"), &json!("embedded")));
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("no integer")), "{refused}");
}

#[test]
fn what_is_invalid_is_named_and_nothing_is_sent() {
    let server = Server::example();
    let client = server.client();
    let good = json!({ "op": "incr", "key": "sent" });
    let refuse = |bad: Value, field: &str| {
        let problem = client.post("/v1/map", json!({ "commands": [good, bad] }).to_string()).problem(422);
        assert!(problem.contains(field), "{problem}");
    };
    refuse(json!({ "op": "get", "key": "forebay:window:hits:60s:{42}" }), "commands[1].key");
    refuse(json!({ "op": "expire", "key": "k", "ttl": "40000d" }), "commands[1].ttl");
    refuse(json!({ "op": "get", "key": "" }), "commands[1]");
    refuse(json!({ "op": "get", "key": "k", "value": "v" }), "commands[1]");
    refuse(json!({ "op": "flush", "key": "k" }), "commands[1]");
    for name in "CONFIG FLUSHALL SHUTDOWN DEL MGET BLPOP SUBSCRIBE MULTI EVAL EVALSHA FCALL RENAME COPY SORT MIGRATE KEYS \
                 SCAN OBJECT DEBUG GEORADIUS XREAD SELECT AUTH ACL SINTERSTORE PFMERGE"
        .split(' ')
    {
        refuse(json!({ "op": "raw", "key": "k", "name": name, "args": ["x"] }), "commands[1].name");
    }
    for body in [
        json!({ "commands": [] }),
        json!({ "commands": [good], "deadline": "11s" }),
        json!({ "commands": [good], "more": 1 }),
        json!({ "commands": vec![&good; 10_001] }),
    ] {
        client.post("/v1/map", body.to_string()).problem(422);
    }
    // Another prefix that only begins alike is the caller's.
    let answers =
        run(&client, &json!([{ "op": "get", "key": "sent" }, { "op": "get", "key": "forebay2:x" }]));
    assert_eq!((column(&answers, "value"), &answers["failed"]), (vec![Value::Null; 2], &json!(0)));
}

#[test]
fn only_a_token_with_the_scope_map_may() {
    let server = Server::with(|example| {
        example
            + "\n[[tokens]]\nname = \"app\"\ntoken = \"m4p\"\nscopes = [\"map\"]\n\
               [[tokens]]\nname = \"rest\"\ntoken = \"r3st\"\nscopes = [\"read\", \"write\", \"admin\"]\n"
    });
    let client = server.client();
    let bearer = |token: &str| client.header("Authorization", &format!("Bearer {token}"));
    let body = json!({ "commands": [{ "op": "incr", "key": "k" }] }).to_string();
    bearer("r3st").post("/v1/map", body.clone()).problem(403);
    assert_eq!(bearer("m4p").post("/v1/map", body).expect(200)["answers"][0]["value"], 1);
    bearer("m4p").get("/v1/cluster").problem(403);
}

#[test]
fn keys_are_on_their_hosts_and_a_dead_host_costs_its_own() {
    if without("redis") {
        return;
    }
    let (redis, server) = three();
    let client = server.client();
    let commands: Value = (0..60)
        .map(|i| json!({ "op": "raw", "key": format!("h{i}"), "name": "hset", "args": ["field", i] }))
        .collect();
    let answers = run(&client, &commands);
    assert_eq!(column(&answers, "value"), vec![json!(1); 60]);
    for (i, host) in column(&answers, "host").iter().enumerate() {
        let number = ["a", "b", "c"].iter().position(|name| host == name).expect("one of them");
        assert_eq!(redis[number].command(["HGET", &format!("h{i}"), "field"]), Reply::text(i.to_string()));
    }
    let odd =
        run(&client, &json!([{ "op": "raw", "key": "h1", "name": "HGETALL" }, { "op": "get", "key": "h1" }]));
    assert_eq!(odd["answers"][0]["value"], json!({ "field": "1" }));
    assert_eq!((&odd["answers"][1]["status"], &odd["failed"]), (&json!("rejected"), &json!(1)));

    redis[1].kill();
    let reads: Value = (0..60)
        .map(|i| json!({ "op": "raw", "key": format!("h{i}"), "name": "HGET", "args": ["field"] }))
        .collect();
    let answers = run(&client, &reads);
    let mut failed = 0;
    for (i, answer) in answers["answers"].as_array().expect("answers").iter().enumerate() {
        if answer["host"] == "b" {
            failed += 1;
            let status = answer["status"].as_str().expect("a word");
            assert!(["not-sent", "maybe-executed"].contains(&status), "{answer}");
        } else {
            assert_eq!((&answer["status"], &answer["value"]), (&json!("ok"), &json!(i.to_string())));
        }
    }
    assert!(failed > 5 && answers["failed"] == failed, "{answers}");
    redis[1].restart();
    wait_until("the host to be found again", || health(&client) == ["up"; 3]);
}
