//! `forebay cluster verify` and `reshard`: keys on the wrong host, and hosts that join or leave.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use forebay::{
    Forebay,
    cluster::{Hosts, Inspection, Plan, Progress, ReshardOptions, Verification},
    time::secs,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::super::{
    config,
    runtime::{block_on, interrupted},
    terminal::answer,
};
use crate::{
    config::{Config, Options, Store},
    text::{Span, count, grouped, shown},
};

/// Count the keys that lie on another host than the one where the router looks for them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay cluster verify
  forebay cluster verify --store 'redis://10.0.0.1,10.0.0.2?router=nydus-ketama'

Nothing is written, so a router can be tried on the keys of an older fleet before Forebay stores it there. All keys of the \
database count, whoever wrote them.
Exit status: 0 all keys are where they belong, 1 some are not, 2 error.")]
pub(super) struct VerifyArgs {
    /// The number of keys to look at on each host
    #[arg(long, value_name = "KEYS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    #[command(flatten)]
    looked_at: LookedAt,
}

/// Let hosts join or leave: move slots with their keys until each host has its share
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay cluster reshard --dry-run --to redis://10.0.0.1,10.0.0.2,10.0.0.3
  forebay cluster reshard --to a=redis://10.0.0.1 c=redis://10.0.0.3 --rate 50MB/s

The store may be in use. Servers and programs that have it open follow by themselves; upgrade all of them first. Slots move a \
few at a time. Nothing is written to a slot while its keys are copied: calls wait for that. Rows of buffers are not copied; \
servers flush them into the database first. A host that joins has no keys, and a clock within a second of the others. If the \
command ends in the middle, run it again. It goes on from what is stored on the hosts.
Exit status: 0 done, 1 some slots stay because rows did not get into the database in time, 2 error.")]
pub(super) struct ReshardArgs {
    /// All hosts of the target: URLs as in `store`, or NAME=URL; a configured host keeps its weight, a new one has 1
    #[arg(long, value_name = "URL", required = true, num_args = 1..)]
    to: Vec<String>,
    /// Print which slots would move, with the keys and bytes in them, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// The most bytes to copy a second, on average: such as 50MB/s [default: as many as the hosts allow]
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "dry_run")]
    rate: Option<u64>,
    /// How long to wait for the rows of a partition to get into the database
    #[arg(long, value_name = "SPAN", default_value_t = Span(secs(60)), conflicts_with = "dry_run")]
    drain: Span,
    /// Displace another process that is moving slots of this store, or was less than 30 s ago
    #[arg(long, conflicts_with = "dry_run")]
    take_over: bool,
    #[command(flatten)]
    looked_at: LookedAt,
}

/// The hosts to look at.
#[derive(Debug, clap::Args)]
pub(super) struct LookedAt {
    /// The hosts [env: FOREBAY_STORE] [default: those of the configuration]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The configuration file [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl LookedAt {
    /// The configured hosts.
    pub(super) fn hosts(&self) -> Result<(Config, Hosts)> {
        let (config, store) = (self.config.clone(), self.store.clone());
        // This command does not listen, so that the address is not checked.
        let listen = Some("127.0.0.1:0".to_owned());
        let config = config::read(&Options { config, store, listen, insecure: true, ..Options::default() })?;
        let hosts = match &config.store {
            Store::Hosts(hosts, _) => hosts.clone(),
            Store::Url(url)
                if ["redis://", "rediss://"].iter().any(|scheme| url.reveal().starts_with(scheme)) =>
            {
                Hosts::new().url(url.reveal())?
            }
            Store::Url(url) => bail!(
                "the store {url} places keys itself: this command looks at independent hosts, redis://a,b,c or \
                 [cluster.hosts]"
            ),
        };
        Ok((config, hosts))
    }
}

