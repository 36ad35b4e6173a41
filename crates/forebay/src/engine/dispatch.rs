//! One type for whichever engine a store runs on.

use std::{ops::ControlFlow, sync::Arc, task::Waker, time::Duration};
#[cfg(feature = "redis")]
use std::{
    pin::Pin,
    task::{Context, Poll},
};

use uuid::Uuid;

#[cfg(feature = "test-util")]
use super::fault::FaultEngine;
#[cfg(feature = "redis")]
use super::{
    cluster::{Cluster, Content, Host as ClusterHost, SlotMove},
    key_move::{self, Servers},
    redis::Redis,
    remote::Remote,
    step::Which,
};
use super::{
    embedded::Embedded,
    notifier::Subscription,
    request::Hosts,
    step::{KeyCount, KeyMove, Place, SeriesPart, Take, Taken},
};
use crate::{
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{Command, Failure, Fate, Health, HostStatus, Placement, Reply, Row, Schema, resolution::Grid},
    time::{Timestamp, When},
};

/// A row that waits with others for a round trip to a host.
#[cfg(feature = "redis")]
pub(crate) type Joined = super::sequence::WriteFuture;
/// No row waits with others here.
#[cfg(not(feature = "redis"))]
pub(crate) type Joined = std::future::Pending<Result<()>>;

/// A take that shares a round trip with others.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) enum BatchedTake<'a> {
    Redis(super::redis::BatchedTake<'a>),
    Cluster(super::cluster::BatchedTake<'a>),
}

#[cfg(feature = "redis")]
impl Future for BatchedTake<'_> {
    /// Its outcome, and a time on the monotonic clock before it was sent.
    type Output = Result<(Taken, Duration)>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Redis(take) => Pin::new(take).poll(context),
            Self::Cluster(take) => Pin::new(take).poll(context),
        }
    }
}

/// No take shares a round trip here.
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
    Redis(Arc<Redis>),
    #[cfg(feature = "redis")]
    Cluster(Arc<Cluster>),
    #[cfg(feature = "test-util")]
    Fault(Arc<FaultEngine>),
}

