//! The parameters of a chart, and the chart of an answer. HTTP and the command line share them.

use std::time::Duration;

use forebay::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    series::{FilledBody, GroupBody, GroupsBody, PointLength, PointsBody, RangeAnswer, RangesBody},
    series_query::{RangeQuery, WrongParameter, choice, wrong, zone},
};
use crate::{
    chart::{self, Graph, Kind, Merge, Number, Role, Row, Theme},
    text,
};

/// The options of a picture, as texts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, clap::Args)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DrawQuery {
    /// `bars` (side by side), `stacked` (on top of each other), `line`, or `heatmap`: the average of each hour of the day on each
    /// day of the week in the time zone `tz`, of all keys together; by default of 28 days. Default `bars`, of several keys
    /// `stacked`.
    #[param(value_type = Option<Kind>, inline)]
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// The colours: `light`, `dark`, or `auto`, which follows the reader's system. Default `light`.
    #[param(value_type = Option<Theme>, inline)]
    #[arg(long, value_name = "THEME")]
    pub(crate) theme: Option<String>,
    /// Pixels, 320 to 4096.
    #[param(value_type = Option<u32>, minimum = 320, maximum = 4096, default = 960)]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) width: Option<String>,
    /// Pixels, 200 to 4096.
    #[param(value_type = Option<u32>, minimum = 200, maximum = 4096, default = 360)]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) height: Option<String>,
    /// The line above the chart, at most 512 bytes. Default: the series and the keys.
    #[param(max_length = 512)]
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
}

type Result<T> = std::result::Result<T, WrongParameter>;

