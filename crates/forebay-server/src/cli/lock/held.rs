//! A lock that this process holds, wherever it is kept.

use std::time::Duration;

use anyhow::Result;
use forebay::{
    Clock, Guard,
    lock::{Loss, Release},
};
use serde::{Deserialize, Serialize};

use super::server::Remote;
use crate::{
    cli::{complain, say_json},
    text::{quoted, shown},
};

/// What became of asking for it.
#[derive(Debug)]
pub(super) enum Asked {
    Acquired(Held),
    Refused(Refusal),
}

/// A lock that is held.
#[derive(Debug)]
pub(super) enum Held {
    Here(Guard),
    There(Remote),
}

/// Who holds a lock that could not be had.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Refusal {
    pub holder: String,
    /// Seconds until its lease ends.
    pub remaining: f64,
    /// How many waited before.
    pub ahead: u64,
}

impl Held {
    pub(super) fn fence(&self) -> u64 {
        match self {
            Self::Here(guard) => guard.fence(),
            Self::There(remote) => remote.fence(),
        }
    }

    /// For how long it is held for certain.
    pub(super) fn remaining(&self) -> Duration {
        match self {
            Self::Here(guard) => guard.remaining(),
            Self::There(remote) => remote.remaining(),
        }
    }

    /// Waits until it is lost, or has been confirmed so long ago that it will be within `margin`; says why.
    pub(super) async fn losing(&self, margin: Duration) -> &'static str {
        let clock = Clock::system();
        loop {
            let left = self.remaining();
            if left.is_zero() {
                return self.why_lost().await;
            }
            let Some(spare) = left.checked_sub(margin).filter(|spare| !spare.is_zero()) else {
                return "it cannot be renewed, and would soon be lost";
            };
            tokio::select! {
                why = self.why_lost() => return why,
                () = clock.sleep(spare) => {}
            }
        }
    }

    async fn why_lost(&self) -> &'static str {
        let loss = match self {
            Self::Here(guard) => guard.lost().await,
            Self::There(remote) => remote.lost().await,
        };
        match loss {
            Loss::NotHolder => "it was taken away",
            _ => "it was not renewed in time",
        }
    }

    /// Gives it back.
    pub(super) async fn release(self) -> Result<Release> {
        match self {
            Self::Here(guard) => Ok(guard.release().await?),
            Self::There(remote) => remote.release().await,
        }
    }
}

impl Refusal {
    /// Says who holds it.
    pub(super) fn tell(&self, name: &str, json: bool) {
        if json {
            let members = serde_json::json!({
                "acquired": false, "holder": self.holder, "remaining": self.remaining, "ahead": self.ahead,
            });
            say_json(&members.to_string());
        } else {
            let Self { holder, remaining, .. } = self;
            complain(&format!(
                "lock {}: held by {}, for another {remaining:.1} s at least",
                quoted(name),
                shown(holder)
            ));
        }
    }
}
