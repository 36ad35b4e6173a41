//! `forebay lock`.

mod boot;
mod child;
pub(super) mod gate;
pub(super) mod guard;
mod held;
mod run;
mod server;
mod signals;
mod tree;
mod watchdog;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use forebay::{
    Clock, Forebay,
    lock::{Attempt, DEFAULT_TTL, MAX_TTL, MIN_TTL, Release},
};

use self::{
    boot::Deadline,
    held::{Asked, Held, Refusal},
    run::Run,
    server::Server,
    signals::{Signals, exit_status},
};
use super::{DENIED, FAILED, block_on, complain, remote};
use crate::text::{Span, chain, quoted};

/// Hold a lock while a command runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay lock nightly-report -- ./report.sh              not at all if somebody else runs it
  forebay lock deploy --wait 10m --ttl 30s -- make deploy  in turn
  forebay lock --store redis://10.0.0.5 jobs -- ./job      without a server

The lock is renewed while COMMAND runs, and released when it ends: what COMMAND leaves behind in the background goes on \
without the lock. If the lock is lost, or about to be because \
nobody confirms it, COMMAND gets SIGTERM, and SIGKILL before somebody else may hold it. A second process watches \
over that: it ends COMMAND also when this one is killed, or is stopped for so long that the lock is lost. \
A signal that would end this process goes to COMMAND; TERM or INT for the second time kills it. \
COMMAND finds a number in FOREBAY_FENCE that is larger than that of every holder before. \
Unless stdin is a terminal, COMMAND and what it starts are a process group of their own, which gets the signals. At \
a terminal COMMAND alone gets them, and not those that the terminal sends to everybody: HUP, INT and QUIT.

Exit status: that of COMMAND; 1 if the lock is held by another; 2 if it was lost, or something failed; \
126 or 127 if COMMAND cannot be run; 128 + n if a signal n ended it.")]
pub(super) struct Args {
    /// The lock: 1 to 512 bytes of UTF-8
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
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
    let mut signals = Signals::listen()?;
    let place = Place::open(&args.place).await?;
    let since = Deadline::new(boot::now(), Clock::system().monotonic());
    let asked = tokio::select! {
        asked = place.acquire(args) => Ok(asked),
        signal = signals.next() => Err(signal),
    };
    let code = match asked {
        Ok(Ok(Asked::Acquired(held))) => hold(args, held, since, &mut signals).await,
        Ok(Ok(Asked::Refused(refusal))) => {
            refusal.tell(&args.name, args.json);
            Ok(ExitCode::from(DENIED))
        }
        Ok(Err(error)) => Err(error),
        Err(signal) => Ok(ExitCode::from(exit_status(signal))),
    };
    place.close().await;
    code
}

/// Runs the command under the lock.
async fn hold(args: &Args, held: Held, since: Deadline, signals: &mut Signals) -> Result<ExitCode> {
    let name = quoted(&args.name);
    let mut run = match Run::start(args, &held, since).await {
        Ok(run) => run,
        Err((code, error)) => {
            complain(&format!("error: {}", chain(&*error)));
            release(&name, held).await;
            return Ok(ExitCode::from(code));
        }
    };
    let lost = run.wait(&held, signals).await;
    if let Some(why) = &lost {
        complain(&format!("error: lock {name}: {why}; ending COMMAND"));
        run.end(held.remaining()).await;
    }
    let code = run.finish().await.context("waiting for COMMAND")?;
    let released = release(&name, held).await;
    let failed = lost.is_some() || (!released && code == 0);
    Ok(ExitCode::from(if failed { FAILED } else { code }))
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
            let why = chain(&*error);
            complain(&format!("warning: lock {name}: not released, it will run out by itself: {why}"));
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