pub(super) fn verify(args: &VerifyArgs) -> Result<ExitCode> {
    let (config, hosts) = args.looked_at.hosts()?;
    let hosts: Vec<HostBody> = block_on(async {
        let verified = inspect(&config, hosts).await?.verify(args.sample).await?;
        Ok(verified.into_iter().map(HostBody::from).collect())
    })?;
    answer(args.looked_at.json, &hosts, |hosts| {
        hosts.iter().map(HostBody::describe).collect::<Vec<_>>().join("\n")
    })?;
    let misplaced = hosts.iter().any(|host| host.misplaced > 0);
    Ok(if misplaced { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn reshard(args: &ReshardArgs) -> Result<ExitCode> {
    let (config, hosts) = args.looked_at.hosts()?;
    let target = target(&args.to)?.weighted_as(&hosts);
    target.check()?;
    if args.dry_run {
        let plan = block_on(async {
            let looked = inspect(&config, hosts).await?;
            looked.check_target(&target).await?;
            Ok(looked.plan(&target).await?)
        })?;
        answer(args.looked_at.json, &PlanBody::from(&plan), |_| describe(&plan))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = ReshardOptions::new().drain(args.drain.0);
    if let Some(rate) = args.rate {
        options = options.rate(rate)?;
    }
    if args.take_over {
        options = options.take_over();
    }
    let bar = bar_of("{wide_bar} {pos} of {len} slots, {msg}, {eta} left");
    let told = |progress: &Progress| {
        bar.set_length(progress.slots);
        bar.set_position(progress.slots_moved);
        bar.set_message(moved(progress));
    };
    let moves = async {
        let looked = inspect(&config, hosts).await?;
        tokio::select! {
            done = looked.reshard(&target, &options, told) => return Ok(done?),
            ended = interrupted() => ended?,
        }
        // Slots that are on their way would not be written until this is run again.
        looked.settle().await.context("interrupted, and slots may be left to which nothing is written")?;
        bail!("interrupted: run it again to go on")
    };
    let done = block_on(moves).context("slots are where they were, or have moved whole")?;
    bar.finish_and_clear();
    answer(args.looked_at.json, &MovedBody::from(&done), |_| describe_moved(&done))?;
    Ok(if done.undrained.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Draws nothing unless stderr is a terminal.
pub(super) fn bar_of(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Reads `50MB/s`.
fn rate(text: &str) -> Result<u64, String> {
    let units = [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1)];
    let amount = text.strip_suffix("/s").unwrap_or(text);
    let unit = units.iter().find_map(|(name, bytes)| Some((amount.strip_suffix(name)?, bytes)));
    let rate = unit.and_then(|(number, bytes)| number.trim().parse::<u64>().ok()?.checked_mul(*bytes));
    rate.filter(|rate| *rate > 0)
        .ok_or_else(|| "expected bytes a second: such as 500kB/s, 50MB/s or 1GB/s".into())
}

async fn inspect(config: &Config, hosts: Hosts) -> Result<Inspection> {
    Ok(Forebay::options().prefix(&config.prefix).inspect_hosts(hosts).await?)
}

/// The hosts of `--to`.
pub(super) fn target(to: &[String]) -> Result<Hosts> {
    to.iter().try_fold(Hosts::new(), |hosts, host| {
        match host.split_once('=').filter(|(name, _)| !name.contains("://")) {
            Some((name, url)) => Ok(hosts.host(name, url)),
            None => Ok(hosts.url(host)?),
        }
    })
}

/// The keys of a host.
#[derive(Debug, Serialize)]
struct HostBody {
    name: Box<str>,
    keys: u64,
    misplaced: u64,
    examples: Vec<String>,
}

impl From<Verification> for HostBody {
    fn from(host: Verification) -> Self {
        let examples = host.examples.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        Self { name: host.name, keys: host.keys, misplaced: host.misplaced, examples }
    }
}

impl HostBody {
    fn describe(&self) -> String {
        let Self { name, keys, misplaced, examples } = self;
        let found = format!("{}  {}", shown(name), many(*keys, "key"));
        if *misplaced == 0 {
            return format!("{found}, all where the router looks for them");
        }
        let examples: Vec<Cow<'_, str>> = examples.iter().map(|key| shown(key)).collect();
        format!(
            "{found}, {} belong on another host, such as {}",
            grouped(*misplaced, ','),
            examples.join(" ")
        )
    }
}

/// The slots and keys moved by a reshard.
#[derive(Debug, Serialize)]
struct MovedBody<'a> {
    slots: u64,
    slots_moved: u64,
    keys_moved: u64,
    bytes_moved: u64,
    undrained: &'a [Box<str>],
}

impl<'a> From<&'a Progress> for MovedBody<'a> {
    fn from(progress: &'a Progress) -> Self {
        Self {
            slots: progress.slots,
            slots_moved: progress.slots_moved,
            keys_moved: progress.keys_moved,
            bytes_moved: progress.bytes_moved,
            undrained: &progress.undrained,
        }
    }
}

fn moved(progress: &Progress) -> String {
    let (keys, bytes) = (many(progress.keys_moved, "key"), grouped(progress.bytes_moved, ','));
    format!("{keys}, {bytes} bytes")
}

fn describe_moved(done: &Progress) -> String {
    if done.slots == 0 {
        return "each host has its share, nothing had to move".into();
    }
    let mut lines = vec![format!("moved {} with {}", many(done.slots_moved, "slot"), moved(done))];
    if !done.undrained.is_empty() {
        lines.push(format!(
            "{} stay: rows of {} are not in the database; see whether they are flushed, and run this again",
            many(done.slots - done.slots_moved, "slot"),
            done.undrained.join(" ")
        ));
    }
    lines.join("\n")
}

/// A plan of moves.
#[derive(Debug, Serialize)]
struct PlanBody<'a> {
    epoch: u64,
    moves: Vec<MoveBody<'a>>,
}

#[derive(Debug, Serialize)]
struct MoveBody<'a> {
    slot: u16,
    from: &'a str,
    to: &'a str,
    keys: u64,
    buffer_keys: u64,
    bytes: Option<u64>,
}

impl<'a> From<&'a Plan> for PlanBody<'a> {
    fn from(plan: &'a Plan) -> Self {
        let moves = plan.moves.iter().map(|it| MoveBody {
            slot: it.slot,
            from: &it.from,
            to: &it.to,
            keys: it.keys,
            buffer_keys: it.buffer_keys,
            bytes: it.bytes,
        });
        Self { epoch: plan.epoch, moves: moves.collect() }
    }
}

/// The sum of the moves between two hosts, or of all.
#[derive(Clone, Copy, Debug)]
struct Total {
    slots: u64,
    keys: u64,
    buffer_keys: u64,
    bytes: Option<u64>,
}

impl Total {
    fn of<'a>(moves: impl Iterator<Item = &'a forebay::cluster::SlotMove>) -> Self {
        let none = Self { slots: 0, keys: 0, buffer_keys: 0, bytes: Some(0) };
        moves.fold(none, |sum, it| Self {
            slots: sum.slots + 1,
            keys: sum.keys + it.keys,
            buffer_keys: sum.buffer_keys + it.buffer_keys,
            bytes: sum.bytes.zip(it.bytes).map(|(sum, bytes)| sum.saturating_add(bytes)),
        })
    }

    fn describe(&self) -> String {
        let bytes = match self.bytes {
            Some(bytes) => format!("about {} bytes", grouped(bytes, ',')),
            None => "of unknown size: the user may not run MEMORY USAGE".into(),
        };
        format!("{}, {}, {bytes}", many(self.slots, "slot"), many(self.keys, "key"))
    }
}

fn describe(plan: &Plan) -> String {
    let Plan { epoch, moves, .. } = plan;
    if moves.is_empty() {
        return format!("table of epoch {epoch}: each host has its share, nothing has to move");
    }
    let all = Total::of(moves.iter());
    let mut lines = vec![format!("table of epoch {epoch}: {} have to move", all.describe())];
    let mut pairs: BTreeMap<(&str, &str), Vec<_>> = BTreeMap::new();
    for it in moves {
        pairs.entry((&it.from, &it.to)).or_default().push(it);
    }
    for ((from, to), moves) in pairs {
        let total = Total::of(moves.into_iter());
        lines.push(format!("{} to {}: {}", shown(from), shown(to), total.describe()));
    }
    if all.buffer_keys > 0 {
        lines.push(format!(
            "{} of buffers stay until their rows are in the database",
            many(all.buffer_keys, "key")
        ));
    }
    lines.push("this was a plan: nothing was moved".into());
    lines.join("\n")
}

/// `1 key`, `2,000 keys`.
pub(super) fn many(n: u64, what: &str) -> String {
    count(n, what).replacen(&n.to_string(), &grouped(n, ','), 1)
}
