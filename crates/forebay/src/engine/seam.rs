//! The steps of the seam, each declared once. Every engine has a method of the same name and arguments.

use std::time::Duration;

use uuid::Uuid;

#[cfg(feature = "test-util")]
use super::fault::{Fault, Faults};
#[cfg(feature = "redis")]
use super::{
    cluster::{Access, PATIENCE, Patience, ROW_PATIENCE, again},
    remote::Remote,
    step::{BucketGain, KeyMove, MovedCounts, Place, Which},
};
use super::{
    dispatch::{Engine, on_any},
    request::{Begin, ChargeToken, End, Known, Seen, Token},
    step::{
        Allotted, BufferPart, BufferParts, BufferStats, Claim, Claimed, Erasure, Frozen, Generation,
        KeyRange, LeaseStep, Leases, MemberStep, Members, PendingRow, Point, Rank, Ranked, Rotate,
        SeriesPart, Span, Summaries, SummaryPart, Take, Taken, TakenAll,
    },
};
#[cfg(feature = "redis")]
use crate::sink::BoxFuture;
use crate::{
    error::Result,
    key::Name,
    model::{
        LockState, Row, RowKey,
        rate::allotments::{AllotmentRequest, Outstanding},
        summary::Observation,
    },
    time::{Timestamp, When},
};

