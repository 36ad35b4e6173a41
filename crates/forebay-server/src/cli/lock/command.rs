//! Runs `forebay lock`: acquires the lock, runs the command, releases the lock.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use forebay::{
    Clock,
    lock::{MAX_TTL, MIN_TTL, Release},
};
use serde_json::json;

use super::{
    super::{
        runtime::{DENIED, FAILED, block_on},
        terminal::{complain, say_json},
    },
    args::{Args, OnLost},
    boot::{self, Deadline},
    held::Held,
    operate,
    place::Place,
    run::Run,
    signals::{Signals, exit_status},
};
use crate::{
    api::lock::HeldBody,
    text::{chain, quoted, shown},
};

pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode> {
    if !(MIN_TTL..=MAX_TTL).contains(&args.ttl.0) {
        bail!("--ttl {}: 100ms to 24h", args.ttl);
    }
    block_on(lock(args))
}

async fn lock(args: &Args) -> Result<ExitCode> {
    let place = Box::pin(Place::open(&args.place)).await?;
    let is_operation = args.operation.show || args.operation.force_release;
    let code = if is_operation { operate::run(args, &place).await } else { acquire(args, &place).await };
    place.close().await;
    code
}

/// Acquires the lock, and runs the command.
async fn acquire(args: &Args, place: &Place) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let since = Deadline::new(boot::now(), Clock::system().monotonic());
    let acquired = tokio::select! {
        acquired = place.acquire(args) => Ok(acquired),
        signal = signals.next() => Err(signal),
    };
    match acquired {
        Ok(Ok(Ok(held))) => hold(args, held, since, &mut signals).await,
        Ok(Ok(Err(other))) => {
            tell(args, &other);
            Ok(if args.skip_if_held { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
        }
        Ok(Err(error)) => Err(error),
        Err(signal) => Ok(ExitCode::from(exit_status(signal))),
    }
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
    let why = run.wait(&held, signals).await;
    if let Some(why) = &why {
        complain(&format!("error: lock {name}: {why}; ending COMMAND"));
        run.end(&held).await;
    }
    let code = run.finish().await.context("waiting for COMMAND")?;
    let released = release(&name, held).await || args.on_lost == OnLost::Ignore;
    let failed = why.is_some() || (!released && code == 0);
    Ok(ExitCode::from(if failed { FAILED } else { code }))
}

/// Releases the lock; false if it was lost before the command had ended.
async fn release(name: &str, held: Held) -> bool {
    match held.release().await {
        Ok(Release::Released) => true,
        Ok(Release::AlreadyLost) => {
            complain(&format!("error: lock {name}: it was lost before COMMAND had ended"));
            false
        }
        Err(error) => {
            let why = chain(&*error);
            complain(&format!("warning: lock {name}: not released; it expires by itself: {why}"));
            true
        }
    }
}

/// Prints who holds the lock.
fn tell(args: &Args, other: &HeldBody) {
    let HeldBody { holder, remaining, ahead } = other;
    if args.json {
        let body = json!({ "acquired": false, "holder": holder, "remaining": remaining, "ahead": ahead });
        say_json(&body.to_string());
    } else {
        let (name, holder) = (quoted(&args.name), shown(holder));
        complain(&format!("lock {name}: held by {holder}, for another {remaining:.1} s at least"));
    }
}
