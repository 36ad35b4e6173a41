//! The points of `forebay series` as text.

use std::time::Duration;

use forebay::Timestamp;

use super::series_keys::describe_labels;
use crate::{
    api::{
        series::{
            ColumnsBody, FilledBody, GroupBody, GroupsBody, PointLength, PointsBody, RangeAnswer, RangesBody,
        },
        summary::{GaugeBody, PercentilesBody, SummaryBody, SummaryValue},
    },
    chart::spark,
    text::{Span, count, shown},
};

/// The most blocks of the line.
const WIDTH: usize = 80;

/// Describes an answer on a terminal of so many columns.
pub(super) fn describe(answer: &RangeAnswer, width: usize) -> String {
    each(answer, |points| describe_points(points, width, rows(points)))
}

/// Describes an answer without its points, which are in a picture.
pub(super) fn summarize(answer: &RangeAnswer, width: usize) -> String {
    each(answer, |points| describe_points(points, width, vec![]))
}

fn each(answer: &RangeAnswer, text: impl Fn(&PointsBody) -> String) -> String {
    match answer {
        RangeAnswer::One(range) => text(&range.points),
        RangeAnswer::Many(RangesBody { ranges, total }) => {
            let rows = ranges.iter().map(|range| (format!("key {}", shown(&range.key)), &range.points));
            titled(rows, total.as_deref(), text)
        }
        RangeAnswer::Groups(GroupsBody { groups, total }) => {
            titled(groups.iter().map(|group| (title(group), &group.points)), total.as_deref(), text)
        }
    }
}

/// Rows with their titles, and the total.
fn titled<'a>(
    rows: impl Iterator<Item = (String, &'a PointsBody)>,
    total: Option<&'a PointsBody>,
    text: impl Fn(&PointsBody) -> String,
) -> String {
    let total = total.map(|points| ("all keys together".to_owned(), points));
    let row = |(title, points)| format!("{title}\n{}", text(points));
    rows.chain(total).map(row).collect::<Vec<_>>().join("\n\n")
}

fn title(group: &GroupBody) -> String {
    let keys = count(group.keys as u64, "key");
    if group.labels.0.is_empty() { keys } else { format!("{}: {keys}", describe_labels(&group.labels)) }
}

/// Describes an answer of a series of another kind than hits.
pub(super) fn describe_summary(body: &SummaryBody) -> String {
    let SummaryBody { kind, keys, start, step, starts, values, total, from, to, coarsened } = body;
    let keys: Vec<_> = keys.iter().map(|key| shown(key)).collect();
    let mut lines = vec![format!("{kind} of {}: {}", keys.join(", "), value_text(total.as_ref()))];
    lines.push(format!("from {} to {}", shown(from), shown(to)));
    let first: Option<Timestamp> = start.parse().ok();
    for (place, value) in values.iter().enumerate() {
        let begins = match (starts.get(place), step, first) {
            (Some(start), ..) => shown(start),
            (None, PointLength::Seconds(step), Some(first)) => {
                first.plus(Duration::from_secs(step.saturating_mul(place as u64))).to_string().into()
            }
            _ => shown(start),
        };
        lines.push(format!("{begins}  {}", value_text(value.as_ref())));
    }
    let note =
        "points are longer or begin elsewhere than requested, because such buckets are not kept that long";
    lines.extend(coarsened.then(|| note.to_owned()));
    lines.join("\n")
}

fn value_text(value: Option<&SummaryValue>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(SummaryValue::Distinct(count)) => format!("{count} different"),
        Some(SummaryValue::Gauge(gauge)) => {
            let GaugeBody { last, min, max, avg, count, .. } = gauge;
            format!("last {last}, min {min}, max {max}, avg {avg} of {count}")
        }
        Some(SummaryValue::Percentiles(PercentilesBody { count, min, max, quantiles })) => {
            let quantiles: Vec<String> =
                quantiles.iter().map(|(q, value)| format!("p{} {value}", shown(q))).collect();
            format!("{}, min {min}, max {max} of {count}", quantiles.join(", "))
        }
    }
}

