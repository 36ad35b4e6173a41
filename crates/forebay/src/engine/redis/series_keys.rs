//! The keys of a series on a Redis host.

use std::collections::BTreeSet;

use redis::{Cmd, Value};

use super::{
    Redis, chunk,
    open_list::OpenList,
    reply::{strings, text, unexpected},
};
use crate::{
    engine::step::{KeyRange, SeriesPart},
    error::Result,
    model::resolution::Resolution,
    time::Timestamp,
};

/// Fields of an open bucket in one look.
const FIELDS_PER_SCAN: usize = 1_000;

impl Redis {
    /// First the open buckets, then the lists: a key whose counts are moved in between is in the lists by then.
    pub(crate) async fn series_list(
        &self,
        part: &SeriesPart,
        range: &KeyRange<'_>,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let Some(coarsest) = part.grid.resolutions.last().copied() else { return Ok(vec![]) };
        let mut found = self.open_keys(part, range, now).await?;
        let mut after = range.after.map(str::to_owned);
        loop {
            let rest = KeyRange { after: after.as_deref(), ..*range };
            let (page, is_last) = self.listed_keys(part, coarsest, &rest, now).await?;
            let end = page.last().map(|(key, _)| key.clone());
            found.extend(self.kept_keys(part, coarsest, page, now).await?);
            match end.filter(|_| !is_last) {
                // Some that were listed have no count any more.
                Some(end) if found.range(..=end.clone()).count() < range.most => after = Some(end),
                _ => return Ok(found.into_iter().take(range.most).collect()),
            }
        }
    }

    /// The keys in open buckets.
    async fn open_keys(
        &self,
        part: &SeriesPart,
        range: &KeyRange<'_>,
        now: Timestamp,
    ) -> Result<BTreeSet<String>> {
        let strange = || unexpected(self.host.name(), "a scan of the keys of a series");
        let open = self.host.query(redis::cmd("HGETALL").arg(self.keys.series_open(part))).await?;
        let open = OpenList::read(open).ok_or_else(strange)?;
        let mut found = BTreeSet::new();
        let is_kept = |start: &i64| chunk::is_kept(&part.grid, Timestamp::from_secs(*start), now);
        self.each_open(part, open.starts().filter(is_kept), range.prefix, |key, _| {
            if range.contains(&key) {
                found.insert(key);
            }
        })
        .await?;
        Ok(found)
    }

    /// Visits the keys that begin with a text in open buckets, with their counts. A key may come twice.
    pub(super) async fn each_open(
        &self,
        part: &SeriesPart,
        starts: impl Iterator<Item = i64>,
        prefix: &str,
        mut visit: impl FnMut(String, u64),
    ) -> Result<()> {
        let strange = || unexpected(self.host.name(), "a scan of the keys of a series");
        for start in starts {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("HSCAN");
                scan.arg(self.keys.series_bucket(part, start)).arg(&cursor);
                if !prefix.is_empty() {
                    scan.arg("MATCH").arg(glob(prefix));
                }
                scan.arg("COUNT").arg(FIELDS_PER_SCAN);
                let Value::Array(answer) = self.host.query(&scan).await? else { return Err(strange()) };
                let Ok([next, fields]) = <[Value; 2]>::try_from(answer) else { return Err(strange()) };
                cursor = text(next).ok_or_else(strange)?;
                let mut fields = strings(fields).ok_or_else(strange)?.into_iter();
                while let (Some(key), Some(count)) = (fields.next(), fields.next()) {
                    // One field is no key.
                    if !key.is_empty() {
                        visit(key, count.parse().map_err(|_| strange())?);
                    }
                }
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The first keys that are listed, each with the number of its latest chunk; and whether there are no others.
    pub(super) async fn listed_keys(
        &self,
        part: &SeriesPart,
        coarsest: Resolution,
        range: &KeyRange<'_>,
        now: Timestamp,
    ) -> Result<(Vec<(String, i64)>, bool)> {
        let strange = || unexpected(self.host.name(), "a question for the keys of a series");
        let chunks = coarsest.kept_chunks(now);
        let ask = |chunk| by_name(&self.keys.series_keys(part, chunk), range);
        let answers = self.host.read_all(chunks.clone().map(ask).collect()).await?;
        let mut keys: Vec<(String, i64)> = vec![];
        let mut is_last = true;
        for (chunk, answer) in chunks.zip(answers) {
            let listed = strings(answer).ok_or_else(strange)?;
            is_last &= listed.len() < range.most;
            keys.extend(listed.into_iter().map(|key| (key, -chunk)));
        }
        keys.sort_unstable();
        keys.dedup_by(|next, kept| next.0 == kept.0);
        is_last &= keys.len() <= range.most;
        keys.truncate(range.most);
        Ok((keys.into_iter().map(|(key, chunk)| (key, -chunk)).collect(), is_last))
    }

    /// Those of the keys that have a count that is kept. Only the oldest chunk may have none.
    async fn kept_keys(
        &self,
        part: &SeriesPart,
        coarsest: Resolution,
        listed: Vec<(String, i64)>,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let (oldest, first) = coarsest.place(coarsest.oldest_kept(now));
        let (old, mut kept): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, chunk)| *chunk == oldest);
        let get = |(key, _): &(String, i64)| {
            redis::cmd("GET")
                .arg(self.keys.series_chunk(part, coarsest.step.as_secs(), oldest, key))
                .to_owned()
        };
        let texts = self.host.read_all(old.iter().map(get).collect()).await?;
        let slots = usize::try_from(coarsest.slots()).expect("slots are positive");
        for (key, text) in old.into_iter().zip(texts) {
            let Value::BulkString(text) = text else { continue };
            let mut is_kept = false;
            chunk::each(&text, slots, |slot, count| is_kept |= slot >= first && count > 0);
            if is_kept {
                kept.push(key);
            }
        }
        Ok(kept.into_iter().map(|(key, _)| key).collect())
    }
}

/// The command that reads a part of a list, by the bytes of its keys.
fn by_name(list: &str, range: &KeyRange<'_>) -> Cmd {
    let from = match range.after {
        Some(after) if after >= range.prefix => format!("({after}"),
        _ if range.prefix.is_empty() => "-".to_owned(),
        _ => format!("[{}", range.prefix),
    };
    // No key has this byte.
    let to = if range.prefix.is_empty() {
        b"+".to_vec()
    } else {
        [b"(", range.prefix.as_bytes(), b"\xff"].concat()
    };
    let mut command = redis::cmd("ZRANGE");
    command.arg(list).arg(from).arg(to).arg("BYLEX").arg("LIMIT").arg(0).arg(range.most);
    command
}

/// The pattern of what begins with a text.
fn glob(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}
