//! `forebay lock --show` and `--force-release`.

use std::process::ExitCode;

use anyhow::Result;

use super::{super::terminal::answer, args::Args, place::Place};
use crate::{
    api::lock::{Forced, StateBody},
    text::{quoted, shown},
};

/// Shows a lock, or releases it by force.
pub(super) async fn run(args: &Args, place: &Place) -> Result<ExitCode> {
    let name = quoted(&args.name);
    if args.operation.force_release {
        let told = |forced: &Forced| {
            let did = if forced.released { "released, whoever held it" } else { "nobody held it" };
            format!("lock {name}: {did}")
        };
        answer(args.json, &place.force_release(&args.name).await?, told)?;
    } else {
        let told = |state: &StateBody| format!("lock {name}: {}", described(state));
        answer(args.json, &place.state(&args.name).await?, told)?;
    }
    Ok(ExitCode::SUCCESS)
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
