//! Requests that are carried out once, on the embedded engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::Embedded;
use crate::{
    engine::step::{Known, ONCE},
    error::Result,
    time::Timestamp,
};

/// What a request is called in the file, before its key.
const ONCE_FACT: &str = "once:";

/// All requests. The lock is taken before the journal's, and for a look-up.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_key: HashMap<Box<str>, Request>,
    /// In the order in which they are forgotten: that in which they came. May name some that are not there any more.
    order: VecDeque<(Timestamp, Box<str>)>,
}

#[derive(Debug)]
struct Request {
    print: u128,
    /// Nobody of this process, if it was read from the file.
    owner: Option<Uuid>,
    answer: Option<Box<str>>,
    /// By the time of day, as the file has it.
    until: Timestamp,
}

impl Request {
    /// How the file has it: "print until answer".
    fn fact(&self) -> String {
        let answer = self.answer.as_deref().unwrap_or_default();
        format!("{:032x} {} {answer}", self.print, self.until.as_micros())
    }

    fn read(fact: &str) -> Option<Self> {
        let mut parts = fact.splitn(3, ' ');
        let print = u128::from_str_radix(parts.next()?, 16).ok()?;
        let until = Timestamp::from_micros(parts.next()?.parse().ok()?);
        let answer = parts.next().filter(|answer| !answer.is_empty()).map(Into::into);
        Some(Self { print, owner: None, answer, until })
    }
}

impl Embedded {
    pub(crate) async fn once_begin(&self, key: &str, print: u128, owner: Uuid) -> Result<Known> {
        let now = self.clock.now();
        let ticket = {
            let mut requests = self.requests.lock();
            let known = requests.by_key.get(key).filter(|known| known.until > now);
            if let Some(known) = known {
                return Ok(match known {
                    other if other.print != print => Known::Other,
                    Request { answer: Some(answer), .. } => Known::Done(answer.clone()),
                    same if same.owner == Some(owner) => Known::First,
                    _ => Known::Running,
                });
            }
            let mut record = self.journal.record()?;
            let request = Request { print, owner: Some(owner), answer: None, until: now.plus(ONCE) };
            record.fact(&fact_of(key), Some(&request.fact()));
            requests.order.push_back((request.until, key.into()));
            requests.by_key.insert(key.into(), request);
            record.commit()
        };
        ticket.durable().await?;
        Ok(Known::First)
    }

    pub(crate) async fn once_end(&self, key: &str, print: u128, owner: Uuid, answer: &str) -> Result<()> {
        let ticket = {
            let mut requests = self.requests.lock();
            let mut record = self.journal.record()?;
            let ours =
                requests.by_key.get_mut(key).filter(|one| one.owner == Some(owner) && one.print == print);
            let Some(request) = ours else { return Ok(()) };
            request.answer = Some(answer.into());
            record.fact(&fact_of(key), Some(&request.fact()));
            record.commit()
        };
        ticket.durable().await
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn once_forget(&self, key: &str) -> Result<()> {
        let mut requests = self.requests.lock();
        let mut record = self.journal.record()?;
        if requests.by_key.remove(key).is_some() {
            record.fact(&fact_of(key), None);
        }
        Ok(())
    }

    pub(super) fn sweep_requests(&self) {
        let now = self.clock.now();
        let mut requests = self.requests.lock();
        while requests.order.front().is_some_and(|(until, _)| *until <= now) {
            // A file that takes nothing just now forgets them later.
            let Ok(mut record) = self.journal.record() else { return };
            let Some((_, key)) = requests.order.pop_front() else { return };
            if requests.by_key.get(&key).is_some_and(|request| request.until <= now) {
                requests.by_key.remove(&key);
                record.fact(&fact_of(&key), None);
            }
        }
    }
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Sections do not panic half-way through a change, so a poisoned map is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the file says about a request.
    pub(super) fn restore_fact(&self, name: &str, fact: &str) {
        if let Some((key, request)) = name.strip_prefix(ONCE_FACT).zip(Request::read(fact)) {
            let mut state = self.lock();
            state.order.push_back((request.until, key.into()));
            state.by_key.insert(key.into(), request);
        }
    }

    /// To be called once all facts have been taken.
    pub(super) fn restored(&self) {
        self.lock().order.make_contiguous().sort_unstable();
    }
}

fn fact_of(key: &str) -> String {
    format!("{ONCE_FACT}{key}")
}
