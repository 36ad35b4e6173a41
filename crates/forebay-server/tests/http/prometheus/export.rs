//! The export in the text form of OpenMetrics has the same samples.

use super::*;

#[test]
fn the_samples_are_those_of_an_export() {
    let server = server("\n[series.page-views]\nresolutions = [\"1m/7d\"]\n");
    let client = server.client();
    let points: Vec<_> = (1..400).map(|n| ("a", 1 + n % 7, 60 + n * n % 30_000)).collect();
    count(&client, "page-views", &points);
    count(&client, "page-views", &[("b", 3, 4_000), ("b", 2, 2_000), ("once", 1, 500)]);
    let text =
        crate::series_export::unchunked(&client.get("/v1/series/page-views/export?format=openmetrics").body);
    let exported: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut queried = vec![];
    for metric in ["page_views_total", "page_views"] {
        let answer = ask(&client, &format!("{metric}[7d]"), 0).expect(200);
        for row in answer["data"]["result"].as_array().expect("rows") {
            let key = row["metric"]["key"].as_str().expect("a key");
            for sample in row["values"].as_array().expect("samples") {
                let (time, value) = (&sample[0], sample[1].as_str().expect("a value"));
                queried.push(format!("{metric}{{key=\"{key}\"}} {value} {time}"));
            }
        }
    }
    assert!(queried.len() > 900, "{}", queried.len());
    assert_eq!(queried, exported);
}
