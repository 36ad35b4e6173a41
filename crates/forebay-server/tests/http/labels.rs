//! Labels of series: counted, filtered, grouped, listed and exported.

use forebay_testkit::wait_until;
use serde_json::{Value, json};

use crate::{
    series_export::unchunked,
    support::{Client, Server},
};

const SERIES: &str = "\n[series.requests]\nresolutions = [\"15m/30y\"]\nlabels = [\"endpoint\", \"status\"]\n\
    [series.statuses]\nlabels = [\"status\"]\n\
    [events.request]\nlimits = [\"few\"]\nseries = [\"requests\", \"hits\", \"statuses\"]\n[limits.few]\nrate = \"3/1d\"\n";

/// Six points, as a batch.
fn server() -> Server {
    let server = Server::with(|config| config + SERIES);
    let points: Vec<Value> = [
        ("/cart", "200", 5, "00:10"),
        ("/cart", "500", 1, "00:20"),
        ("/checkout", "200", 7, "01:10"),
        ("/checkout", "500", 2, "01:20"),
        ("/checkout", "503", 3, "03:10"),
        ("/a|b", "", 4, "02:10"),
    ]
    .map(|(endpoint, status, n, time)| {
        let at = format!("2026-01-01T{time}:00Z");
        json!({"labels": {"status": status, "endpoint": endpoint}, "n": n, "at": at})
    })
    .into();
    let answer = server.client().post("/v1/series/requests", Value::from(points).to_string()).expect(202);
    assert_eq!((&answer["accepted"], &answer["invalid"]), (&json!(6), &json!(0)), "{answer}");
    server
}

/// Four hours by the hour.
fn ask(client: &Client, rest: &str) -> Value {
    let path = "/v1/series/requests?from=2026-01-01T00:00:00Z&to=2026-01-01T04:00:00Z&step=1h&";
    client.get(&format!("{path}{rest}")).expect(200)
}

