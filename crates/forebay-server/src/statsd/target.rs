//! Which series counts a metric, and under which key.

use forebay::{key::Key, series::SeriesHandle};

use super::{
    line::{Metric, Value},
    why::Why,
};
use crate::{
    app::App,
    config::{StatsdMetric, Subject},
    metrics::SeriesMetrics,
};

/// A pattern with its open series.
#[derive(Debug)]
pub(super) struct Target {
    metric: StatsdMetric,
    pub series: Series,
    pub metrics: SeriesMetrics,
}

/// A series by its kind, which decides the types that it takes.
#[derive(Clone, Debug)]
pub(super) enum Series {
    /// Counts hits: `c`.
    Hits(SeriesHandle),
}

impl Series {
    fn takes(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Hits(_) => matches!(value, Value::Count(_)),
        }
    }

    /// The key of labels with their values.
    fn key_of(&self, labels: Vec<(&str, String)>) -> forebay::Result<String> {
        match self {
            Self::Hits(series) => series.key_of(labels),
        }
    }
}

impl Target {
    /// The targets of a configuration, in its order.
    pub(super) fn all(app: &App, metrics: &[StatsdMetric]) -> Vec<Self> {
        let target = |metric: &StatsdMetric| {
            let entry = app.series.declared(&metric.series);
            let series = Series::Hits(entry.handle.clone());
            Self { metric: metric.clone(), series, metrics: entry.metrics.clone() }
        };
        metrics.iter().map(target).collect()
    }

    /// The first target whose pattern and type fit, and the key.
    pub(super) fn find<'a>(all: &'a [Self], metric: &Metric<'_>) -> Result<(usize, &'a Self, String), Why> {
        let mut why = Why::Unmapped;
        for (place, target) in all.iter().enumerate() {
            let Some(found) = target.metric.pattern.captures(metric.name) else { continue };
            if target.series.takes(&metric.value) {
                return Ok((place, target, target.key(metric, &found)?));
            }
            why = Why::Type;
        }
        Err(why)
    }

    fn key(&self, metric: &Metric<'_>, found: &[&str]) -> Result<String, Why> {
        let fill =
            |template: &crate::text::Template| template.fill(metric.name, found, |tag| metric.tag(tag));
        match &self.metric.subject {
            Subject::Key(template) => {
                let key = fill(template);
                Key::new(&key).map_err(|_| Why::Key)?;
                Ok(key)
            }
            Subject::Labels(labels) => {
                let labels = labels.iter().map(|(name, template)| (name.as_str(), fill(template))).collect();
                self.series.key_of(labels).map_err(|_| Why::Key)
            }
        }
    }
}
