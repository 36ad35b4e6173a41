//! `forebay series`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use forebay::{Clock, Timestamp};

use super::{
    output,
    remote::{Place, Target},
    runtime::block_on,
    series_export::{self, ExportArgs},
    series_import::{self, ImportArgs},
    series_keys::{self, Chosen, KeysArgs, query_string},
    series_ranking::RankingArgs,
    series_text::describe,
    terminal::answer,
};
use crate::{
    api::{
        series::{PointLength, RangeAnswer, RangeBody},
        series_query::{RangeQuery, WrongParameter},
    },
    chart::{self, Points},
    client::escaped,
    text::moment,
};

/// Show the counts of keys over time, export or import them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay series hits 42
  forebay series hits 42 --from -1h --step 1m
  forebay series hits.limited 42 --from today --tz Europe/Berlin
  forebay series hits 42 --last 30 --step day --tz Europe/Berlin --previous span
  forebay series hits 42 --last 24 --step 1h --show rate,max --moving 7
  forebay series hits 42 7 11 --step 1h --total
  forebay series requests --label status=500 --group-by endpoint --from -1h
  forebay series requests --keys --label endpoint=/checkout
  forebay series hits --top 10 --from -1h
  forebay series requests --top 5 --label status=500 --group-by endpoint
  forebay series hits 42 --step 1m --order newest --limit 10
  forebay series hits 42 --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --plot january.svg
  forebay series hits 42 --json
  forebay series hits --export > hits.csv
  forebay series hits --export --prefix user: --from -30d --step 1h --format openmetrics > hits.om
  forebay series hits --import hits.csv --state hits.state --rejects refused.csv
  zcat *.csv.gz | forebay series hits --import - --key-column customer --at-column ts --unit ms

Times are RFC 3339, seconds since 1970, now, a span before or after now (-1d, +10m), or today. NAME.limited counts the \
hits that limits denied. The token for the server is taken from FOREBAY_TOKEN.

An import counts each line of a file once, also if it is repeated within a day or was stopped. Times are RFC 3339, or numbers \
in the unit of --unit. Lines that are refused are counted by reason.
Exit status: 0 done, 1 lines of an import were refused, 2 error.")]
pub(super) struct Args {
    /// A declared series, or its .limited
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    query: RangeQuery,
    #[command(flatten)]
    list: KeysArgs,
    #[command(flatten)]
    ranking: RankingArgs,
    /// Draw a chart of one key
    #[arg(long, value_name = "FILE.svg", conflicts_with_all = ["export", "import"])]
    plot: Option<PathBuf>,
    #[command(flatten)]
    export: ExportArgs,
    #[command(flatten)]
    import: ImportArgs,
    /// The format of an export: csv, json (a line for each bucket) or openmetrics; of an import: csv or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print the points as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Args { name, chosen, query, place, format, .. } = args;
    let format = format.as_deref();
    if args.export.export {
        if args.json {
            bail!("--json: an export has --format json");
        }
        return series_export::run(&args.export, place, (name, format), (chosen, query));
    }
    if args.import.import.is_some() {
        if let Some((field, _)) = query.parameters().next() {
            bail!("--{field}: an import has all lines of its file");
        }
        return series_import::run(&args.import, place, (name, format), args.json);
    }
    if format.is_some() {
        bail!("--format: of an export or an import");
    }
    if args.list.list_keys {
        if let Some((field, _)) = query.parameters().next() {
            bail!("--{field}: --keys lists keys with any count that is kept");
        }
        return series_keys::run(place, name, (chosen, args.export.prefix.as_deref()), args.json);
    }
    if args.ranking.is_wanted() {
        let which = (chosen, args.export.prefix.as_deref(), query);
        return args.ranking.run(place, name, which, args.json);
    }
    if args.export.prefix.is_some() {
        bail!("--prefix: with --export, --keys, --top or --bottom");
    }
    check_plot(args)?;
    let found = block_on(ask(args))?;
    if let (Some(path), RangeAnswer::One(range)) = (&args.plot, &found) {
        plot(args, path, range)?;
    }
    answer(args.json, &found, describe)?;
    Ok(ExitCode::SUCCESS)
}

/// A chart has points of one length in the order of time.
fn check_plot(args: &Args) -> Result<()> {
    if args.plot.is_none() {
        return Ok(());
    }
    if args.chosen.key.len() != 1 || args.query.total.is_some() {
        bail!("--plot: a chart has one key and no --total");
    }
    if args.query.order.is_some() || args.query.limit.is_some() {
        bail!("--plot: a chart has all points, the oldest first; leave out --order and --limit");
    }
    match args.query.step.as_deref() {
        Some(unit @ ("day" | "week" | "month")) => {
            bail!("--step {unit}: a chart has points of one length, such as 1d")
        }
        _ => Ok(()),
    }
}

fn plot(args: &Args, path: &std::path::Path, range: &RangeBody) -> Result<()> {
    let RangeBody { key, points } = range;
    let PointLength::Seconds(step) = points.step else { return Ok(()) };
    let start: Timestamp = points.start.parse().context("the time that the server gave")?;
    let shown = Points { start, step: Duration::from_secs(step), values: &points.values };
    let zone = moment::zone(args.query.tz.as_deref().unwrap_or("UTC"))?;
    let options = chart::Options { zone, ..chart::Options::default() };
    let picture = chart::series(&format!("{} of {key}", args.name), shown, &options);
    output::write(path, picture.as_bytes())
}

async fn ask(args: &Args) -> Result<RangeAnswer> {
    let Args { name, chosen, query, place, .. } = args;
    let wrong = |wrong: WrongParameter| anyhow!("--{}", wrong.detail);
    // The options are checked before anything is asked, so that a mistake is told by the name of its option.
    query.wants_total().map_err(wrong)?;
    let _ = query.query(Clock::system().now()).map_err(wrong)?;
    let pairs = query_string(chosen.parameters().chain(query.parameters()));
    let path = format!("/v1/series/{}?{pairs}", escaped(name));
    let target = Target::open(place).await?;
    let found = async { target.client()?.get(&path).await?.read(&[]) }.await;
    target.close().await?;
    found
}