#[test]
fn points_have_a_key_or_labels() {
    let server = server();
    let client = server.client();
    client.post("/v1/series/requests", r#"{"labels":{"endpoint":"/now","status":404},"n":2}"#).expect(202);
    client.post("/v1/series/requests", r#"{"key":"/now|404"}"#).expect(202);
    let keyed = client.header("Idempotency-Key", "k1");
    for _ in 0..2 {
        keyed.post("/v1/series/requests", r#"{"labels":{"endpoint":"/now","status":"404"}}"#).expect(202);
    }
    assert_eq!(client.get("/v1/series/requests/sum?key=/now%7C404&from=-1h").expect(200)["sum"], json!(4));
    for (series, body, field, told) in [
        ("requests", r#"{"labels":{"method":"GET"}}"#, "labels", "the labels are: endpoint, status"),
        ("requests", r#"{"labels":{"status":"1","status":"2"}}"#, "labels", "\"status\" is there twice"),
        ("requests", r#"{"labels":{}}"#, "labels", "all labels are empty"),
        ("requests", r#"{"labels":{"status":""}}"#, "labels", "all labels are empty"),
        ("requests", r#"{"labels":{"status":null}}"#, "labels", "a string or an integer"),
        ("requests", r#"{"labels":["status"]}"#, "labels", "an object with the values of labels"),
        ("requests", r#"{"key":"/a","labels":{"status":"1"}}"#, "labels", "a key and labels: one of them"),
        ("requests", r#"{"n":1}"#, "key", "missing field `key`, or `labels`"),
        ("hits", r#"{"labels":{"status":"1"}}"#, "labels", "the labels are: none"),
    ] {
        let answer = client.post(&format!("/v1/series/{series}"), body);
        let detail = answer.problem(422);
        assert!(detail.contains(told), "{body}: {detail}");
        let at = answer.json()["field"].as_str().unwrap_or_default().to_owned();
        assert!(at.starts_with(field), "{body}: {at}");
        // A line of a batch is refused alone, with the same text.
        let batch = client.post(&format!("/v1/series/{series}"), format!("[{body}]")).expect(202);
        assert_eq!(
            (&batch["invalid"], &batch["results"][0]["error"]),
            (&json!(1), &json!(detail)),
            "{batch}"
        );
    }
    let long = json!({"labels": {"endpoint": "x".repeat(300), "status": "|".repeat(150)}}).to_string();
    assert!(client.post("/v1/series/requests", long).problem(422).contains("512"));
}

#[test]
fn reads_filter_by_labels_and_group_by_them() {
    let server = server();
    let client = server.client();
    let failed =
        ask(&client, "label=status%3D500&label=status=503&group_by=endpoint&show=cumulative&total=true");
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-01-01T04:00:00Z");
    let row = |endpoint: &str, keys: u64, values: [u64; 4], cumulative: [u64; 4]| {
        json!({"labels": {"endpoint": endpoint}, "keys": keys, "start": from, "step": 3600, "coarsened": false,
            "values": values, "sum": values.iter().sum::<u64>(), "from": from, "to": to,
            "partial": {"first": false, "last": false}, "cumulative": cumulative})
    };
    let cart = row("/cart", 1, [1, 0, 0, 0], [1, 1, 1, 1]);
    assert_eq!(failed["groups"], json!([cart, row("/checkout", 2, [0, 2, 0, 3], [0, 2, 2, 5])]));
    assert_eq!((&failed["total"]["values"], &failed["total"]["sum"]), (&json!([1, 2, 0, 3]), &json!(6)));

    let sums = |rest: &str| {
        let groups = ask(&client, rest)["groups"].clone();
        let sum = |group: &Value| (group["labels"].clone(), group["sum"].as_u64().expect("a sum"));
        groups.as_array().expect("groups").iter().map(sum).collect::<Vec<_>>()
    };
    assert_eq!(
        sums("group_by=status"),
        [
            (json!({"status": ""}), 4),
            (json!({"status": "200"}), 12),
            (json!({"status": "500"}), 3),
            (json!({"status": "503"}), 3),
        ]
    );
    let both = json!({"status": "500", "endpoint": "/checkout"});
    assert_eq!(sums("label=status=500&label=endpoint!=/cart&group_by=status,endpoint"), [(both, 2)]);
    assert_eq!(sums("label=status!=200&label=status!=500"), [(json!({}), 7)], "all together");
    assert_eq!(sums("label=endpoint=/a%7Cb"), [(json!({}), 4)]);
    assert_eq!(sums("label=status=999"), [(json!({}), 0)], "zeros");
    assert_eq!(sums("label=status=999&group_by=endpoint"), []);
    assert_eq!(sums("label=status="), [(json!({}), 4)], "no value");
    assert_eq!(ask(&client, "key=/cart%7C500")["values"], json!([1, 0, 0, 0]), "a key as before");

    let sum = |rest: &str| client.get(&format!("/v1/series/requests/sum?from={from}&to={to}&{rest}"));
    let told = json!({"sum": 6, "from": from, "to": to});
    assert_eq!(sum("label=status=500&label=status=503").expect(200), told);
    assert_eq!(sum("key=/cart%7C500").expect(200)["sum"], json!(1));
    assert_eq!(client.get("/v1/series/hits?group_by=x").problem(422), unknown("hits", "x", "none"));
    for (path, told) in [
        ("requests?label=status", "label: \"status\": NAME=VALUE, or NAME!=VALUE"),
        ("requests?label=stat=1", &*unknown("requests", "stat", "endpoint, status")),
        ("requests?group_by=endpoint,endpoint", "group by \"endpoint\": it is there twice"),
        ("requests?group_by=", &unknown("requests", "", "endpoint, status")),
        ("requests?key=a&label=status=1", "key: keys and labels: one of them"),
        ("requests?key=a&group_by=status", "leave out key"),
        ("requests/sum?key=a&label=status=1", "key: keys and labels: one of them"),
        ("requests/sum?key=a&key=b", "duplicate field `key`"),
        ("requests/sum?from=-1d", "missing field `key`"),
        ("requests/keys?key=a", "unknown field `key`"),
    ] {
        let detail = client.get(&format!("/v1/series/{path}")).problem(422);
        assert!(detail.contains(told), "{path}: {detail}");
    }
}

fn unknown(series: &str, label: &str, known: &str) -> String {
    format!("series {series}: label {label:?}: the labels are: {known}")
}

#[test]
fn keys_are_listed_with_their_labels() {
    let server = server();
    let client = server.client();
    let keys = |rest: &str| client.get(&format!("/v1/series/requests/keys?{rest}")).expect(200);
    let labels = |endpoint: &str| json!({"endpoint": endpoint, "status": "500"});
    let failed = json!({"keys": ["/cart|500", "/checkout|500"], "labels": [labels("/cart"), labels("/checkout")], "more": false});
    assert_eq!(keys("label=status=500"), failed);
    let first = keys("label=status=500&limit=1");
    assert_eq!((&first["keys"], &first["more"]), (&json!(["/cart|500"]), &json!(true)));
    assert_eq!(keys("label=status=500&limit=1&after=/cart%7C500")["keys"], json!(["/checkout|500"]));
    assert_eq!(keys("label=status!=500&prefix=/check")["keys"], json!(["/checkout|200", "/checkout|503"]));
    let escaped = json!({"keys": ["/a\\|b"], "labels": [{"endpoint": "/a|b"}], "more": false});
    assert_eq!(keys("prefix=/a"), escaped);
    client.post("/v1/series/hits", r#"{"key":"a"}"#).expect(202);
    assert_eq!(client.get("/v1/series/hits/keys").expect(200), json!({"keys": ["a"], "more": false}));
}

#[test]
fn a_hit_has_labels_for_series_and_a_key_for_limits() {
    let server = server();
    let client = server.client();
    let hit = r#"{"key":"user:1","n":3,"labels":{"endpoint":"/cart","status":500}}"#;
    client.post("/v1/events/request", hit).expect(202);
    assert_eq!(client.post("/v1/events/request", hit).status, 429);
    let sum = |path: &str| client.get(&format!("/v1/series/{path}&from=-1h")).expect(200)["sum"].clone();
    for path in ["requests/sum?key=/cart%7C500", "hits/sum?key=user:1", "statuses/sum?label=status=500"] {
        assert_eq!(sum(path), json!(3), "{path}");
    }
    wait_until("denied hits with labels", || {
        sum("requests.limited/sum?label=endpoint=/cart") == 3 && sum("hits.limited/sum?key=user:1") == 3
    });
    assert_eq!(client.get("/v1/limits/few?key=user:1").expect(200)["used"], json!(3));
    // Without labels it counts its key, as before there were labels.
    client.post("/v1/events/request", r#"{"key":"user:2"}"#).expect(202);
    assert_eq!(sum("requests/sum?key=user:2"), json!(1));
    for (event, labels, told) in [
        ("request", r#"{"method":"GET"}"#, "the labels of its series are: endpoint, status"),
        ("request", r#"{"endpoint":"/a"}"#, "series statuses: all labels are empty"),
        ("request", "{}", "no labels"),
        ("hit", r#"{"status":"500"}"#, "event hit: label \"status\": no series of the event has labels"),
    ] {
        let body = format!("{{\"key\":\"user:3\",\"labels\":{labels}}}");
        let answer = client.post(&format!("/v1/events/{event}"), &body);
        let detail = answer.problem(422);
        assert!(detail.contains(told) && answer.json()["field"] == "labels", "{body}: {detail}");
        let batch = client.post(&format!("/v1/events/{event}"), format!("[{body}]")).expect(200);
        assert_eq!(
            (&batch["invalid"], &batch["results"][0]["error"]),
            (&json!(1), &json!(detail)),
            "{batch}"
        );
    }
    assert_eq!(client.get("/v1/limits/few?key=user:3").expect(200)["used"], json!(0), "nothing was charged");
}

#[test]
fn an_export_has_columns_of_labels() {
    let server = server();
    let client = server.client();
    let export = |rest: &str| {
        let answer = client.get(&format!("/v1/series/requests/export?{rest}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        unchunked(&answer.body)
    };
    assert_eq!(
        export("label=status!=200&label=endpoint!=/checkout"),
        "labels.endpoint,labels.status,at,n,step\n/a|b,,2026-01-01T02:00:00Z,4,900\n\
         /cart,500,2026-01-01T00:15:00Z,1,900\n"
    );
    assert_eq!(
        export("format=json&label=endpoint=/a%7Cb"),
        "{\"labels\":{\"endpoint\":\"/a|b\"},\"at\":\"2026-01-01T02:00:00Z\",\"n\":4,\"step\":900}\n"
    );
    let text = export("format=openmetrics&prefix=/c&label=status=500");
    let samples: Vec<&str> = text.lines().filter(|line| line.starts_with("requests{")).collect();
    assert_eq!(
        samples,
        [
            "requests{endpoint=\"/cart\",status=\"500\"} 1 1767227400",
            "requests{endpoint=\"/checkout\",status=\"500\"} 2 1767231000",
        ]
    );
    let all = export("format=openmetrics");
    assert!(all.contains("\nrequests{endpoint=\"/a|b\"} 4 "), "a label without a value is left out: {all}");
}
