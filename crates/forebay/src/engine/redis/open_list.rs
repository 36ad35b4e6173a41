//! The list of the open buckets of a partition, and calls that have to name all of them.

use std::time::Duration;

use redis::Value;

use super::{
    Redis,
    calls::Call,
    reply::{pairs, text, unavailable, unexpected},
};
use crate::{engine::step::SeriesPart, error::Result, time::Timestamp};

/// The number of calls at most, where each meets open buckets that it does not know.
const MAX_ATTEMPTS: usize = 10;

/// The field of the list of open buckets that tells how often counts were moved to chunks.
pub(super) const SEALS: &str = "#seals";

/// The beginning of a field that tells of lists of the largest keys (`lua/ranks.lua`).
const TOP: &str = "#top:";

/// The lists of the largest keys of the buckets of a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopLists {
    /// In seconds.
    pub step: u64,
    /// The time in seconds since which no key is missing.
    pub since: i64,
    pub kept: Duration,
}

/// The list of the open buckets of a partition.
pub(super) struct OpenList {
    /// Of each its start, and the resolutions of the series as its first writer knew them.
    pub buckets: Vec<(i64, String)>,
    /// The number of times that counts were moved to chunks.
    pub seals: Option<String>,
    pub tops: Vec<TopLists>,
}

impl TopLists {
    fn read(step: &str, value: &str) -> Option<Self> {
        let (since, kept) = value.split_once(' ')?;
        let kept = Duration::from_millis(kept.parse().ok()?);
        Some(Self { step: step.parse().ok()?, since: since.parse().ok()?, kept })
    }
}

impl OpenList {
    pub(super) fn read(reply: Value) -> Option<Self> {
        let (mut buckets, mut seals, mut tops) = (vec![], None, vec![]);
        for (field, value) in pairs(reply)? {
            let (field, value) = (String::from_utf8(field).ok()?, String::from_utf8(value).ok()?);
            if field == SEALS {
                seals = Some(value);
            } else if let Some(step) = field.strip_prefix(TOP) {
                tops.push(TopLists::read(step, &value)?);
            } else {
                buckets.push((field.parse().ok()?, value));
            }
        }
        Some(Self { buckets, seals, tops })
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = i64> {
        self.buckets.iter().map(|(start, _)| *start)
    }
}

impl Redis {
    /// Runs a call that names open buckets by their starts: first those that are known, and again all of them if there are others. The
    /// script has done nothing then, and answers with a list of them (`lua/open.lua`).
    ///
    /// A call whose answer is lost is not sent again: it would take what was counted in between.
    pub(super) async fn run_on_open_buckets(
        &self,
        part: &SeriesPart,
        call: impl Fn(&[i64]) -> Call + Sync,
    ) -> Result<Value> {
        let mut starts = self.open_buckets.of(part);
        for _ in 0..MAX_ATTEMPTS {
            let open = match self.host.run_one(call(&starts)).await? {
                Value::Array(open) => open,
                answer => return Ok(answer),
            };
            let read = |start: Value| text(start)?.parse().ok();
            let open = open.into_iter().map(read).collect::<Option<_>>();
            starts = open.ok_or_else(|| unexpected(self.host.name(), "a list of open buckets"))?;
        }
        Err(unavailable(self.host.name(), "the series has other buckets all the time"))
    }

    /// Names open buckets in a call.
    pub(super) fn add_open_buckets(&self, call: &mut Call, part: &SeriesPart, starts: &[i64]) {
        for &start in starts {
            call.command.arg(self.keys.series_bucket(part, start));
        }
    }

    /// The names of the lists of keys of chunks in which anything may be kept.
    pub(super) fn lists_of_keys(&self, part: &SeriesPart, now: Timestamp) -> Vec<String> {
        let coarsest = part.grid.resolutions.last();
        let chunks = coarsest.into_iter().flat_map(|coarsest| coarsest.kept_chunks(now));
        chunks.map(|chunk| self.keys.series_keys(part, chunk)).collect()
    }
}
