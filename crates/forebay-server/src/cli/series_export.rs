//! `forebay series --export`.

use std::{io, process::ExitCode};

use anyhow::{Context, Result, bail};

use super::{
    remote::{Place, Target},
    runtime::block_on,
    series_keys::{Chosen, query_string},
    terminal::write_lines,
};
use crate::{api::series_query::RangeQuery, client::escaped};

/// The options of an export.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Write the counts of keys to stdout, in the finest buckets that are kept; without a key, of all keys
    #[arg(long)]
    pub(super) export: bool,
    /// With --export or --keys: of the keys that begin with this text
    #[arg(long, value_name = "TEXT", conflicts_with = "key")]
    pub(super) prefix: Option<String>,
    /// With --export: also zeros from the first to the last count of a key
    #[arg(long, requires = "export")]
    zeros: bool,
}

pub(super) fn run(
    args: &ExportArgs,
    place: &Place,
    (name, format): (&str, Option<&str>),
    (chosen, query): (&Chosen, &RangeQuery),
) -> Result<ExitCode> {
    let mut pairs: Vec<(&'static str, &str)> = chosen.parameters().collect();
    for (field, value) in query.parameters() {
        if !["from", "to", "step", "tz"].contains(&field) {
            bail!("--{field}: an export has the counts alone, with --from, --to, --step and --tz");
        }
        pairs.push((field, value));
    }
    pairs.extend(args.prefix.as_deref().map(|prefix| ("prefix", prefix)));
    pairs.extend(format.map(|format| ("format", format)));
    pairs.extend(args.zeros.then_some(("zeros", "true")));
    let path = format!("/v1/series/{}/export?{}", escaped(name), query_string(pairs));
    block_on(async {
        let target = Target::open(place).await?;
        let written = write(&target, &path).await;
        target.close().await?;
        written
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn write(target: &Target, path: &str) -> Result<()> {
    let mut download = target.client()?.download(path).await?;
    let mut lines = vec![];
    while let Some(part) = download.next().await.context("the export is incomplete")? {
        lines.extend_from_slice(&part);
        let left = match write_lines(&lines) {
            Ok(left) => left.len(),
            // The reader of the pipe has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("writing the export: it is incomplete"),
        };
        lines.drain(..lines.len() - left);
    }
    Ok(())
}
