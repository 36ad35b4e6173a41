//! Keys, removed on their former host.

use redis::{Value, cmd};

use super::{
    super::{
        Redis,
        keys::Home,
        reply::{text, unavailable, unexpected},
        script::TRANSFER_PURGE,
    },
    dumped::{MAX_KEYS, shown},
};
use crate::{
    engine::cluster::Slot,
    error::{Result, Retry},
};

impl Redis {
    /// Removes keys, if this host has exactly the fence of this epoch.
    ///
    /// What each host has one of stays. So do guards, which expire: the writer of a batch in doubt may still ask for it here. And rows
    /// that are not in the database yet.
    ///
    /// # Errors
    /// [`Retry::Never`] if there is another fence: the rest was not removed.
    pub(crate) async fn purge(&self, epoch: u64, keys: &[Box<[u8]>]) -> Result<()> {
        let fence = self.keys.cluster_fence();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).filter(|key| self.is_purged(key)).collect();
        let texts = [epoch.to_string(), format!("{epoch}+")];
        let other = |there: &str| {
            format!("nothing was removed: the fence ({fence}) is {there}, not that of epoch {epoch}")
        };
        self.remove(&fence, &texts, &keys, other).await
    }

    /// Removes keys, if this host has exactly this placement. What each host has one of stays, and rows. Guards go: nobody knows
    /// any more that they were here.
    ///
    /// # Errors
    /// [`Retry::Never`] if there is another placement: the rest was not removed.
    pub(crate) async fn purge_placed(&self, placement: &str, keys: &[Box<[u8]>]) -> Result<()> {
        let goes = |key: &&[u8]| self.keys.home(key) != Home::EveryHost && !Self::has_rows_under(key);
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).filter(goes).collect();
        let other = |_: &str| "nothing was removed: the host has another placement meanwhile".to_owned();
        self.remove(&self.keys.cluster_placement(), &[placement.to_owned()], &keys, other).await
    }

    /// Removes keys that an earlier attempt to move keys here has left, if this host, or this slot of it, has the mark.
    ///
    /// # Errors
    /// [`Retry::Never`] if another process has taken over: the rest was not removed.
    pub(crate) async fn remove_in(&self, slot: Option<Slot>, mark: &str, keys: &[Box<[u8]>]) -> Result<()> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let other = |there: &str| format!("nothing was removed: another process has taken over ({there})");
        self.remove(&self.import_key(slot), &[mark.to_owned()], &keys, other).await
    }

    /// Removes keys if `decider` holds one of `texts`; `other` tells what is wrong with what it holds instead.
    async fn remove(
        &self,
        decider: &str,
        texts: &[String],
        keys: &[&[u8]],
        other: impl Fn(&str) -> String,
    ) -> Result<()> {
        for keys in keys.chunks(MAX_KEYS) {
            let call = || {
                let mut call = cmd("EVAL");
                call.arg(TRANSFER_PURGE).arg(keys.len() + 1).arg(decider).arg(keys).arg(texts).to_owned()
            };
            let context = format!("removing {} keys from {} on", keys.len(), shown(keys[0]));
            let reply = self.repeat_one(call).await.map_err(|error| error.in_context(&context))?;
            if matches!(reply, Value::Int(_)) {
                continue;
            }
            let Some(there) = text(reply) else {
                return Err(unexpected(self.host.name(), "a removal").in_context(&context));
            };
            let there = if there.is_empty() { "none".to_owned() } else { format!("{there:?}") };
            let error = unavailable(self.host.name(), other(&there)).with_retry(Retry::Never);
            return Err(error.in_context(&context));
        }
        Ok(())
    }

    fn is_purged(&self, key: &[u8]) -> bool {
        if self.keys.home(key) == Home::EveryHost {
            return false;
        }
        match self.keys.parts(key) {
            Some(("buffer", _, part)) => part != "guard" && part != "live" && !part.starts_with("frozen"),
            Some(("series", _, part)) => part != "guard",
            _ => true,
        }
    }
}
