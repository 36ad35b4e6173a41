//! Keys, written on their next host.

use redis::{Cmd, Value, cmd};

use super::{
    super::{
        Redis,
        reply::{info_field, text, unavailable, unexpected},
        script::{TRANSFER_BEGIN, TRANSFER_PURGE, TRANSFER_RESTORE},
    },
    dumped::{Content, Dumped, MAX_KEYS, MAX_STRING, calls, shown},
};
use crate::{
    engine::cluster::Slot,
    error::{Error, ErrorKind, Result, Retry, out_of_range},
};

impl Redis {
    /// Makes the resharder with this mark the one that writes keys to this host, whoever was before. False: nothing was done, since
    /// the host has another placement than that which ends with `seal`.
    pub(crate) async fn begin_import(&self, mark: &str, seal: &str) -> Result<bool> {
        let keys = [self.keys.cluster_import(), self.keys.cluster_placement()];
        let call = || cmd("EVAL").arg(TRANSFER_BEGIN).arg(2).arg(&keys).arg(mark).arg(seal).to_owned();
        Ok(self.repeat_one(call).await? == Value::Int(1))
    }

    /// Ends what [`begin_import`](Self::begin_import) began. False: another resharder has taken over.
    pub(crate) async fn end_import(&self, mark: &str) -> Result<bool> {
        let key = self.keys.cluster_import();
        let call = || cmd("EVAL").arg(TRANSFER_PURGE).arg(2).arg(&[&key, &key]).arg(mark).to_owned();
        let there = text(self.repeat_one(call).await?).unwrap_or_default();
        // A number, or nothing if the answer to the first attempt was lost.
        Ok(there.is_empty())
    }

    /// Lets no resharder write keys to this host that has begun before.
    pub(crate) async fn forbid_import(&self) -> Result<()> {
        self.repeat_one(|| cmd("UNLINK").arg(self.keys.cluster_import()).to_owned()).await.map(drop)
    }

    /// Of the server that answers: another one after each restart.
    pub(crate) async fn run_id(&self) -> Result<String> {
        let info = self.repeat_one(|| cmd("INFO").arg("server").to_owned()).await?;
        let info = text(info).unwrap_or_default();
        let run = info_field(&info, "run_id").map(str::to_owned);
        run.ok_or_else(|| unexpected(self.host.name(), "INFO"))
    }

    /// [`begin_import`](Self::begin_import), whatever placement the host has: on a node of a Redis Cluster for each of its slots, on
    /// an independent host without one.
    pub(crate) async fn begin_imports(&self, mark: &str, slots: &[Option<Slot>]) -> Result<()> {
        let set = |slot: &Option<Slot>| cmd("SET").arg(self.import_key(*slot)).arg(mark).to_owned();
        for slots in slots.chunks(MAX_KEYS) {
            self.repeat(|| slots.iter().map(set).collect()).await?;
        }
        Ok(())
    }

    /// [`forbid_import`](Self::forbid_import), as [`begin_imports`](Self::begin_imports).
    pub(crate) async fn end_imports(&self, slots: &[Option<Slot>]) -> Result<()> {
        let unlink = |slot: &Option<Slot>| cmd("UNLINK").arg(self.import_key(*slot)).to_owned();
        for slots in slots.chunks(MAX_KEYS) {
            self.repeat(|| slots.iter().map(unlink).collect()).await?;
        }
        Ok(())
    }

    /// Writes keys, in place of what they hold here, with the time that they still live.
    ///
    /// # Errors
    /// [`Retry::Never`] if another resharder has taken over: the rest was not written. [`ErrorKind::Unsupported`] for a value that
    /// this server does not understand. Whatever it is, all of it may be written again.
    pub(crate) async fn restore(&self, mark: &str, items: &[Dumped]) -> Result<()> {
        self.restore_in(None, mark, items).await
    }

    /// [`restore`](Self::restore) of keys of one slot, on a node of a Redis Cluster; without a slot, on an independent host.
    pub(crate) async fn restore_in(&self, slot: Option<Slot>, mark: &str, items: &[Dumped]) -> Result<()> {
        let import = self.import_key(slot);
        for items in calls(items) {
            self.restore_some(&import, mark, items).await.map_err(|error| {
                let first = shown(&items[0].key);
                error.in_context(format_args!("writing {} keys from {first} on", items.len()))
            })?;
        }
        Ok(())
    }

    /// The key that holds the mark of the process that moves keys to this host, or to this slot of it.
    pub(super) fn import_key(&self, slot: Option<Slot>) -> String {
        slot.map_or_else(|| self.keys.cluster_import(), |slot| self.keys.cluster_import_of(slot))
    }

    async fn restore_some(&self, import: &str, mark: &str, items: &[Dumped]) -> Result<()> {
        if let Some(item) = items.iter().find(|item| item.bytes() > MAX_STRING) {
            let text = format!(
                "redis {}: the {} under {} comes to {} bytes, and Redis takes {MAX_STRING} at once: make it smaller, and repeat",
                self.host.name(),
                item.kind,
                shown(&item.key),
                item.bytes()
            );
            return Err(out_of_range(text));
        }
        let Value::Array(reply) = self.repeat_one(|| self.restore_call(import, mark, items)).await? else {
            return Err(unexpected(self.host.name(), "a write"));
        };
        let mut words = reply.into_iter();
        let word = words.next().and_then(text).unwrap_or_default();
        match (&*word, words.as_slice()) {
            ("written", []) => Ok(()),
            ("written", [Value::Int(place), .., Value::Int(version)]) => {
                let item = usize::try_from(*place).ok().and_then(|place| items.get(place.checked_sub(1)?));
                match item {
                    Some(item) => Err(self.not_understood(item, *version).await),
                    None => Err(unexpected(self.host.name(), "a write")),
                }
            }
            ("stale", _) => {
                let there = words.next().and_then(text).unwrap_or_default();
                let text = if there.is_empty() { "none".to_owned() } else { format!("{there:?}") };
                let text = format!(
                    "nothing was written: another resharder has taken over ({import}: {text}, not {mark:?})"
                );
                Err(unavailable(self.host.name(), text).with_retry(Retry::Never))
            }
            _ => Err(unexpected(self.host.name(), "a write")),
        }
    }

