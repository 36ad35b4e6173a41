//! `forebay lock`.

mod child;
mod held;
mod server;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use forebay::{
    Forebay,
    lock::{Attempt, DEFAULT_TTL, MAX_TTL, MIN_TTL, Release},
    time::secs,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    child::{Child, Request},
    held::{Asked, Held, Refusal},
    server::Server,
};
use super::{DENIED, FAILED, block_on, complain, remote};
use crate::text::{Span, quoted};

/// How long a command may take to end by itself after the lock is certainly lost.
const HURRY: Duration = secs(2);

/// Hold a lock while a command runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay lock nightly-report -- ./report.sh              not at all if somebody else runs it
  forebay lock deploy --wait 10m --ttl 30s -- make deploy  in turn
  forebay lock --store redis://10.0.0.5 jobs -- ./job      without a server

The lock is renewed while COMMAND runs, and released when it ends. If the lock is lost, or about to be because
nobody confirms it, COMMAND gets SIGTERM, and SIGKILL at the latest when somebody else may hold it.
Only SIGKILL, or a machine that stops, leaves COMMAND running without this process: see --ttl.
COMMAND finds a number in FOREBAY_FENCE that is larger than that of every holder before.
Unless stdin is a terminal, COMMAND and what it starts are a process group of their own, which gets all signals.

Exit status: that of COMMAND; 1 if the lock is held by another; 2 if it was lost, or something failed;
126 or 127 if COMMAND cannot be run; 128 + n if a signal n ended it.")]
pub(super) struct Args {
    /// The lock: 1 to 512 bytes of UTF-8
    name: String,
    /// How long the lock outlives this process if that is killed: 100ms to 24h
    #[arg(long, value_name = "SPAN", default_value_t = Span(DEFAULT_TTL))]
    ttl: Span,
    /// How long to wait for the lock. A server lets wait for a minute at a time, and then from the end of the queue
    #[arg(long, value_name = "SPAN", default_value_t = Span(Duration::ZERO))]
    wait: Span,
    #[command(flatten)]
    place: remote::Place,
    /// Say who holds the lock, if somebody does, as JSON on stdout
    #[arg(long)]
    json: bool,
    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if !(MIN_TTL..=MAX_TTL).contains(&args.ttl.0) {
        bail!("--ttl {}: 100ms to 24h", args.ttl);
    }
    block_on(lock(args))
}

async fn lock(args: &Args) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let place = Place::open(&args.place).await?;
    let asked = tokio::select! {
        asked = place.acquire(args) => Ok(asked),
        number = signals.next() => Err(number),
    };
    let code = match asked {
        Ok(Ok(Asked::Acquired(held))) => hold(args, held, &mut signals).await,
        Ok(Ok(Asked::Refused(refusal))) => {
            refusal.tell(&args.name, args.json);
            Ok(ExitCode::from(DENIED))
        }
        Ok(Err(error)) => Err(error),
        Err(signal) => Ok(ExitCode::from(128 + signal.number())),
    };
    place.close().await;
    code
}

/// Runs the command under the lock.
async fn hold(args: &Args, held: Held, signals: &mut Signals) -> Result<ExitCode> {
    let name = quoted(&args.name);
    let mut child = match Child::start(&args.command, &args.name, held.fence()) {
        Ok(child) => child,
        Err((code, error)) => {
            complain(&format!("error: {error:#}"));
            release(&name, held).await;
            return Ok(ExitCode::from(code));
        }
    };
    // Renewals come every third of the ttl: with a quarter left, two of them have failed.
    let margin = (args.ttl.0 / 4).min(secs(5));
    let mut told = false;
    let why = loop {
        tokio::select! {
            code = child.ended() => {
                let code = code.context("waiting for COMMAND")?;
                let released = release(&name, held).await;
                return Ok(ExitCode::from(if released || code != 0 { code } else { FAILED }));
            }
            why = held.losing(margin) => break why,
            signal = signals.next() => {
                child.pass_on(signal, told);
                told = true;
            }
        }
    };
    complain(&format!("error: lock {name}: {why}; ending COMMAND"));
    let left = held.remaining();
    child.end(if left.is_zero() { HURRY } else { left }).await.context("ending COMMAND")?;
    release(&name, held).await;
    Ok(ExitCode::from(FAILED))
}

/// Gives the lock back; false: it was lost before the command had ended.
async fn release(name: &str, held: Held) -> bool {
    match held.release().await {
        Ok(Release::Released) => true,
        Ok(Release::AlreadyLost) => {
            complain(&format!("error: lock {name}: it was lost before COMMAND had ended"));
            false
        }
        Err(error) => {
            complain(&format!("warning: lock {name}: not released, it will run out by itself: {error:#}"));
            true
        }
    }
}

/// Where locks are kept.
enum Place {
    Here(Forebay),
    There(Server),
}

impl Place {
    async fn open(place: &remote::Place) -> Result<Self> {
        match place.opened()? {
            Some(config) => Ok(Self::Here(remote::open(&config).await?)),
            None => Ok(Self::There(Server::new(place.clone())?)),
        }
    }

    async fn acquire(&self, args: &Args) -> Result<Asked> {
        match self {
            Self::There(server) => server.acquire(&args.name, args.ttl.0, args.wait.0).await,
            Self::Here(bay) => {
                let attempt = bay.lock(&args.name).ttl(args.ttl.0).acquire_within(args.wait.0).await?;
                Ok(match attempt {
                    Attempt::Acquired(guard) => Asked::Acquired(Held::Here(guard)),
                    Attempt::Held { holder, remaining, ahead } => {
                        let (holder, remaining) = (holder.to_string(), remaining.as_secs_f64());
                        Asked::Refused(Refusal { holder, remaining, ahead })
                    }
                })
            }
        }
    }

    /// Lets what goes on in the background come to its end.
    async fn close(self) {
        if let Self::Here(bay) = self
            && let Err(error) = bay.close().await
        {
            complain(&format!("warning: {error}"));
        }
    }
}

/// What asks the process to stop.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Terminate,
            _ = self.interrupt.recv() => Request::Interrupt,
            _ = self.hang_up.recv() => Request::HangUp,
        }
    }
}
