//! `forebay replay`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use forebay::{Clock, ManualClock, Name, Timestamp, buffer::Merge, event::Cell, time::days};
use forebay_sql::Totals;

use super::{
    bar::Bar,
    config, output,
    paths::must_exist,
    remote,
    runtime::{FAILED, block_on},
    terminal::{complain, say, say_json},
};
use crate::{
    app::App,
    chart::{self, Timeline},
    config::{BufferConfig, CANARY, Config, EventConfig, Options, Url},
    registry::find,
    replay::{
        BufferTotal, Counts, Feed, Format, KeyField, Parser, Remote, Run, SeriesTotal, Source, Summary,
        Tally, Target, survey,
    },
    text::Span,
};

/// The time that hits stay in the buffers, in the log's time, unless the ledger's retention is less than its default of a
/// week. It is long, because rows that are flushed together are merged.
const FLUSH_EVERY: Duration = days(5);

/// Replay a log, to test limits on recorded traffic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay replay access.log.gz --event hit --key ip
  forebay replay access.log --event hit --key path --config try.toml --plot out.svg
  zcat *.gz | forebay replay - --event hit --key user.id --json
  forebay replay access.log --event hit --key ip --database sqlite:out.db --create
  forebay replay a.log --event hit --key ip --rebase now --server http://127.0.0.1:7070 --speed 10

The format of each line is detected: an access log (common or combined format, also after a virtual host), a JSON \
object with a time (time, at, timestamp, ts, @timestamp), W3C extended (IIS, CloudFront), or an AWS load balancer. The \
JSON of Caddy and Traefik is supported. Gzip is detected by its first bytes. Limits, series and expiry follow the log's \
time.
--key is one of ip, client, user, method, path, status, referer and agent; or a column of W3C extended; or a member of a \
JSON line (a.b is the member b of a). ip accepts only an address, and the first one of a list; client accepts any text.

It uses a new store and a new database in memory instead of the configured ones, unless --store or --database is given. \
With --server, limits follow the server's clock, and --speed sets the speed.

