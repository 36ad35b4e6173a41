//! `forebay limit`.

mod operate;

use std::process::ExitCode;

use anyhow::{Context, Result};
use forebay::Decision;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    DENIED, block_on,
    remote::{Place, declared, open},
    say, say_json,
};
use crate::{
    client::escaped,
    text::{Allowance, seconds},
};

/// Take from a rate limit, look at it, or operate it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay limit hits 42                    take 1, if it fits
  forebay limit hits 42 --cost 5
  forebay limit hits 42 --peek             look, take nothing
  forebay limit hits 42 && ./expensive     do it only if it is allowed
  forebay limit hits 42 --store redis://127.0.0.1/0
  forebay limit hits 42 --reset            forget what was taken
  forebay limit hits 42 --override 100/1m  what the key is allowed; also unlimited, blocked
  forebay limit hits 42 --remove-override
  forebay limit hits --overrides           all keys that are allowed something else
  forebay limit hits --near                who has used 80 % or more
  forebay limit hits --top                 who is denied most

The server is asked with the token in FOREBAY_TOKEN, if there is one.
Exit status: 0 allowed, or done; 1 denied; 2 neither is known.")]
pub(super) struct Args {
    /// A declared limit
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// Whose: 1 to 512 bytes
    #[arg(required_unless_present = "list")]
    key: Option<String>,
    /// How much to take, at most the limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    cost: u64,
    /// Look without taking: what would a take of 1 be told?
    #[arg(long, conflicts_with = "cost")]
    peek: bool,
    #[command(flatten)]
    operation: Operation,
    #[command(flatten)]
    place: Place,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// What else to do than to take. At most one of them.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
struct Operation {
    /// Forget what was taken for the key
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    reset: bool,
    /// Let the key be allowed something else, in every server that shares the store
    #[arg(long = "override", value_name = "ALLOWANCE", conflicts_with_all = ["cost", "peek"])]
    instead: Option<Allowance>,
    /// Let the key be allowed what the configuration says
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    remove_override: bool,
    #[command(flatten)]
    list: List,
}

/// What to list.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "list", multiple = false, conflicts_with = "key")]
struct List {
    /// List the keys that are allowed something else
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    overrides: bool,
    /// List the keys that have used most of what they are allowed, as far as the server knows
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    near: bool,
    /// List the keys that the server denied most since it started
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    top: bool,
}

/// A decision as the server writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Answer {
    allowed: bool,
    used: u64,
    limit: u64,
    remaining: u64,
    reset_after: f64,
    retry_after: Option<f64>,
    source: String,
    degraded: bool,
    #[serde(default)]
    shadowed: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(what) = operate::asked(args)? {
        block_on(operate::run(args, what))?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = args.key.as_deref().context("KEY is missing")?;
    let answer = block_on(ask(args, key))?;
    if args.json {
        say_json(&serde_json::to_string(&answer)?);
    } else {
        say(&describe(&answer));
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

async fn ask(args: &Args, key: &str) -> Result<Answer> {
    if let Some(config) = args.place.opened()? {
        let (_, definition) = declared("limit", &args.name, &config.limits)?;
        let bay = open(&config).await?;
        let limit = bay.limit(definition.clone())?;
        let decision = if args.peek { limit.peek(key).await? } else { limit.take_n(key, args.cost).await? };
        bay.close().await?;
        return Ok(Answer::from(decision));
    }
    let mut client = args.place.client()?;
    let path = format!("/v1/limits/{}", escaped(&args.name));
    let answer = if args.peek {
        client.get(&format!("{path}?key={}", escaped(key))).await?.expect(&[])?
    } else {
        let body = json!({ "key": key, "cost": args.cost }).to_string();
        client.post(&path, "application/json", body.into_bytes()).await?.expect(&[429])?
    };
    serde_json::from_value(answer).context("the server's decision")
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Self {
            allowed: decision.is_allowed(),
            used: decision.used(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            reset_after: seconds(decision.reset_after()),
            retry_after: decision.retry_after().map(seconds),
            source: decision.source().as_str().to_owned(),
            degraded: decision.is_degraded(),
            shadowed: decision.is_shadowed(),
        }
    }
}

fn describe(answer: &Answer) -> String {
    let Answer { used, limit, remaining, reset_after, .. } = answer;
    let degraded = if answer.degraded { "; the store does not answer, on_error decided" } else { "" };
    if answer.shadowed {
        return format!("allowed by a shadow, which would have denied: {used} of {limit} used{degraded}");
    }
    if answer.allowed {
        return format!(
            "allowed: {used} of {limit} used, {remaining} left, {reset_after} s until all are free{degraded}"
        );
    }
    let retry = match answer.retry_after {
        Some(after) => format!("; try again in {after} s"),
        None => String::new(),
    };
    format!("denied: {used} of {limit} used{retry}{degraded}")
}
