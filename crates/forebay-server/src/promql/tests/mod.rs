//! Tests of the language over samples that are written out.

mod golden;
mod refusals;
mod windows;

use super::{Answer, Fault, Instants, Labels, NAME, Samples, Stream, evaluate, parse, parse_selector};

/// The samples of `hits_total` and `hits` for a key: a count each 10 s from second 10 on.
fn streams(metrics: &[(&str, &str, &[f64])]) -> Vec<Stream> {
    let stream = |(name, key, values): &(&str, &str, &[f64])| Stream {
        labels: Labels::new([(NAME, *name), ("key", *key)]),
        samples: Samples { first: 10_000, step: 10_000, values: values.to_vec() },
    };
    metrics.iter().map(stream).collect()
}

/// Evaluates a text over all streams that fit its selectors.
fn ask(text: &str, all: &[Stream], instants: Instants) -> Result<Answer, Fault> {
    let query = parse(text)?;
    let fits = |stream: &Stream, selector: &super::Selector| {
        selector.matchers.iter().all(|matcher| matcher.is_match(stream.labels.get(&matcher.name)))
    };
    let data: Vec<Vec<Stream>> = query
        .selectors
        .iter()
        .map(|selector| all.iter().filter(|stream| fits(stream, selector)).cloned().collect())
        .collect();
    evaluate(&query, &data, instants)
}

/// The values at one instant, in seconds, by the labels as text.
fn at(text: &str, all: &[Stream], secs: i64) -> Vec<(String, f64)> {
    match ask(text, all, Instants::once(secs * 1_000)).unwrap_or_else(|fault| panic!("{text}: {fault:?}")) {
        Answer::Scalar(values) => vec![(String::new(), values[0])],
        Answer::Vector(rows) => {
            let value = |row: &super::Row| row.values[0].map(|value| (row.labels.to_string(), value));
            rows.iter().filter_map(value).collect()
        }
        Answer::Samples(_) => panic!("{text}: samples"),
    }
}
