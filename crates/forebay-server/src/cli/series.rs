//! `forebay series`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use forebay::{Timestamp, series};
use jiff::tz::TimeZone;

use super::{
    output,
    remote::{Place, open},
    runtime::block_on,
    terminal::answer,
};
use crate::{
    api::series::{PointLength, RangeBody},
    chart::{self, Points, spark},
    client::escaped,
    registry::find,
    text::{Span, Step, count, moment, shown},
};

/// The width of the line of blocks.
const WIDTH: usize = 80;

/// Show the counts of a key over time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay series hits 42
  forebay series hits 42 --from -1h --step 1m
  forebay series hits.limited 42 --from today --tz Europe/Berlin
  forebay series hits 42 --from -30d --step day --tz Europe/Berlin
  forebay series hits 42 --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --plot january.svg
  forebay series hits 42 --json

Times are RFC 3339, seconds since 1970, now, a span before or after now (-1d, +10m), or today. NAME.limited counts the \
hits that limits denied. The token for the server is taken from FOREBAY_TOKEN.
Exit status: 0 done, 2 error.")]
pub(super) struct Args {
    /// A declared series, or its .limited
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// The key: 1 to 512 bytes
    key: String,
    /// The start of the range
    #[arg(long, value_name = "TIME", default_value = "-1d", allow_hyphen_values = true)]
    from: String,
    /// The end of the range
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// The length of a point, a multiple of the finest resolution, or day, week or month [default: the finest that gives at most
    /// 1500 points]
    #[arg(long, value_name = "STEP")]
    step: Option<Step>,
    /// The time zone of today, of days, weeks and months, and of the chart
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Draw a chart
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print the points as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let zone = moment::zone(&args.tz)?;
    if let (Some(Step(series::Step::Calendar(unit))), Some(_)) = (args.step, &args.plot) {
        bail!("--step {}: a chart has points of one length, such as 1d", unit.as_str());
    }
    let range = block_on(ask(args, &zone))?;
    if let (Some(path), PointLength::Seconds(step)) = (&args.plot, &range.step) {
        let start: Timestamp = range.start.parse().context("the time that the server gave")?;
        let points = Points { start, step: Duration::from_secs(*step), values: &range.values };
        let options = chart::Options { zone, ..chart::Options::default() };
        let picture = chart::series(&format!("{} of {}", args.name, args.key), points, &options);
        output::write(path, picture.as_bytes())?;
    }
    answer(args.json, &range, describe)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &Args, zone: &TimeZone) -> Result<RangeBody> {
    if let Some(config) = args.place.opened()? {
        let limited = args.name.strip_suffix(".limited");
        let (_, definition) = find("series", limited.unwrap_or(&args.name), &config.series)?;
        let bay = open(&config).await?;
        let series = bay.series(definition.clone())?;
        let series = if limited.is_some() { series.limited() } else { series };
        let now = series.store_time(&args.key).await;
        let (from, to) = (moment(&args.from, now, zone)?, moment(&args.to, now, zone)?);
        let range = RangeBody::ask(&series, &args.key, (from, to), args.step, &args.tz).await?;
        bay.close().await?;
        return Ok(range);
    }
    let mut path = format!("/v1/series/{}?key={}", escaped(&args.name), escaped(&args.key));
    let step = args.step.map(|step| step.to_string());
    let fields =
        [("from", Some(&args.from)), ("to", Some(&args.to)), ("tz", Some(&args.tz)), ("step", step.as_ref())];
    for (field, value) in fields {
        if let Some(value) = value {
            path.extend(["&", field, "=", &escaped(value)]);
        }
    }
    args.place.client()?.get(&path).await?.read(&[])
}

fn describe(range: &RangeBody) -> String {
    let RangeBody { start, step, values, sum, from, to, partial, .. } = range;
    let most = values.iter().max().copied().unwrap_or(0);
    let mut lines = vec![spark(values, WIDTH)];
    let length = match step {
        PointLength::Seconds(step) => Span(Duration::from_secs(*step)).to_string(),
        PointLength::Unit(unit) => format!("a {unit}"),
    };
    let points = count(values.len() as u64, "point");
    lines.push(format!("sum {sum}, at most {most} in {length}; {points} from {}", shown(start)));
    // Points of one length need no list.
    lines.extend(range.starts.iter().zip(values).map(|(start, n)| format!("{}  {n}", shown(start))));
    lines.extend(partial.first.then(|| format!("the first point counts from {from}")));
    lines.extend(partial.last.then(|| format!("the last point counts until {to}")));
    let missing =
        "partial: points that other hosts accepted while the one of this key was down are not added yet";
    lines.extend(partial.counts.then(|| missing.to_owned()));
    let coarsened = match step {
        PointLength::Seconds(_) => "the step is longer, because so fine a step is not kept that long",
        PointLength::Unit(_) => {
            "some points begin elsewhere, because buckets that begin there are not kept that long"
        }
    };
    lines.extend(range.coarsened.then(|| coarsened.to_owned()));
    lines.join("\n")
}
