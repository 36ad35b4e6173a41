//! Bodies of `/v1/series`.

use forebay::{
    Timestamp,
    series::{self, Columns, Filled, Group, Groups, KeyPage, Range, Ranges, SeriesHandle, Total},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    fields::{At, Count, Key},
    labels::Labels,
};

/// A point.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key or labels, and perhaps n and at")]
pub(crate) struct PointRequest {
    /// Required, unless there are labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
    /// In place of a key, for a series that has labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Labels>,
    /// The amount; default 1.
    #[serde(default)]
    pub(crate) n: Count,
    /// When; default now.
    pub(crate) at: Option<At>,
}

/// A sum, and its time range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sum {
    #[serde(rename = "sum")]
    total: u64,
    /// The `from` of the request, widened to the finest bucket that is still kept there; later where no bucket is.
    #[schema(format = DateTime)]
    from: String,
    /// The exclusive end: widened likewise, and at most the bucket that is 5 minutes ahead.
    #[schema(format = DateTime)]
    to: String,
    /// Points may be missing that other hosts accepted while the one of this key was down. Left out if none are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    partial: bool,
}

impl From<Total> for Sum {
    fn from(total: Total) -> Self {
        let Total { sum, from, to, partial, .. } = total;
        Self { total: sum, from: from.to_string(), to: to.to_string(), partial }
    }
}

/// A key whose counts move to another key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with from and to")]
pub(crate) struct MoveRequest {
    pub(crate) from: Key,
    pub(crate) to: Key,
}

/// The counts that moved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovedBody {
    /// The sum of the counts; 0 if the key had none.
    pub(crate) moved: u64,
}

/// The counts that were deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeletedBody {
    /// Their sum.
    pub(crate) deleted: u64,
}

/// Keys of a series.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = SeriesKeys)]
pub(crate) struct KeysBody {
    pub(crate) keys: Vec<String>,
    /// The labels of each key. Left out if the series has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) labels: Vec<Labels>,
    /// Whether there are more: ask with the last one as `after`.
    pub(crate) more: bool,
    /// Keys may be missing that were first counted while the host of their partition was down. Left out if none are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    partial: bool,
}

impl KeysBody {
    /// A page of the keys of a series.
    pub(crate) fn new(series: &SeriesHandle, page: KeyPage) -> Self {
        let KeyPage { keys, more, partial, .. } = page;
        let labels = keys.iter().filter_map(|key| Labels::of(series, key)).collect();
        Self { keys, labels, more, partial }
    }

    /// A page of the keys of a series that has no labels.
    pub(crate) fn plain(page: KeyPage) -> Self {
        let KeyPage { keys, more, partial, .. } = page;
        Self { keys, labels: vec![], more, partial }
    }
}

/// The points of a key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Range)]
pub(crate) struct RangeBody {
    pub(crate) key: String,
    #[serde(flatten)]
    pub(crate) points: PointsBody,
}

/// The points of several keys.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Ranges)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangesBody {
    /// The points of each key, in the order of the request.
    pub(crate) ranges: Vec<RangeBody>,
    /// The points of all keys together, with `total=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<Box<PointsBody>>,
}

/// The points of the keys of a group together.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Group)]
pub(crate) struct GroupBody {
    /// The labels of `group_by`, with the values that the keys have. A label without a value is empty.
    pub(crate) labels: Labels,
    /// The number of keys.
    pub(crate) keys: usize,
    #[serde(flatten)]
    pub(crate) points: PointsBody,
}

/// The points of groups of keys.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Groups)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsBody {
    /// The groups, in the order of their values. Without `group_by` there is one, with all keys.
    pub(crate) groups: Vec<GroupBody>,
    /// The points of all keys together, with `total=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<Box<PointsBody>>,
}

/// The points of one key; for several keys or with a total, a list; with `label` or `group_by`, groups.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = RangeAnswer)]
pub(crate) enum RangeAnswer {
    One(Box<RangeBody>),
    Many(RangesBody),
    Groups(GroupsBody),
}

/// Counts at regular times, or by the calendar.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Points)]
pub(crate) struct PointsBody {
    /// The start of the oldest point: a multiple of `step` at or before `from`.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    pub(crate) step: PointLength,
    /// The starts of all points, if `step` is a unit of the calendar or the newest is first; else left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) starts: Vec<String>,
    /// Buckets as fine as the request needs are not kept any more: `step` is longer, or `starts` are those of the nearest that
    /// are.
    pub(crate) coarsened: bool,
    /// The count of each point, zero where nothing was counted.
    pub(crate) values: Vec<u64>,
    /// The sum of all values. Without a `limit`, it is the same as from `/sum`.
    pub(crate) sum: u64,
    /// The `from` of the request, widened to the finest bucket that is still kept there; later where no bucket is.
    #[schema(format = DateTime)]
    pub(crate) from: String,
    /// The exclusive end: widened likewise, and at most the bucket that is 5 minutes ahead.
    #[schema(format = DateTime)]
    pub(crate) to: String,
    pub(crate) partial: Partial,
    #[serde(flatten)]
    pub(crate) columns: ColumnsBody,
    /// The earlier period. Its points stand beside those of the same place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<PreviousBody>,
}

/// Seconds from point to point, or a unit of the calendar.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PointLength {
    Seconds(u64),
    /// `day`, `week` or `month`.
    Unit(String),
}

/// Tells whether the oldest (`first`) and the newest (`last`) point cover only a part of their step, and whether counts may be
/// missing.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Partial {
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Points may be missing that other hosts accepted while the one of this key was down. Left out if none are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) counts: bool,
}

