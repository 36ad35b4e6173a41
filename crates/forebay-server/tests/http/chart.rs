//! `GET /v1/series/{series}/chart.svg`: the points of the picture are those of the answer.

use roxmltree::{Document, Node};
use serde_json::{Value, json};

use crate::support::{Client, Server};

const SPAN: &str = "from=2026-01-05T09:00:00Z&to=2026-01-05T13:00:00Z&step=1h";

/// A series of 30 years by quarters of an hour, with some counts on Monday, 5 January 2026.
fn server() -> Server {
    let server = Server::with(|config| config + "\n[series.visits]\nresolutions = [\"15m/30y\"]\n");
    let client = server.client();
    for (key, n, time) in [
        ("shop", 90, "07:30"),
        ("shop", 120, "09:05"),
        ("shop", 60, "09:50"),
        ("shop", 300, "11:20"),
        ("blog", 40, "10:00"),
        ("blog", 10, "12:00"),
    ] {
        let body = json!({"key": key, "n": n, "at": format!("2026-01-05T{time}:00Z")}).to_string();
        client.post("/v1/series/visits", body).expect(202);
    }
    server
}

fn picture(client: &Client, rest: &str) -> String {
    let chart = client.get(&format!("/v1/series/visits/chart.svg?{rest}"));
    assert_eq!(
        (chart.status, chart.header("content-type")),
        (200, Some("image/svg+xml")),
        "{rest}: {}",
        chart.body
    );
    chart.body
}

fn class<'a>(svg: &'a Document<'a>, name: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node<'_, '_>| {
        node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == name))
    };
    svg.descendants().filter(has).collect()
}

/// The values of a row of the data, as numbers of JSON.
fn row(svg: &str, row: usize) -> Vec<Value> {
    let svg = Document::parse(svg).expect("a picture");
    let columns = class(&svg, "columns")[0].children().filter(Node::is_element);
    let value = |column: Node<'_, '_>| {
        let text =
            column.attribute("data-values").expect("values").split(' ').nth(row).expect("a row").to_owned();
        if text == "-" { Value::Null } else { serde_json::from_str(&text).expect("a number") }
    };
    columns.map(value).collect()
}

/// Whether two lists have the same numbers: `3` is `3.0`.
fn same(a: &[Value], b: &Value) -> bool {
    let b = b.as_array().expect("a list");
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.as_f64() == b.as_f64())
}

#[test]
fn the_data_of_a_picture_is_the_answer() {
    let server = server();
    let client = server.client();
    for (rest, column) in [
        ("", "values"),
        ("&show=rate", "rate"),
        ("&show=avg", "avg"),
        ("&show=min", "min"),
        ("&show=max", "max"),
        ("&show=cumulative", "cumulative"),
        ("&show=difference", "difference"),
        ("&fill=null", "filled"),
        ("&fill=linear", "filled"),
        ("&tz=Asia/Kolkata", "values"),
    ] {
        for kind in ["bars", "stacked", "line"] {
            let query = format!("key=shop&{SPAN}{rest}");
            let answer = client.get(&format!("/v1/series/visits?{query}")).expect(200);
            let svg = picture(&client, &format!("{query}&kind={kind}"));
            assert!(same(&row(&svg, 0), &answer[column]), "{rest} {kind}: {answer} {svg}");
        }
    }
    let both = format!("key=shop&key=blog&{SPAN}&moving=2&previous=span");
    let answer = client.get(&format!("/v1/series/visits?{both}")).expect(200);
    let svg = picture(&client, &format!("{both}&kind=line"));
    let of = |place: usize| &answer["ranges"][place];
    for (place, told) in [
        &of(0)["values"],
        &of(1)["values"],
        &of(0)["previous"]["values"],
        &of(0)["moving_avg"],
        &of(1)["previous"]["values"],
        &of(1)["moving_avg"],
    ]
    .into_iter()
    .enumerate()
    {
        assert!(same(&row(&svg, place), told), "{place}: {told} {svg}");
    }
    let total = client.get(&format!("/v1/series/visits?key=shop&key=blog&{SPAN}&total=true")).expect(200);
    let svg = picture(&client, &format!("key=shop&key=blog&{SPAN}&total=true"));
    assert!(same(&row(&svg, 0), &total["total"]["values"]));
    let days = "key=shop&from=2026-01-04T23:00:00Z&to=2026-01-06T23:00:00Z&step=day&tz=Europe/Berlin";
    let answer = client.get(&format!("/v1/series/visits?{days}")).expect(200);
    assert!(same(&row(&picture(&client, days), 0), &answer["values"]), "{answer}");
    assert_eq!(answer["values"], json!([570, 0]));
}

