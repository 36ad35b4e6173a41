//! Reading `[series]`.

use std::collections::BTreeMap;

use forebay::{Distinct, Gauge, Name, Percentiles, Series, series::Resolution};

use super::{
    fields::{Fields, Node},
    section::{Declared, read_partitions, section},
};
use crate::text::{Span, quoted};

/// A declared series: of hits, or of another kind.
#[derive(Clone, Debug)]
pub(super) enum Declaration {
    Hits(Series),
    Summary(SummaryConfig),
}

impl Declaration {
    /// The names of its labels.
    pub(super) fn label_names(&self) -> &[String] {
        match self {
            Self::Hits(series) => series.label_names(),
            Self::Summary(_) => &[],
        }
    }
}

/// A series of another kind than hits.
#[derive(Clone, Debug, PartialEq)]
pub enum SummaryConfig {
    /// `kind = "distinct"`.
    Distinct(Distinct),
    /// `kind = "gauge"`.
    Gauge(Gauge),
    /// `kind = "percentiles"`.
    Percentiles(Percentiles),
}

/// The kinds, as configurations name them.
const KINDS: [&str; 4] = ["hits", "distinct", "gauge", "percentiles"];

impl SummaryConfig {
    /// Its kind, as configurations name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Distinct(_) => "distinct",
            Self::Gauge(_) => "gauge",
            Self::Percentiles(_) => "percentiles",
        }
    }
}

/// The fields of a series, but its kind.
struct Options {
    resolutions: Option<Vec<Resolution>>,
    partitions: Option<u16>,
    max_keys: Option<u64>,
}

/// Sets the options of a definition, and checks it. They have the same names for every kind.
macro_rules! defined {
    ($node:expr, $definition:expr, $options:expr => $of:expr) => {{
        let Options { resolutions, partitions, max_keys } = $options;
        let mut definition = $definition;
        if let Some(resolutions) = resolutions {
            definition = definition.resolutions(resolutions);
        }
        if let Some(partitions) = partitions {
            definition = definition.partitions(partitions);
        }
        if let Some(keys) = max_keys {
            definition = definition.max_keys(keys);
        }
        $node.accept(definition.check());
        $of(definition)
    }};
}

/// Reads the section.
pub(super) fn read_series(top: &mut Fields<'_>) -> Declared<Declaration> {
    section(top, "series", |name, node| {
        let mut fields = node.fields()?;
        let kind = fields.read("kind", read_kind);
        let resolutions = fields.optional("resolutions").and_then(|list| {
            // All are read first, so that each shows its mistakes.
            let resolutions: Vec<Option<Resolution>> = list.list().iter().map(read_resolution).collect();
            resolutions.into_iter().collect()
        });
        let partitions = fields.read("partitions", read_partitions);
        let max_keys = fields.read("max_keys", |node| node.number(1..=1 << 40));
        let options = Options { resolutions, partitions, max_keys };
        let summary = match kind {
            Some("distinct") => {
                defined!(node, Distinct::new(name.as_str()), options => SummaryConfig::Distinct)
            }
            Some("gauge") => defined!(node, Gauge::new(name.as_str()), options => SummaryConfig::Gauge),
            Some("percentiles") => {
                defined!(node, Percentiles::new(name.as_str()), options => SummaryConfig::Percentiles)
            }
            _ => {
                let labels = fields.optional("labels").and_then(|list| {
                    let labels: Vec<Option<String>> = list.list().iter().map(Node::text).collect();
                    labels.into_iter().collect::<Option<Vec<_>>>()
                });
                let is_ranked = fields.read("ranked", Node::flag) == Some(true);
                fields.finish();
                let series = Series::new(name.as_str()).labels(labels.unwrap_or_default());
                let series = if is_ranked { series.ranked() } else { series };
                return Some(defined!(node, series, options => Declaration::Hits));
            }
        };
        fields.finish();
        Some(Declaration::Summary(summary))
    })
}

/// The series of hits, and the others. Those with mistakes are left out.
pub(super) fn split(
    declared: Declared<Declaration>,
) -> (BTreeMap<Name, Series>, BTreeMap<Name, SummaryConfig>) {
    let (mut hits, mut summaries) = (BTreeMap::new(), BTreeMap::new());
    for (name, declaration) in declared {
        match declaration {
            Some(Declaration::Hits(series)) => drop(hits.insert(name, series)),
            Some(Declaration::Summary(series)) => drop(summaries.insert(name, series)),
            None => {}
        }
    }
    (hits, summaries)
}

fn read_kind(node: &Node<'_>) -> Option<&'static str> {
    let text = node.text()?;
    let known = KINDS.iter().find(|known| **known == &*text);
    if known.is_none() {
        node.mistake(format!("kind {}: one of {}", quoted(&text), KINDS.join(", ")));
    }
    known.copied()
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
