//! The commands of `forebay cluster`, and those of them that a server can answer.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use forebay::{Forebay, cluster::Outcome, key::Key};
use serde::de::DeserializeOwned;

use super::{
    super::{
        remote::{Place, open},
        runtime::block_on,
        terminal::answer,
    },
    convert, hosts, inspect,
};
use crate::{
    api::cluster::{ClusterBody, Finding, ProbedServer, Routes},
    client::escaped,
    config::Config,
    registry::Registry,
    text::shown,
};

/// Show the hosts of the store, and where keys are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay cluster show                     the hosts: health, latency, memory and load
  forebay cluster route 42                 the hosts of key 42
  forebay cluster show --store redis://10.0.0.1,10.0.0.2
  forebay cluster probe redis://10.0.0.1   whether that server has what Forebay needs
  forebay cluster verify                   whether keys lie where the router looks for them
  forebay cluster reshard --to redis://10.0.0.1,10.0.0.2,10.0.0.3   let the third host join
  forebay cluster convert --to redis+cluster://10.0.1.1   copy a stopped store to a Redis Cluster

The token for the server is taken from FOREBAY_TOKEN. Exit status: 0 done, 1 a probe found that something is missing, or \
verify that keys are misplaced, 2 error.")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the hosts: their health and since when, slots, calls in flight, latency, memory and share of the calls
    Show {
        #[command(flatten)]
        how: How,
    },
    /// Test on each server of a store what Forebay needs of it
    ///
    /// Writes keys under the prefix, which expire within ten seconds.
    Probe {
        /// The store, such as redis://10.0.0.1 or redis+cluster://10.0.0.1,10.0.0.2
        url: String,
        /// The first part of the keys that are written
        #[arg(long, default_value = "forebay")]
        prefix: String,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the hosts of a key
    Route {
        /// The key of limits, series, and rows with a key of one column, the name of a lock, or a plain key: 1 to 512 bytes
        key: String,
        #[command(flatten)]
        how: How,
    },
    Verify(inspect::VerifyArgs),
    Reshard(inspect::ReshardArgs),
    Convert(convert::ConvertArgs),
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    place: Place,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Show { how } => {
            let found = block_on(ask(how, "/v1/cluster", |bay, _| Ok(ClusterBody::from(&bay.cluster()))))?;
            answer(how.json, &found, hosts::describe)?;
        }
        What::Probe { url, prefix, json } => {
            let servers = block_on(async { Ok(Forebay::options().prefix(prefix).probe(url).await?) })?;
            let mut findings = servers.iter().flat_map(|server| &server.findings);
            let is_missing = findings.any(|finding| finding.outcome == Outcome::Missing);
            let servers: Vec<ProbedServer> = servers.into_iter().map(ProbedServer::from).collect();
            answer(*json, &servers, describe_probe)?;
            return Ok(if is_missing { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        What::Route { key, how } => {
            let path = format!("/v1/cluster/route?key={}", escaped(key));
            let routes = block_on(ask(how, &path, |bay, config| routes(bay, config, key)))?;
            answer(how.json, &routes, Routes::describe)?;
        }
        What::Verify(args) => return inspect::verify(args),
        What::Reshard(args) => return inspect::reshard(args),
        What::Convert(args) => return convert::convert(args),
    }
    Ok(ExitCode::SUCCESS)
}

/// The server's answer, or the result of `look` on the store.
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
    how.place.client()?.get(path).await?.read(&[])
}

fn routes(bay: &Forebay, config: &Config, key: &str) -> Result<Routes> {
    Key::new(key)?;
    let series = Registry::open("series", &config.series, |_, series| Ok(bay.series(series.clone())?))?;
    let buffers =
        Registry::open("buffer", &config.buffers, |_, buffer| Ok(bay.buffer(buffer.definition.clone())?))?;
    Ok(Routes::new(&bay.cluster(), key, series.entries.iter(), buffers.entries.iter()))
}

fn describe_probe(servers: &Vec<ProbedServer>) -> String {
    let findings = || servers.iter().flat_map(|server| &server.findings);
    let width = findings().map(|finding| finding.need.len()).max().unwrap_or(0);
    let mut lines = vec![];
    for server in servers {
        lines.push(shown(&server.name).into_owned());
        lines.extend(server.findings.iter().map(|Finding { need, outcome, found }| {
            format!("  {need:<width$}  {outcome:<7}  {}", shown(found))
        }));
    }
    lines.join("\n")
}
