//! What a resharder asks of a host, beside the keys that it moves: see `cluster/reshard.rs`.

use std::time::Duration;

use redis::{Value, cmd};
use uuid::Uuid;

use super::{
    Redis,
    calls::Call,
    fence::Fence,
    reply::{info_field, strings, text, unexpected},
    rows,
    script::Script,
};
use crate::{
    engine::cluster::{Group, Placement},
    error::{Error, ErrorKind, Result, Retry},
    time::{millis, secs},
};

/// How often what may be repeated is tried.
const MAX_ATTEMPTS: usize = 5;

/// Between two attempts.
const PAUSE: Duration = millis(100);

/// How long replicas have for what was written before. Below the time after which a host without an answer is given up.
const REPLICATION: Duration = secs(1);

/// A key that says that a buffer is paused, and its value.
pub(crate) type Paused = (Box<[u8]>, Vec<u8>);

impl Redis {
    /// Makes the resharder of this mark the only one for some time, or tells whose mark is there. With `take_over` it is the only
    /// one whoever was before.
    pub(crate) async fn claim_reshard(
        &self,
        mark: &str,
        within: Duration,
        take_over: bool,
    ) -> Result<Option<String>> {
        let call = || {
            let mut call = self.host.call(Script::ReshardClaim, 1, 128);
            let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            call.command.arg(self.keys.cluster_reshard()).arg(mark).arg(within);
            call.command.arg(if take_over { "1" } else { "" });
            call
        };
        let there =
            text(self.patiently(call).await?).ok_or_else(|| unexpected(self.host.name(), "a claim"))?;
        Ok((there != mark).then_some(there))
    }

