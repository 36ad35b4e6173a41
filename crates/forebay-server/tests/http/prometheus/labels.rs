//! A series with labels has them in place of `key`.

use super::*;

const SERIES: &str = "\n[series.requests]\nresolutions = [\"10s/1d\"]\nlabels = [\"endpoint\", \"status\"]\n";

/// Counts of five keys, up to a minute ago.
fn labelled() -> Server {
    let server = server(SERIES);
    count(&server.client(), "hits", &[("a", 1, 60)]);
    let points: Vec<(&str, u64, u64)> =
        [("/cart|200", 5), ("/cart|500", 1), ("/checkout|200", 7), ("/checkout|500", 2), ("/a\\|b", 4)]
            .into_iter()
            .flat_map(|(key, n)| [(key, n, 60), (key, n, 20)])
            .collect();
    count(&server.client(), "requests", &points);
    server
}

/// The labels without the metric's name, and the value, of each row.
#[track_caller]
fn rows(client: &Client, query: &str) -> Vec<(Value, String)> {
    let body = ask(client, query, 0).expect(200);
    let row = |row: &Value| {
        let mut labels = row["metric"].clone();
        labels.as_object_mut().expect("labels").remove("__name__");
        (labels, row["value"][1].as_str().expect("a value").to_owned())
    };
    body["data"]["result"].as_array().expect("rows").iter().map(row).collect()
}

#[test]
fn selectors_and_groups_are_of_the_series_labels() {
    let server = labelled();
    let client = server.client();
    let row = |labels: Value, value: &str| (labels, value.to_owned());
    let of = |endpoint: &str, status: &str| json!({"endpoint": endpoint, "status": status});
    assert_eq!(
        rows(&client, "sum_over_time(requests{status=\"500\"}[2m])"),
        [row(of("/cart", "500"), "2"), row(of("/checkout", "500"), "4")]
    );
    for (query, expected) in [
        (
            "requests{endpoint=\"/cart\"}[2m]",
            vec![row(of("/cart", "200"), "10"), row(of("/cart", "500"), "2")],
        ),
        ("requests{endpoint=\"/cart\", status=\"200\"}[2m]", vec![row(of("/cart", "200"), "10")]),
        ("requests{status=\"\"}[2m]", vec![row(json!({"endpoint": "/a|b"}), "8")]),
        ("requests{endpoint=~\"/ch.*\", status!=\"200\"}[2m]", vec![row(of("/checkout", "500"), "4")]),
        ("requests{endpoint=~\"/cart|/none\", status=~\"5..\"}[2m]", vec![row(of("/cart", "500"), "2")]),
        ("requests{endpoint=~\"/a.*\"}[2m]", vec![row(json!({"endpoint": "/a|b"}), "8")]),
        ("requests{key=\"/cart|200\"}[2m]", vec![]),
        ("requests{endpoint=\"\", status=\"\"}[2m]", vec![]),
        ("hits{key=\"a\"}[2m]", vec![row(json!({"key": "a"}), "1")]),
    ] {
        assert_eq!(rows(&client, &format!("sum_over_time({query})")), expected, "{query}");
    }
    let by_status = rows(&client, "sum by (status) (increase(requests_total[2m]))");
    assert_eq!(
        by_status.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>(),
        [json!({}), json!({"status": "200"}), json!({"status": "500"})]
    );
    let share = "sum by (endpoint) (sum_over_time(requests{status=\"500\"}[2m])) \
        / sum by (endpoint) (sum_over_time(requests[2m])) * 1000";
    assert_eq!(rows(&client, share).len(), 2);
    assert_eq!(rows(&client, "sum without (status) (sum_over_time(requests[2m]))").len(), 3);
}

#[test]
fn lists_have_the_labels_that_series_have() {
    let server = labelled();
    let client = server.client();
    let data = |path: &str| client.get(&format!("/api/v1/{path}")).expect(200)["data"].clone();
    assert_eq!(data("labels"), json!(["__name__", "endpoint", "key", "status"]));
    assert_eq!(data("labels?match[]=requests"), json!(["__name__", "endpoint", "status"]));
    assert_eq!(data("labels?match[]=hits"), json!(["__name__", "key"]));
    assert_eq!(data("label/status/values"), json!(["200", "500"]));
    assert_eq!(data("label/endpoint/values"), json!(["/a|b", "/cart", "/checkout"]));
    assert_eq!(data("label/key/values"), json!(["a"]));
    let of_cart = encoded("requests{endpoint=\"/cart\"}");
    assert_eq!(data(&format!("label/status/values?match[]={of_cart}")), json!(["200", "500"]));
    let set = |status: &str| json!({"__name__": "requests", "endpoint": "/cart", "status": status});
    assert_eq!(data(&format!("series?match[]={of_cart}")), json!([set("200"), set("500")]));
    let named = encoded("requests{endpoint=\"/cart\", status=\"500\"}");
    assert_eq!(data(&format!("series?match[]={named}")), json!([set("500")]), "a key that is named");
    let none = encoded("requests{endpoint=\"/cart\", status=\"404\"}");
    assert_eq!(data(&format!("series?match[]={none}")), json!([]), "it has no count");
}

#[test]
fn an_export_has_the_same_samples() {
    let server = labelled();
    let client = server.client();
    let text =
        crate::series_export::unchunked(&client.get("/v1/series/requests/export?format=openmetrics").body);
    let exported: Vec<&str> = text.lines().filter(|line| line.starts_with("requests{")).collect();
    let answer = ask(&client, "requests[1d]", 0).expect(200);
    let mut queried = vec![];
    for row in answer["data"]["result"].as_array().expect("rows") {
        let labels =
            row["metric"].as_object().expect("labels").iter().filter(|(name, _)| *name != "__name__");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        for sample in row["values"].as_array().expect("samples") {
            let (time, value) = (&sample[0], sample[1].as_str().expect("a value"));
            queried.push(format!("requests{{{}}} {value} {time}", labels.join(",")));
        }
    }
    assert_eq!(
        (queried.len(), &*queried),
        (25, &*exported.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    );
}
