//! All that is not in the store yet: counts, values and elements, and what is known of gauges.

use forebay::{Timestamp, key::Key};

use super::{
    levels::Levels,
    line::{Metric, Value},
    observed::{Batch, Measured, Observed},
    pending::{Count, Full, Pending, Subject},
    target::Series,
    why::Why,
};

/// The most copies of a sampled value. They are written one by one.
const MAX_TIMES: u64 = 1_000;

/// The observations that are not in the store yet, and the levels of gauges.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub counts: Pending,
    pub observed: Observed,
    levels: Levels,
    /// The rest of sampled values.
    rests: Pending,
}

/// Something that is written at once.
#[derive(Debug)]
pub(super) enum Job {
    Count(Count),
    Batch(Batch),
}

impl Held {
    /// Takes a metric for a key of a target's series.
    pub(super) fn take_metric(
        &mut self,
        (place, series): (usize, &Series),
        key: &str,
        metric: &Metric<'_>,
        now: Timestamp,
    ) -> Result<(), Why> {
        let at = metric.at.map_or(now, Timestamp::from_secs);
        let full = |_: Full| Why::Overflow;
        match &metric.value {
            Value::Count(sum) => {
                let subject = Subject { target: place, key: key.into(), rate: metric.rate };
                self.counts.add(subject, series.bucket(at), *sum).map_err(full)?;
            }
            Value::Gauge(settings) => {
                for setting in settings {
                    let (value, now) = self.levels.set((place, key), *setting, now)?;
                    let at = if metric.at.is_some() { at } else { now };
                    self.observed.add_value(place, key, Measured { at, value, times: 1 }).map_err(full)?;
                }
            }
            Value::Measured(values) => {
                let subject = Subject { target: place, key: key.into(), rate: metric.rate };
                for value in values {
                    let times = self.rests.events(&subject, MAX_TIMES).ok_or(Why::Rate)?;
                    let times = u32::try_from(times).unwrap_or(u32::MAX);
                    let value = Measured { at, value: *value, times };
                    self.observed.add_value(place, key, value).map_err(full)?;
                }
            }
            Value::Element(element) => {
                Key::new(element).map_err(|_| Why::Value)?;
                self.observed.add_element(place, key, series.bucket(at), element).map_err(full)?;
            }
        }
        Ok(())
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Vec<Job> {
        let counts = self.counts.take().into_iter().map(Job::Count);
        counts.chain(self.observed.take().into_iter().map(Job::Batch)).collect()
    }

    /// The counts, values and elements.
    pub(super) fn len(&self) -> usize {
        self.counts.len() + self.observed.len()
    }
}

impl Job {
    /// Its counts, values or elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Count(_) => 1,
            Self::Batch(batch) => batch.items.len(),
        }
    }
}
