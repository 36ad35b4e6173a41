//! The fence of a host whose slots can move: it refuses the calls of those who do not know yet that some have.
//!
//! Each host has the epoch of the table of slots below which it does nothing. Every script reads it in the same call, so that a
//! process that was stopped between looking into its table and sending writes nothing where nobody looks any more. Questions
//! read it behind what they ask for: what was there before it was raised was true.
//!
//! While slots are about to leave, a `+` follows the epoch: scripts note the keys that they are called with, so that none is
//! overlooked that was made after the host's keys were listed.

use std::{borrow::Cow, fmt, sync::OnceLock};

use redis::{Cmd, Value};

use super::{keys::Keys, pipeline::load_text, reply::text, script::Script};
use crate::error::{Error, ErrorKind, Retry};

/// The texts of all scripts, as the hosts of a store are sent them.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Of [`Script::ALL`], then of [`Script::ACROSS`].
    texts: Box<[Cow<'static, str>]>,
    /// As a server computed them: all compute the same. Set before the first connection is up.
    pub(super) hashes: OnceLock<Box<[String]>>,
}

impl Scripts {
    /// Those of hosts whose slots can move: behind a fence.
    pub(super) fn fenced(keys: &Keys) -> Self {
        let fence = include_str!("lua/fence.lua").replace("$FENCE", &keys.cluster_fence());
        let fence = fence.replace("$TOUCHED", &keys.cluster_touched());
        Self::of(|script| {
            if !script.is_fenced() {
                return script.source().into();
            }
            // A batch that was applied before is told so, although its slot has moved: `lua/guard.lua` asks.
            let refuse = if script.is_sequenced() { "" } else { "if moved then return moved end\n" };
            let fence = fence.replace("$TRACKED", if script.is_tracked() { "true" } else { "false" });
            format!("{fence}{refuse}{}", script.source()).into()
        })
    }

    fn of(text: impl Fn(Script) -> Cow<'static, str>) -> Self {
        let all = Script::ALL.iter().chain(Script::ACROSS);
        Self { texts: all.map(|script| text(*script)).collect(), hashes: OnceLock::new() }
    }

    pub(super) fn text(&self, script: Script) -> &str {
        &self.texts[script.index()]
    }

    /// The command that loads a script.
    pub(super) fn load(&self, script: Script) -> Cmd {
        load_text(self.text(script))
    }
}

impl Default for Scripts {
    /// Those of hosts without a fence, where nothing has moved.
    fn default() -> Self {
        let sequenced = |script: Script| format!("local moved = nil\n{}", script.source());
        Self::of(
            |script| if script.is_sequenced() { sequenced(script).into() } else { script.source().into() },
        )
    }
}

/// What a host is told to let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// Calls of this epoch and later ones.
    pub epoch: u64,
    /// Whether scripts note their keys.
    pub tracks: bool,
}

impl Fence {
    pub(crate) fn at(epoch: u64) -> Self {
        Self { epoch, tracks: false }
    }
}

impl fmt::Display for Fence {
    /// As the key holds it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, tracks } = self;
        write!(f, "{epoch}{}", if *tracks { "+" } else { "" })
    }
}

/// Whether the fence of a host, as it was read, lets calls of an epoch through.
pub(super) fn admits(fence: &Value, epoch: u64) -> bool {
    let Value::BulkString(fence) = fence else { return true };
    let digits = fence.strip_suffix(b"+").unwrap_or(fence);
    let stands_at: Option<u64> = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    stands_at.is_some_and(|stands_at| stands_at <= epoch)
}

/// The error of what a fence refused: nothing was done.
pub(super) fn moved(host: &str, fence: Value) -> Error {
    let fence = text(fence).unwrap_or_default();
    let text =
        format!("redis {host}: slots have moved, by the table of epoch {}", fence.trim_end_matches('+'));
    Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_lets_its_own_epoch_and_later_ones_through() {
        let told = |fence: &str, epoch| admits(&Value::BulkString(fence.into()), epoch);
        for (fence, epoch, admitted) in [
            ("3", 2, false),
            ("3", 3, true),
            ("3", 10, true),
            ("3+", 2, false),
            ("3+", 3, true),
            ("x", 9, false),
        ] {
            assert_eq!(told(fence, epoch), admitted, "{fence} {epoch}");
        }
        assert!(admits(&Value::Nil, 1), "no slot has ever moved");
    }
}
