//! `forebay cluster`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use forebay::{Forebay, cluster::Cluster};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    block_on,
    remote::{Place, open},
    say, say_json,
};
use crate::{client::escaped, config::Config, route::Routes, rules::Named, text::shown};

/// Show the hosts of the store, and where keys are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay cluster show                     the hosts, their health and slots
  forebay cluster route 42                 which hosts have key 42
  forebay cluster show --store redis://10.0.0.1,10.0.0.2

The server is asked with the token in FOREBAY_TOKEN, if there is one. Exit status: 0 done, 2 error.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The hosts, how they have been answering, and how many slots they own
    Show {
        #[command(flatten)]
        how: How,
    },
    /// Where everything is that is kept under a key
    Route {
        /// The key of limits, series, and rows with a key of one column, the name of a lock, or a plain key: 1 to 512 bytes
        key: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    place: Place,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// The hosts, as the server writes them.
#[derive(Debug, Deserialize, Serialize)]
struct Shown {
    router: Option<String>,
    epoch: Option<u64>,
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Host {
    name: String,
    health: String,
    slots: Option<u16>,
    reason: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Show { how } => {
            let hosts = block_on(ask(how, "/v1/cluster", |bay, _| Ok(show(&bay.cluster()))))?;
            answer(how, &hosts, describe)
        }
        What::Route { key, how } => {
            let path = format!("/v1/cluster/route?key={}", escaped(key));
            let routes = block_on(ask(how, &path, |bay, config| routes(bay, config, key)))?;
            answer(how, &routes, Routes::describe)
        }
    }
}

/// The server's answer, or what `look` finds in the store.
async fn ask<T: DeserializeOwned>(
    how: &How,
    path: &str,
    look: impl FnOnce(&Forebay, &Config) -> Result<T>,
) -> Result<T> {
    if let Some(config) = how.place.opened()? {
        let bay = open(&config).await?;
        let found = look(&bay, &config)?;
        bay.close().await?;
        return Ok(found);
    }
    let answer = how.place.client()?.get(path).await?.expect(&[])?;
    serde_json::from_value(answer).context("the server's answer")
}

fn answer<T: Serialize>(how: &How, answer: &T, describe: impl Fn(&T) -> String) -> Result<ExitCode> {
    if how.json {
        say_json(&serde_json::to_string(answer)?);
    } else {
        say(&describe(answer));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(cluster: &Cluster) -> Shown {
    let placement = cluster.placement();
    let host = |host: forebay::cluster::HostStatus| Host {
        name: host.name.into(),
        health: host.health.to_string(),
        slots: host.slots,
        reason: host.reason.map(Into::into),
    };
    Shown {
        router: placement.map(|placement| placement.router.to_owned()),
        epoch: placement.map(|placement| placement.epoch),
        hosts: cluster.hosts().into_iter().map(host).collect(),
    }
}

fn routes(bay: &Forebay, config: &Config, key: &str) -> Result<Routes> {
    anyhow::ensure!((1..=512).contains(&key.len()), "key of {} bytes: a key has 1 to 512 bytes", key.len());
    let series = Named::open("series", &config.series, |_, series| Ok(bay.series(series.clone())?))?;
    let buffers =
        Named::open("buffer", &config.buffers, |_, buffer| Ok(bay.buffer(buffer.definition.clone())?))?;
    Ok(Routes::of(&bay.cluster(), key, series.iter(), buffers.iter()))
}

fn describe(cluster: &Shown) -> String {
    let width = cluster.hosts.iter().map(|host| shown(&host.name).chars().count()).max().unwrap_or(0);
    let mut lines = match (&cluster.router, cluster.epoch) {
        (Some(router), Some(epoch)) => vec![format!("router {}, epoch {epoch}", shown(router))],
        _ => vec![],
    };
    lines.extend(cluster.hosts.iter().map(|host| {
        let slots = host.slots.map(|slots| format!("{slots:>6} slots")).unwrap_or_default();
        let reason = host.reason.as_ref().map(|reason| format!("  {}", shown(reason))).unwrap_or_default();
        format!("{:<width$}  {:<9} {slots}{reason}", shown(&host.name), shown(&host.health))
            .trim_end()
            .to_owned()
    }));
    lines.join("\n")
}
