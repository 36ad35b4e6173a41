//! Points as rows of CSV and lines of JSON.

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;

use super::points::Point;

/// The names of the columns. The import reads the first three.
pub(super) const CSV_HEADER: &str = "key,at,n,step\n";

/// Writes a row of CSV.
///
/// # Source
/// <https://www.rfc-editor.org/rfc/rfc4180>
pub(super) fn write_csv(text: &mut String, key: &str, point: Point) {
    let Point { start, step, n } = point;
    let _ = writeln!(text, "{},{start},{n},{}", csv_cell(key), step.as_secs());
}

/// A cell, in quotes where it needs them. The text stays as it is, also where a spreadsheet would take it for a formula.
pub(crate) fn csv_cell(cell: &str) -> Cow<'_, str> {
    let has_blank_edge = cell.trim() != cell;
    if has_blank_edge || cell.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\"")).into();
    }
    cell.into()
}

/// A point as JSON.
#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    at: String,
    n: u64,
    step: u64,
}

/// Writes a line of JSON.
pub(super) fn write_json(text: &mut String, key: &str, point: Point) {
    let row = Row { key, at: point.start.to_string(), n: point.n, step: point.step.as_secs() };
    text.push_str(&serde_json::to_string(&row).expect("a row is plain data"));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use forebay::{Timestamp, time::secs};

    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
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
        let (mut csv, mut json) = (String::new(), String::new());
        write_csv(&mut csv, "a,b", point);
        write_json(&mut json, "a\"b", point);
        assert_eq!(csv, "\"a,b\",2026-01-01T00:00:00Z,7,10\n");
        assert_eq!(json, "{\"key\":\"a\\\"b\",\"at\":\"2026-01-01T00:00:00Z\",\"n\":7,\"step\":10}\n");
    }
}