    /// [`store_placement`](Self::store_placement), also if an answer is lost: it may be repeated.
    ///
    /// # Errors
    /// [`Retry::Never`] if another placement is there.
    pub(crate) async fn place(&self, placement: &Placement, fence: Option<Fence>) -> Result<()> {
        if self.patiently(|| self.placement_call(placement, fence)).await? == Value::Int(1) {
            return Ok(());
        }
        let text = format!("redis {}: another resharder has stored a later table of slots", self.host.name());
        Err(Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Never))
    }

    /// Waits until all replicas have what was written here, so that none of them takes over without it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if one of them takes longer than [`REPLICATION`].
    pub(crate) async fn await_replicas(&self) -> Result<()> {
        let info = || cmd("INFO").arg("replication").to_owned();
        let replicas = text(self.host.query(&info()).await?);
        let replicas = replicas.and_then(|info| info_field(&info, "connected_slaves")?.parse::<i64>().ok());
        let replicas = replicas.unwrap_or_default();
        // WAIT counts from the last command of its own connection, whatever that was.
        let within = u64::try_from(REPLICATION.as_millis()).unwrap_or(u64::MAX);
        let wait = cmd("WAIT").arg(replicas).arg(within).to_owned();
        match self.host.read_unfenced(vec![info(), wait]).await?.pop() {
            Some(Value::Int(have)) if have >= replicas => Ok(()),
            Some(Value::Int(have)) => {
                let text = format!(
                    "redis {}: {have} of {replicas} replicas have the fence after {REPLICATION:?}; if another one took over \
                     now, writes would be lost: repeat this when they are not behind",
                    self.host.name()
                );
                Err(Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Later))
            }
            _ => Err(unexpected(self.host.name(), "WAIT")),
        }
    }

    /// The fence, as it stands.
    pub(crate) async fn fence(&self) -> Result<Option<String>> {
        Ok(text(self.host.query(cmd("GET").arg(self.keys.cluster_fence())).await?))
    }

    /// Lets the keys of calls be noted, from the beginning or since they were taken last: by this mark it is known that none was
    /// forgotten.
    pub(crate) async fn begin_tracking(&self, mark: &str) -> Result<()> {
        let touched = self.keys.cluster_touched();
        self.host.query(cmd("SADD").arg(&touched).arg(mark)).await?;
        self.keep_tracking().await
    }

    /// Goes on with it for another minute.
    pub(crate) async fn keep_tracking(&self) -> Result<()> {
        self.host.query(cmd("PEXPIRE").arg(self.keys.cluster_touched()).arg(60_000)).await.map(drop)
    }

    /// Whether a key is the one that has the name of the host.
    pub(crate) fn is_name(&self, key: &[u8]) -> bool {
        *key == *self.keys.cluster_name().as_bytes()
    }

    /// The beginning of all keys of the store.
    pub(crate) fn prefix(&self) -> &str {
        self.keys.prefix()
    }

    /// The beginning of the keys of another store, if this is one by which its hosts are known.
    pub(crate) fn foreign_prefix(&self, key: &[u8]) -> Option<Box<[u8]>> {
        let own = self.keys.cluster_name();
        let prefix =
            [&b"cluster:name"[..], b"cluster:placement"].into_iter().find_map(|end| key.strip_suffix(end))?;
        (prefix.len() > 1 && prefix.ends_with(b":") && !own.as_bytes().starts_with(prefix))
            .then(|| prefix.into())
    }

    /// The tags of the partitions of buffers that were ever written to here.
    pub(crate) async fn registered_tags(&self) -> Result<Vec<String>> {
        let tags = self.host.query(cmd("SMEMBERS").arg(self.keys.buffers(Group::default()))).await?;
        strings(tags).ok_or_else(|| unexpected(self.host.name(), "a question for partitions"))
    }

    /// Whether a partition of a buffer has rows that are not in the database. Its live generation is frozen, so that it gets there.
    pub(crate) async fn has_rows(&self, tag: &str) -> Result<bool> {
        let [live, list] = ["live", "frozen"].map(|what| self.keys.buffer_of_tag(tag, what));
        let id = cmd("HGET").arg(&live).arg("#gen").to_owned();
        let [id, frozen] = self.host.read([id, cmd("LLEN").arg(&list).to_owned()]).await?;
        let Some(id) = text(id).and_then(|id| Uuid::parse_str(&id).ok()) else {
            return Ok(frozen != Value::Int(0));
        };
        let mut call = self.host.call(Script::BufferRotate, 3, 384);
        call.command.arg(live).arg(format!("{list}:{}", id.hyphenated())).arg(list);
        call.command.arg(rows::id_text(id)).arg(-1).arg(-1).arg(-1);
        self.host.run_one(call).await?;
        Ok(true)
    }

    /// Copies what each host has, and a host that joins does not have yet: which buffers are paused. Answers the keys that
    /// were copied, with their values.
    pub(crate) async fn copy_paused(&self, keys: &[Box<[u8]>], target: &Self) -> Result<Vec<Paused>> {
        let mut copied = vec![];
        for key in keys {
            let Value::BulkString(since) = self.host.query(cmd("GET").arg(&**key)).await? else { continue };
            if target.host.query(cmd("SET").arg(&**key).arg(&since).arg("NX")).await? == Value::Okay {
                copied.push((key.clone(), since));
            }
        }
        // One that was resumed meanwhile may have been so before it was copied.
        self.resume_on(&copied, target).await?;
        Ok(copied)
    }

    /// Lets buffers go on that were resumed here since they were copied: whoever did that may not have known of `target`.
    pub(crate) async fn resume_on(&self, copied: &[Paused], target: &Self) -> Result<()> {
        for (key, since) in copied {
            let get = || cmd("GET").arg(&**key).to_owned();
            if self.host.query(&get()).await? == Value::Nil
                && target.host.query(&get()).await? == Value::BulkString(since.clone())
            {
                target.host.query(cmd("DEL").arg(&**key)).await?;
            }
        }
        Ok(())
    }

    /// Registers stand-ins that have come here.
    pub(crate) async fn register_stand_ins(&self, tags: &[&str]) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        self.host.query(cmd("SADD").arg(self.keys.stand_ins(Group::default())).arg(tags)).await.map(drop)
    }

    /// Whether a key has rows of a buffer that are not in the database.
    pub(crate) fn has_rows_under(key: &[u8]) -> bool {
        let key = String::from_utf8_lossy(key);
        let part = key.split_once("}:").map_or("", |(_, part)| part);
        part == "live" || part.starts_with("frozen")
    }

    /// The tag of a key of a stand-in.
    pub(crate) fn stand_in_tag(key: &[u8]) -> Option<&str> {
        let (_, rest) = std::str::from_utf8(key).ok()?.split_once(":series:{")?;
        let (tag, _) = rest.split_once('}')?;
        tag.contains('~').then_some(tag)
    }

    /// Runs what may be repeated, also while the host does not answer for a moment.
    async fn patiently(&self, call: impl Fn() -> Call) -> Result<Value> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.host.run_one(call()).await {
                Err(error) if error.is_outage() && attempts < MAX_ATTEMPTS => self.clock().sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }
}
