//! The series that counts a metric, and the key.

use forebay::{
    Timestamp,
    key::Key,
    series::{DistinctHandle, GaugeHandle, PercentilesHandle, Resolution, SeriesHandle},
};

use super::{
    line::{Metric, Value},
    why::Why,
};
use crate::{
    app::App,
    config::{StatsdMetric, Subject},
    metrics::SeriesMetrics,
    summary::SummarySeries,
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
    /// Keeps the last value: `g`.
    Gauge(GaugeHandle),
    /// Keeps the distribution of values: `ms`, `h`, `d`.
    Percentiles(PercentilesHandle),
    /// Counts different elements: `s`.
    Distinct(DistinctHandle),
}

impl Series {
    fn takes(&self, value: &Value<'_>) -> bool {
        matches!(
            (self, value),
            (Self::Hits(_), Value::Count(_))
                | (Self::Gauge(_), Value::Gauge(_))
                | (Self::Percentiles(_), Value::Measured(_))
                | (Self::Distinct(_), Value::Element(_))
        )
    }

    /// The key of labels with their values, which only hits have.
    fn key_of(&self, labels: Vec<(&str, String)>) -> Result<String, Why> {
        match self {
            Self::Hits(series) => series.key_of(labels).map_err(|_| Why::Key),
            _ => Err(Why::Key),
        }
    }

    /// The start of the finest bucket around a time.
    pub(super) fn bucket(&self, at: Timestamp) -> Timestamp {
        let resolutions: &[Resolution] = match self {
            Self::Hits(series) => series.resolutions(),
            Self::Gauge(series) => series.resolutions(),
            Self::Percentiles(series) => series.resolutions(),
            Self::Distinct(series) => series.resolutions(),
        };
        let step = resolutions.first().map_or(1, |finest| finest.step.as_micros());
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.as_micros() - at.as_micros().rem_euclid(step))
    }
}

impl From<&SummarySeries> for Series {
    fn from(series: &SummarySeries) -> Self {
        match series {
            SummarySeries::Gauge(series) => Self::Gauge(series.clone()),
            SummarySeries::Percentiles(series) => Self::Percentiles(series.clone()),
            SummarySeries::Distinct(series) => Self::Distinct(series.clone()),
        }
    }
}

impl Target {
    /// The targets of a configuration, in its order.
    pub(super) fn all(app: &App, metrics: &[StatsdMetric]) -> Vec<Self> {
        let target = |metric: &StatsdMetric| {
            let (series, metrics) = if let Some(entry) = app.summaries.entries.get(&metric.series) {
                (Series::from(&entry.handle), &entry.metrics)
            } else {
                let entry = app.series.declared(&metric.series);
                (Series::Hits(entry.handle.clone()), &entry.metrics)
            };
            Self { metric: metric.clone(), series, metrics: metrics.clone() }
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
                self.series.key_of(labels)
            }
        }
    }
}
