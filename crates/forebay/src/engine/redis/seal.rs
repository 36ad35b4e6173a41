//! Sealing: counts move from the open buckets of a series to the chunks of all resolutions.
//!
//! A move is one script call, which moves what it finds. So any process may do it, at any time and as often as it likes.

use std::sync::Arc;

use redis::Value;

use super::{
    Redis, chunk,
    open_buckets::OpenBucket,
    open_list::OpenList,
    reply::{strings, text, unexpected},
    script::Script,
    series_writer::MAX_CHUNKS_PER_CALL,
};
use crate::{
    engine::{
        grids::Grids,
        step::{SeriesPart, Which},
    },
    error::Result,
    model::resolution::{Grid, Resolution},
    time::Timestamp,
};

/// Keys in one call if no resolution keeps the bucket any more.
const MAX_KEYS_PER_CALL: usize = 1_000;

/// The rest of a bucket after a call.
struct Left {
    keys: u64,
    /// Keys that stay, because a chunk is of somebody else.
    stuck: Vec<String>,
}

impl Redis {
    /// The series of this process.
    pub(crate) fn series_grids(&self) -> &Grids {
        &self.grids
    }

    /// Whether this process knows of open buckets of a partition.
    pub(crate) fn series_is_open(&self, part: &SeriesPart) -> bool {
        self.open_buckets.has_any(part)
    }

    /// Seals open buckets of a partition.
    pub(crate) async fn series_seal(&self, part: &SeriesPart, which: Which) -> Result<()> {
        let open = self.series_open(part).await?;
        let now = self.host.clock().monotonic();
        let starts: Vec<i64> = open.iter().map(|bucket| bucket.start).collect();
        self.open_buckets.learn(part, &starts, now);
        let due = match which {
            Which::All => open,
            Which::Due => self.open_buckets.due(part, open, now),
        };
        for OpenBucket { start, resolutions, .. } in due {
            // By the definition that its writer had: this process may have another one.
            let grid = chunk::read_resolutions(&resolutions).map(|resolutions| {
                let Grid { partitions, is_ranked, .. } = *part.grid;
                Arc::new(Grid {
                    name: part.grid.name.clone(),
                    resolutions: resolutions.into(),
                    partitions,
                    is_ranked,
                })
            });
            let written = SeriesPart { grid: grid.unwrap_or_else(|| part.grid.clone()), ..part.clone() };
            self.series_seal_bucket(&written, start).await?;
        }
        Ok(())
    }

    /// The open buckets of a partition.
    async fn series_open(&self, part: &SeriesPart) -> Result<Vec<OpenBucket>> {
        let strange = || unexpected(self.host.name(), "a question for the open buckets of a series");
        let list = self.host.query(redis::cmd("HGETALL").arg(self.keys.series_open(part))).await?;
        let list = OpenList::read(list).ok_or_else(strange)?;
        if part.grid.is_ranked && list.tops.len() < part.grid.ranked().count() {
            self.series_keep_ranks(part).await?;
        }
        let count = |start: i64| redis::cmd("HLEN").arg(self.keys.series_bucket(part, start)).to_owned();
        let counts = self.host.read_all(list.starts().map(count).collect()).await?;
        let bucket = |((start, resolutions), count): ((i64, String), Value)| match count {
            Value::Int(fields) => {
                let keys = u64::try_from(fields).ok()?.saturating_sub(1);
                Some(OpenBucket { start, resolutions, keys })
            }
            _ => None,
        };
        list.buckets.into_iter().zip(counts).map(bucket).collect::<Option<_>>().ok_or_else(strange)
    }

