//! Points as rows of CSV and lines of JSON.

use std::{borrow::Cow, fmt::Write as _};

use forebay::series::SeriesHandle;
use serde::Serialize;

use super::points::Point;
use crate::api::labels::Labels;

/// The text before the name of a label, in the name of its column.
pub(crate) const LABELS: &str = "labels.";

/// The names of the columns. The import reads all but the last one.
pub(super) fn csv_header(series: &SeriesHandle) -> String {
    let labels: Vec<String> = series.label_names().map(|name| format!("{LABELS}{name}")).collect();
    let key = if labels.is_empty() { "key".to_owned() } else { labels.join(",") };
    format!("{key},at,n,step\n")
}

/// The first cells of the rows of a key: the key, or the values of its labels.
pub(super) fn csv_name(series: &SeriesHandle, key: &str) -> String {
    if series.label_names().len() == 0 {
        return csv_cell(key).into_owned();
    }
    let cells: Vec<String> = series.labels_of(key).map(|(_, value)| csv_cell(&value).into_owned()).collect();
    cells.join(",")
}

/// Writes a row of CSV of the key that `name` names.
///
/// # Source
/// <https://www.rfc-editor.org/rfc/rfc4180>
pub(super) fn write_csv(text: &mut String, name: &str, point: Point) {
    let Point { start, step, n } = point;
    let _ = writeln!(text, "{name},{start},{n},{}", step.as_secs());
}

/// A cell, in quotes where it needs them. The text stays as it is, also where a spreadsheet would take it for a formula.
pub(crate) fn csv_cell(cell: &str) -> Cow<'_, str> {
    let has_blank_edge = cell.trim() != cell;
    if has_blank_edge || cell.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\"")).into();
    }
    cell.into()
}

/// The first member of the lines of a key: `key`, or `labels`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum JsonName<'a> {
    Key(&'a str),
    Labels(Labels),
}

/// The beginning of the lines of JSON of a key.
pub(super) fn json_name(series: &SeriesHandle, key: &str) -> String {
    let name = Labels::of(series, key).map_or(JsonName::Key(key), JsonName::Labels);
    let mut text = serde_json::to_string(&name).expect("a name is plain data");
    // The other members follow.
    text.pop();
    text
}

/// Writes a line of JSON of the key that `name` names.
pub(super) fn write_json(text: &mut String, name: &str, point: Point) {
    let Point { start, step, n } = point;
    let _ = writeln!(text, "{name},\"at\":\"{start}\",\"n\":{n},\"step\":{}}}", step.as_secs());
}

#[cfg(test)]
mod tests {
    use forebay::{Series, Timestamp, time::secs};

    use super::*;

    #[tokio::test]
    async fn cells_are_quoted_where_they_have_to_be() {
        for (key, cell) in [
            ("a", "a"),
            ("=1+1", "=1+1"),
            ("é", "é"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            (" a", "\" a\""),
        ] {
            assert_eq!(csv_cell(key), cell);
        }
        let point = Point { start: Timestamp::from_secs(1_767_225_600), step: secs(10), n: 7 };
        let bay = forebay::Forebay::open("memory:").await.expect("opens");
        let hits = bay.series("hits").expect("valid");
        let (mut csv, mut json) = (String::new(), String::new());
        write_csv(&mut csv, &csv_name(&hits, "a,b"), point);
        write_json(&mut json, &json_name(&hits, "a\"b"), point);
        assert_eq!(csv, "\"a,b\",2026-01-01T00:00:00Z,7,10\n");
        assert_eq!(json, "{\"key\":\"a\\\"b\",\"at\":\"2026-01-01T00:00:00Z\",\"n\":7,\"step\":10}\n");

        let labelled = bay.series(Series::new("requests").labels(["path", "at"])).expect("valid");
        assert_eq!(csv_header(&labelled), "labels.path,labels.at,at,n,step\n");
        for (key, cells, line) in [
            ("a,\\|b|1", "\"a,|b\",1", r#"{"labels":{"path":"a,|b","at":"1"}"#),
            ("|1", ",1", r#"{"labels":{"at":"1"}"#),
            ("a", "a,", r#"{"labels":{"path":"a"}"#),
        ] {
            assert_eq!((&*csv_name(&labelled, key), &*json_name(&labelled, key)), (cells, line));
        }
    }
}
