//! Moves of the counts of a key of a series to another key: the part of the key that they leave.

use std::sync::Arc;

use redis::Value;
use uuid::Uuid;

use super::{
    Redis, chunk,
    keys::Keys,
    reply::{pairs, text, unexpected},
    rows,
    script::Script,
};
use crate::{
    engine::step::{BucketGain, KeyMove, MovedCounts, SeriesPart},
    error::{Result, out_of_range},
    model::resolution::Resolution,
    time::Timestamp,
};

/// The most chunks of a key that is moved: they are renamed in one call.
const MAX_CHUNKS: usize = 2_000;

impl Redis {
    /// Sets the counts of a key aside. Answers whether there are any.
    pub(crate) async fn series_claim(
        &self,
        part: &SeriesPart,
        moving: &KeyMove,
        now: Timestamp,
    ) -> Result<bool> {
        let chunks: Vec<(Resolution, i64)> = kept_chunks(part, now).collect();
        if chunks.len() > MAX_CHUNKS {
            let (name, count) = (&part.grid.name, chunks.len());
            let text = format!("series {name}: {count} chunks of a key that is moved: at most {MAX_CHUNKS}");
            return Err(out_of_range(text));
        }
        let lists = self.lists_of_keys(part, now);
        let claim = |starts: &[i64]| {
            let count = 3 + starts.len() + lists.len() + 2 * chunks.len();
            let mut call = self.host.call(Script::SeriesClaim, count, 128 * count);
            call.command.arg(self.keys.series_open(part)).arg(self.keys.series_moves(part));
            call.command.arg(self.keys.series_moved(part, moving.id));
            self.add_open_buckets(&mut call, part, starts);
            let command = call.command.arg(&lists);
            for (resolution, chunk) in &chunks {
                command.arg(self.keys.series_chunk(part, resolution.step.as_secs(), *chunk, &moving.from));
            }
            for place in &chunks {
                command.arg(moved_chunk(&self.keys, part, moving.id, *place));
            }
            command.arg(&*moving.from).arg(rows::id_text(moving.id)).arg(written(moving));
            command.arg(chunk::longest_life(&part.grid).as_millis().to_string());
            command.arg(lists.len()).arg(chunks.len());
            for (resolution, _) in &chunks {
                command.arg(resolution.slots());
            }
            command.arg(starts);
            call
        };
        match text(self.run_on_open_buckets(part, claim).await?).as_deref() {
            Some("moved" | "known") => Ok(true),
            Some("nothing") => Ok(false),
            _ => Err(unexpected(self.host.name(), "a move in a series")),
        }
    }

    /// The moves that a partition has not ended.
    pub(crate) async fn series_moves(&self, part: &SeriesPart) -> Result<Vec<KeyMove>> {
        let moves = self.host.query(redis::cmd("HGETALL").arg(self.keys.series_moves(part))).await?;
        let read = |(id, text): (Vec<u8>, Vec<u8>)| {
            read_move(std::str::from_utf8(&id).ok()?, std::str::from_utf8(&text).ok()?)
        };
        let moves = pairs(moves).and_then(|moves| moves.into_iter().map(read).collect());
        moves.ok_or_else(|| unexpected(self.host.name(), "a question for the moves in a series"))
    }