fn describe_points(points: &PointsBody, width: usize, rows: Vec<String>) -> String {
    let PointsBody { start, step, values, sum, from, to, partial, .. } = points;
    let most = values.iter().max().copied().unwrap_or(0);
    let mut lines = vec![spark(values, WIDTH.min(width))];
    let length = match step {
        PointLength::Seconds(step) => Span(Duration::from_secs(*step)).to_string(),
        PointLength::Unit(unit) => format!("a {unit}"),
    };
    let number = count(values.len() as u64, "point");
    lines.push(format!("sum {sum}, at most {most} in {length}; {number} from {}", shown(start)));
    if let Some(previous) = &points.previous {
        lines.push(format!("previous period: sum {} from {}", previous.sum, shown(&previous.start)));
    }
    lines.extend(rows);
    lines.extend(points.columns.bucket.map(|bucket| {
        let bucket = Span(Duration::from_secs(bucket));
        format!("avg, min and max are those of buckets of {bucket}")
    }));
    lines.extend(partial.first.then(|| format!("the oldest point counts from {}", shown(from))));
    lines.extend(partial.last.then(|| format!("the newest point counts until {}", shown(to))));
    let missing =
        "partial: points that other hosts accepted while the one of this key was down are not added yet";
    lines.extend(partial.counts.then(|| missing.to_owned()));
    let coarsened = match step {
        PointLength::Seconds(_) => "the step is longer, because so fine a step is not kept that long",
        PointLength::Unit(_) => {
            "some points begin elsewhere, because buckets that begin there are not kept that long"
        }
    };
    lines.extend(points.coarsened.then(|| coarsened.to_owned()));
    lines.join("\n")
}

/// A line for each point. Counts of one length alone need no list.
fn rows(points: &PointsBody) -> Vec<String> {
    let columns = columns(points);
    if columns.is_empty() && points.starts.is_empty() {
        return vec![];
    }
    let row = |(place, n): (usize, &u64)| {
        let mut row = format!("{}  {n}", start_of(points, place));
        for (name, values) in &columns {
            let value = values.get(place).map_or("-", String::as_str);
            row.extend(["  ", name, " ", value]);
        }
        row
    };
    points.values.iter().enumerate().map(row).collect()
}

/// The start of a point, which is listed or follows from the first one.
fn start_of(points: &PointsBody, place: usize) -> String {
    if let Some(start) = points.starts.get(place) {
        return shown(start).into_owned();
    }
    let (start, PointLength::Seconds(step)) = (points.start.parse::<Timestamp>(), &points.step) else {
        return "-".to_owned();
    };
    let offset = step.saturating_mul(place as u64);
    start.map_or_else(|_| "-".to_owned(), |start| start.plus(Duration::from_secs(offset)).to_string())
}

/// The columns that the answer has, each with its texts.
fn columns(points: &PointsBody) -> Vec<(&'static str, Vec<String>)> {
    let ColumnsBody {
        rate,
        avg,
        min,
        max,
        cumulative,
        difference,
        moving_sum,
        moving_avg,
        filled,
        bucket: _,
    } = &points.columns;
    let previous: Vec<Option<u64>> =
        points.previous.iter().flat_map(|previous| &previous.values).copied().map(Some).collect();
    let filled = filled.iter().map(|filled| {
        filled.map_or("-".to_owned(), |filled| match filled {
            FilledBody::Count(count) => count.to_string(),
            FilledBody::Between(value) => value.to_string(),
        })
    });
    let columns = [
        ("rate", texts(rate)),
        ("avg", texts(avg)),
        ("min", texts(min)),
        ("max", texts(max)),
        ("cumulative", texts(cumulative)),
        ("difference", texts(difference)),
        ("moving sum", texts(moving_sum)),
        ("moving avg", texts(moving_avg)),
        ("filled", filled.collect()),
        ("previous", texts(&previous)),
    ];
    columns.into_iter().filter(|(_, texts)| !texts.is_empty()).collect()
}

/// The values as texts, `-` for those that are not there.
fn texts<T: ToString>(values: &[Option<T>]) -> Vec<String> {
    values.iter().map(|value| value.as_ref().map_or("-".to_owned(), T::to_string)).collect()
}
