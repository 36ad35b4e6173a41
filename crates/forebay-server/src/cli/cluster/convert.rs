//! `forebay cluster convert`: a store goes to hosts of another layout.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use forebay::{
    Forebay,
    cluster::{Conversion, Converted},
};
use serde::Serialize;

use super::{
    super::{runtime::block_on, terminal::answer},
    inspect::{LookedAt, bar_of, many, target},
};
use crate::text::grouped;

/// Copy a store that nobody uses to hosts of another layout: from an older router to slots, or to a Redis Cluster
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay cluster convert --dry-run --to redis+cluster://10.0.1.1,10.0.1.2,10.0.1.3
  forebay cluster convert --to redis+cluster://10.0.1.1,10.0.1.2,10.0.1.3
  forebay cluster convert --to a=redis://10.0.0.1 b=redis://10.0.0.2   from an older router

Stop all servers and programs that use the store first, and start them with the new hosts afterwards. Flush buffers before that: \
rows are not copied. The source stays as it is. On hosts that are in both, what has left them is removed at the end, when all keys \
are copied and compared. If the command ends in the middle, run it again with the same hosts.
Exit status: 0 done, 2 error.")]
pub(super) struct ConvertArgs {
    /// The target: URLs of hosts as in `store`, or NAME=URL; or one URL redis+cluster://… or rediss+cluster://…
    #[arg(long, value_name = "URL", required = true, num_args = 1..)]
    to: Vec<String>,
    /// Look at everything, print what would be copied, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on if somebody writes to the source, and if keys lie where its router does not look: these may be lost to the target
    #[arg(long)]
    force: bool,
    /// Displace another process that is copying keys to the target, or was less than 30 s ago
    #[arg(long, conflicts_with = "dry_run")]
    take_over: bool,
    #[command(flatten)]
    looked_at: LookedAt,
}

impl ConvertArgs {
    fn conversion(&self) -> Result<Conversion> {
        let is_cluster = |url: &String| url.contains("+cluster://");
        let mut conversion = match &self.to[..] {
            [url] if is_cluster(url) => Conversion::to_redis_cluster(url)?,
            urls if urls.iter().any(is_cluster) => {
                bail!("--to: a Redis Cluster is one URL: redis+cluster://10.0.0.1,10.0.0.2")
            }
            urls => Conversion::to_hosts(&target(urls)?)?,
        };
        if self.dry_run {
            conversion = conversion.dry_run();
        }
        if self.force {
            conversion = conversion.force();
        }
        if self.take_over {
            conversion = conversion.take_over();
        }
        Ok(conversion)
    }
}

pub(super) fn convert(args: &ConvertArgs) -> Result<ExitCode> {
    let (config, hosts) = args.looked_at.hosts()?;
    let conversion = args.conversion()?;
    let bar = bar_of("{wide_bar} {pos} of {len} keys, {msg}, {eta} left");
    let told = |converted: &Converted| {
        bar.set_length(converted.keys_to_copy);
        bar.set_position(converted.keys_copied);
        bar.set_message(format!("{} bytes", grouped(converted.bytes_copied, ',')));
    };
    let options = Forebay::options().prefix(&config.prefix);
    let done = block_on(async { Ok(options.convert_hosts(hosts, &conversion, told).await?) });
    bar.finish_and_clear();
    let done =
        done.context("the store was not converted: its source is as it was, unless it had all moved")?;
    answer(args.looked_at.json, &ConvertedBody::from(&done), |_| describe(&done, args.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

/// The keys and bytes copied by a conversion.
#[derive(Debug, Serialize)]
struct ConvertedBody<'a> {
    keys_to_copy: u64,
    keys_copied: u64,
    bytes_copied: u64,
    kinds: Vec<KindBody<'a>>,
}

#[derive(Debug, Serialize)]
struct KindBody<'a> {
    kind: &'a str,
    source: u64,
    target: u64,
}

impl<'a> From<&'a Converted> for ConvertedBody<'a> {
    fn from(converted: &'a Converted) -> Self {
        let kinds = converted.kinds.iter().map(|it| KindBody {
            kind: &it.kind,
            source: it.source,
            target: it.target,
        });
        Self {
            keys_to_copy: converted.keys_to_copy,
            keys_copied: converted.keys_copied,
            bytes_copied: converted.bytes_copied,
            kinds: kinds.collect(),
        }
    }
}

fn describe(done: &Converted, dry_run: bool) -> String {
    let mut lines = vec![];
    for it in &done.kinds {
        let after =
            if dry_run { String::new() } else { format!(", {} on the target", grouped(it.target, ',')) };
        lines.push(format!("{}: {} on the source{after}", it.kind, many(it.source, "key")));
    }
    if dry_run {
        lines.push(format!(
            "{} would go to another host: nothing was written",
            many(done.keys_to_copy, "key")
        ));
    } else if done.kinds.is_empty() && done.keys_copied == 0 {
        lines.push("all keys were copied before, and have their places now".into());
    } else {
        let bytes = grouped(done.bytes_copied, ',');
        lines.push(format!("copied {} with {bytes} bytes", many(done.keys_copied, "key")));
    }
    lines.join("\n")
}