Afterwards the buffers are flushed, and database and series are compared with the accepted hits.
Exit status: 0 done, 2 they do not agree, no line could be read, or another error.")]
pub(super) struct Args {
    /// The log; - reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// The event of every line
    #[arg(long)]
    event: String,
    /// The field of a line with the key
    #[arg(long, value_name = "FIELD")]
    key: KeyField,
    /// The format of the lines
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The configuration file [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The store [default: memory:]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The database [default: sqlite::memory:]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Create the files of --store and --database if they do not exist
    #[arg(long, conflicts_with = "server")]
    create: bool,
    /// How late a line may arrive and still be sorted
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    reorder: Span,
    /// Shift the log by whole minutes, so that it ends in the current one; reads it twice
    #[arg(long, value_enum)]
    rebase: Option<Rebase>,
    /// Draw a chart of the allowed and limited hits
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Send the log to a running server instead
    #[arg(long, value_name = "URL", conflicts_with_all = ["store", "database", "config"])]
    server: Option<String>,
    /// With --server: how many times as fast as the log
    #[arg(long, value_name = "FACTOR", requires = "server", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// The target of a shift.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rebase {
    /// The last line is now
    Now,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.001..=1e9).contains(&speed) => Ok(speed),
        _ => Err("a factor from 0.001 to 1000000000, such as 10".to_owned()),
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let source = Source::from(args.file.as_str());
    // The check comes before the work, which may take an hour: an unwritable chart should fail at once.
    args.plot.as_deref().map(output::check).transpose()?;
    let shift = match args.rebase {
        Some(Rebase::Now) => shift_to(Clock::system().now(), &source, args)?,
        None => 0,
    };
    let replayed = match &args.server {
        Some(url) => block_on(send(args, &source, url, shift))?,
        None => block_on(replay(args, &source, shift))?,
    };
    let Replayed { summary, counts, failure } = replayed;
    if let (Some(path), Some(timeline)) = (&args.plot, &counts.timeline) {
        let title = format!("{} of {} by {}", args.event, log_name(&source), args.key);
        let picture = timeline.chart(&title, &chart::Options::default());
        output::write(path, picture.as_bytes())?;
    }
    tell(args, &summary)?;
    if let Some(failure) = failure {
        return Err(failure.context("the replay ended early; the lines before that were replayed"));
    }
    check_read(&source, &counts.tally)?;
    Ok(if summary.agree == Some(false) { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// The name of a log in a chart: without its path, which may be long and private.
fn log_name(source: &Source) -> String {
    let name = match source {
        Source::File(path) => path.file_name(),
        Source::Stdin => None,
    };
    name.map_or_else(|| source.to_string(), |name| name.display().to_string())
}

/// The result of a replay.
struct Replayed {
    summary: Summary,
    counts: Counts,
    /// The reason why it ended before the end of the log.
    failure: Option<anyhow::Error>,
}

/// The shift in microseconds that moves the log's last line into the current minute. It is a number of whole minutes, so
/// that windows that divide a minute begin at the same lines, and the limits decide in the same way.
fn shift_to(now: Timestamp, source: &Source, args: &Args) -> Result<i64> {
    const MINUTE: i64 = 60_000_000;
    let last = survey(source, parser(args), args.reorder.0)?.last;
    let Some(last) = last else { return Ok(0) };
    let distance = now.as_micros().saturating_sub(last.as_micros());
    Ok(distance.div_euclid(MINUTE) * MINUTE)
}

async fn replay(args: &Args, source: &Source, shift: i64) -> Result<Replayed> {
    let options = Options {
        config: args.config.clone(),
        store: Some(args.store.clone().unwrap_or_else(|| "memory:".to_owned())),
        database: Some(args.database.clone().unwrap_or_else(|| "sqlite::memory:".to_owned())),
        // This command does not listen, so that the address is not checked.
        listen: Some("127.0.0.1:0".to_owned()),
        insecure: true,
    };
    if !args.create {
        for (what, url) in [("store", &args.store), ("database", &args.database)] {
            url.as_ref().map(|url| must_exist(what, &Url::new(url.as_str()))).transpose()?;
        }
    }
    let mut config = config::read(&options)?;
    config.buffers.retain(|name, _| name.as_str() != CANARY);
    let (name, event) = find("event", &args.event, &config.events)?;
    let in_process = config.store.is_volatile();
    let clock = in_process.then(|| ManualClock::at(Timestamp::UNIX_EPOCH));
    let system = Clock::system();
    let app = App::open_on(&config, clock.clone().map_or_else(|| system.clone(), Clock::from)).await?;
    app.prepare(&config.buffers).await?;
    let before = totals(&app, &config, event).await?;

    let begun = system.monotonic();
    let mut counts = Counts::new(event.limits.iter().map(|limit| limit.name.clone()));
    counts.timeline = args.plot.as_ref().map(|_| Timeline::default());
    let mut run = Run::new(target(&app, &config, (name, event), clock), counts, shift);
    let (mut feed, bar) = open(args, source)?;
    let ended = run.all(&mut feed, |tally| bar.show(tally.lines)).await;
    bar.finish();
    // The flush follows a failure, too, so that the accepted hits reach the database.
    let flushed = run.flush().await;
    let elapsed = system.monotonic().saturating_sub(begun);

    let mut summary = Summary::new(&run.counts, shift, elapsed);
    if flushed.is_ok() {
        compare(&mut summary, &app, &config, event, &before, &run, in_process).await?;
    }
    app.close().await?;
    let failure = ended.and(flushed.map(|_| ())).err().map(anyhow::Error::from);
    Ok(Replayed { summary, counts: run.counts, failure })
}

/// Adds the totals of database and series to the summary, and whether they agree with the accepted hits.
async fn compare(
    summary: &mut Summary,
    app: &App,
    config: &Config,
    event: &EventConfig,
    before: &[Totals],
    run: &Run,
    in_process: bool,
) -> Result<()> {
    let mut agree = true;
    let after = totals(app, config, event).await?;
    for ((used, before), after) in event.buffers.iter().zip(before).zip(after) {
        let buffer = &config.buffers[&used.name];
        let mut sums = std::collections::BTreeMap::new();
        for (place, column) in counting(buffer, &used.columns) {
            let sum = |totals: &Totals| totals.sums.get(place).copied().flatten().unwrap_or(0);
            let grown = sum(&after).saturating_sub(sum(before));
            agree &= i64::try_from(summary.accepted) == Ok(grown);
            sums.insert(column, grown);
        }
        let dead = app.buffers.declared(&used.name).handle.stats().await?.dead_rows;
        let (buffer, table) = (used.name.to_string(), buffer.schema.table.to_string());
        summary.buffers.push(BufferTotal { buffer, table, rows: after.rows, dead, sums });
    }
    for (name, series) in event.series.iter().zip(run.series_sums().await?) {
        let (least, most) = series.expected;
        // A shared store may have had earlier hits of these keys.
        agree &= series.sum >= least && (series.sum <= most || !in_process);
        let expired = summary.accepted.saturating_sub(series.sum.max(least));
        summary.series.push(SeriesTotal { series: name.to_string(), sum: series.sum, expired });
    }
    summary.agree = (!event.buffers.is_empty() || !event.series.is_empty()).then_some(agree);
    Ok(())
}

/// The columns that count hits, with their place in the schema.
fn counting<'a>(
    buffer: &'a BufferConfig,
    columns: &'a [(String, Cell)],
) -> impl Iterator<Item = (usize, String)> + 'a {
    let schema = &buffer.schema;
    let hits = columns.iter().filter(|(_, cell)| *cell == Cell::N);
    let place = |(name, _): &(String, Cell)| Some((schema.position(name)?, name.clone()));
    hits.filter_map(place).filter(|(place, _)| schema.columns[*place].merge == Merge::Sum)
}

async fn totals(app: &App, config: &Config, event: &EventConfig) -> Result<Vec<Totals>> {
    let mut totals = vec![];
    for used in &event.buffers {
        totals.push(app.database.totals(&config.buffers[&used.name], &app.clock).await?);
    }
    Ok(totals)
}

fn target(
    app: &App,
    config: &Config,
    (name, event): (&Name, &EventConfig),
    clock: Option<ManualClock>,
) -> Target {
    let kept = event.buffers.iter().filter_map(|used| config.buffers[&used.name].ledger_retention).min();
    Target {
        event: app.rules().events.declared(name).handle.clone(),
        buffers: event.buffers.iter().map(|used| app.buffers.declared(&used.name).handle.clone()).collect(),
        series: event.series.iter().map(|name| app.series.declared(name).handle.clone()).collect(),
        clock,
        flush_every: kept.map_or(FLUSH_EVERY, |kept| FLUSH_EVERY.min(kept * 3 / 4)),
    }
}

async fn send(args: &Args, source: &Source, url: &str, shift: i64) -> Result<Replayed> {
    let event = Name::new(&args.event)?;
    let client = remote::client(url)?;
    let clock = Clock::system();
    let begun = clock.monotonic();
    let mut remote = Remote::new(client, &event, args.speed, shift);
    remote.counts.timeline = args.plot.as_ref().map(|_| Timeline::default());
    let (mut feed, bar) = open(args, source)?;
    let ended = remote.all(&mut feed, |tally| bar.show(tally.lines)).await;
    bar.finish();
    let elapsed = clock.monotonic().saturating_sub(begun);
    let mut summary = Summary::new(&remote.counts, shift, elapsed);
    summary.failed = remote.failed;
    Ok(Replayed { summary, counts: remote.counts, failure: ended.err() })
}

fn tell(args: &Args, summary: &Summary) -> Result<()> {
    if args.json {
        say_json(&serde_json::to_string_pretty(summary)?);
        return Ok(());
    }
    for line in &summary.bad_lines {
        complain(&format!("skipped {line}"));
    }
    for refusal in &summary.refusals {
        complain(&format!("refused {refusal}"));
    }
    say(summary.to_string().trim_end());
    Ok(())
}

fn open(args: &Args, source: &Source) -> Result<(Feed, Bar)> {
    let input = source.open()?;
    let bar = Bar::new(input.size(), input.taken());
    let feed = Feed::start(input, parser(args), args.reorder.0)?;
    Ok((feed, bar))
}

fn parser(args: &Args) -> Parser {
    Parser::new(args.key.clone(), args.format)
}

/// Refuses a log without a readable line.
fn check_read(name: &Source, tally: &Tally) -> Result<()> {
    ensure!(tally.lines > 0, "nothing to replay: {name} has no lines");
    let guess = tally.looks_like.map(|what| format!("; this looks like {what}")).unwrap_or_default();
    ensure!(tally.lines > tally.bad, "nothing was read: no line of {name} could be read{guess}");
    Ok(())
}
