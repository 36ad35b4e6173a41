//! Lists and descriptions.

use super::*;

#[test]
fn labels_values_and_series_are_listed() {
    let server = server("\n[series.page-views]\n");
    let client = server.client();
    count(&client, "hits", &[("b", 1, 20), ("a", 2, 20), ("a", 1, 30)]);
    count(&client, "page-views", &[("c d", 1, 90_000)]);
    let data = |path: &str| client.get(&format!("/api/v1/{path}")).expect(200)["data"].clone();
    assert_eq!(data("labels"), json!(["__name__", "key"]));
    assert_eq!(data("labels?match[]=hits&match[]=other"), json!(["__name__", "key"]));
    assert_eq!(data("labels?match[]=other"), json!([]));
    let form = client.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(
        form.post("/api/v1/labels", "match%5B%5D=hits").expect(200)["data"],
        json!(["__name__", "key"])
    );

    let names = ["hits", "hits_limited", "hits_limited_total", "hits_total"];
    let views = ["page_views", "page_views_limited", "page_views_limited_total", "page_views_total"];
    assert_eq!(data("label/__name__/values"), json!([names, views].concat()));
    assert_eq!(data("label/__name__/values?match[]=%7B__name__%3D~%22hits.*%22%7D"), json!(names));
    assert_eq!(data("label/__name__/values?match[]=%7Bkey%3D%22a%22%7D"), json!(["hits", "hits_total"]));
    assert_eq!(data("label/key/values"), json!(["a", "b", "c d"]));
    assert_eq!(data("label/key/values?match[]=hits_total&start=0&end=1"), json!(["a", "b"]));
    assert_eq!(data("label/job/values"), json!([]));
    let cut = client.get("/api/v1/label/key/values?limit=2").expect(200);
    assert_eq!(
        (&cut["data"], &cut["warnings"]),
        (&json!(["a", "b"]), &json!(["results truncated due to limit"]))
    );

    let of = |name: &str, key: &str| json!({"__name__": name, "key": key});
    assert_eq!(data("series?match[]=hits"), json!([of("hits", "a"), of("hits", "b")]));
    assert_eq!(data("series?match[]=hits%7Bkey%3D~%22b%7Cx%22%7D"), json!([of("hits", "b")]));
    // A key whose counts only a coarse resolution keeps.
    let both = [of("page_views", "c d"), of("page_views_total", "c d")];
    assert_eq!(data("series?match[]=%7Bkey%3D%22c%20d%22%7D"), json!(both));
    let posted = form.post("/api/v1/series", "match[]=page_views&match[]=page_views_total");
    assert_eq!(posted.expect(200)["data"], json!(both));
}

#[test]
fn metrics_and_the_server_describe_themselves() {
    let server = server("\n[series.a-b]\n[series.a_b]\n");
    let client = server.client();
    let all = client.get("/api/v1/metadata").expect(200);
    let counter =
        json!([{"type": "counter", "help": "The counts of the series hits, added up.", "unit": ""}]);
    assert_eq!(all["data"]["hits_total"], counter);
    assert_eq!(all["data"]["hits_limited"][0]["type"], "gauge");
    assert_eq!(all["data"].as_object().map(serde_json::Map::len), Some(4));
    assert_eq!(all["warnings"].as_array().map(Vec::len), Some(4), "{all}");
    let one = client.get("/api/v1/metadata?metric=hits_total").expect(200);
    assert_eq!(one["data"], json!({"hits_total": counter}));
    assert_eq!(
        client.get("/api/v1/metadata?limit=1").expect(200)["data"].as_object().map(serde_json::Map::len),
        Some(1)
    );
    let build = client.get("/api/v1/status/buildinfo").expect(200)["data"].clone();
    assert_eq!(build["version"], "3.0.0");
    assert!(build["revision"].as_str().is_some_and(|text| text.starts_with("forebay ")), "{build}");
}
