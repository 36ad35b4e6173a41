//! The same on Redis, and while it is down.

use forebay_testkit::{Redis, wait_until, without};

use super::*;

#[test]
fn a_shared_store_has_the_same_answers_and_an_outage_is_503() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let server = crate::redis::on(&format!("store = {:?}", redis.url()));
    let client = server.client();
    // The clock is that of Redis. Buckets of a minute ago have ended.
    for key in ["a", "b", "other"] {
        let ago =
            client.get("/v1/series/hits/sum?key=a").expect(200)["to"].as_str().expect("a time").to_owned();
        let at = ago.parse::<Timestamp>().expect("a time").minus(std::time::Duration::from_secs(400));
        let body = json!({"key": key, "n": 5, "at": at.to_string()}).to_string();
        client.post("/v1/series/hits", body).expect(202);
    }
    let ask = |query: &str| client.get(&format!("/api/v1/query?query={}", encoded(query)));
    let sums = vector(&ask("sum_over_time(hits[30m])"));
    assert_eq!(sums, ["a", "b", "other"].map(|key| (key.to_owned(), "5".to_owned())));
    assert_eq!(
        vector(&ask("sum(sum_over_time(hits{key=~\"a|b\"}[30m]))")),
        [(String::new(), "10".to_owned())]
    );
    let keys = client.get("/api/v1/label/key/values").expect(200);
    assert_eq!(keys["data"], json!(["a", "b", "other"]));

    redis.kill();
    for path in
        ["query?query=hits", "query?query=hits%7Bkey%3D%22a%22%7D", "label/key/values", "series?match[]=hits"]
    {
        refusal(&client.get(&format!("/api/v1/{path}")), 503, "unavailable");
    }
    assert_eq!(client.get("/api/v1/labels").status, 200);
    // The server flushes when it stops.
    redis.restart();
    wait_until("the server to find it again", || client.get("/readyz").status == 200);
}
