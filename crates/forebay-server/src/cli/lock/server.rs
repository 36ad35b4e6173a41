//! Locks of a server: acquired, renewed and released over HTTP.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay::{
    Clock,
    lock::{Loss, Release},
    time::{millis, secs},
};
use tokio::{sync::watch, task::AbortHandle};

use super::super::remote::Place;
use crate::{
    api::lock::{AcquireRequest, HeldBody, LeaseBody, RenewalBody, TokenRequest},
    client::{Answer, Client, escaped},
    text::Span,
};

/// How long one request waits for the lock: less than servers allow, so that the server answers first.
const REQUEST_WAIT: Duration = secs(50);

/// How long a renewal or a release waits for its answer.
const ANSWER_TIMEOUT: Duration = secs(2);

/// A lock that is renewed over HTTP until this is dropped.
#[derive(Debug)]
pub(super) struct RemoteLock {
    lease: Lease,
    state: watch::Receiver<State>,
    renewing: AbortHandle,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held { until: Duration },
    Lost(Loss),
}

/// The data for requests that renew and release.
#[derive(Clone, Debug)]
struct Lease {
    place: Place,
    path: String,
    token: String,
    fence: u64,
    ttl: Duration,
    clock: Clock,
}

/// The path of a lock.
pub(super) fn path(name: &str) -> String {
    format!("/v1/locks/{}", escaped(name))
}

/// Requests a lock, repeatedly until `wait` has passed. The inner error says who holds it instead.
pub(super) async fn acquire(
    place: &Place,
    name: &str,
    ttl: Duration,
    wait: Duration,
) -> Result<Result<RemoteLock, HeldBody>> {
    let (mut client, clock) = (place.client()?, Clock::system());
    let path = path(name);
    let end = clock.monotonic().saturating_add(wait);
    loop {
        let sent = clock.monotonic();
        let wait = end.saturating_sub(sent).min(REQUEST_WAIT);
        let answer = client.post(&path, &AcquireRequest { ttl: Span(ttl), wait: Span(wait) }).await?;
        if answer.status == 409 && end > clock.monotonic() {
            continue;
        }
        if answer.status == 409 {
            return Ok(Err(answer.read(&[409])?));
        }
        let LeaseBody { token, fence, expires_in, waited } = answer.read(&[])?;
        let until = sent + span(waited)? + span(expires_in)?;
        let lease = Lease { place: place.clone(), path, token, fence, ttl, clock };
        return Ok(Ok(RemoteLock::new(lease, until)));
    }
}

impl RemoteLock {
    fn new(lease: Lease, until: Duration) -> Self {
        let (change, state) = watch::channel(State::Held { until });
        let renewing = tokio::spawn(renew(lease.clone(), change)).abort_handle();
        Self { lease, state, renewing }
    }

    pub(super) fn fence(&self) -> u64 {
        self.lease.fence
    }

    pub(super) fn remaining(&self) -> Duration {
        match *self.state.borrow() {
            State::Held { until } => until.saturating_sub(self.lease.clock.monotonic()),
            State::Lost(_) => Duration::ZERO,
        }
    }

    /// Waits until it is lost.
    pub(super) async fn lost(&self) -> Loss {
        let mut changes = self.state.clone();
        loop {
            let left = match *changes.borrow_and_update() {
                State::Lost(loss) => return loss,
                State::Held { until } => until.saturating_sub(self.lease.clock.monotonic()),
            };
            if left.is_zero() {
                return Loss::Expired;
            }
            tokio::select! {
                Ok(()) = changes.changed() => {}
                () = self.lease.clock.sleep(left) => {}
            }
        }
    }

    pub(super) async fn release(self) -> Result<Release> {
        self.renewing.abort();
        let before = self.remaining();
        let (clock, mut client) = (&self.lease.clock, self.lease.place.client()?);
        let began = clock.monotonic();
        for attempt in 0.. {
            let answer = self.lease.send(&mut client, "release").await;
            let in_time = clock.monotonic().saturating_sub(began) < before;
            match answer {
                Ok(Answer { status: 204, .. }) => return Ok(Release::Released),
                // After an attempt without an answer a 409 means success: nobody else can have got it yet.
                Ok(Answer { status: 409, .. }) if attempt > 0 && in_time => return Ok(Release::Released),
                Ok(Answer { status: 409, .. }) => return Ok(Release::AlreadyLost),
                Ok(_) | Err(_) if in_time && attempt < 5 => clock.sleep(millis(200)).await,
                Ok(answer) => return answer.expect(&[]).map(|_| Release::Released),
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop has no end of its own")
    }
}

impl Drop for RemoteLock {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    async fn send(&self, client: &mut Client, verb: &str) -> Result<Answer> {
        let (path, request) = (format!("{}/{verb}", self.path), TokenRequest { token: self.token.clone() });
        let timeout = ANSWER_TIMEOUT.min(self.ttl / 4);
        let answer = self.clock.timeout(timeout, client.post(&path, &request)).await;
        answer.with_context(|| format!("no answer from the server within {timeout:?}"))?
    }
}

/// Renews every third of the ttl, sooner after a failure, until the lock is lost.
async fn renew(lease: Lease, change: watch::Sender<State>) {
    let clock = &lease.clock;
    let Ok(mut client) = lease.place.client() else { return };
    let mut pause = lease.ttl / 3;
    loop {
        clock.sleep(pause).await;
        let asked = clock.monotonic();
        let State::Held { until } = *change.borrow() else { return };
        if asked >= until {
            change.send_replace(State::Lost(Loss::Expired));
            return;
        }
        let expires_in = match lease.send(&mut client, "renew").await {
            Ok(Answer { status: 409, .. }) => {
                change.send_replace(State::Lost(Loss::NotHolder));
                return;
            }
            Ok(answer) => expires_in(answer),
            Err(_) => None,
        };
        let now = clock.monotonic();
        pause = match expires_in {
            Some(expires_in) => {
                // An answer after the deadline is too late: the command may have been ended.
                if now < until {
                    change.send_replace(State::Held { until: asked + expires_in });
                }
                lease.ttl / 3
            }
            None => (lease.ttl / 10).clamp(millis(10), secs(1)).min(until.saturating_sub(now)),
        };
    }
}

fn expires_in(answer: Answer) -> Option<Duration> {
    answer.read::<RenewalBody>(&[]).ok().and_then(|renewed| span(renewed.expires_in).ok())
}

fn span(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).context("the server answered with an invalid time")
}
