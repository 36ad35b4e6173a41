//! Reading `[series]`.

use forebay::{Series, series::Resolution};

use super::{
    fields::{Fields, Node},
    section::{Declared, read_partitions, section},
};
use crate::text::{Span, quoted};

/// Reads the section.
pub(super) fn read_series(top: &mut Fields<'_>) -> Declared<Series> {
    section(top, "series", |name, node| {
        let mut fields = node.fields()?;
        let mut series = Series::new(name.as_str());
        if let Some(list) = fields.optional("resolutions") {
            // All are read first, so that each shows its mistakes.
            let resolutions: Vec<Option<Resolution>> = list.list().iter().map(read_resolution).collect();
            if let Some(resolutions) = resolutions.into_iter().collect() {
                series = series.resolutions(resolutions);
            }
        }
        series = fields.read("partitions", read_partitions).into_iter().fold(series, Series::partitions);
        let max_keys = fields.read("max_keys", |node| node.number(1..=1 << 40));
        series = max_keys.into_iter().fold(series, Series::max_keys);
        if let Some(list) = fields.optional("labels") {
            let labels: Vec<Option<String>> = list.list().iter().map(Node::text).collect();
            if let Some(labels) = labels.into_iter().collect::<Option<Vec<_>>>() {
                series = series.labels(labels);
            }
        }
        if fields.read("ranked", Node::flag) == Some(true) {
            series = series.ranked();
        }
        node.accept(series.check());
        fields.finish();
        Some(series)
    })
}

/// `10s/1d`: buckets of 10 s, kept for a day.
fn read_resolution(node: &Node<'_>) -> Option<Resolution> {
    let text = node.text()?;
    let Some((step, retention)) = text.split_once('/') else {
        let found = quoted(&text);
        node.mistake(format!(
            "resolution {found}: lacks the / (a step, / and how long it is kept, such as 10s/1d)"
        ));
        return None;
    };
    let (step, retention) = (node.accept(step.parse::<Span>()), node.accept(retention.parse::<Span>()));
    node.accept(Resolution::new(step?.0, retention?.0))
}