impl DrawQuery {
    /// The names of the parameters.
    pub(crate) const NAMES: [&'static str; 5] = ["kind", "theme", "width", "height", "title"];

    /// The parameters that are set.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { kind, theme, width, height, title } = self;
        let named = Self::NAMES.into_iter().zip([kind, theme, width, height, title]);
        named.filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    /// The options of a chart of so many rows.
    fn options(&self, query: &RangeQuery, rows: usize) -> Result<chart::Options> {
        let usual = chart::Options::default();
        let theme = self.theme.as_deref().map(|name| choice("theme", name, &Theme::ALL)).transpose()?;
        if self.title.as_ref().is_some_and(|title| title.len() > 512) {
            return Err(wrong("title", "title: longer than 512 bytes"));
        }
        Ok(chart::Options {
            kind: self.kind(if rows > 1 { Kind::Stacked } else { Kind::Bars })?,
            theme: theme.unwrap_or_default(),
            zone: zone(query.tz.as_deref().unwrap_or("UTC"))?,
            width: pixels("width", self.width.as_deref(), 320)?.unwrap_or(usual.width),
            height: pixels("height", self.height.as_deref(), 200)?.unwrap_or(usual.height),
        })
    }

    fn kind(&self, usual: Kind) -> Result<Kind> {
        self.kind.as_deref().map_or(Ok(usual), |name| choice("kind", name, &Kind::ALL))
    }

    /// The query that a chart reads: that of a range, in the order of time and with all points. A heat map has hours of the time
    /// zone; where its hours do not begin with those of UTC, their quarters.
    pub(crate) fn range(&self, query: &RangeQuery, now: Timestamp) -> Result<RangeQuery> {
        for (name, is_set) in [("order", query.order.is_some()), ("limit", query.limit.is_some())] {
            if is_set {
                let text =
                    format!("{name}: a chart has all points, the oldest first; leave out order and limit");
                return Err(wrong(name, text));
            }
        }
        drawn_column(query)?;
        self.options(query, 1)?;
        let mut query = query.clone();
        if self.kind(Kind::Bars)? == Kind::Heatmap {
            let zone = zone(query.tz.as_deref().unwrap_or("UTC"))?;
            for (name, is_set) in [
                ("show", query.show.is_some()),
                ("moving", query.moving.is_some()),
                ("previous", query.previous.is_some()),
                ("fill", query.fill.is_some()),
            ] {
                if is_set {
                    return Err(wrong(name, format!("{name}: a heat map is of counts; leave it out")));
                }
            }
            if query.from.is_none() && query.last.is_none() {
                query.from = Some("-28d".to_owned());
            }
            query.step.get_or_insert_with(|| hour_step(&zone, now).to_owned());
        }
        Ok(query)
    }

    /// The graph of an answer to [`range`](Self::range), and how it is drawn. What begins after `now` is not drawn.
    pub(crate) fn graph(
        &self,
        series: &str,
        query: &RangeQuery,
        answer: &RangeAnswer,
        now: Timestamp,
    ) -> Result<(Graph, chart::Options)> {
        let column = drawn_column(query)?;
        let (names, total) = named(answer);
        let names = match total.filter(|_| query.wants_total().unwrap_or_default()) {
            Some(total) => vec![("all keys together".to_owned(), total)],
            None => names,
        };
        let Some((_, first)) = names.first() else {
            return Err(wrong("label", "label: no key has these labels, and a chart needs one"));
        };
        let times = Times::of(first).ok_or_else(|| wrong("step", "the answer has a time that is none"))?;
        let step = times.step;
        self.check_heat_map(step)?;
        let main = |(name, points): &(String, &PointsBody)| row(name, column, points, &times, now);
        let mut rows: Vec<Row> = names.iter().map(main).collect();
        for (name, points) in &names {
            let previous = points.previous.as_ref().map(|previous| previous.values.as_slice());
            let values = previous.into_iter().map(|values| Row {
                role: Role::Previous,
                ..Row::counts(format!("{name}, previous period"), values.iter().copied())
            });
            rows.extend(values);
            if !points.columns.moving_avg.is_empty() {
                let values = points.columns.moving_avg.iter().map(|value| value.map(Number::Real)).collect();
                let name = format!("{name}, moving average");
                rows.push(Row { name, role: Role::Moving, merge: Merge::Mean, values });
            }
        }
        let keys = match names.as_slice() {
            [(name, _)] => name.clone(),
            several if query.group_by.is_some() => text::count(several.len() as u64, "group"),
            several => text::count(several.len() as u64, "key"),
        };
        let options = self.options(query, names.len())?;
        let graph = Graph {
            title: self.title.clone().unwrap_or_else(|| format!("{series} of {keys}")),
            unit: unit(column, first),
            starts: times.starts,
            end: times.end,
            step,
            counted: times.from..times.to.min(now.max(times.from)),
            rows,
        };
        Ok((graph, options))
    }

    fn check_heat_map(&self, step: Option<Duration>) -> Result<()> {
        let is_fine = step.is_some_and(|step| step.as_secs() > 0 && 3_600 % step.as_secs() == 0);
        if self.kind(Kind::Bars)? != Kind::Heatmap || is_fine {
            return Ok(());
        }
        let length = step.map_or_else(|| "the calendar".to_owned(), |step| text::Span(step).to_string());
        let text = format!(
            "step: points of {length}: a heat map needs points that divide an hour, and they must still be kept at from"
        );
        Err(wrong("step", text))
    }
}

/// The rows of an answer with their names, and its total.
fn named(answer: &RangeAnswer) -> (Vec<(String, &PointsBody)>, Option<&PointsBody>) {
    match answer {
        RangeAnswer::One(range) => (vec![(range.key.clone(), &range.points)], None),
        RangeAnswer::Many(RangesBody { ranges, total }) => {
            (ranges.iter().map(|range| (range.key.clone(), &range.points)).collect(), total.as_deref())
        }
        RangeAnswer::Groups(GroupsBody { groups, total }) => {
            let name = |group: &GroupBody| match group.labels.0.as_slice() {
                [] => text::count(group.keys as u64, "key"),
                _ => group.labels.to_string(),
            };
            (groups.iter().map(|group| (name(group), &group.points)).collect(), total.as_deref())
        }
    }
}

fn pixels(field: &'static str, text: Option<&str>, least: u32) -> Result<Option<u32>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(pixels) if (least..=4_096).contains(&pixels) => Ok(Some(pixels)),
        _ => Err(wrong(field, format!("{field}: {}: pixels, {least} to 4096", text::quoted(text)))),
    }
}

/// `1h`, if the hours of the zone begin with those of UTC, today and at other times of the year; else `15m`.
fn hour_step(zone: &TimeZone, now: Timestamp) -> &'static str {
    let is_whole = |month: i64| {
        let at = now.minus(Duration::from_hours(24 * 30) * u32::try_from(month).unwrap_or(0));
        let at = jiff::Timestamp::from_microsecond(at.as_micros());
        at.is_ok_and(|at| zone.to_offset(at).seconds() % 3_600 == 0)
    };
    if (0..12).all(is_whole) { "1h" } else { "15m" }
}