/// Declares steps. Each becomes a method of [`Engine`] that runs it on whichever engine it is, and one of [`Remote`] for both
/// engines with servers. What arguments borrow lives for `'a`. A routed step,
/// `fn name(arguments) -> answer, Access at place;`, also becomes a method of the cluster that runs it on the host of the place:
/// see `cluster/moving.rs`. How long it waits for a slot on its way may follow: `within time`. The first word names the constant
/// that lists the steps. Steps `of hosts` become methods of the cluster alone.
macro_rules! steps {
    ($names:ident routed: $(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty, $access:ident at $place:expr $(, within $within:expr)?;
    )*) => {
        steps!($names on all hosts: $( $(#[$doc])* fn $name($($arg: $type),*) -> $answer; )*);

        steps!(of hosts: $( $(#[$doc])* fn $name($($arg: $type),*) -> $answer, $access at $place $(, within $within)?; )*);
    };
    (of hosts: $(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty, $access:ident at $place:expr $(, within $within:expr)?;
    )*) => {
        #[cfg(feature = "redis")]
        impl<'a> super::cluster::Cluster {
            $($(#[$doc])* pub(super) async fn $name(&self, $($arg: $type),*) -> Result<$answer> {
                let mut patience = Patience::of([$($within,)? PATIENCE][0]);
                loop {
                    let member = match self.ready_member(Access::$access, $place) {
                        Some(member) => member,
                        // Boxed: it is rare.
                        None => Box::pin(self.wait_for_member(Access::$access, $place, &mut patience)).await?,
                    };
                    let mut guard = member.begin()?;
                    let answer = guard.end(member.engine.$name($(again(&$arg)),*).await);
                    match answer {
                        Err(error) if Self::has_moved(&member, &error) => {
                            Box::pin(self.find_again(&member, error, &mut patience)).await?;
                        }
                        answer => return answer,
                    }
                }
            })*
        }
    };
    ($names:ident on all hosts: $( $(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty; )*) => {
        #[cfg(feature = "test-util")]
        const $names: &[&str] = &[$(stringify!($name)),*];

        impl<'a> Engine {
            $($(#[$doc])* pub(crate) async fn $name(&self, $($arg: $type),*) -> Result<$answer> {
                on_any!(self, $name, engine => engine.$name($($arg),*).await)
            })*
        }

        #[cfg(feature = "redis")]
        impl<'a> Remote<'a, super::redis::Redis> {
            $(fn $name(self, $($arg: $type),*) -> BoxFuture<'a, Result<$answer>> {
                Box::pin(self.0.$name($($arg),*))
            })*
        }

        #[cfg(feature = "redis")]
        impl<'a> Remote<'a, super::cluster::Cluster> {
            $(fn $name(self, $($arg: $type),*) -> BoxFuture<'a, Result<$answer>> {
                Box::pin(self.0.$name($($arg),*))
            })*
        }
    };
}

steps! {
    ROUTED routed:

    /// Charges `take.cost` if it fits. Waits for `take.within` at most.
    fn take(take: Take<'a>, when: When) -> Taken, Write at Place::Key(take.key), within take.within;

    /// Charges as much of `take.cost` as fits, perhaps nothing, and answers how much. `take.cost` may exceed the quota, and
    /// is not zero.
    fn take_up_to(take: Take<'a>, when: When) -> (u64, Taken), Write at Place::Key(take.key), within take.within;

    /// Gives `take.cost` back, never below empty. With `charged`, the first number of the state after the charge, it gives
    /// back only what still counts: see [`Rule::refund`](crate::model::rate::rule::Rule::refund).
    fn refund(take: Take<'a>, charged: Option<u64>, when: When) -> Taken, Write at Place::Key(take.key);

    /// Lends budget of a key to one process, and takes unused budget back; `take.cost` does not count. A request that
    /// arrives after a later one of the same holder changes nothing.
    fn allot(take: Take<'a>, request: AllotmentRequest, when: When) -> Allotted, Write at Place::Key(take.key);

    /// Forgets a key of a limit, except for what is lent, and answers how much that is. A foreign value under the key is
    /// removed.
    fn reset(take: Take<'a>, when: When) -> Outstanding, Write at Place::Key(take.key);

    /// Acquires, extends, releases or reads leases by the engine's clock. Expired leases do not count.
    fn lease(step: LeaseStep<'a>) -> Leases, Write at Place::Key(step.key);

    /// Sets the override of one key of a limit, or removes it (`None`), and replaces the mark of the limit's overrides by
    /// `mark`, which is drawn afresh for each change. Answers false if there was nothing to remove. Durable once answered;
    /// safe to repeat.
    fn override_set(limit: &'a Name, key: &'a str, instead: Option<&'a str>, mark: Uuid) -> bool, Write at Place::Overrides;

    /// The marks of all limits that ever had an override.
    fn override_marks() -> Vec<(Name, Uuid)>, Read at Place::Overrides;

    /// All overrides of a limit, by key.
    fn overrides(limit: &'a Name) -> Vec<(Box<str>, Box<str>)>, Read at Place::Overrides;

    /// Freezes the live generation if it is due and fewer than `most` are frozen.
    fn buffer_rotate(part: &'a BufferPart, rotate: Rotate, most: u64) -> Option<Uuid>, Read at Place::Buffer(part);

    /// The frozen generations, oldest first.
    fn buffer_frozen(part: &'a BufferPart) -> Vec<Frozen>, Read at Place::Buffer(part);

    /// Reads a frozen generation; `None` if it is not there (any more).
    fn buffer_read(part: &'a BufferPart, id: Uuid) -> Option<Generation>, Read at Place::Buffer(part);

    /// Removes a frozen generation that a sink has as of `last_write`, as it was [read](Self::buffer_read). A missing
    /// generation is no error; one that was written to later stays.
    fn buffer_ack(part: &'a BufferPart, id: Uuid, last_write: Option<Timestamp>) -> (), Read at Place::Buffer(part);

    /// The unflushed values of a row, oldest generation first.
    fn buffer_pending(part: &'a BufferPart, row: &'a RowKey) -> Vec<PendingRow>, Read at Place::Buffer(part);

    /// The size and age of a partition.
    fn buffer_stats(part: &'a BufferPart) -> BufferStats, Read at Place::Buffer(part);

    /// [`buffer_add`](Self::buffer_add) of one row and its token. It has no effect if the token is already there.
    fn buffer_add_once(part: &'a BufferPart, row: Row, token: &'a Token) -> (), AddRows at Place::Buffer(part), within ROW_PATIENCE;

    /// Whether a partition of a buffer has a token, and the epoch of its host at that time.
    fn buffer_peek(part: &'a BufferPart, token: &'a Token) -> Seen, Read at Place::Buffer(part);

    /// Reads several spans in one round trip, each zero-filled: `to - from` counts.
    fn series_read(part: &'a SeriesPart, spans: &'a [Span<'a>]) -> Vec<Vec<u64>>, Read at Place::Series(part);

    /// The first keys of a range that have a count which is kept at `now`, in the order of their bytes.
    fn series_list(part: &'a SeriesPart, range: &'a KeyRange<'a>, now: Timestamp) -> Vec<String>, Read at Place::Series(part);

    /// The keys with the largest counts in a span, and how much others have at most. `None`: that is not known, other than by a
    /// look at each key.
    fn series_rank(part: &'a SeriesPart, rank: &'a Rank<'a>) -> Option<Ranked>, Read at Place::Series(part);

    /// Counts the keys of a series that has a bound on them. An engine that counts them by itself answers that all fit.
    fn series_members(series: &'a Name, step: MemberStep<'a>) -> Members, Write at Place::Key(series.as_str());

    /// Deletes a key in every resolution.
    fn series_delete(part: &'a SeriesPart, key: &'a str, now: Timestamp) -> (), Write at Place::Series(part);

    /// Deletes a span of a key, and answers how much that was.
    fn series_erase(part: &'a SeriesPart, key: &'a str, erasure: &'a Erasure) -> u64, Write at Place::Series(part);

    /// [`series_add`](Self::series_add) of one point and its token. It has no effect if the token is already there.
    fn series_add_once(part: &'a SeriesPart, point: Point, now: Timestamp, token: &'a Token) -> (), Write at Place::Series(part);

    /// Whether a partition of a series has a token, and the epoch of its host at that time.
    fn series_peek(part: &'a SeriesPart, token: &'a Token) -> Seen, Read at Place::Series(part);

    /// Adds observations to the summaries of their buckets, each of them once. `now` decides which buckets are still kept. No other
    /// host takes them while the one of their partition is down.
    fn summary_add(series: SummaryPart<'a>, points: Vec<Observation>, now: Timestamp) -> (), Write at Place::Series(series.part);

    /// [`summary_add`](Self::summary_add) of one observation and its token. It has no effect if the token is already there.
    fn summary_add_once(series: SummaryPart<'a>, point: Observation, now: Timestamp, token: &'a Token) -> (), Write at Place::Series(series.part);

    /// Reads the summaries of several spans in one round trip.
    fn summary_read(series: SummaryPart<'a>, spans: &'a [Span<'a>]) -> Vec<Summaries>, Read at Place::Series(series.part);

    /// The first keys of a range that have a summary which is kept at `now`, in the order of their bytes.
    fn summary_list(series: SummaryPart<'a>, range: &'a KeyRange<'a>, now: Timestamp) -> Vec<String>, Read at Place::Series(series.part);

    /// Deletes the summaries of a key in every resolution.
    fn summary_delete(series: SummaryPart<'a>, key: &'a str, now: Timestamp) -> (), Write at Place::Series(series.part);

    /// Acquires a lock, or a place in its queue. The fence is larger than that of every earlier hold. Repeating a granted
    /// claim answers as before and extends the lease.
    fn lock_claim(claim: Claim<'a>) -> Claimed, Write at Place::Named(claim.name);

    /// Extends the holder's lease to its ttl from now, and answers that ttl; `None`: the owner is not the holder. Another ttl takes
    /// its place, unless the lease has more time left: it never ends sooner than before.
    fn lock_renew(name: &'a str, owner: Uuid, ttl: Option<Duration>) -> Option<Duration>, Write at Place::Named(name);

    /// Releases the lock, or leaves the queue, and notifies the first waiter. False: the owner neither held it nor waited.
    fn lock_release(name: &'a str, owner: Uuid) -> bool, Write at Place::Named(name);

    /// Reads a lock's state.
    fn lock_state(name: &'a str) -> LockState, Read at Place::Named(name);

    /// Takes the lock from its holder, and notifies the first waiter. True: somebody held it.
    fn lock_force_release(name: &'a str) -> bool, Write at Place::Named(name);

    /// Begins an attempt at a request, or answers why not. Repeated by the same owner it answers the same. The record is
    /// kept for [`REQUEST_TTL`](super::request::REQUEST_TTL), through a crash.
    fn once_begin(begin: Begin<'a>) -> Known, Write at Place::Key(begin.key);

    /// Ends an attempt. False: another owner has taken it over, and nothing was changed.
    fn once_end(key: &'a str, owner: Uuid, end: End<'a>) -> bool, Write at Place::Key(key);

}

// `cluster/engine.rs` asks every host, or the cluster chooses one.
steps! {
    ON_ALL_HOSTS on all hosts:

    /// Adds points, each of them once. `now` decides which buckets are still kept, and how long a chunk lives. Another host takes
    /// them while the one of their partition is down: see `cluster/stand_in.rs`.
    fn series_add(part: &'a SeriesPart, points: Vec<Point>, now: Timestamp) -> ();

    /// Charges all of `takes` if each fits, else none. They must be [`together`](Self::together). Waits for the shortest
    /// `within` of them at most.
    fn take_all(takes: &'a [Take<'a>], when: When) -> TakenAll;

    /// [`take_all`](Self::take_all), and if it charges, the charge's token. If the token is already there nothing is
    /// charged, the answer is the first one, and the charge belongs to this owner from then on.
    fn take_all_once(takes: &'a [Take<'a>], when: When, token: ChargeToken) -> TakenAll;

    /// Gives back what [`take_all_once`](Self::take_all_once) charged, each to the window that was charged, and forgets the
    /// token. It has no effect if the token is missing or another owner's. Safe to repeat.
    fn refund_once(charged: &'a [(Take<'a>, u64)], token: ChargeToken) -> ();

    /// Merges rows into the live generation of a partition. Each row is merged once and as a whole, or has its own error.
    fn buffer_add(part: &'a BufferPart, rows: Vec<Row>) -> Vec<Result<()>>;

    /// Every partition that may hold rows, of every buffer, defined or not.
    fn buffer_parts() -> BufferParts;

    /// Whether the flushing of a buffer is paused, after pausing or resuming it if `pause` says so. It stays so for every
    /// process until it is resumed. One host that answers is enough to tell; all have to answer for a change.
    fn buffer_paused(buffer: &'a Name, pause: Option<bool>) -> bool;

    /// Whether the store takes writes. A host is asked at most once a second.
    fn ping() -> ();
}

// Steps of engines with servers alone: in this process no bucket is open, and a move is one step.
steps! {
    of hosts:

    /// Moves counts that are in open buckets to where they stay. It changes no answer, and anybody may do it at any time.
    fn series_seal(part: &'a SeriesPart, which: Which) -> (), Write at Place::Series(part);

    /// Sets the counts of a key aside for a move. Answers whether there are any. Safe to repeat.
    fn series_claim(part: &'a SeriesPart, moving: &'a KeyMove, now: Timestamp) -> bool, Write at Place::Series(part);

    /// The moves from keys of a partition that have not ended.
    fn series_moves(part: &'a SeriesPart) -> Vec<KeyMove>, Read at Place::Series(part);

    /// The counts that a move has set aside. They do not change.
    fn series_moved(part: &'a SeriesPart, moving: &'a KeyMove, now: Timestamp) -> MovedCounts, Read at Place::Series(part);

    /// Adds gains to a key, once for each id.
    fn series_receive_gains(part: &'a SeriesPart, key: &'a str, gains: (Uuid, &'a [BucketGain]), now: Timestamp) -> (), Write at Place::Series(part);

    /// Forgets a move whose target has all of it. Safe to repeat.
    fn series_end_move(part: &'a SeriesPart, moving: &'a KeyMove, now: Timestamp) -> (), Write at Place::Series(part);
}

/// The methods that name a step are here, because the names are.
#[cfg(feature = "test-util")]
impl Faults {
    /// Plans the next calls of `step`, one fault for each; `None`: that call does not fail.
    ///
    /// # Panics
    /// If the engine has no step of this name, with the names that it has (`lock_claim`).
    #[track_caller]
    pub fn next(&self, step: &str, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.plan().next.entry(known(step)).or_default().extend(faults);
    }

    /// The number of calls of `step` so far.
    ///
    /// # Panics
    /// If the engine has no step of this name, with the names that it has.
    #[track_caller]
    pub fn calls(&self, step: &str) -> u64 {
        self.plan().calls.get(known(step)).copied().unwrap_or(0)
    }
}

/// The step of this name. A misspelt name would plan a fault that never happens, and count calls that are never made.
#[cfg(feature = "test-util")]
#[track_caller]
fn known(step: &str) -> &'static str {
    let names = [ROUTED, ON_ALL_HOSTS].concat();
    let found = names.iter().find(|name| **name == step);
    found.unwrap_or_else(|| panic!("the engine has no step {step:?}, only {}", names.join(", ")))
}
