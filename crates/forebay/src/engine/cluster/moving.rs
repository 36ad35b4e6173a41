//! Calls while slots move from one independent host to another.
//!
//! A call that comes to a host by a table of slots that is out of date is refused by the host, and nothing is done: see
//! `redis/fence.rs`. Here the later table is read, and the call goes by that. A slot whose keys are being copied is written by
//! nobody. Calls wait for it, for as long as they have patience.

use std::{sync::Arc, time::Duration};

use super::{Cluster, member::Member, table::Phase};
use crate::{
    engine::step::{BufferPart, Place},
    error::{Error, ErrorKind, Result, Retry},
    model::Row,
    time::{millis, secs},
};

/// How long a call waits that has no deadline of its own.
pub(in crate::engine) const PATIENCE: Duration = secs(1);

/// How long a row of a request waits that is carried out once: only its own partition can take it, and the rows of that have to
/// get into the database first.
pub(in crate::engine) const ROW_PATIENCE: Duration = secs(5);

/// Between two looks at the table.
const PAUSE: Duration = millis(10);

/// What a call does with the keys of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Access {
    Read,
    Write,
    /// Adds rows to a buffer.
    AddRows,
}

impl Access {
    fn waits_in(self, phase: Phase) -> bool {
        match self {
            Self::Read => false,
            Self::Write => phase == Phase::Moving,
            Self::AddRows => phase != Phase::Left,
        }
    }
}

/// How long a call waits for a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Patience {
    within: Duration,
    /// On the monotonic clock, once it waits.
    until: Option<Duration>,
}

impl Patience {
    pub(in crate::engine) fn of(within: Duration) -> Self {
        Self { within, until: None }
    }
}

/// The argument of a call, for another attempt.
pub(in crate::engine) fn again<T: Clone>(argument: &T) -> T {
    argument.clone()
}

impl Cluster {
    /// The host of a place, unless the call has to wait for it.
    pub(in crate::engine) fn ready_member(&self, access: Access, place: Place<'_>) -> Option<Arc<Member>> {
        let topology = self.topology.read();
        let waits = topology.phase(place).is_some_and(|phase| access.waits_in(phase));
        (!waits).then(|| topology.member(place).clone())
    }

    /// [`ready_member`](Self::ready_member), once there is one.
    ///
    /// # Errors
    /// [`Retry::Now`] after the patience of the call.
    pub(in crate::engine) async fn wait_for_member(
        &self,
        access: Access,
        place: Place<'_>,
        patience: &mut Patience,
    ) -> Result<Arc<Member>> {
        loop {
            if let Some(member) = self.ready_member(access, place) {
                return Ok(member);
            }
            if !self.refresh(None).await? {
                self.pause(patience).await.ok_or_else(|| self.on_its_way(place))?;
            }
        }
    }

    /// Whether a host refused a call because slots have moved.
    pub(in crate::engine) fn has_moved(member: &Member, refusal: &Error) -> bool {
        refusal.retry() == Retry::Now && member.engine.slot_epoch().is_some()
    }

    /// Ends when those who came by `member` come by another way.
    ///
    /// # Errors
    /// `refusal` after the patience of the call.
    pub(in crate::engine) async fn find_again(
        &self,
        member: &Arc<Member>,
        refusal: Error,
        patience: &mut Patience,
    ) -> Result<()> {
        while !self.refresh(Some(member)).await? {
            self.pause(patience).await.ok_or_else(|| refusal.clone())?;
        }
        Ok(())
    }

    /// Merges rows into the live generation of a partition. Rows do not wait for a slot: another partition takes them.
    pub(in crate::engine) async fn buffer_add(
        &self,
        part: &BufferPart,
        rows: Vec<Row>,
    ) -> Result<Vec<Result<()>>> {
        let place = Place::Buffer(part);
        let alone = part.schema.partitions == 1;
        let mut patience = Patience::of(if alone { PATIENCE } else { Duration::ZERO });
        let member = match self.ready_member(Access::AddRows, place) {
            Some(member) => member,
            // Boxed: it is rare.
            None => Box::pin(self.wait_for_member(Access::AddRows, place, &mut patience)).await?,
        };
        let mut guard = member.begin()?;
        let answer = guard.end(member.engine.buffer_add(part, rows).await);
        let refusals = match &answer {
            Ok(answers) => answers.iter().filter_map(|answer| answer.as_ref().err()).next(),
            Err(error) => Some(error),
        };
        if refusals.is_some_and(|refusal| Self::has_moved(&member, refusal)) {
            self.note_later();
        }
        answer
    }

    fn note_later(&self) {
        if let Some(stored) = &self.stored {
            stored.current.note_later();
        }
    }

    /// How long a call still waits, once it does.
    pub(super) fn left(&self, patience: &Patience) -> Option<Duration> {
        let now = self.stored.as_ref()?.clock.monotonic();
        Some(patience.until?.saturating_sub(now))
    }

    /// Waits a little, unless patience has ended.
    pub(super) async fn pause(&self, patience: &mut Patience) -> Option<()> {
        let clock = &self.stored.as_ref()?.clock;
        let now = clock.monotonic();
        let until = *patience.until.get_or_insert(now.saturating_add(patience.within));
        if now >= until {
            return None;
        }
        clock.sleep(PAUSE.min(until - now)).await;
        Some(())
    }

    fn on_its_way(&self, place: Place<'_>) -> Error {
        let name = self.member(place).host.name().to_owned();
        let text = format!("host {name:?}: the slot is on its way to another host");
        Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Now)
    }
}