#[test]
fn the_heights_of_bars_are_the_answer() {
    let server = server();
    let client = server.client();
    let query = format!("key=shop&key=blog&{SPAN}");
    let answer = client.get(&format!("/v1/series/visits?{query}")).expect(200);
    let svg = picture(&client, &format!("{query}&width=700&height=500"));
    let svg = Document::parse(&svg).expect("a picture");
    assert_eq!(svg.root_element().attribute("data-kind"), Some("stacked"), "the usual kind of several keys");
    let number =
        |node: Node<'_, '_>, name: &str| node.attribute(name).expect(name).parse::<f64>().expect("a number");
    let label = |value: &str| {
        let lines = svg.descendants().find(|node| node.attribute("data-value") == Some(value));
        number(lines.expect("a label"), "y")
    };
    let pixels = (label("0") - label("300")) / 300.0;
    for (key, group) in class(&svg, "row").into_iter().enumerate() {
        let mut values = [0.0; 4];
        for bar in group.children().filter(Node::is_element) {
            let column: usize = bar.attribute("data-column").expect("a column").parse().expect("a number");
            values[column] = number(bar, "height") / pixels;
        }
        for (column, told) in answer["ranges"][key]["values"].as_array().expect("a list").iter().enumerate() {
            let told = told.as_f64().expect("a number");
            assert!((values[column] - told).abs() < 0.02, "{key} {column}: {} {told}", values[column]);
        }
    }
}

#[test]
fn a_heat_map_has_the_hours_of_the_zone() {
    let server = server();
    let client = server.client();
    let heat = "key=shop&key=blog&kind=heatmap&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z";
    for (zone, hour, sum) in [
        ("UTC", "9", "180"),
        ("Europe/Berlin", "10", "180"),
        ("Asia/Kolkata", "14", "120"),
        ("Asia/Kolkata", "15", "100"),
    ] {
        let svg = picture(&client, &format!("{heat}&tz={zone}"));
        let svg = Document::parse(&svg).expect("a picture");
        let is_it = |node: &Node<'_, '_>| {
            node.attribute("data-weekday") == Some("1") && node.attribute("data-hour") == Some(hour)
        };
        let cell = svg.descendants().find(is_it).expect("a cell");
        assert_eq!(
            (cell.attribute("data-sum"), cell.attribute("data-seconds")),
            (Some(sum), Some("3600")),
            "{zone}"
        );
    }
    // The usual span is four weeks back from now, in which nothing was counted.
    assert!(picture(&client, "key=shop&kind=heatmap").contains("nothing was counted"));
}

