//! The differences between the kinds of summaries on a Redis host.

use redis::{Cmd, Value};

use super::{distinct, gauge, percentiles};
use crate::{
    engine::{redis::script::Script, step::Summaries},
    model::summary::{Observation, SummaryKind},
};

impl SummaryKind {
    /// The script that merges into its summaries.
    pub(super) fn script(self) -> Script {
        match self {
            Self::Distinct => Script::DistinctAdd,
            Self::Gauge => Script::GaugeAdd,
            Self::Percentiles => Script::PercentilesAdd,
        }
    }

    /// The type of the key of a summary, in Redis' words.
    pub(in crate::engine::redis) fn stored_as(self) -> &'static str {
        match self {
            Self::Distinct => "string",
            Self::Gauge | Self::Percentiles => "hash",
        }
    }

    /// The number of buckets that share a key, one after the other.
    pub(super) fn buckets_per_key(self) -> i64 {
        match self {
            Self::Distinct | Self::Percentiles => 1,
            Self::Gauge => gauge::BUCKETS_PER_KEY,
        }
    }

    /// The number of the key that has a bucket, counted from 1970.
    pub(super) fn place(self, bucket: i64) -> i64 {
        bucket.div_euclid(self.buckets_per_key())
    }

    /// The argument that is merged into one key, as its script reads it: observations, each with its bucket.
    pub(super) fn gains(self, observed: &[(i64, &Observation)]) -> Vec<u8> {
        match self {
            Self::Distinct => distinct::gains(observed),
            Self::Gauge => gauge::gains(observed),
            Self::Percentiles => percentiles::gains(observed),
        }
    }

    /// The command that reads a key.
    pub(super) fn read(self, key: &str) -> Cmd {
        let command = match self {
            Self::Distinct => "GET",
            Self::Gauge | Self::Percentiles => "HGETALL",
        };
        redis::cmd(command).arg(key).to_owned()
    }

    /// The summaries in the answer to it, given the number of the key. `None`: it is not ours.
    pub(super) fn summaries(self, place: i64, answer: Value) -> Option<Summaries> {
        match self {
            Self::Distinct => distinct::summaries(place, answer),
            Self::Gauge => gauge::summaries(place, answer),
            Self::Percentiles => percentiles::summaries(place, answer),
        }
    }
}