/// Defines the columns of an answer, each left out unless it is requested.
macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident: $value:ty;)*) => {
        /// The computed values of each point. `null`: no part of the point is counted, it begins after now, or the points that it
        /// needs are not kept.
        #[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
        #[schema(as = Columns)]
        pub(crate) struct ColumnsBody {
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Vec::is_empty")]
                #[schema(required = false)]
                pub(crate) $name: Vec<Option<$value>>,
            )*
            /// The length in seconds of the buckets of `avg`, `min` and `max`: the finest that are kept at `from`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub(crate) bucket: Option<u64>,
        }
    };
}

columns! {
    /// The count per second of the part of the point between `from` and `to`.
    rate: f64;
    /// The average of the point's buckets, with those of zero.
    avg: f64;
    /// The smallest of the point's buckets.
    min: u64;
    /// The largest of the point's buckets.
    max: u64;
    /// The sum of all points up to this one.
    cumulative: u64;
    /// The count minus that of the point before.
    difference: i64;
    /// The sum of the moving window. The first point is whole: it also has what was counted before `from`.
    moving_sum: u64;
    /// The average of the points of the moving window.
    moving_avg: f64;
    /// The counts, with what `fill` says in gaps. Points on a line may have a fraction.
    filled: FilledBody;
}

/// A count, or a place on the line between two.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Filled)]
pub(crate) enum FilledBody {
    Count(u64),
    Between(f64),
}

/// The earlier period.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Previous)]
pub(crate) struct PreviousBody {
    /// The start of the oldest point.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    /// The starts of all points, where the range has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) starts: Vec<String>,
    /// Some points begin elsewhere, because buckets that begin there are not kept any more.
    pub(crate) coarsened: bool,
    pub(crate) values: Vec<u64>,
    pub(crate) sum: u64,
    /// The counted span, as of the range.
    #[schema(format = DateTime)]
    pub(crate) from: String,
    #[schema(format = DateTime)]
    pub(crate) to: String,
}

impl RangeAnswer {
    /// The answer for one key.
    pub(crate) fn one(key: &str, range: Range) -> Self {
        Self::One(Box::new(RangeBody::new(key, range)))
    }

    /// The answer for several keys.
    pub(crate) fn many(keys: &[String], answer: Ranges, wants_total: bool) -> Self {
        let Ranges { ranges, total, .. } = answer;
        let ranges = keys.iter().zip(ranges).map(|(key, range)| RangeBody::new(key, range)).collect();
        Self::Many(RangesBody { ranges, total: wants_total.then(|| Box::new(total.into())) })
    }

    /// The answer for groups; without `is_grouped`, of all keys together.
    pub(crate) fn groups(answer: Groups, is_grouped: bool, wants_total: bool) -> Self {
        let Groups { groups, total, .. } = answer;
        let none = || GroupBody { labels: Labels::default(), keys: 0, points: total.clone().into() };
        let mut rows: Vec<GroupBody> = groups.into_iter().map(GroupBody::from).collect();
        if rows.is_empty() && !is_grouped {
            rows.push(none());
        }
        Self::Groups(GroupsBody { groups: rows, total: wants_total.then(|| Box::new(total.into())) })
    }
}

impl RangeBody {
    fn new(key: &str, range: Range) -> Self {
        Self { key: key.to_owned(), points: range.into() }
    }
}

impl From<Group> for GroupBody {
    fn from(group: Group) -> Self {
        let Group { labels, keys, range, .. } = group;
        Self { labels: Labels(labels), keys, points: range.into() }
    }
}

impl From<Range> for PointsBody {
    fn from(range: Range) -> Self {
        let step = match range.step {
            series::Step::Fixed(step) => PointLength::Seconds(step.as_secs()),
            series::Step::Calendar(unit) => PointLength::Unit(unit.as_str().to_owned()),
        };
        // Points of one length in the order of time need no list.
        let lists = matches!(step, PointLength::Unit(_)) || range.starts.first() > range.starts.last();
        Self {
            start: range.start().to_string(),
            step,
            starts: listed(&range, lists),
            coarsened: range.coarsened,
            sum: range.sum(),
            from: range.from.to_string(),
            to: range.to.to_string(),
            partial: Partial {
                first: range.is_first_partial(),
                last: range.is_last_partial(),
                counts: range.partial,
            },
            columns: range.columns.into(),
            previous: range.previous.map(|previous| PreviousBody {
                start: previous.start().to_string(),
                starts: listed(&previous, lists),
                coarsened: previous.coarsened,
                sum: previous.sum(),
                from: previous.from.to_string(),
                to: previous.to.to_string(),
                values: previous.values,
            }),
            values: range.values,
        }
    }
}

fn listed(range: &Range, lists: bool) -> Vec<String> {
    range.starts.iter().filter(|_| lists).map(Timestamp::to_string).collect()
}

impl From<Columns> for ColumnsBody {
    fn from(columns: Columns) -> Self {
        let filled = |filled: Option<Filled>| {
            filled.map(|filled| match filled {
                Filled::Count(count) => FilledBody::Count(count),
                Filled::Between(value) => FilledBody::Between(value),
            })
        };
        Self {
            rate: columns.rate,
            avg: columns.average,
            min: columns.min,
            max: columns.max,
            cumulative: columns.cumulative,
            difference: columns.difference,
            moving_sum: columns.moving_sum,
            moving_avg: columns.moving_average,
            filled: columns.filled.into_iter().map(filled).collect(),
            bucket: columns.bucket.map(|bucket| bucket.as_secs()),
        }
    }
}