/// Evaluates an expression on whichever engine it is. With a name it is a step, and an engine with servers is a [`Remote`]
/// there.
macro_rules! on_any {
    ($engine:expr, $step:ident, $it:ident => $answer:expr) => {
        match $engine {
            engine if engine.is_closed() => Err($crate::engine::dispatch::closed()),
            #[cfg(feature = "test-util")]
            Engine::Fault(fault) => {
                let $it = &fault.inner;
                fault.run(stringify!($step), async { $answer }).await
            }
            engine => on_any!(engine, remote $it => $answer),
        }
    };
    ($engine:expr, remote $it:ident => $answer:expr) => {
        match $engine {
            Engine::Embedded($it) => $answer,
            #[cfg(feature = "redis")]
            Engine::Redis(redis) => {
                let $it = $crate::engine::remote::Remote(&**redis);
                $answer
            }
            #[cfg(feature = "redis")]
            Engine::Cluster(cluster) => {
                let $it = $crate::engine::remote::Remote(&**cluster);
                $answer
            }
            #[cfg(feature = "test-util")]
            Engine::Fault(fault) => {
                let $it = &fault.inner;
                $answer
            }
        }
    };
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
pub(super) use on_any;

/// Evaluates an expression on one kind of engine, and another on all others.
macro_rules! on_only {
    ($engine:expr, $variant:ident($it:ident) => $answer:expr, else $otherwise:expr) => {
        match $engine {
            #[cfg(feature = "redis")]
            Engine::$variant($it) => $answer,
            _ => $otherwise,
        }
    };
}

/// Questions and calls that are no steps: they need no host, or are not atomic on one tag.
#[cfg_attr(not(feature = "redis"), allow(unused_variables, reason = "there is one host, in this process"))]
impl Engine {
    /// [`take`](Self::take) where the answer needs no waiting; `None` elsewhere.
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

    /// [`take_at_once`](Self::take_at_once) at the engine's time, in the usual case.
    #[expect(
        clippy::inline_always,
        reason = "the decision is built where the caller wants it: see limit/decide/fast_path.rs"
    )]
    #[inline(always)]
    pub(crate) fn take_now(&self, take: &Take<'_>) -> Option<Taken> {
        match self {
            Self::Embedded(engine) => engine.take_now(take),
            #[cfg(any(feature = "redis", feature = "test-util"))]
            _ => None,
        }
    }

    /// [`take`](Self::take) at the host's time, if it can share a round trip: with fewer futures around it, which are most of
    /// its cost then. `None`: it goes another way.
    pub(crate) fn take_batched<'a>(&'a self, take: Take<'a>) -> Option<BatchedTake<'a>> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.take_batched(take).map(BatchedTake::Redis),
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => cluster.take_batched(take).map(BatchedTake::Cluster),
            _ => None,
        }
    }

    /// Whether one step can charge all of `takes`: on one host always, on several only on the same host.
    pub(crate) fn together(&self, takes: &[Take<'_>]) -> bool {
        on_only!(self, Cluster(cluster) => cluster.together(takes), else true)
    }

    /// Whether one step can charge all of `takes` now and later, so that one token can stand for it.
    pub(crate) fn stay_together(&self, takes: &[Take<'_>]) -> bool {
        on_only!(self, Cluster(cluster) => cluster.stay_together(takes), else true)
    }

    /// Whether keys lie on several hosts, of which one may be down.
    pub(crate) fn has_hosts(&self) -> bool {
        on_only!(self, Cluster(_cluster) => true, else false)
    }

    /// Whether rows share round trips, so that they can be [joined](Self::buffer_join).
    pub(crate) fn gathers_rows(&self) -> bool {
        on_only!(self, Redis(_redis) => true, else false)
    }

    /// [`buffer_add`](Self::buffer_add) of one row that joins the next round trip at once. The future needs no box, and
    /// `waker` is woken when it is ready. Where rows share no round trips, the row comes back.
    pub(crate) fn buffer_join(
        &self,
        (schema, index): (&Arc<Schema>, u16),
        row: Row,
        waker: &Waker,
    ) -> ControlFlow<Row, Result<Joined>> {
        on_only!(self, Redis(redis) => ControlFlow::Continue(redis.buffer_join(schema, index, row, waker)),
            else ControlFlow::Break(row))
    }

    /// The time by which the store decides which buckets of a partition are kept. For a host it is an estimate, accurate to
    /// the time of an answer. Does not fail: while a host is away it continues from the last answer.
    pub(crate) async fn series_now(&self, part: &SeriesPart) -> Timestamp {
        on_any!(self, remote engine => engine.series_now(part).await)
    }

    /// Limits the number of keys of a series. A new key beyond it is refused as [`ErrorKind::Overloaded`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] in a shared store, where no process knows how many keys there are.
    pub(crate) fn series_bound(&self, series: &Name, keys: u64) {
        if let Some(engine) = self.unshared() {
            engine.series_bound(series, keys);
        }
    }

    /// Checks that the bound on keys lets `key` be added to.
    pub(crate) fn series_room(&self, series: &Name, key: &str) -> Result<()> {
        self.unshared().map_or(Ok(()), |engine| engine.series_room(series, key))
    }

    /// How many keys a series has, and how many times a bound refused one. `None` in a shared store.
    pub(crate) fn series_keys(&self, series: &Name) -> Option<KeyCount> {
        self.unshared().map(|engine| engine.series_keys(series))
    }

    /// Subscribes to the notifications that tell `owner` to claim the lock `name` again. Subscribed before the first claim, it
    /// misses none of a store that is reached. A notification may be lost on the way, and an expired lease sends none.
    pub(crate) fn lock_subscribe(&self, name: &str, owner: Uuid) -> Subscription {
        on_any!(self, engine => engine.lock_subscribe(name, owner))
    }

    /// Notes the definition of a series: this process seals its open buckets, and hands over its points that wait on other hosts.
    pub(crate) fn series_define(&self, grid: &Arc<Grid>) {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.series_grids().define(grid),
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => cluster.series_grids().define(grid),
            _ => {}
        }
    }

    /// The partitions of the series of this process that may have open buckets; `all` of them, or those of which it knows.
    #[cfg(feature = "redis")]
    pub(super) fn series_to_seal(&self, all: bool) -> Vec<SeriesPart> {
        let (grids, is_open): (_, &dyn Fn(&SeriesPart) -> bool) = match self {
            Self::Redis(redis) => (redis.series_grids(), &|part| redis.series_is_open(part)),
            Self::Cluster(cluster) => (cluster.series_grids(), &|part| cluster.series_is_open(part)),
            _ => return vec![],
        };
        grids.parts().into_iter().filter(|part| all || is_open(part)).collect()
    }

    /// Moves counts that are in open buckets of a partition to its chunks.
    #[cfg(feature = "redis")]
    pub(crate) async fn series_seal(&self, part: &SeriesPart, which: Which) -> Result<()> {
        match self {
            Self::Redis(redis) => redis.series_seal(part, which).await,
            Self::Cluster(cluster) => cluster.series_seal(part, which).await,
            _ => Ok(()),
        }
    }

    /// Moves all counts of a key of a series to another key, and answers how much that was. Points that come to the key
    /// meanwhile stay there. If it fails after the counts were set aside, it is continued in the background.
    pub(crate) async fn series_move(
        &self,
        part: &SeriesPart,
        moving: &KeyMove,
        now: Timestamp,
    ) -> Result<u64> {
        match self {
            engine if engine.is_closed() => Err(closed()),
            Self::Embedded(engine) => engine.series_move(part, moving, now).await,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Box::pin(key_move::move_key(Servers::One(redis), part, moving)).await,
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => {
                Box::pin(key_move::move_key(Servers::Several(cluster), part, moving)).await
            }
            #[cfg(feature = "test-util")]
            Self::Fault(fault) => fault.inner.series_move(part, moving, now).await,
        }
    }

    /// Continues the moves from a partition that a process gave up.
    #[cfg(feature = "redis")]
    pub(super) async fn series_continue_moves(&self, part: &SeriesPart) -> Result<()> {
        match self {
            Self::Redis(redis) => key_move::continue_moves(Servers::One(redis), part).await,
            Self::Cluster(cluster) => key_move::continue_moves(Servers::Several(cluster), part).await,
            _ => Ok(()),
        }
    }

    /// Whether points of a partition wait on other hosts than its own, as far as this process knows.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "hosts have to be waited for"))]
    pub(crate) async fn series_may_wait(&self, part: &SeriesPart) -> bool {
        on_only!(self, Cluster(cluster) => Remote(&**cluster).series_may_wait(part).await, else false)
    }

    /// The bytes of requests and tokens of each host, as of its last begun request.
    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        on_any!(self, engine => engine.once_bytes())
    }

    /// The hosts, in the order of their numbers, each with its epoch as far as this process knows.
    pub(crate) fn epochs(&self) -> Hosts {
        on_any!(self, engine => engine.epochs())
    }

    /// The hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        on_any!(self, engine => engine.hosts())
    }

    /// The health of the host of a place. Where that is down, its steps fail at once.
    pub(crate) fn health_of(&self, place: Place<'_>) -> Health {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.health(),
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => cluster.health_of(place),
            _ => Health::Up,
        }
    }

    /// The host of a place as the record of a request knows it, and the number of the placement of keys; `None`: there is only
    /// one host.
    pub(crate) fn host_of_request(&self, place: Place<'_>) -> Option<(u32, u64)> {
        on_only!(self, Cluster(cluster) => Some(cluster.host_of_request(place)), else None)
    }

    /// How keys find their host; `None`: there is only one.
    pub(crate) fn placement(&self) -> Option<Placement> {
        on_only!(self, Cluster(cluster) => Some(cluster.placement()), else None)
    }

    /// The number of the host that has a plain key.
    pub(crate) fn host_of(&self, key: &[u8]) -> usize {
        on_only!(self, Cluster(cluster) => cluster.host_of(key), else 0)
    }

    /// The name of that host.
    pub(crate) fn host_name_of(&self, key: &[u8]) -> Arc<str> {
        on_only!(self, Cluster(cluster) => cluster.host_name_of(key), else self.hosts().swap_remove(0).name.into())
    }

    /// The slot of a plain key; `None` where keys are not placed by slots.
    pub(crate) fn slot_of(&self, key: &[u8]) -> Option<u16> {
        on_only!(self, Cluster(cluster) => cluster.slot_of(key), else None)
    }

    /// The host where a key that was found on any should be; `None`: each host has its own, or there is only one.
    #[cfg(feature = "redis")]
    pub(crate) fn home(&self, key: &[u8]) -> Option<(usize, Content)> {
        on_only!(self, Cluster(cluster) => cluster.home(key), else None)
    }

    /// The fewest moves of slots after which each of `hosts` has its share.
    #[cfg(feature = "redis")]
    pub(crate) fn moves_to(&self, hosts: &[ClusterHost]) -> Result<Vec<SlotMove>> {
        on_only!(self, Cluster(cluster) => cluster.moves_to(hosts), else Ok(vec![]))
    }

    /// The number of the host that has all keys of a structure, and their slot where keys are placed by slots.
    pub(crate) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        on_only!(self, Cluster(cluster) => cluster.place_of(place), else (0, None))
    }

    /// Runs commands on the host of this name in order, each with its own answer: a pipeline, not one step. Sends none after
    /// `within`, and waits no longer for those that were sent.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "hosts have to be waited for"))]
    pub(crate) async fn kv(
        &self,
        host: &str,
        commands: &[&Command],
        within: Duration,
    ) -> Vec<Result<Reply, Failure>> {
        if self.is_closed() {
            return vec![Err((Fate::NotSent, closed())); commands.len()];
        }
        match self {
            Self::Embedded(engine) => engine.kv(commands),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Remote(&**redis).kv(commands, within).await,
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => Remote(&**cluster).kv(host, commands, within).await,
            #[cfg(feature = "test-util")]
            Self::Fault(fault) => fault.inner.kv(commands),
        }
    }

    /// Whether takes end by themselves at their deadline: hosts check all waiters with one timer, which costs less than a
    /// timer for each.
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

    /// Whether other processes may change the store's contents.
    pub(crate) fn is_shared(&self) -> bool {
        self.unshared().is_none()
    }

    /// The engine, if no other process may change its contents.
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

    /// Reads passwords again that are in files or variables, and logs in with them.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_async, reason = "only servers have logins"))]
    pub(crate) async fn renew_login(&self) -> Result<()> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Remote(&**redis).renew_login().await,
            #[cfg(feature = "redis")]
            Self::Cluster(cluster) => Remote(&**cluster).renew_login().await,
            _ => Ok(()),
        }
    }

    /// Settings that break a promise, as sentences for an operator. Empty: none known.
    pub(crate) fn warnings(&self) -> Vec<String> {
        on_any!(self, engine => engine.warnings())
    }

    /// Makes what was answered durable and stops the background work. Every later step is an error of
    /// [`ErrorKind::Closed`].
    pub(crate) async fn close(&self) -> Result<()> {
        on_any!(self, remote engine => engine.close().await)
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        on_any!(self, engine => engine.is_closed())
    }
}

/// The error of a step after [`Engine::close`].
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed")
}
