//! The seam: what a store must do, in atomic steps.
//!
//! One method is one atomic step on one hash tag, and nothing correct may depend on two of them. What
//! spans tags is put together in the primitives (`limit/across.rs`), which state what that costs.
//!
//! # Contract
//!
//! - **Atomicity.** A step happens as a whole at one moment, or not at all, also when the process dies.
//!   `take_all` is the exception in reach: on hosts that do not share a slot see [`Engine::together`].
//! - **Failure.** [`Retry::Now`](crate::Retry) and `Later`: certainly not applied.
//!   `Unknown`: perhaps applied. Buffer and series writes are sequenced: they are re-sent until their
//!   fate is known, so that `Unknown` from them is rare and final. Lock steps are idempotent by owner.
//!   No other mutation is ever sent twice.
//! - **Time.** [`When`] decides what a limit sees; a key's own time never goes back. Leases follow the
//!   engine's clock. What a store forgets by itself (a TTL) no longer counts by then: expiry only
//!   collects garbage, to within a second.
//! - **Order.** Calls that overlap may be applied in any order; a call made after another one answered
//!   comes after it.
//! - **Keys.** 1 to 512 bytes of UTF-8, checked before they get here.
//! - **Cost.** One round trip a step, many steps to a round trip; none on the embedded engine.
//! - **Cancellation.** A dropped future may have applied its step; it never applies half of it, and
//!   never takes an answer away from another caller.

#[cfg(feature = "redis")]
pub(crate) mod cluster;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod embedded;
#[cfg(feature = "test-util")]
pub mod fault;
pub(crate) mod notifier;
mod open;
mod options;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod request;
#[cfg(feature = "redis")]
pub(crate) mod sequence;
#[cfg(feature = "redis")]
mod shared_outcome;
pub(crate) mod step;

use std::{ops::ControlFlow, sync::Arc, task::Waker, time::Duration};

use uuid::Uuid;

use self::{
    embedded::Embedded,
    notifier::Subscription,
    request::{Begin, ChargeToken, End, Hosts, Known, Seen, Token},
    step::{
        Allotted, BufferPart, BufferParts, BufferStats, Claim, Claimed, Frozen, Generation, KeyCount,
        LeaseStep, Leases, LockState, PendingRow, Place, Point, Rotate, SeriesPart, Span, Take, Taken,
        TakenAll,
    },
};
pub(crate) use self::{open::Location, options::Options};
use crate::{
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{
        Command, Failure, Fate, HostStatus, Placement, Reply, Row, RowKey, Schema,
        rate::allotments::{AllotmentRequest, Outstanding},
    },
    time::{Timestamp, When},
};

/// A row that has joined others on their way to a host.
#[cfg(feature = "redis")]
pub(crate) type Joined = redis::Joined;
/// Nothing joins here.
#[cfg(not(feature = "redis"))]
pub(crate) type Joined = std::future::Pending<Result<()>>;

/// A take that goes to a host with others: what becomes of it, and a time on the monotonic clock before it was sent.
#[cfg(feature = "redis")]
pub(crate) type BatchedTake<'a> = redis::BatchedTake<'a>;
/// Nothing goes with others here.
#[cfg(not(feature = "redis"))]
pub(crate) type BatchedTake<'a> = std::future::Pending<Result<(Taken, Duration)>>;

/// A store. Clones share it.
///
/// An enum, matched in this file only, rather than a trait object: a decision then needs no boxed
/// future, and a new engine is a visible change.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Embedded(Arc<Embedded>),
    #[cfg(feature = "redis")]
    Redis(Arc<redis::Redis>),
    #[cfg(feature = "redis")]
    Cluster(Arc<cluster::Cluster>),
    #[cfg(feature = "test-util")]
    Fault(Arc<fault::FaultEngine>),
}

/// Runs one step on whichever engine it is.
macro_rules! on {
    ($engine:expr, $it:ident => $step:expr) => {
        match $engine {
            _ if $engine.is_closed() => Err(closed()),
            Engine::Embedded($it) => $step,
            #[cfg(feature = "redis")]
            Engine::Redis($it) => $step,
            #[cfg(feature = "redis")]
            Engine::Cluster($it) => $step,
            #[cfg(feature = "test-util")]
            Engine::Fault(fault) => {
                let $it = &fault.inner;
                fault.run(stringify!($step), async { $step }).await
            }
        }
    };
}

