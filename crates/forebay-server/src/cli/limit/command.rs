//! Runs `forebay limit`: takes from a limit, or peeks at it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{
    super::{
        remote::open,
        runtime::{DENIED, block_on},
        terminal::answer,
    },
    args::Args,
    operate,
};
use crate::{
    api::{
        fields::{Cost, Key},
        limit::{DecisionBody, TakeRequest},
    },
    client::escaped,
    registry::find,
};

pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(operation) = operate::requested(args)? {
        block_on(operate::run(args, operation))?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = args.key.as_deref().context("KEY is missing")?;
    let decision = block_on(ask(args, key))?;
    answer(args.json, &decision, describe)?;
    Ok(if decision.allowed { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

async fn ask(args: &Args, key: &str) -> Result<DecisionBody> {
    if let Some(config) = args.place.opened()? {
        let (_, definition) = find("limit", &args.name, &config.limits)?;
        let bay = open(&config).await?;
        let limit = bay.limit(definition.clone())?;
        let decision = if args.peek { limit.peek(key).await? } else { limit.take_n(key, args.cost).await? };
        bay.close().await?;
        return Ok(DecisionBody::from(&decision));
    }
    let mut client = args.place.client()?;
    let path = format!("/v1/limits/{}", escaped(&args.name));
    if args.peek {
        return client.get(&format!("{path}?key={}", escaped(key))).await?.read(&[]);
    }
    let request = TakeRequest { key: Key(key.to_owned()), cost: Cost(args.cost) };
    client.post(&path, &request).await?.read(&[429])
}

fn describe(decision: &DecisionBody) -> String {
    let DecisionBody { used, limit, remaining, reset_after, .. } = decision;
    let degraded = if decision.degraded { "; the store does not answer, and on_error decided" } else { "" };
    if decision.shadowed {
        return format!("allowed by a shadow, which would have denied: {used} of {limit} used{degraded}");
    }
    if decision.allowed {
        return format!(
            "allowed: {used} of {limit} used, {remaining} left, {reset_after} s until nothing is used{degraded}"
        );
    }
    let retry = decision.retry_after.map(|after| format!("; try again in {after} s")).unwrap_or_default();
    format!("denied: {used} of {limit} used{retry}{degraded}")
}
