//! The bound on the keys of a series in a shared store.
//!
//! One host counts the keys: that of the name of the series. A process asks it about keys that it does not know, before it adds to
//! them, and again after a minute or two. So a key whose counts are deleted is known to nobody after a while, and it can be told
//! whether it has any.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::try_join_all;
use parking_lot::Mutex;

use super::listed::list_keys;
use crate::{
    engine::step::{KeyRange, MEMBER_KNOWN, MemberStep, SeriesPart, no_room},
    error::{Error, ErrorKind, Result, Retry},
    key::Key,
    model::{
        resolution::{Grid, Resolution},
        summary::SummaryKind,
    },
    store::Store,
    time::{Timestamp, mins, secs},
};

/// A claim is for a count that comes so much later, so that not each point has to be claimed.
const AHEAD: Duration = mins(2);

/// Keys in one claim, and in one look at doubtful ones.
const MAX_KEYS_PER_STEP: usize = 500;

/// Between two looks at doubtful keys, of one process.
const LOOK_INTERVAL: Duration = secs(1);

/// The bound of a series, and the keys that this process knows to be members.
#[derive(Debug)]
pub(super) struct KeyBound {
    store: Store,
    grid: Arc<Grid>,
    /// The kind of its summaries, if it is none of hits.
    summaries: Option<SummaryKind>,
    most: u64,
    known: Mutex<Known>,
    /// The number of new keys that were refused. For people: it needs no order.
    refused: AtomicU64,
}

/// Each key with the time until which it is claimed, in two generations: what is not claimed again goes with the older one.
#[derive(Debug, Default)]
struct Known {
    /// When the new generation began, on the monotonic clock.
    began: Duration,
    new: HashMap<Box<str>, Timestamp>,
    old: HashMap<Box<str>, Timestamp>,
    /// When doubtful keys were looked at.
    looked: Option<Duration>,
}

impl KeyBound {
    pub(super) fn new(
        store: &Store,
        (grid, summaries): (&Arc<Grid>, Option<SummaryKind>),
        most: u64,
    ) -> Self {
        let (store, grid) = (store.clone(), grid.clone());
        Self { store, grid, summaries, most, known: Mutex::default(), refused: AtomicU64::new(0) }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a key is a member until a time.
    fn knows(&self, key: &str, until: Timestamp, now: Duration) -> bool {
        let mut known = self.known.lock();
        known.turn(now);
        let claimed = known.new.get(key).or_else(|| known.old.get(key));
        claimed.is_some_and(|claimed| *claimed >= until)
    }

    /// `now`: from before the claim.
    fn learn(&self, keys: &[(&str, Timestamp)], now: Duration) {
        let mut known = self.known.lock();
        known.turn(now);
        known.new.extend(keys.iter().map(|(key, until)| ((*key).into(), *until)));
    }

    fn forget(&self, key: &str) {
        let mut known = self.known.lock();
        known.new.remove(key);
        known.old.remove(key);
    }

    /// Whether it is time to look at doubtful keys, and nobody else does.
    fn may_look(&self, now: Duration) -> bool {
        let mut known = self.known.lock();
        let may = known.looked.is_none_or(|looked| now >= looked + LOOK_INTERVAL);
        if may {
            known.looked = Some(now);
        }
        may
    }
}

impl Known {
    fn turn(&mut self, now: Duration) {
        let age = now.saturating_sub(self.began);
        if age >= 2 * MEMBER_KNOWN {
            self.new.clear();
        }
        if age >= MEMBER_KNOWN {
            self.old = mem::take(&mut self.new);
            self.began = now;
        }
    }
}

impl KeyBound {
    /// Makes keys that are about to be added to members. `points`: the time of each.
    pub(super) async fn claim(&self, points: &[(&str, Timestamp)]) -> Result<()> {
        let now = self.store.clock().monotonic();
        let mut keys: HashMap<&str, Timestamp> = HashMap::new();
        for &(key, at) in points {
            if !self.knows(key, self.kept_until(at), now) {
                let until = self.kept_until(at.plus(AHEAD));
                let claimed = keys.entry(key).or_insert(until);
                *claimed = until.max(*claimed);
            }
        }
        let keys: Vec<(&str, Timestamp)> = keys.into_iter().collect();
        for keys in keys.chunks(MAX_KEYS_PER_STEP) {
            self.fit(MemberStep::Claim { keys, most: self.most }).await?;
            self.learn(keys, now);
        }
        Ok(())
    }

    /// Whether a key that may be new would fit.
    pub(super) async fn check(&self, key: Key<'_>, at: Timestamp) -> Result<()> {
        if self.knows(key.as_str(), self.kept_until(at), self.store.clock().monotonic()) {
            return Ok(());
        }
        self.fit(MemberStep::Check { key: key.as_str(), most: self.most }).await
    }

    /// Notes that a key may have no count any more.
    pub(super) async fn doubt(&self, key: &str) {
        self.forget(key);
        if let Err(error) = self.step(MemberStep::Doubt { key }).await {
            let series = &self.grid.name;
            tracing::debug!(%series, key, %error, "a deleted key counts until its retention has passed");
        }
    }

    /// Until when a point of a time is kept.
    fn kept_until(&self, at: Timestamp) -> Timestamp {
        let until = |coarsest: &Resolution| coarsest.span(at).end.plus(coarsest.retention);
        self.grid.resolutions.last().map_or(at, until)
    }

    /// Carries out a step that fails if new keys do not fit.
    async fn fit(&self, step: MemberStep<'_>) -> Result<()> {
        let mut full = self.step(step).await?;
        // Some that are gone may still count.
        if full.is_some() && self.look_at_doubtful().await? {
            full = self.step(step).await?;
        }
        let Some(count) = full else { return Ok(()) };
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(no_room(&self.grid.name, count, self.most))
    }

    /// Gives up members that have no count. False: it was not time to look.
    async fn look_at_doubtful(&self) -> Result<bool> {
        if !self.may_look(self.store.clock().monotonic()) {
            return Ok(false);
        }
        let engine = self.store.engine();
        let step = MemberStep::Due { most: MAX_KEYS_PER_STEP };
        let due = engine.series_members(&self.grid.name, step).await?.due;
        let has_counts = async |key: String| {
            let part = SeriesPart::new(self.grid.clone(), self.grid.partition_of(&key));
            let now = engine.series_now(&part).await;
            let range = KeyRange { prefix: &key, after: None, most: 1 };
            let found = list_keys(&self.store, self.summaries, &part, &range, now).await?;
            Ok::<_, Error>((found.first() == Some(&key), key))
        };
        let looked = try_join_all(due.into_iter().map(has_counts)).await?;
        let (mut gone, mut kept) = (vec![], vec![]);
        for (has_counts, key) in looked {
            if has_counts { &mut kept } else { &mut gone }.push(key);
        }
        if !(gone.is_empty() && kept.is_empty()) {
            self.step(MemberStep::Looked { gone: &gone, kept: &kept }).await?;
        }
        Ok(true)
    }

    /// A step before anything is added: repeating it counts nothing twice, whatever became of it.
    async fn step(&self, step: MemberStep<'_>) -> Result<Option<u64>> {
        let answer = self.store.engine().series_members(&self.grid.name, step).await;
        answer.map(|members| members.full).map_err(|error| {
            let what = format!(
                "series {}: nothing was counted, for it is not known whether a key is new",
                self.grid.name
            );
            match error.retry() {
                Retry::Unknown => Error::new(ErrorKind::Unavailable, format!("{what}: {error}")),
                _ => error.in_context(what),
            }
        })
    }
}