    /// Seals a bucket, some keys at a time: the server does nothing else for so long.
    async fn series_seal_bucket(&self, part: &SeriesPart, start: i64) -> Result<()> {
        let strange = || unexpected(self.host.name(), "a scan of an open bucket of a series");
        let now = self.host.server_time().await;
        let at = Timestamp::from_secs(start);
        let keeps = |resolution: &&Resolution| resolution.keeps(resolution.bucket(at), now);
        let kept: Vec<Resolution> = part.grid.resolutions.iter().filter(keeps).copied().collect();
        let most = if kept.is_empty() { MAX_KEYS_PER_CALL } else { MAX_CHUNKS_PER_CALL / kept.len() };
        let (mut cursor, mut stuck, mut left) = ("0".to_owned(), vec![], 0);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(self.keys.series_bucket(part, start)).arg(&cursor).arg("COUNT").arg(most);
            let Value::Array(answer) = self.host.query(&scan).await? else { return Err(strange()) };
            let Ok([next, fields]) = <[Value; 2]>::try_from(answer) else { return Err(strange()) };
            cursor = text(next).ok_or_else(strange)?;
            let fields = strings(fields).ok_or_else(strange)?;
            // One field is no key.
            let keys = fields.iter().step_by(2).map(String::as_str).filter(|key| !key.is_empty());
            let keys: Vec<&str> = keys.collect();
            // The last call of an empty bucket takes it off the list.
            let is_last = cursor == "0" && keys.is_empty() && left == 0;
            for keys in keys.chunks(most).chain(is_last.then_some(&[][..])) {
                let rest = self.series_seal_keys(part, (start, now), &kept, keys).await?;
                left = rest.keys;
                stuck.extend(rest.stuck);
            }
            if cursor == "0" {
                break;
            }
        }
        if let Some(key) = stuck.first() {
            let (series, bucket) = (&part.grid.name, at.to_string());
            tracing::warn!(%series, bucket, key, keys = stuck.len(), "a key in redis is in the way of counts");
            self.open_buckets.pause(part, start, self.host.clock().monotonic());
        }
        Ok(())
    }

    /// Moves the counts of keys in a bucket to the chunks of resolutions.
    async fn series_seal_keys(
        &self,
        part: &SeriesPart,
        (start, now): (i64, Timestamp),
        kept: &[Resolution],
        keys: &[&str],
    ) -> Result<Left> {
        let at = Timestamp::from_secs(start);
        let places = kept.iter().map(|resolution| (resolution, resolution.place(resolution.bucket(at))));
        let tops: Vec<&Resolution> =
            part.grid.ranked().filter(|resolution| kept.contains(resolution)).collect();
        let first = 3 + tops.len();
        let count = first + keys.len() * kept.len();
        let mut call = self.host.call(Script::SeriesSeal, count, 256 + 64 * count);
        call.command.arg(self.keys.series_open(part)).arg(self.keys.series_bucket(part, start));
        let coarsest = part.grid.resolutions.last().map(|coarsest| coarsest.place(coarsest.bucket(at)).0);
        call.command.arg(self.keys.series_keys(part, coarsest.unwrap_or_default()));
        for top in &tops {
            call.command.arg(self.keys.series_top(part, top.step.as_secs(), top.bucket(at)));
        }
        for key in keys {
            for (resolution, (chunk, _)) in places.clone() {
                call.command.arg(self.keys.series_chunk(part, resolution.step.as_secs(), chunk, key));
            }
        }
        call.command.arg(start).arg(chunk::longest_life(&part.grid).as_millis().to_string()).arg(kept.len());
        for (resolution, (chunk, slot)) in places {
            // A chunk that holds a kept bucket has time left; a started millisecond counts.
            let life = resolution.lifetime(chunk, now).unwrap_or_default().as_millis() + 1;
            let top = tops.iter().position(|top| *top == resolution).map_or(0, |place| 4 + place);
            call.command.arg(life.to_string()).arg(resolution.slots()).arg(slot).arg(top);
        }
        call.command.arg(keys);
        let numbers = match self.host.run_one(call).await? {
            Value::Array(numbers) => numbers,
            _ => vec![],
        };
        let number = |value: &Value| match value {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let numbers: Option<Vec<usize>> = numbers.iter().map(number).collect();
        let numbers = numbers.unwrap_or_default();
        let Some((left, places)) = numbers.split_first() else {
            return Err(unexpected(self.host.name(), "a move of counts to chunks"));
        };
        let stuck = places.iter().filter_map(|place| keys.get((place - first - 1) / kept.len().max(1)));
        Ok(Left { keys: *left as u64, stuck: stuck.map(|key| (*key).to_owned()).collect() })
    }
}
