//! Calls while slots move from one independent host to another.
//!
//! A call that comes to a host by a table of slots that is out of date is refused by the host, and nothing is done: see
//! `redis/fence.rs`. Here the later table is read, and the call goes by that. A slot whose keys are being copied is written by
//! nobody. Calls wait for it, for as long as they have patience.

use std::{sync::Arc, time::Duration};

use super::{Cluster, member::Member, table::Phase};
use crate::{
    engine::{
        request::ChargeToken,
        step::{BufferPart, Place, Take, TakenAll},
    },
    error::{Error, ErrorKind, Result, Retry},
    model::Row,
    time::{When, millis, secs},
};

/// How long a call waits that has no deadline of its own: below the second after which a claim of a lock counts as unanswered.
pub(in crate::engine) const PATIENCE: Duration = millis(800);

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
        let mut answers: Vec<Result<()>> = vec![];
        let (mut places, mut rows): (Vec<usize>, _) = ((0..rows.len()).collect(), rows);
        let mut patience = Patience::of(PATIENCE);
        loop {
            let member = self.member_for_rows(part).await?;
            let spare = member.engine.slot_epoch().map(|_| rows.clone()).unwrap_or_default();
            let mut guard = member.begin()?;
            let some = match guard.end(member.engine.buffer_add(part, rows).await) {
                Ok(some) => some,
                Err(error) => vec![Err(error); places.len()],
            };
            let mut moved: Option<(Error, Vec<(usize, Row)>)> = None;
            let mut spare = spare.into_iter();
            answers.resize(answers.len().max(places.len()), Ok(()));
            for (place, answer) in places.into_iter().zip(some) {
                let row = spare.next();
                if let (Err(error), Some(row)) = (&answer, row)
                    && Self::has_moved(&member, error)
                {
                    moved.get_or_insert_with(|| (error.clone(), vec![])).1.push((place, row));
                }
                answers[place] = answer;
            }
            let Some((refusal, again)) = moved else { return Ok(answers) };
            // Boxed: it is rare.
            if Box::pin(self.find_again(&member, refusal, &mut patience)).await.is_err() {
                return Ok(answers);
            }
            (places, rows) = again.into_iter().unzip();
        }
    }

    /// Charges all of `takes` if each fits, else none.
    ///
    /// # Errors
    /// [`Retry::Now`] also if they are not on one host any more.
    pub(in crate::engine) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        let mut patience = Patience::of(least_within(takes));
        loop {
            let member = self.member_for_all(takes, &mut patience).await?;
            let mut guard = member.begin()?;
            match guard.end(member.engine.take_all(takes, when).await) {
                Err(error) if Self::has_moved(&member, &error) => {
                    Box::pin(self.find_again(&member, error, &mut patience)).await?;
                }
                answer => return answer,
            }
        }
    }

    /// [`take_all`](Self::take_all) once, by a token.
    pub(in crate::engine) async fn take_all_once(
        &self,
        takes: &[Take<'_>],
        when: When,
        token: ChargeToken,
    ) -> Result<TakenAll> {
        let mut patience = Patience::of(least_within(takes));
        loop {
            let member = self.member_for_all(takes, &mut patience).await?;
            let mut guard = member.begin()?;
            match guard.end(member.engine.take_all_once(takes, when, token).await) {
                Err(error) if Self::has_moved(&member, &error) => {
                    Box::pin(self.find_again(&member, error, &mut patience)).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Gives back what [`take_all_once`](Self::take_all_once) charged.
    pub(in crate::engine) async fn refund_once(
        &self,
        charged: &[(Take<'_>, u64)],
        token: ChargeToken,
    ) -> Result<()> {
        let takes: Vec<Take<'_>> = charged.iter().map(|(take, _)| *take).collect();
        let mut patience = Patience::of(PATIENCE);
        loop {
            let member = self.member_for_all(&takes, &mut patience).await?;
            let mut guard = member.begin()?;
            match guard.end(member.engine.refund_once(charged, token).await) {
                Err(error) if Self::has_moved(&member, &error) => {
                    Box::pin(self.find_again(&member, error, &mut patience)).await?;
                }
                answer => return answer,
            }
        }
    }

    /// The host of all takes, once nobody copies a key of them.
    async fn member_for_all(&self, takes: &[Take<'_>], patience: &mut Patience) -> Result<Arc<Member>> {
        loop {
            // All of it by one table.
            let topology = self.topology();
            let places = || takes.iter().map(|take| Place::Key(take.key));
            let Some(place) = places().find(|place| topology.phase(*place) == Some(Phase::Moving)) else {
                let first = topology.member(places().next().unwrap_or(Place::Key("-"))).clone();
                let host = |place| topology.number(place);
                if topology.can_change()
                    && places().any(|place| host(place) != host(Place::Key(takes[0].key)))
                {
                    let text = "the keys of the limits are not on one host any more";
                    return Err(Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Now));
                }
                return Ok(first);
            };
            Box::pin(self.wait_for_member(Access::Write, place, patience)).await?;
        }
    }

    /// The host of a partition that takes rows. A buffer's only partition is waited for.
    async fn member_for_rows(&self, part: &BufferPart) -> Result<Arc<Member>> {
        let place = Place::Buffer(part);
        let mut patience = Patience::of(if part.schema.partitions == 1 { PATIENCE } else { Duration::ZERO });
        match self.ready_member(Access::AddRows, place) {
            Some(member) => Ok(member),
            None => Box::pin(self.wait_for_member(Access::AddRows, place, &mut patience)).await,
        }
    }

    /// Finds another way for those who come to a host, if that refused a call because slots have moved.
    pub(super) async fn note_refusal(&self, member: &Arc<Member>, refusal: &Error) {
        if Self::has_moved(member, refusal)
            && let Err(error) = Box::pin(self.refresh(Some(member))).await
        {
            tracing::debug!(%error, "cannot follow the placement of keys");
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
        clock.sleep(PAUSE.min(until.saturating_sub(now))).await;
        Some(())
    }

    fn on_its_way(&self, place: Place<'_>) -> Error {
        let name = self.member(place).host.name().to_owned();
        let text = format!("host {name:?}: the slot is on its way to another host");
        Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Now)
    }
}

/// The shortest time that takes wait.
fn least_within(takes: &[Take<'_>]) -> Duration {
    takes.iter().map(|take| take.within).min().unwrap_or_default()
}
