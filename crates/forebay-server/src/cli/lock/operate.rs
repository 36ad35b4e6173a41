//! `forebay lock --show` and `--force-release`.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::{
    super::{remote, terminal::answer},
    args::Args,
};
use crate::{
    api::lock::{Forced, StateBody},
    client::escaped,
    text::{quoted, shown},
};

/// Shows a lock, or releases it by force.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let name = quoted(&args.name);
    if args.operation.force_release {
        let forced = force_release(args).await?;
        let told = |forced: &Forced| {
            let did = if forced.released { "released, whoever held it" } else { "nobody held it" };
            format!("lock {name}: {did}")
        };
        return done(args, &forced, told);
    }
    let state = state(args).await?;
    done(args, &state, |state| format!("lock {name}: {}", described(state)))
}

fn done<T: Serialize>(args: &Args, outcome: &T, told: impl FnOnce(&T) -> String) -> Result<ExitCode> {
    answer(args.json, outcome, told)?;
    Ok(ExitCode::SUCCESS)
}

async fn state(args: &Args) -> Result<StateBody> {
    let Some(config) = args.place.opened()? else {
        let path = format!("/v1/locks/{}", escaped(&args.name));
        return args.place.client()?.get(&path).await?.read(&[]);
    };
    let bay = remote::open(&config).await?;
    let state = bay.lock(&args.name).state().await?;
    bay.close().await?;
    Ok(state.into())
}

async fn force_release(args: &Args) -> Result<Forced> {
    let Some(config) = args.place.opened()? else {
        let path = format!("/v1/locks/{}/force-release", escaped(&args.name));
        return args.place.client()?.post(&path, &serde_json::json!({})).await?.read(&[]);
    };
    let bay = remote::open(&config).await?;
    let released = bay.lock(&args.name).force_release().await?;
    bay.close().await?;
    Ok(Forced { released })
}

fn described(state: &StateBody) -> String {
    let waiters = match state.waiters {
        0 => "nobody waits".to_owned(),
        1 => "1 waits".to_owned(),
        n => format!("{n} wait"),
    };
    let StateBody { holder: Some(holder), age, fence, remaining, .. } = state else {
        return format!("free, {waiters}");
    };
    let (age, remaining) = (age.unwrap_or_default(), remaining.unwrap_or_default());
    let fence = fence.map(|fence| format!(", fence {fence}")).unwrap_or_default();
    let holder = shown(holder);
    format!("held by {holder} for {age:.1} s, {remaining:.1} s left{fence}, {waiters}")
}