#[test]
fn groups_of_labels_are_rows_with_their_names() {
    let config = "\n[series.requests]\nresolutions = [\"15m/30y\"]\nlabels = [\"endpoint\", \"status\"]\n";
    let server = Server::with(|example| example + config);
    let client = server.client();
    for (endpoint, status, n) in [("/a", 200, 5), ("/a", 500, 2), ("/b", 200, 3)] {
        let labels = json!({"endpoint": endpoint, "status": status});
        let body = json!({"labels": labels, "n": n, "at": "2026-01-05T09:05:00Z"}).to_string();
        client.post("/v1/series/requests", body).expect(202);
    }
    let draw = |rest: &str| client.get(&format!("/v1/series/requests/chart.svg?{SPAN}&{rest}"));
    let svg = draw("group_by=endpoint").body;
    assert_eq!((&row(&svg, 0)[0], &row(&svg, 1)[0]), (&json!(7), &json!(3)), "{svg}");
    let document = Document::parse(&svg).expect("a picture");
    let names: Vec<_> = class(&document, "row").iter().filter_map(|row| row.attribute("data-name")).collect();
    assert_eq!(names, ["endpoint=/a", "endpoint=/b"]);
    assert!(svg.contains("requests of 2 groups") && svg.contains("data-kind=\"stacked\""));
    let total = draw("group_by=endpoint&total=true").body;
    assert_eq!(row(&total, 0)[0], json!(10));
    assert_eq!(row(&draw("label=status%3D500").body, 0)[0], json!(2));
    let none = draw("label=status%3D404&group_by=status");
    assert!(none.problem(422).contains("no key has these labels"), "{}", none.body);
    assert!(draw("").problem(422).contains("missing field `key`, or `label`"));
}

#[test]
fn now_is_the_end_of_what_is_drawn() {
    let server = server();
    let client = server.client();
    client.post("/v1/series/visits", r#"{"key":"now","n":5}"#).expect(202);
    let svg = picture(&client, "key=now&from=-1h&to=%2B3h&step=15m&kind=line");
    let values = row(&svg, 0);
    assert!(values.len() > 10 && values.iter().filter(|value| !value.is_null()).count() <= 5, "{values:?}");
    assert_eq!(values.iter().filter_map(Value::as_u64).sum::<u64>(), 5);
    assert!(svg.contains("counted in part"), "the newest bucket is still being filled: {svg}");
}

#[test]
fn a_picture_is_harmless_and_the_same_each_time() {
    let server = server();
    let client = server.client();
    let key = "%3Cscript%3Ealert(1)%3C/script%3E";
    let query = format!("key={key}&{SPAN}&theme=auto&title=%3Cb%3E%26%22");
    let svg = picture(&client, &query);
    assert!(svg.starts_with("<svg") && !svg.contains("<script") && svg.contains("&lt;b&gt;&amp;\""), "{svg}");
    assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && svg.contains("prefers-color-scheme"));
    assert_eq!(svg, picture(&client, &query));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_what_can() {
    let server = server();
    let client = server.client();
    for (rest, told) in [
        ("key=a&kind=pie", "kind: \"pie\": one of bars, stacked, line, heatmap"),
        ("key=a&width=10", "width: \"10\": pixels, 320 to 4096"),
        ("key=a&height=5000", "height: \"5000\": pixels, 200 to 4096"),
        ("key=a&order=newest", "a chart has all points, the oldest first"),
        ("key=a&limit=3", "leave out order and limit"),
        ("key=a&show=rate,max", "a chart draws one column"),
        ("key=a&show=rate&previous=span", "a chart has it beside counts"),
        ("key=a&kind=heatmap&show=rate", "a heat map is of counts"),
        ("key=a&kind=heatmap&step=day", "a heat map needs points that divide an hour"),
        ("key=a&kind=heatmap&step=45m", "points of 45m: a heat map needs"),
        ("key=a&title=%00&kind=bars&kind=bars", "duplicate field `kind`"),
        ("kind=bars", "missing field `key`, or `label` in its place"),
        ("key=a&colour=red", "unknown field `colour`"),
        ("key=a&key=a", "key \"a\" is there twice"),
    ] {
        let detail = client.get(&format!("/v1/series/visits/chart.svg?{rest}")).problem(422);
        assert!(detail.contains(told), "{rest}: {detail}");
    }
    let long = client.get(&format!("/v1/series/visits/chart.svg?key=a&title={}", "x".repeat(513)));
    assert!(long.problem(422).contains("longer than 512 bytes"));
    // Hours are no longer kept so far back in the example.
    let old = client.get("/v1/series/hits/chart.svg?key=a&kind=heatmap&from=-60d");
    assert!(old.problem(422).contains("they must still be kept at from"));
}
