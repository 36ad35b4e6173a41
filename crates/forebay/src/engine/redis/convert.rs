//! What a conversion asks of a host, beside the keys that it copies: see `cluster/convert/`.

use std::borrow::Cow;

use redis::{Cmd, Value, cmd};

use super::{
    Redis,
    keys::{EVERYWHERE, Home},
    reply::{info_field, pairs, strings, text, unexpected},
};
use crate::{
    engine::cluster::{Group, Slot},
    error::Result,
    model::rate::rule::Rule,
};

/// How long the bytes of requests are kept: as `lua/once_begin.lua` does.
const BYTES_KEPT: u64 = 93_600_000;

/// Counts that grow when somebody writes to a host, or calls scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    changes: Option<u64>,
    scripts: u64,
}

impl Activity {
    /// Whether somebody has written, or called scripts, since an earlier look. Each save of the server begins a new count.
    pub(crate) fn exceeds(&self, before: &Self) -> bool {
        self.wrote_since(before) || self.scripts > before.scripts
    }

    /// Whether somebody has written since.
    pub(crate) fn wrote_since(&self, before: &Self) -> bool {
        self.changes.zip(before.changes).is_some_and(|(now, before)| now > before)
    }
}

/// What each host has one of, and a conversion merges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    /// The tags of partitions of buffers, and of stand-ins.
    pub buffers: Vec<String>,
    pub stand_ins: Vec<String>,
    /// For each hour the bytes of the requests that began in it.
    pub once_bytes: Vec<(u64, u64)>,
}

impl Redis {
    /// What tells this database from every other one: the run of its server, and its number.
    pub(crate) async fn database(&self) -> Result<(Box<str>, u32)> {
        Ok((self.run_id().await?.into(), self.host.target().access.db))
    }