/// Asks whichever engine it is something that no store has to answer.
macro_rules! ask {
    ($engine:expr, $it:ident => $answer:expr) => {
        match $engine {
            Engine::Embedded($it) => $answer,
            #[cfg(feature = "redis")]
            Engine::Redis($it) => $answer,
            #[cfg(feature = "redis")]
            Engine::Cluster($it) => $answer,
            #[cfg(feature = "test-util")]
            Engine::Fault(fault) => {
                let $it = &fault.inner;
                $answer
            }
        }
    };
}

impl Engine {
    // Limits

    /// Charges `take.cost` if it fits. Waits for `take.within` at most.
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        on!(self, it => it.take(take, when).await)
    }

    /// [`take`](Self::take) where the answer needs no waiting; `None`: it does.
    #[cfg_attr(
        not(any(feature = "redis", feature = "test-util")),
        expect(clippy::unnecessary_wraps, reason = "other engines have to be waited for")
    )]
    pub(crate) fn take_at_once(&self, take: &Take<'_>, when: When) -> Option<Result<Taken>> {
        match self {
            Self::Embedded(engine) if engine.is_closed() => Some(Err(closed())),
            Self::Embedded(engine) => Some(engine.take_at_once(take, when)),
            #[cfg(any(feature = "redis", feature = "test-util"))]
            _ => None,
        }
    }

    /// [`take_at_once`](Self::take_at_once) at the engine's time, if nothing is unusual.
    #[expect(
        clippy::inline_always,
        reason = "an answer is put together where it is wanted: see handle/short.rs"
    )]
    #[inline(always)]
    pub(crate) fn take_now(&self, take: &Take<'_>) -> Option<Taken> {
        match self {
            Self::Embedded(engine) => engine.take_now(take),
            #[cfg(any(feature = "redis", feature = "test-util"))]
            _ => None,
        }
    }

    /// [`take`](Self::take) at the host's time, if it can go with others: with fewer futures around it, which are most of what
    /// it costs then. `None`: it goes another way.
    pub(crate) fn take_batched<'a>(&'a self, take: Take<'a>) -> Option<BatchedTake<'a>> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.take_batched(take),
            _ => {
                let _ = take;
                None
            }
        }
    }

    /// Charges as much of `take.cost` as fits, perhaps nothing: how much. `take.cost` may be more than the quota, and is
    /// not zero.
    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        on!(self, it => it.take_up_to(take, when).await)
    }

    /// Charges all of `takes` if each fits, else none. They must be [`together`](Self::together). Waits for the
    /// shortest `within` of them at most.
    pub(crate) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        on!(self, it => it.take_all(takes, when).await)
    }

    /// Whether one step can charge all of `takes`: on one host always, on several only with one slot.
    pub(crate) fn together(&self, takes: &[Take<'_>]) -> bool {
        ask!(self, it => it.together(takes))
    }

    /// Gives `take.cost` back, never below empty. With `charged`, the first number of the state after the charge,
    /// only as much as that still counts: see [`Rule::refund`](crate::model::rate::rule::Rule::refund).
    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        on!(self, it => it.refund(take, charged, when).await)
    }

    /// Lends budget of a key to one process, and takes back what it has no use for; `take.cost` does not count. A
    /// request that comes after a later one of its holder changes nothing.
    pub(crate) async fn allot(
        &self,
        take: Take<'_>,
        request: AllotmentRequest,
        when: When,
    ) -> Result<Allotted> {
        on!(self, it => it.allot(take, request, when).await)
    }

    /// Forgets a key of a limit, but for what is lent of it: so much of that there is. What is there of somebody else goes.
    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<Outstanding> {
        on!(self, it => it.reset(take, when).await)
    }

    /// Lends, extends, takes back or looks, by the engine's clock. What has ended does not count.
    pub(crate) async fn lease(&self, step: LeaseStep<'_>) -> Result<Leases> {
        on!(self, it => it.lease(step).await)
    }

    /// Lets a key of a limit be allowed something else until that is changed, or removed (`None`), and gives the limit's
    /// overrides a new mark, drawn afresh for each change. False: there was nothing to remove. Kept through a crash, once
    /// answered. May be repeated.
    pub(crate) async fn override_set(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<&str>,
        mark: Uuid,
    ) -> Result<bool> {
        on!(self, it => it.override_set(limit, key, instead, mark).await)
    }

    /// The marks of all limits that ever had an override.
    pub(crate) async fn override_marks(&self) -> Result<Vec<(Name, Uuid)>> {
        on!(self, it => it.override_marks().await)
    }

    /// All overrides of a limit, by key.
    pub(crate) async fn overrides(&self, limit: &Name) -> Result<Vec<(Box<str>, Box<str>)>> {
        on!(self, it => it.overrides(limit).await)
    }

    // Buffers

    /// Merges rows into the live generation of a partition: each row once, whole, or with its own error.
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        on!(self, it => it.buffer_add(part, rows).await)
    }

    /// Whether rows gather for a round trip, so that they can be [joined](Self::buffer_join).
    pub(crate) fn gathers_rows(&self) -> bool {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(_) => true,
            _ => false,
        }
    }

    /// [`buffer_add`](Self::buffer_add) of one row where rows gather for a round trip: a future that needs no box, of a row
    /// that has joined the others already. `waker` is told when it is over. Elsewhere the row comes back.
    pub(crate) fn buffer_join(
        &self,
        (schema, index): (&Arc<Schema>, u16),
        row: Row,
        waker: &Waker,
    ) -> ControlFlow<Row, Result<Joined>> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => ControlFlow::Continue(redis.buffer_join(schema, index, row, waker)),
            _ => {
                let _ = (schema, index, waker);
                ControlFlow::Break(row)
            }
        }
    }

    /// Freezes the live generation if it is due and fewer than `most` are frozen.
    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        on!(self, it => it.buffer_rotate(part, rotate, most).await)
    }

    /// The frozen generations, oldest first.
    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        on!(self, it => it.buffer_frozen(part).await)
    }

    /// Reads a frozen generation; `None` if it is not there (any more).
    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        on!(self, it => it.buffer_read(part, id).await)
    }

    /// Removes a frozen generation that a sink has as of `last_write`, as it was [read](Self::buffer_read). One that is gone
    /// is no error; one that was written to later stays.
    pub(crate) async fn buffer_ack(
        &self,
        part: &BufferPart,
        id: Uuid,
        last_write: Option<Timestamp>,
    ) -> Result<()> {
        on!(self, it => it.buffer_ack(part, id, last_write).await)
    }

    /// What a row still has in the store, oldest generation first.
    pub(crate) async fn buffer_pending(&self, part: &BufferPart, row: &RowKey) -> Result<Vec<PendingRow>> {
        on!(self, it => it.buffer_pending(part, row).await)
    }

    /// The size and age of a partition.
    pub(crate) async fn buffer_stats(&self, part: &BufferPart) -> Result<BufferStats> {
        on!(self, it => it.buffer_stats(part).await)
    }

    /// Every partition that may hold something, of every buffer, also of those that no definition names any more.
    pub(crate) async fn buffer_parts(&self) -> Result<BufferParts> {
        on!(self, it => it.buffer_parts().await)
    }

    /// Whether the flushing of a buffer is paused, after pausing or resuming it if `pause` says so. It stays so until it is
    /// resumed, for every process. Of several hosts any that answers says so; all have to answer for a change.
    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        on!(self, it => it.buffer_paused(buffer, pause).await)
    }

    // Series

    /// Adds points, all of them once. `now` decides which buckets are still kept, and how long a chunk lives.
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        on!(self, it => it.series_add(part, points, now).await)
    }

    /// The time by which the store decides what of a partition is kept: its own, of a host within what an answer takes.
    /// Does not fail: while a host does not answer this goes on from its last answer.
    pub(crate) async fn series_now(&self, part: &SeriesPart) -> Timestamp {
        ask!(self, it => it.series_now(part).await)
    }

    /// Lets a series have so many keys and no more: a new one beyond is refused as [`ErrorKind::Overloaded`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] in a store that is shared: nobody there knows how many there are.
    pub(crate) fn series_bound(&self, series: &Name, keys: u64) -> Result<()> {
        let Some(engine) = self.unshared() else {
            let text =
                format!("series {series}: max_keys needs a store in this process (memory: or embedded:)");
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        engine.series_bound(series, keys);
        Ok(())
    }

    /// Whether a key can be added to, as far as a bound on keys is concerned.
    pub(crate) fn series_room(&self, series: &Name, key: &str) -> Result<()> {
        self.unshared().map_or(Ok(()), |engine| engine.series_room(series, key))
    }

    /// How many keys a series has, and how many times a bound refused one. `None` in a store that is shared.
    pub(crate) fn series_keys(&self, series: &Name) -> Option<KeyCount> {
        self.unshared().map(|engine| engine.series_keys(series))
    }

    /// Reads several spans in one round trip, each zero-filled: `to - from` counts.
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        on!(self, it => it.series_read(part, spans).await)
    }

    /// Forgets a key in every resolution.
    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, now: Timestamp) -> Result<()> {
        on!(self, it => it.series_delete(part, key, now).await)
    }

    // Locks

    /// Takes a lock, or a place in its queue. The fence is larger than that of every hold before. Repeating a granted
    /// claim answers as before and extends the lease.
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        on!(self, it => it.lock_claim(claim).await)
    }

    /// Extends the holder's lease to the claim's ttl from now, and says that ttl; `None`: it is not the holder (any
    /// more).
    pub(crate) async fn lock_renew(&self, name: &str, owner: Uuid) -> Result<Option<Duration>> {
        on!(self, it => it.lock_renew(name, owner).await)
    }

    /// Gives the lock back, or leaves the queue, and notifies the first waiter; false: it was neither holder nor
    /// waiting.
    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        on!(self, it => it.lock_release(name, owner).await)
    }

    /// Looks at a lock.
    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        on!(self, it => it.lock_state(name).await)
    }

    /// Takes the lock from whoever holds it, and notifies the first waiter; true if somebody held it.
    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        on!(self, it => it.lock_force_release(name).await)
    }

    /// Subscribes to the notifications that tell `owner` to claim the lock `name` again. Subscribed before the first claim, it
    /// misses none of a store that is reached. A notification may be lost on the way, and an expired lease sends none.
    pub(crate) fn lock_subscribe(&self, name: &str, owner: Uuid) -> Subscription {
        ask!(self, it => it.lock_subscribe(name, owner))
    }

    // Requests that are carried out once

    /// Begins an attempt at a request, or says why not. Repeated by the same owner it answers the same. What is known of a
    /// request is remembered for [`REQUEST_TTL`](request::REQUEST_TTL), through a crash.
    pub(crate) async fn once_begin(&self, begin: Begin<'_>) -> Result<Known> {
        on!(self, it => it.once_begin(begin).await)
    }

    /// Ends an attempt. False: it is another owner's by now, and nothing was changed.
    pub(crate) async fn once_end(&self, key: &str, owner: Uuid, end: End<'_>) -> Result<bool> {
        on!(self, it => it.once_end(key, owner, end).await)
    }

    /// For each host the bytes of requests and tokens, when one was last begun there.
    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        ask!(self, it => it.once_bytes())
    }

    /// The hosts, in the order of their numbers, and the epoch in which each is as far as this process knows.
    pub(crate) fn epochs(&self) -> Hosts {
        ask!(self, it => it.epochs())
    }

    /// [`buffer_add`](Self::buffer_add) of one row, and of its token: of no effect if the token is there.
    pub(crate) async fn buffer_add_once(&self, part: &BufferPart, row: Row, token: &Token) -> Result<()> {
        on!(self, it => it.buffer_add_once(part, row, token).await)
    }

    /// [`series_add`](Self::series_add) of one point, and of its token: of no effect if the token is there.
    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        on!(self, it => it.series_add_once(part, point, now, token).await)
    }

    /// Whether a partition of a buffer has a token, and the epoch of its host then.
    pub(crate) async fn buffer_peek(&self, part: &BufferPart, token: &Token) -> Result<Seen> {
        on!(self, it => it.buffer_peek(part, token).await)
    }

    /// Whether a partition of a series has a token, and the epoch of its host then.
    pub(crate) async fn series_peek(&self, part: &SeriesPart, token: &Token) -> Result<Seen> {
        on!(self, it => it.series_peek(part, token).await)
    }

    /// [`take_all`](Self::take_all), and if it charges, of its token. If the token is there nothing is charged, the answer is
    /// the first one, and the charge is this owner's from now on.
    pub(crate) async fn take_all_once(
        &self,
        takes: &[Take<'_>],
        when: When,
        token: ChargeToken,
    ) -> Result<TakenAll> {
        on!(self, it => it.take_all_once(takes, when, token).await)
    }

    /// Gives back what [`take_all_once`](Self::take_all_once) charged, each to the window that was charged, and forgets the
    /// token; nothing if that is not there, or is another owner's. May be repeated.
    pub(crate) async fn refund_once(&self, charged: &[(Take<'_>, u64)], token: ChargeToken) -> Result<()> {
        on!(self, it => it.refund_once(charged, token).await)
    }

    // Plain keys and hosts

    /// The hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        ask!(self, it => it.hosts())
    }

    /// How keys find their host; `None`: there is only one.
    pub(crate) fn placement(&self) -> Option<Placement> {
        ask!(self, it => it.placement())
    }

    /// The number of the host that has a plain key.
    pub(crate) fn host_of(&self, key: &[u8]) -> usize {
        ask!(self, it => it.host_of(key))
    }

    /// The slot of a plain key; `None` where keys are not placed by slots.
    pub(crate) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        ask!(self, it => it.slot_of(key))
    }

    /// The number of the host that has all keys of a structure, and their slot where keys are placed by slots.
    pub(crate) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        match self {
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => cluster.place_of(place),
            _ => {
                let _ = place;
                (0, None)
            }
        }
    }

    /// Runs commands on one host, in their order, each on its own and with its own answer: no step, but a pipeline
    /// of them. Sends none after `within`, and waits no longer for those that were sent.
    pub(crate) async fn kv(
        &self,
        host: usize,
        commands: &[&Command],
        within: Duration,
    ) -> Vec<Result<Reply, Failure>> {
        if self.is_closed() {
            return vec![Err((Fate::NotSent, closed())); commands.len()];
        }
        ask!(self, it => it.kv(host, commands, within).await)
    }

    // Everything

    /// Whether takes end by themselves when their time is over: hosts watch over all that wait with one timer, which
    /// costs less than a timer for each.
    pub(crate) fn keeps_deadlines(&self) -> bool {
        match self {
            #[cfg(feature = "test-util")]
            Self::Fault(_) => false,
            _ => true,
        }
    }

    /// Whether a step costs no round trip.
    pub(crate) fn is_in_process(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// Whether other processes may change what the store has.
    pub(crate) fn is_shared(&self) -> bool {
        self.unshared().is_none()
    }

    /// The store, if only this process may change what it has.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unnecessary_wraps, reason = "a host is shared"))]
    fn unshared(&self) -> Option<&Embedded> {
        match self {
            Self::Embedded(engine) => Some(engine),
            #[cfg(feature = "redis")]
            Self::Redis(_) | Self::Cluster(_) => None,
            #[cfg(feature = "test-util")]
            Self::Fault(fault) => Some(&fault.inner),
        }
    }

    /// Whether the store takes writes. A host is asked at most once a second.
    pub(crate) async fn ping(&self) -> Result<()> {
        on!(self, it => it.ping().await)
    }

    /// What an operator should know: settings that break a promise. Empty: nothing.
    pub(crate) fn warnings(&self) -> Vec<String> {
        ask!(self, it => it.warnings())
    }

    /// Makes what was answered durable and stops the background work. Every step from then on is an error of
    /// [`ErrorKind::Closed`].
    pub(crate) async fn close(&self) -> Result<()> {
        ask!(self, it => it.close().await)
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        ask!(self, it => it.is_closed())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed")
}