    fn restore_call(&self, import: &str, mark: &str, items: &[Dumped]) -> Cmd {
        let bytes = items.iter().map(Dumped::bytes).sum::<usize>() + TRANSFER_RESTORE.len();
        let mut call = Cmd::with_capacity(4 * items.len() + 5, bytes + 32 * items.len() + 256);
        call.arg("EVAL").arg(TRANSFER_RESTORE).arg(items.len() + 1).arg(import);
        for item in items {
            call.arg(&*item.key);
        }
        call.arg(mark);
        let now = self.host.clock().monotonic();
        for item in items {
            let life = item.left(now).map_or(0, |left| left.as_millis().max(1));
            let life = u64::try_from(life).unwrap_or(u64::MAX);
            match &item.content {
                Content::Text(text) => call.arg("s").arg(life).arg(text),
                Content::Members(members) => call.arg("m").arg(life).arg(packed(members)),
                Content::Payload(payload) => call.arg("d").arg(life).arg(payload),
                Content::Unknown => call.arg("d").arg(life).arg(""),
            };
        }
        call
    }

    /// The error for a value that this server does not understand: it is older than the other one, or of another kind.
    async fn not_understood(&self, item: &Dumped, own: i64) -> Error {
        let info = self.repeat_one(|| cmd("INFO").arg("server").to_owned()).await;
        let info = info.ok().and_then(text).unwrap_or_default();
        let field = |name| info_field(&info, name).unwrap_or("unknown").to_owned();
        let server = match info_field(&info, "valkey_version") {
            Some(own) => format!("Valkey {own}"),
            None => format!("Redis {}", field("redis_version")),
        };
        let version = match &item.content {
            Content::Payload(payload) => payload.iter().rev().skip(8).take(2).copied().collect(),
            _ => vec![],
        };
        let version = version.iter().fold(0_u32, |version, byte| version << 8 | u32::from(*byte));
        let text = format!(
            "redis {}: {server} does not understand the {} under {}: it was written in version {version} of the format, and \
             this server has version {own}; upgrade it to what its former host has, or later, and repeat",
            self.host.name(),
            item.kind,
            shown(&item.key)
        );
        Error::new(ErrorKind::Unsupported, text)
    }
}

/// Members of a sorted set as `lua/transfer_restore.lua` reads them.
fn packed(members: &[(Vec<u8>, f64)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (member, score) in members {
        let length = u32::try_from(member.len()).expect("Redis has no longer one");
        bytes.extend_from_slice(&score.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(member);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use forebay_testkit::{Redis as Server, Reply, unique_prefix};

    use super::*;
    use crate::Clock;

    /// A server ends the connection of those who send more.
    #[tokio::test]
    async fn a_value_that_is_too_large_to_be_sent_is_named_and_not_sent() {
        let redis = Redis::open(&Server::shared().url(), "forebay", Clock::system()).await.expect("it runs");
        let content = Content::Payload(vec![0; MAX_STRING]);
        let item = Dumped { key: (*b"big").into(), kind: "hash".into(), length: 1, expires: None, content };
        let error = redis.restore("a", &[item]).await.expect_err("too large");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::OutOfRange, Retry::Never));
        let text = error.to_string();
        assert!(text.contains("the hash under \"big\" comes to 536870915 bytes"), "{text}");
    }

    /// A server of another version, or of another kind, writes what this one does not understand.
    #[tokio::test]
    async fn a_value_that_is_not_understood_is_named_with_both_versions() {
        let (server, prefix) = (Server::shared(), unique_prefix());
        let redis = Redis::open(&server.url(), &prefix, Clock::system()).await.expect("it runs");
        server.command(["SET", &format!("{prefix}:cluster:placement"), "check"]);
        assert!(redis.begin_import("a", "check").await.expect("answers"));
        let keys = ["a", "b", "c"].map(|name| format!("{prefix}:{name}"));
        for key in &keys {
            assert_eq!(server.command(["RPUSH", key, "x"]), Reply::Integer(1));
        }
        let names: Vec<Box<[u8]>> = keys.iter().map(|key| key.as_bytes().into()).collect();
        let mut items: Vec<Dumped> =
            redis.dump(&names, 0).await.expect("answers").into_iter().flatten().collect();
        server.command(["DEL", &keys[0], &keys[1], &keys[2]]);
        let Content::Payload(payload) = &mut items[1].content else { panic!("a list") };
        let place = payload.len() - 10;
        let own = u16::from_le_bytes([payload[place], payload[place + 1]]);
        payload[place..place + 2].copy_from_slice(&0x1234_u16.to_le_bytes());
        let error = redis.restore("a", &items).await.expect_err("it is not understood");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Never));
        let text = error.to_string();
        let versions = format!("version {} of the format, and this server has version {own};", 0x1234);
        let server_name = redis.host.name();
        for part in [&*versions, &*keys[1], "list", "upgrade", "edis ", server_name] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert_eq!(server.command(["EXISTS", &keys[0], &keys[1], &keys[2]]), Reply::Integer(2));
    }
}