    /// How much was written, and how often scripts were called.
    pub(crate) async fn activity(&self) -> Result<Activity> {
        let sections = ["persistence", "commandstats"].map(|section| cmd("INFO").arg(section).to_owned());
        let answers = self.repeat(|| sections.to_vec()).await?;
        let mut answers = answers.into_iter().map(|answer| text(answer).unwrap_or_default());
        let (persistence, commands) =
            (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let calls = |command: &str| {
            let line = info_field(&commands, &format!("cmdstat_{command}"))?;
            line.split(',').find_map(|part| part.strip_prefix("calls=")?.parse::<u64>().ok())
        };
        let changes = info_field(&persistence, "rdb_changes_since_last_save").and_then(|n| n.parse().ok());
        Ok(Activity { changes, scripts: ["eval", "evalsha", "fcall"].into_iter().filter_map(calls).sum() })
    }

    /// What tells that keys are copied here from hosts of another layout, or were until that ended in the middle.
    pub(crate) async fn conversion(&self) -> Result<Option<String>> {
        Ok(text(self.host.query(cmd("GET").arg(self.keys.cluster_convert())).await?))
    }

    /// Notes that keys are copied here. With `is_closed` no store can be opened on this independent host until they are.
    pub(crate) async fn begin_conversion(&self, note: &str, is_closed: bool) -> Result<()> {
        let set = || {
            let mut commands = vec![set(&self.keys.cluster_convert(), note)];
            if is_closed {
                commands.push(set(&self.keys.cluster_placement(), note).arg("NX").to_owned());
            }
            commands
        };
        self.repeat(set).await.map(drop)
    }

    /// Notes that all keys are here.
    pub(crate) async fn end_conversion(&self) -> Result<()> {
        self.repeat_one(|| cmd("UNLINK").arg(self.keys.cluster_convert()).to_owned()).await.map(drop)
    }

    /// Gives this host its name, whatever it had before.
    pub(crate) async fn rename(&self, name: &str) -> Result<()> {
        self.repeat_one(|| set(&self.keys.cluster_name(), name)).await.map(drop)
    }

    /// Which of these keys are there.
    pub(crate) async fn exist(&self, keys: &[Box<[u8]>]) -> Result<Vec<bool>> {
        let exists = || keys.iter().map(|key| cmd("EXISTS").arg(&**key).to_owned()).collect();
        Ok(self.repeat(exists).await?.into_iter().map(|found| found == Value::Int(1)).collect())
    }

    /// What this host has one of.
    pub(crate) async fn registers(&self) -> Result<Registers> {
        let group = Group::default();
        let read = || {
            let members = |key| cmd("SMEMBERS").arg(key).to_owned();
            let bytes = cmd("HGETALL").arg(self.keys.once_bytes_of(group)).to_owned();
            vec![members(self.keys.buffers(group)), members(self.keys.stand_ins(group)), bytes]
        };
        let unreadable = || unexpected(self.host.name(), "a question for its registers");
        let [buffers, stand_ins, bytes] =
            <[Value; 3]>::try_from(self.repeat(read).await?).map_err(|_| unreadable())?;
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        let bytes = pairs(bytes).ok_or_else(unreadable)?;
        let once_bytes = bytes.iter().filter_map(|(hour, bytes)| Some((number(hour)?, number(bytes)?)));
        let set = |members| match members {
            members @ (Value::Set(_) | Value::Array(_)) => strings(members),
            _ => None,
        };
        Ok(Registers {
            buffers: set(buffers).ok_or_else(unreadable)?,
            stand_ins: set(stand_ins).ok_or_else(unreadable)?,
            once_bytes: once_bytes.collect(),
        })
    }

    /// Registers partitions of buffers, or stand-ins, that have come here. All are of one group.
    pub(crate) async fn register(&self, group: Group, buffers: &[&str], stand_ins: &[&str]) -> Result<()> {
        let add = |key: String, tags: &[&str]| {
            (!tags.is_empty()).then(|| cmd("SADD").arg(key).arg(tags).to_owned())
        };
        let commands = || {
            let both = [add(self.keys.buffers(group), buffers), add(self.keys.stand_ins(group), stand_ins)];
            both.into_iter().flatten().collect::<Vec<_>>()
        };
        if commands().is_empty() {
            return Ok(());
        }
        self.repeat(commands).await.map(drop)
    }

    /// Counts the bytes of requests that have come here, in place of what was counted.
    pub(crate) async fn count_once_bytes(&self, group: Group, bytes: &[(u64, u64)]) -> Result<()> {
        let key = self.keys.once_bytes_of(group);
        let count = || {
            let mut hset = cmd("HSET");
            hset.arg(&key);
            for (hour, bytes) in bytes {
                hset.arg(hour).arg(bytes);
            }
            vec![hset, cmd("PEXPIRE").arg(&key).arg(BYTES_KEPT).to_owned()]
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.repeat(count).await.map(drop)
    }

    /// Since when the flushing of a buffer is paused: the content of this key.
    pub(crate) async fn paused_since(&self, key: &[u8]) -> Result<Option<u64>> {
        let since = self.repeat_one(|| cmd("GET").arg(key).to_owned()).await?;
        Ok(text(since).and_then(|since| since.parse().ok()))
    }

    /// Pauses the flushing of a buffer, unless it is.
    pub(crate) async fn pause_since(&self, key: &[u8], since: u64) -> Result<()> {
        self.repeat_one(|| cmd("SET").arg(key).arg(since).arg("NX").to_owned()).await.map(drop)
    }

    /// The name that a key of independent hosts has in a Redis Cluster. `None`: each host has its own.
    pub(crate) fn in_redis_cluster<'a>(&self, key: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        self.keys.in_redis_cluster(key)
    }

    /// The kind of structure that a key belongs to: the first word behind the prefix, or `plain`. `None`: the key is about the host
    /// itself, or each host has its own.
    pub(crate) fn kind_of(&self, key: &[u8]) -> Option<&'static str> {
        const KINDS: [&str; 7] = ["leases", "lock", "buffer", "series", "once", "charge", "overrides"];
        let (kind, part) = match self.keys.parts(key) {
            Some((kind, _, part)) => (kind.trim_matches(['{', '}']), part),
            None => return Some("plain"),
        };
        if EVERYWHERE.contains(&kind.as_bytes()) || (kind, part) == ("buffer", "paused") {
            return None;
        }
        let is_tagged = matches!(self.keys.home(key), Home::Tag(_) | Home::Buffer(_));
        let mut known = KINDS.into_iter().chain(Rule::words());
        Some(known.find(|known| is_tagged && *known == kind).unwrap_or("plain"))
    }

    /// Whether a key begins with the prefix of this store, and is not about the host itself.
    pub(crate) fn is_of_store(&self, key: &[u8]) -> bool {
        let is_about_host = matches!(self.keys.parts(key), Some(("cluster" | "probe", ..)));
        let rest = key.strip_prefix(self.keys.prefix().as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b":")) && !is_about_host
    }

    /// The slots of a Redis Cluster that have the keys about a conversion: that there is one, and who is at work.
    pub(crate) fn slots_about_conversion(&self) -> [Slot; 2] {
        [self.keys.cluster_convert(), self.keys.cluster_reshard()].map(|key| Slot::of_key(key.as_bytes()))
    }
}

fn set(key: &str, value: &str) -> Cmd {
    cmd("SET").arg(key).arg(value).to_owned()
}
