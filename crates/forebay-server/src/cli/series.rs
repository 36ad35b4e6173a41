//! `forebay series`.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use forebay::Clock;
use serde::{Deserialize, Serialize};

use super::{
    plot::PlotArgs,
    remote::{Place, Target},
    runtime::block_on,
    series_export::{self, ExportArgs},
    series_import::{self, ImportArgs},
    series_keys::{self, Chosen, KeysArgs, query_string},
    series_ranking::RankingArgs,
    series_text::{describe, describe_summary, summarize},
    terminal::{self, Colours, answer, say_lines},
    watch::{self, Failure},
};
use crate::{
    api::{
        series::RangeAnswer,
        series_query::{RangeQuery, WrongParameter},
        summary::SummaryBody,
    },
    chart::{Line, Look, Piece},
    client::escaped,
    text::Span,
};

/// Show the counts of keys over time, export or import them
#[derive(Clone, Debug, clap::Args)]
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
  forebay series hits 42 7 --from -7d --step 1h --previous span --plot week.svg --kind line
  forebay series hits 42 --tz Europe/Berlin --plot --kind heatmap
  forebay series hits 42 --from -10m --plot --watch=1s
  forebay series hits 42 --json
  forebay series visitors home about --last 7 --step day
  forebay series latency home --last 24 --step 1h --quantiles 0.5,0.99
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
    #[command(flatten)]
    plot: PlotArgs,
    /// Ask again and again, and show the newest answer; every 2 s, or as often as given
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
        conflicts_with_all = ["export", "import"])]
    watch: Option<Span>,
    /// When colours are shown; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colours,
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
    args.plot.check(args.json, args.watch.is_some())?;
    // The chart may need other points.
    let args = &Args { query: args.plot.query(query)?, ..args.clone() };
    if let Some(Span(pause)) = args.watch {
        if pause < watch::LEAST {
            bail!("--watch {}: at least {}", Span(pause), Span(watch::LEAST));
        }
        return block_on(watch::watch(pause, args.color.are_shown(), async || {
            lines(args, &ask(args).await?)
        }));
    }
    let found = match block_on(async { ask(args).await.map_err(Failure::into_error) })? {
        Found::Hits(found) => found,
        Found::Other(_) if args.plot.is_in_terminal() || args.plot.is_in_file() => bail!("{NO_CHART}"),
        Found::Other(found) => {
            answer(args.json, &*found, describe_summary)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    args.plot.write(name, &args.query, &found)?;
    if args.plot.is_in_terminal() {
        say_lines(&args.plot.lines(name, &args.query, &found)?, args.color.are_shown());
    } else {
        let text = if args.plot.is_in_file() { summarize } else { describe };
        answer(args.json, &found, |found| text(found, terminal::size().0))?;
    }
    Ok(ExitCode::SUCCESS)
}

const NO_CHART: &str = "--plot: a chart is of a series of hits";

/// The answer, by the kind of the series.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Found {
    Other(Box<SummaryBody>),
    Hits(RangeAnswer),
}

/// The part of an answer that `--watch` shows.
fn lines(args: &Args, found: &Found) -> Result<Vec<Line>, Failure> {
    if args.plot.is_in_terminal() {
        return match found {
            Found::Hits(found) => args.plot.lines(&args.name, &args.query, found).map_err(Failure::Wrong),
            Found::Other(_) => Err(Failure::Wrong(anyhow!("{NO_CHART}"))),
        };
    }
    let text = if args.json {
        serde_json::to_string(found).map_err(|error| Failure::Wrong(error.into()))?
    } else {
        match found {
            Found::Hits(found) => describe(found, terminal::size().0),
            Found::Other(found) => describe_summary(found),
        }
    };
    let line = |text: &str| vec![Piece { text: text.to_owned(), look: Look::Plain }];
    Ok(text.lines().map(line).collect())
}

async fn ask(args: &Args) -> Result<Found, Failure> {
    let Args { name, chosen, query, place, .. } = args;
    let wrong = |wrong: WrongParameter| Failure::Wrong(anyhow!("--{}", wrong.detail));
    // The options are checked before anything is asked, so that a mistake is told by the name of its option.
    query.wants_total().map_err(wrong)?;
    let _ = query.query(Clock::system().now()).map_err(wrong)?;
    place.client().map_err(Failure::Wrong)?;
    let pairs = query_string(chosen.parameters().chain(query.parameters()));
    let path = format!("/v1/series/{}?{pairs}", escaped(name));
    let target = Target::open(place).await.map_err(Failure::Outage)?;
    let found = async {
        let answer = target.client().map_err(Failure::Wrong)?.get(&path).await.map_err(Failure::Outage)?;
        let is_outage = answer.status >= 500 || answer.status == 429;
        answer.read(&[]).map_err(if is_outage { Failure::Outage } else { Failure::Wrong })
    }
    .await;
    target.close().await.map_err(Failure::Outage)?;
    found
}
