//! A lock that a server keeps for this process.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay::{
    Clock,
    lock::{Loss, Release},
    time::{millis, secs},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::watch, task::AbortHandle};

use super::held::{Asked, Held, Refusal};
use crate::{
    cli::remote::Place,
    client::{Client, escaped},
    text::{Span, shown},
};

/// How long one request waits for the lock: less than servers allow, so that the answer is theirs.
const WAIT: Duration = secs(50);

/// How long a renewal or a release waits for its answer.
const ANSWER: Duration = secs(2);

/// The server that keeps the locks.
#[derive(Debug)]
pub(super) struct Server {
    place: Place,
    clock: Clock,
}

/// A lock that is renewed over HTTP. Dropped, it is renewed no more.
#[derive(Debug)]
pub(super) struct Remote {
    lease: Lease,
    state: watch::Receiver<State>,
    renewing: AbortHandle,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held { until: Duration },
    Lost(Loss),
}

/// What renews and releases.
#[derive(Clone, Debug)]
struct Lease {
    place: Place,
    path: String,
    token: String,
    fence: u64,
    ttl: Duration,
    clock: Clock,
}

#[derive(Debug, Deserialize)]
struct Granted {
    token: String,
    fence: u64,
    expires_in: f64,
    waited: f64,
}

#[derive(Debug, Deserialize)]
struct Renewed {
    expires_in: f64,
}

impl Server {
    pub(super) fn new(place: Place) -> Result<Self> {
        place.client()?;
        Ok(Self { place, clock: Clock::system() })
    }

    /// Asks for a lock, again and again until `wait` has passed.
    pub(super) async fn acquire(&self, name: &str, ttl: Duration, wait: Duration) -> Result<Asked> {
        let mut client = self.place.client()?;
        let path = format!("/v1/locks/{}", escaped(name));
        let end = self.clock.monotonic().saturating_add(wait);
        loop {
            let sent = self.clock.monotonic();
            let wait = end.saturating_sub(sent).min(WAIT);
            let body = json!({"ttl": Span(ttl), "wait": Span(wait)});
            let answer = client.post(&path, "application/json", body.to_string().into()).await?;
            if answer.status == 409 && end > self.clock.monotonic() {
                continue;
            }
            if answer.status == 409 {
                return Ok(Asked::Refused(read::<Refusal>(answer.body)?));
            }
            let Granted { token, fence, expires_in, waited } = read(answer.expect(&[])?)?;
            let until = sent + span(waited)? + span(expires_in)?;
            let (place, clock) = (self.place.clone(), self.clock.clone());
            let lease = Lease { place, path, token, fence, ttl, clock };
            return Ok(Asked::Acquired(Held::There(Remote::new(lease, until))));
        }
    }
}

impl Remote {
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
        let began = self.lease.clock.monotonic();
        for attempt in 0.. {
            let answer = self.lease.send("release").await;
            let clock = &self.lease.clock;
            let in_time = clock.monotonic().saturating_sub(began) < before;
            match answer {
                Ok((204, _)) => return Ok(Release::Released),
                // After an attempt without an answer this is what success looks like: nobody else can have had it yet.
                Ok((409, _)) if attempt > 0 && in_time => return Ok(Release::Released),
                Ok((409, _)) => return Ok(Release::AlreadyLost),
                Ok(_) | Err(_) if in_time && attempt < 5 => clock.sleep(millis(200)).await,
                Ok((_, body)) => {
                    anyhow::bail!("{}", shown(body["detail"].as_str().unwrap_or("the server refused")))
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop has no end of its own")
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    async fn send(&self, verb: &str) -> Result<(u16, Value)> {
        let mut client = self.place.client()?;
        self.send_by(&mut client, verb).await
    }

    async fn send_by(&self, client: &mut Client, verb: &str) -> Result<(u16, Value)> {
        let (path, body) = (format!("{}/{verb}", self.path), json!({"token": self.token}));
        let patience = ANSWER.min(self.ttl / 4);
        let answer = client.post(&path, "application/json", body.to_string().into());
        let answer = self.clock.timeout(patience, answer).await;
        let answer = answer.with_context(|| format!("no answer from the server within {patience:?}"))??;
        Ok((answer.status, answer.body))
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
        let expires_in = match lease.send_by(&mut client, "renew").await {
            Ok((409, _)) => {
                change.send_replace(State::Lost(Loss::NotHolder));
                return;
            }
            Ok((200, body)) => expires_in(body),
            _ => None,
        };
        let now = clock.monotonic();
        pause = match expires_in {
            Some(expires_in) => {
                // An answer that came after the deadline is too late: the command may have been told.
                if now < until {
                    change.send_replace(State::Held { until: asked + expires_in });
                }
                lease.ttl / 3
            }
            None => (lease.ttl / 10).clamp(millis(10), secs(1)).min(until.saturating_sub(now)),
        };
    }
}

fn expires_in(body: Value) -> Option<Duration> {
    read::<Renewed>(body).ok().and_then(|renewed| span(renewed.expires_in).ok())
}

fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T> {
    serde_json::from_value(body).context("the server answered, but not as Forebay does")
}

fn span(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).context("the server answered with a time that is none")
}