/// The column that is drawn in place of the counts.
fn drawn_column(query: &RangeQuery) -> Result<Option<&str>> {
    let column = query.show.as_deref();
    if column.is_some_and(|names| names.contains(',')) {
        return Err(wrong("show", "show: a chart draws one column"));
    }
    if column.is_some() {
        for (name, is_set) in [
            ("previous", query.previous.is_some()),
            ("moving", query.moving.is_some()),
            ("fill", query.fill.is_some()),
        ] {
            if is_set {
                return Err(wrong(name, format!("{name}: a chart has it beside counts; leave out show")));
            }
        }
    }
    Ok(column)
}

fn row(name: &str, column: Option<&str>, points: &PointsBody, times: &Times, now: Timestamp) -> Row {
    let columns = &points.columns;
    let real = |values: &[Option<f64>]| values.iter().map(|value| value.map(Number::from)).collect();
    let whole = |values: &[Option<u64>]| values.iter().map(|value| value.map(Number::from)).collect();
    let (merge, values): (Merge, Vec<Option<Number>>) = match column {
        Some("rate") => (Merge::Mean, real(&columns.rate)),
        Some("avg") => (Merge::Mean, real(&columns.avg)),
        Some("min") => (Merge::Min, whole(&columns.min)),
        Some("max") => (Merge::Max, whole(&columns.max)),
        Some("cumulative") => (Merge::Last, whole(&columns.cumulative)),
        Some("difference") => (Merge::Sum, columns.difference.iter().map(|n| n.map(Number::from)).collect()),
        _ if !columns.filled.is_empty() => {
            let filled = |value: FilledBody| match value {
                FilledBody::Count(count) => count.into(),
                FilledBody::Between(value) => value.into(),
            };
            (Merge::Sum, columns.filled.iter().map(|value| value.map(filled)).collect())
        }
        _ => {
            // A zero of a point that is yet to come would look like a fall.
            let is_known = |place: usize, n: u64| n > 0 || times.starts.get(place).is_none_or(|&at| at < now);
            let values = points.values.iter().enumerate();
            (Merge::Sum, values.map(|(place, &n)| is_known(place, n).then(|| n.into())).collect())
        }
    };
    Row { name: name.to_owned(), role: Role::Main, merge, values }
}

fn unit(column: Option<&str>, points: &PointsBody) -> String {
    let bucket = points.columns.bucket.map(|secs| text::Span(Duration::from_secs(secs)).to_string());
    let bucket = bucket.unwrap_or_default();
    match column {
        Some("rate") => "hits per second".to_owned(),
        Some("avg") => format!("average of the buckets of {bucket}"),
        Some("min") => format!("smallest bucket of {bucket}"),
        Some("max") => format!("largest bucket of {bucket}"),
        Some("cumulative") => "hits since the start".to_owned(),
        Some("difference") => "change from point to point, per {}".to_owned(),
        _ => match &points.step {
            PointLength::Unit(unit) => format!("hits per {unit}"),
            PointLength::Seconds(_) => "hits per {}".to_owned(),
        },
    }
}

/// The times of an answer.
struct Times {
    starts: Vec<Timestamp>,
    end: Timestamp,
    step: Option<Duration>,
    from: Timestamp,
    to: Timestamp,
}

impl Times {
    /// `None` if a text is no time.
    fn of(points: &PointsBody) -> Option<Self> {
        let PointsBody { start, step, starts, values, from, to, .. } = points;
        let start: Timestamp = start.parse().ok()?;
        let (from, to): (Timestamp, Timestamp) = (from.parse().ok()?, to.parse().ok()?);
        match step {
            PointLength::Seconds(secs) => {
                let step = Duration::from_secs(*secs);
                let at =
                    |place: usize| start.plus(step.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX)));
                let starts = (0..values.len()).map(at).collect();
                Some(Self { starts, end: at(values.len()), step: Some(step), from, to })
            }
            PointLength::Unit(_) => {
                let starts: Option<Vec<Timestamp>> = starts.iter().map(|start| start.parse().ok()).collect();
                let starts = starts?;
                // The answer has no end of its newest point; that of its counts may be earlier.
                let last = starts.last().copied().unwrap_or(start);
                Some(Self { end: to.max(last), starts, step: None, from, to })
            }
        }
    }
}
