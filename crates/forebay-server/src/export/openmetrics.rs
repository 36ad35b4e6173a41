//! The text format of OpenMetrics: names, labels and samples.
//!
//! # Source
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::Write as _;

use forebay::Timestamp;

/// The type of the text in HTTP.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The last line. A text without it is incomplete.
pub(crate) const EOF: &str = "# EOF\n";

/// The name of a series as a metric: `a-b.limited` is `a_b_limited`.
pub(crate) fn metric_name(series: &str) -> String {
    series.replace(['-', '.'], "_")
}

/// Writes the first lines of a metric. All its samples follow, key by key.
pub(crate) fn write_head(text: &mut String, metric: &str, kind: &str, help: &str) {
    // Memory takes all.
    let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
}

/// The name of the samples of a key: the metric and the labels of the key.
pub(crate) fn sample_name<'a>(metric: &str, labels: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut name = format!("{metric}{{");
    for (place, (label, value)) in labels.enumerate() {
        let _ = write!(name, "{}{label}=\"", if place == 0 { "" } else { "," });
        write_escaped(&mut name, &value);
        name.push('"');
    }
    name.push('}');
    name
}

/// Writes a sample. The times of a key rise.
pub(crate) fn write_sample(text: &mut String, name: &str, value: u64, at: Timestamp) {
    let _ = writeln!(text, "{name} {value} {}", at.as_secs());
}

/// Writes a label's value with its escapes. Readers take a zero byte for the end of the text: it becomes `\0` as two characters.
fn write_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\0' => text.push_str("\\\\0"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_line_whatever_the_key() {
        assert_eq!(metric_name("per-user_2.limited"), "per_user_2_limited");
        let mut text = String::new();
        write_head(&mut text, "hits_total", "unknown", "All hits.");
        let labels = [("key", "a\\b\"c\nd\0é".to_owned()), ("b", "|".to_owned())];
        let name = sample_name("hits_total", labels.into_iter());
        write_sample(&mut text, &name, u64::MAX, Timestamp::from_secs(1_767_225_600));
        let told = "# HELP hits_total All hits.\n# TYPE hits_total unknown\n\
            hits_total{key=\"a\\\\b\\\"c\\nd\\\\0é\",b=\"|\"} 18446744073709551615 1767225600\n";
        assert_eq!(text, told);
    }
}