    /// The counts that a move has set aside.
    pub(crate) async fn series_moved(
        &self,
        part: &SeriesPart,
        moving: &KeyMove,
        now: Timestamp,
    ) -> Result<MovedCounts> {
        let strange = || unexpected(self.host.name(), "a question for a move in a series");
        let chunks: Vec<(Resolution, i64)> = kept_chunks(part, now).collect();
        let name = |place: &(Resolution, i64)| moved_chunk(&self.keys, part, moving.id, *place);
        let names: Vec<String> = chunks.iter().map(name).collect();
        let open = redis::cmd("HGETALL").arg(self.keys.series_moved(part, moving.id)).to_owned();
        let [open, texts] = self.host.read([open, redis::cmd("MGET").arg(&names).to_owned()]).await?;
        let mut counts = MovedCounts::default();
        for (start, count) in pairs(open).ok_or_else(strange)? {
            let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
            let (Some(start), Some(n)) = (number(&start), number(&count)) else { return Err(strange()) };
            counts.open.push((start, n.unsigned_abs()));
        }
        counts.open.sort_unstable();
        let Value::Array(texts) = texts else { return Err(strange()) };
        for ((resolution, chunk), text) in chunks.into_iter().zip(texts) {
            let Value::BulkString(text) = text else { continue };
            let slots = usize::try_from(resolution.slots()).expect("slots are positive");
            let mut gains = vec![];
            let first = chunk * resolution.slots();
            chunk::each(&text, slots, |slot, n| {
                let bucket = first + i64::try_from(slot).expect("at most 3600 slots");
                gains.extend((n > 0).then_some(BucketGain { resolution, bucket, n }));
            });
            counts.chunks.push(gains);
        }
        Ok(counts)
    }

    /// Forgets a move whose target has all of it.
    pub(crate) async fn series_end_move(
        &self,
        part: &SeriesPart,
        moving: &KeyMove,
        now: Timestamp,
    ) -> Result<()> {
        let names = kept_chunks(part, now).map(|place| moved_chunk(&self.keys, part, moving.id, place));
        let names: Vec<String> = names.collect();
        let mut call = self.host.call(Script::SeriesMoved, 2 + names.len(), 128 * (2 + names.len()));
        call.command.arg(self.keys.series_moves(part)).arg(self.keys.series_moved(part, moving.id));
        call.command.arg(names).arg(rows::id_text(moving.id));
        self.host.run_one(call).await.map(drop)
    }

    /// Adds gains of a move to a key, once for each id.
    pub(crate) async fn series_receive_gains(
        &self,
        part: &SeriesPart,
        key: &str,
        (id, gains): (Uuid, &[BucketGain]),
        now: Timestamp,
    ) -> Result<()> {
        let key: Arc<str> = key.into();
        let gain = |gain: &BucketGain| chunk::gain(&gain.resolution, gain.bucket, (&key, gain.n), now);
        let gains = chunk::merge(gains.iter().filter_map(gain).collect());
        self.receive_gains(part, id, &gains).await.map(drop)
    }
}

/// The chunks of a key in which anything may be kept.
fn kept_chunks(part: &SeriesPart, now: Timestamp) -> impl Iterator<Item = (Resolution, i64)> + '_ {
    let of = move |resolution: &Resolution| {
        let resolution = *resolution;
        resolution.kept_chunks(now).map(move |chunk| (resolution, chunk))
    };
    part.grid.resolutions.iter().flat_map(of)
}

fn moved_chunk(keys: &Keys, part: &SeriesPart, id: Uuid, (resolution, chunk): (Resolution, i64)) -> String {
    format!("{}:{}:{chunk}", keys.series_moved(part, id), resolution.step.as_secs())
}

/// A move as text: the bytes of the key, ':', the key and its target.
fn written(moving: &KeyMove) -> String {
    format!("{}:{}{}", moving.from.len(), moving.from, moving.to)
}

fn read_move(id: &str, text: &str) -> Option<KeyMove> {
    let (length, keys) = text.split_once(':')?;
    let (from, to) = keys.split_at_checked(length.parse().ok()?)?;
    Some(KeyMove { id: Uuid::parse_str(id).ok()?, from: from.into(), to: to.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_read_back_whatever_its_keys_are() {
        let id = Uuid::now_v7();
        for (from, to) in [("a", "b"), ("1:2", ":"), ("é", "3:x")] {
            let moving = KeyMove { id, from: from.into(), to: to.into() };
            assert_eq!(read_move(&rows::id_text(id), &written(&moving)), Some(moving));
        }
        assert_eq!(read_move(&rows::id_text(id), "9:ab"), None);
    }
}
