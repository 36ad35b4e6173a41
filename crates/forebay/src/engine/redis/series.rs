//! Series on a Redis host.

use redis::Value;

use super::{
    Redis, chunk,
    reply::{foreign_key, text, unexpected},
    script::Script,
    series_writer::Item,
};
use crate::{
    engine::{
        request::Token,
        step::{Point, SeriesPart, Span},
    },
    error::{Result, Retry},
    model::resolution::Resolution,
    time::Timestamp,
};

/// Keys in one command that deletes. Only steps far below their retention have more.
const MAX_KEYS_PER_DELETE: usize = 1_000;

/// The outcome of points whose buckets were written one by one. Where some were applied, or may have been, a repetition counts
/// twice.
pub(super) fn one_for_all(outcomes: Vec<Result<()>>) -> Result<()> {
    let may_be_applied = |outcome: &Result<()>| match outcome {
        Ok(()) => true,
        Err(error) => error.retry() == Retry::Unknown,
    };
    let some = outcomes.iter().any(may_be_applied);
    match outcomes.into_iter().collect() {
        Err::<(), _>(error) if some => Err(error.with_retry(Retry::Unknown)),
        outcome => outcome,
    }
}

impl Redis {
    /// More than `MAX_BUCKETS_PER_CALL` buckets are written in several calls, each of them once.
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        self.series_add_points(part, &points, now).await
    }

    /// [`series_add`](Self::series_add) of points that another host may get if this one does not take them.
    pub(crate) async fn series_add_points(
        &self,
        part: &SeriesPart,
        points: &[Point],
        now: Timestamp,
    ) -> Result<()> {
        let gains = chunk::gains(&part.grid, points, now);
        if gains.is_empty() {
            return Ok(());
        }
        let outcomes = self
            .series_writers
            .of(part, &self.host, &self.keys)
            .write(part.index, gains.into_iter().map(Item::Gain))
            .await?;
        one_for_all(outcomes)
    }

    /// The time that decides what is kept.
    pub(crate) async fn series_now(&self, _part: &SeriesPart) -> Timestamp {
        self.host.server_time().await
    }

    /// In one call: the point's token stands for all of its buckets.
    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        let gains = chunk::gains(&part.grid, &[point], now);
        if gains.is_empty() {
            return Ok(());
        }
        let item = Item::Whole(Box::new((gains, *token)));
        self.series_writers
            .of(part, &self.host, &self.keys)
            .write(part.index, [item])
            .await?
            .into_iter()
            .collect()
    }

    /// One `MGET`, which sees every chunk at the same moment. It shows a key of another type as one that is not there, so
    /// `EXISTS` counts them behind it.
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let (mut chunks, mut keys) = (vec![], vec![]);
        for (place, span) in spans.iter().enumerate().filter(|(_, span)| span.from < span.to) {
            let Span { key, resolution, from, to } = *span;
            for chunk in resolution.place(from).0..=resolution.place(to - 1).0 {
                keys.push(self.keys.series_chunk(part, resolution.step.as_secs(), chunk, key));
                chunks.push((place, chunk));
            }
        }
        let mut counts: Vec<Vec<u64>> = spans.iter().map(Span::zeros).collect();
        if chunks.is_empty() {
            return Ok(counts);
        }
        let commands = ["MGET", "EXISTS"].map(|name| redis::cmd(name).arg(&keys).to_owned());
        let (texts, there) = match self.host.read(commands).await? {
            [Value::Array(texts), Value::Int(there)] if texts.len() == chunks.len() => (texts, there),
            _ => return Err(unexpected(self.host.name(), "a read of a series")),
        };
        let mut absent = vec![];
        for (((place, chunk), key), text) in chunks.into_iter().zip(&keys).zip(texts) {
            let Value::BulkString(text) = text else {
                absent.push(key);
                continue;
            };
            let slots = usize::try_from(spans[place].resolution.slots()).expect("slots are positive");
            if !chunk::each(&text, slots, spans[place].copy(chunk, &mut counts[place])) {
                return Err(foreign_key(self.host.name(), &self.keys, key.as_bytes(), "string".into()));
            }
        }
        if usize::try_from(there).is_ok_and(|there| there > keys.len() - absent.len()) {
            self.check_absent(&absent).await?;
        }
        Ok(counts)
    }

    /// Whether keys without a text hold something else; one that was written just now is no mistake.
    async fn check_absent(&self, keys: &[&String]) -> Result<()> {
        let asks = keys.iter().map(|key| redis::cmd("TYPE").arg(key).to_owned()).collect();
        let kinds = self.host.read_all(asks).await?.into_iter().map(|kind| text(kind).unwrap_or_default());
        match keys.iter().zip(kinds).find(|(_, kind)| kind != "string" && kind != "none") {
            Some((key, kind)) => Err(foreign_key(self.host.name(), &self.keys, key.as_bytes(), kind)),
            None => Ok(()),
        }
    }

    /// Forgets the chunks in which anything is kept at `now`; older ones expire by themselves.
    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, now: Timestamp) -> Result<()> {
        let chunks = |resolution: &Resolution| {
            let step = resolution.step.as_secs();
            resolution.kept_chunks(now).map(move |chunk| self.keys.series_chunk(part, step, chunk, key))
        };
        let keys: Vec<String> = part.grid.resolutions.iter().flat_map(chunks).collect();
        for keys in keys.chunks(MAX_KEYS_PER_DELETE) {
            // Not sent again when in doubt: that would forget what was counted in between.
            let mut call = self.host.call(Script::SeriesDelete, keys.len(), 128 * keys.len());
            call.command.arg(keys);
            self.host.run_one(call).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// Of the buckets of one point some may be applied: a repetition elsewhere would count those twice.
    #[test]
    fn a_point_is_unknown_unless_all_of_its_buckets_are_certain() {
        let unsent = || Err(Error::new(ErrorKind::Unavailable, "no connection"));
        let doubtful = || Err(Error::new(ErrorKind::Ambiguous, "the answer was lost"));
        let retry = |outcomes: Vec<Result<()>>| one_for_all(outcomes).map_err(|error| error.retry());
        assert_eq!(retry(vec![Ok(()), Ok(())]), Ok(()));
        assert_eq!(retry(vec![unsent(), unsent()]), Err(Retry::Later));
        assert_eq!(retry(vec![unsent(), Ok(())]), Err(Retry::Unknown));
        assert_eq!(retry(vec![unsent(), doubtful()]), Err(Retry::Unknown));
    }
}
