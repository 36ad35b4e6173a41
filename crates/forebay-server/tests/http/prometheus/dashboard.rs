//! The dashboard for Grafana that is part of the documentation.

use super::*;

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grafana/series.json");

/// The texts of a name anywhere in a document.
fn texts(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match value.as_str().filter(|_| member == name) {
                    Some(text) => found.push(text.to_owned()),
                    None => texts(value, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
        _ => {}
    }
}

#[test]
fn each_query_of_the_dashboard_has_an_answer() {
    let server = server("");
    let client = server.client();
    let points: Vec<_> = (1..=2_000).map(|bucket| ("a", 6, bucket * 60)).chain([("b", 1, 30)]).collect();
    count(&client, "hits", &points);
    let text = std::fs::read_to_string(DASHBOARD).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = vec![];
    texts(&dashboard["panels"], "expr", &mut queries);
    assert_eq!(queries.len(), 8);
    // Grafana fills in the variables.
    let fill = |query: &str, key: &str| {
        let values = [
            ("${metric}", "hits"),
            ("$key", key),
            ("$window", "1m"),
            ("$__range", "3600s"),
            ("$__interval", "1m"),
        ];
        values.into_iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    };
    for query in &queries {
        for key in [".*", "a", "(a|b)"] {
            let query = fill(query, key);
            assert!(!query.contains('$'), "{query}");
            let path = format!(
                "/api/v1/query_range?query={}&start=1795172400&end=1795176000&step=60",
                encoded(&query)
            );
            let answer = client.get(&path).expect(200);
            // A comparison with yesterday, for which windows of an hour are wide enough, has the buckets of yesterday.
            assert_eq!(answer.get("warnings"), None, "{query}");
            let rows = answer["data"]["result"].as_array().map_or(0, Vec::len);
            assert!(rows > 0 || query.contains("limited"), "{query}");
        }
    }
    let mut variables = vec![];
    texts(&dashboard["templating"], "definition", &mut variables);
    assert_eq!(variables, ["label_values(__name__)", "label_values(${metric}, key)"]);
    let keys = client.get("/api/v1/label/key/values?match[]=hits").expect(200);
    assert_eq!(keys["data"], json!(["a", "b"]));
}
