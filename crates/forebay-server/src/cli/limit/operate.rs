//! Operations on a limit: resets, overrides, lists.

use anyhow::{Result, bail};
use forebay::{key::Key, limit::LimitHandle};
use serde::Serialize;

use super::{
    super::{remote::open, terminal::answer},
    args::Args,
};
use crate::{
    api::limit::{DecisionBody, DeniedKey, NearKey, OutstandingBody, OverriddenBody, OverrideRequest},
    client::escaped,
    registry::find,
    text::{Allowance, shown},
};

/// The length of a list: as many keys as the server keeps.
const MAX_LISTED: usize = 256;

/// The number of overrides in one request.
const PAGE: usize = 1_000;

/// An operation.
pub(super) enum Operation {
    Reset(String),
    /// Sets the override of a key; `None` removes it.
    Override(String, Option<Allowance>),
    Overrides,
    Near,
    Top,
}

/// The result of an operation.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Done { done: bool },
    Reset(OutstandingBody),
    Overrides(Vec<OverriddenBody>),
    Near(Vec<NearKey>),
    Top(Vec<DeniedKey>),
}

const DONE: Outcome = Outcome::Done { done: true };

/// The requested operation; `None` for a take or a peek.
pub(super) fn requested(args: &Args) -> Result<Option<Operation>> {
    let (operation, list) = (&args.operation, &args.operation.list);
    let Some(key) = args.key.clone() else {
        let lists = [
            (list.overrides, Operation::Overrides),
            (list.near, Operation::Near),
            (list.top, Operation::Top),
        ];
        return Ok(lists.into_iter().find_map(|(is_requested, list)| is_requested.then_some(list)));
    };
    Key::new(&key)?;
    Ok(if operation.reset {
        Some(Operation::Reset(key))
    } else if operation.remove_override {
        Some(Operation::Override(key, None))
    } else {
        operation.instead.map(|instead| Operation::Override(key, Some(instead)))
    })
}

/// Carries out an operation, and prints its result.
pub(super) async fn run(args: &Args, operation: Operation) -> Result<()> {
    let outcome = match args.place.opened()? {
        Some(config) => {
            let (_, definition) = find("limit", &args.name, &config.limits)?;
            let bay = open(&config).await?;
            let outcome = in_store(&bay.limit(definition.clone())?, &operation).await;
            bay.close().await?;
            outcome?
        }
        None => at_server(args, &operation).await?,
    };
    answer(args.json, &outcome, Outcome::describe)
}

async fn in_store(limit: &LimitHandle, operation: &Operation) -> Result<Outcome> {
    Ok(match operation {
        Operation::Reset(key) => limit.reset(key).await?.map_or(DONE, |left| Outcome::Reset(left.into())),
        Operation::Override(key, Some(instead)) => {
            limit.set_override(key, instead.0).await?;
            DONE
        }
        Operation::Override(key, None) => {
            limit.remove_override(key).await?;
            DONE
        }
        Operation::Overrides => {
            Outcome::Overrides(limit.overrides().into_iter().map(OverriddenBody::from).collect())
        }
        Operation::Near | Operation::Top => {
            bail!("only a server knows this, not its store: call it with --server")
        }
    })
}

async fn at_server(args: &Args, operation: &Operation) -> Result<Outcome> {
    let mut client = args.place.client()?;
    let path = format!("/v1/limits/{}", escaped(&args.name));
    let override_path = |key: &str| format!("{path}/overrides?key={}", escaped(key));
    Ok(match operation {
        Operation::Reset(key) => {
            let path = format!("{path}?key={}", escaped(key));
            let left: Option<OutstandingBody> = client.delete(&path).await?.read(&[])?;
            left.map_or(DONE, Outcome::Reset)
        }
        Operation::Override(key, Some(instead)) => {
            let request = OverrideRequest { allow: instead.0.to_string() };
            let _: DecisionBody = client.put(&override_path(key), &request).await?.read(&[])?;
            DONE
        }
        Operation::Override(key, None) => {
            client.delete(&override_path(key)).await?.expect(&[])?;
            DONE
        }
        Operation::Overrides => {
            let (mut all, mut after) = (vec![], String::new());
            loop {
                let path = format!("{path}/overrides?limit={PAGE}{after}");
                let page: Vec<OverriddenBody> = client.get(&path).await?.read(&[])?;
                let is_last = page.len() < PAGE;
                all.extend(page);
                let Some(last) = all.last().filter(|_| !is_last) else { break };
                after = format!("&after={}", escaped(&last.key));
            }
            Outcome::Overrides(all)
        }
        Operation::Near => {
            Outcome::Near(client.get(&format!("{path}/near?limit={MAX_LISTED}")).await?.read(&[])?)
        }
        Operation::Top => {
            Outcome::Top(client.get(&format!("{path}/top?limit={MAX_LISTED}")).await?.read(&[])?)
        }
    })
}

impl Outcome {
    fn describe(&self) -> String {
        let lines: Vec<String> = match self {
            Self::Done { .. } => vec!["done".to_owned()],
            Self::Reset(left) => {
                vec![format!("done; others hold {} until {}", left.outstanding, shown(&left.until))]
            }
            Self::Overrides(rows) => {
                let line = |row: &OverriddenBody| {
                    format!("{}\t{}\t{}", shown(&row.allow), shown(&row.set_by), shown(&row.key))
                };
                rows.iter().map(line).collect()
            }
            Self::Near(rows) => {
                let line = |row: &NearKey| {
                    let (share, key) = (row.share * 100.0, shown(&row.key));
                    format!("{share:.0} %\t{} of {}\t{key}", row.used, row.limit)
                };
                rows.iter().map(line).collect()
            }
            Self::Top(rows) => {
                let line = |row: &DeniedKey| {
                    let error = (row.error > 0).then(|| format!(" (at most {} less)", row.error));
                    format!("{}{}\t{}", row.denied, error.unwrap_or_default(), shown(&row.key))
                };
                rows.iter().map(line).collect()
            }
        };
        if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
    }
}
