//! The parameters of a query of a series: those of HTTP, and the options of the command line.

use forebay::{
    Timestamp,
    series::{Fill, Function, Order, Previous, Query},
};
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::text::{self, Span, Step, moment};

/// The columns of `show`.
const COLUMNS: [(&str, Function); 6] = [
    ("rate", Function::Rate),
    ("avg", Function::Average),
    ("min", Function::Min),
    ("max", Function::Max),
    ("cumulative", Function::Cumulative),
    ("difference", Function::Difference),
];

const FILLS: [(&str, Fill); 4] =
    [("zero", Fill::Zero), ("null", Fill::Null), ("previous", Fill::Previous), ("linear", Fill::Linear)];

const ORDERS: [(&str, Order); 2] = [("oldest", Order::OldestFirst), ("newest", Order::NewestFirst)];

/// The most quantiles of a query.
const MAX_QUANTILES: usize = 20;

/// The span of a query and what is computed, as texts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, clap::Args)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeQuery {
    /// The start: RFC 3339, seconds since 1970, `now`, a span such as `-1d`, or `today`. Default `-1d`.
    #[param(default = "-1d")]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// The exclusive end, in the same forms as `from`. Default `now`.
    #[param(default = "now")]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// Instead of `from` and `to`: so many points of `step` up to now, 1 to 100000.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    #[arg(long, value_name = "POINTS")]
    pub(crate) last: Option<String>,
    /// The length of a point: a multiple of the finest resolution, such as `10s`; longer where that is not kept any more. By
    /// default the finest that gives at most 1 500 points. Or `day`, `week` or `month`, of the time zone `tz`.
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// The time zone of `today` and of a step of the calendar, such as `Europe/Berlin`. Default `UTC`.
    #[param(default = "UTC")]
    #[arg(long, value_name = "ZONE")]
    pub(crate) tz: Option<String>,
    /// Columns beside the counts, with commas between them: `rate` (per second), `avg`, `min`, `max` (of the finest buckets
    /// that are kept at the start), `cumulative`, `difference` (to the point before).
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) show: Option<String>,
    /// Adds the sum and the average of each point and the points before it, so many in all: 1 to 10000.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    #[arg(long, value_name = "POINTS")]
    pub(crate) moving: Option<String>,
    /// Adds an earlier period, point by point: `span` (the same length directly before), a span such as `7d`, or a number of
    /// points.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) previous: Option<String>,
    /// Adds the counts with something else than zero in a gap, a point without any count: `null`, `previous` (the count before
    /// it) or `linear` (a line to the next count). Default `zero`.
    #[param(default = "zero")]
    #[arg(long, value_name = "FILL")]
    pub(crate) fill: Option<String>,
    /// The order of the points: `oldest` or `newest` first. Default `oldest`.
    #[param(default = "oldest")]
    #[arg(long, value_name = "ORDER")]
    pub(crate) order: Option<String>,
    /// Cuts the answer to its first points, 1 to 100000: the oldest or the newest, by the order.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    #[arg(long, value_name = "POINTS")]
    pub(crate) limit: Option<String>,
    /// `true`: adds the points of all keys together. The answer is a list then, even of one key.
    #[param(value_type = Option<bool>)]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) total: Option<String>,
    /// In place of keys: adds up the keys with the same values of these labels, with commas between them. A row for each.
    #[arg(long, value_name = "LABELS")]
    pub(crate) group_by: Option<String>,
    /// Of a series of percentiles, the quantiles of each point, 0 to 1, with commas between them, at most 20. Default
    /// `0.5,0.9,0.99`.
    #[param(default = "0.5,0.9,0.99")]
    #[arg(long, value_name = "QUANTILES")]
    pub(crate) quantiles: Option<String>,
}

/// A wrong parameter: its name, and what would be accepted.
#[derive(Debug)]
pub(crate) struct WrongParameter {
    pub(crate) field: &'static str,
    pub(crate) detail: String,
}

type Result<T> = std::result::Result<T, WrongParameter>;

impl RangeQuery {
    /// The query that the texts mean at `now`.
    pub(crate) fn query(&self, now: Timestamp) -> Result<Query> {
        let zone = self.tz.as_deref().unwrap_or("UTC");
        let step = self.step.as_deref().map(str::parse::<Step>).transpose();
        let step = step.map_err(|error| wrong("step", format!("step: {error}")))?;
        let mut query = self.span(now, zone, step)?.zone(zone);
        if let Some(Step(step)) = step {
            query = query.step(step);
        }
        for name in self.show.iter().flat_map(|names| names.split(',')) {
            query = query.compute(choice("show", name, &COLUMNS)?);
        }
        if let Some(points) = number("moving", self.moving.as_deref(), 10_000)? {
            query = query.compute(Function::Moving(points));
        }
        if let Some(period) = &self.previous {
            query = query.previous(previous(period, step)?);
        }
        if let Some(fill) = &self.fill {
            query = query.fill(choice("fill", fill, &FILLS)?);
        }
        if let Some(order) = &self.order {
            query = query.order(choice("order", order, &ORDERS)?);
        }
        if let Some(points) = number("limit", self.limit.as_deref(), 100_000)? {
            query = query.limit(points);
        }
        Ok(query)
    }

    /// The quantiles, each with its text; those that are there by default if there are none.
    pub(crate) fn quantiles(&self) -> Result<Vec<(String, f64)>> {
        let texts = self.quantiles.as_deref().unwrap_or("0.5,0.9,0.99").split(',');
        let read = |text: &str| {
            let quantile = text.parse::<f64>().ok().filter(|quantile| (0.0..=1.0).contains(quantile));
            let quantile = quantile.ok_or_else(|| {
                let found = text::quoted(text);
                wrong("quantiles", format!("quantiles: {found}: numbers from 0 to 1, such as 0.5,0.99"))
            })?;
            Ok((text.to_owned(), quantile))
        };
        let quantiles = texts.map(read).collect::<Result<Vec<_>>>()?;
        if quantiles.len() > MAX_QUANTILES {
            let count = quantiles.len();
            return Err(wrong("quantiles", format!("quantiles: {count} of them: at most {MAX_QUANTILES}")));
        }
        Ok(quantiles)
    }

    /// Refuses the quantiles of a query of a series that has none.
    pub(crate) fn without_quantiles(&self) -> Result<()> {
        match &self.quantiles {
            Some(_) => Err(wrong("quantiles", "quantiles: they are of series of the kind percentiles")),
            None => Ok(()),
        }
    }

    /// Whether the points of all keys together are requested.
    pub(crate) fn wants_total(&self) -> Result<bool> {
        self.total
            .as_deref()
            .map_or(Ok(false), |text| choice("total", text, &[("true", true), ("false", false)]))
    }

    /// The labels by which keys are grouped.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.group_by.iter().flat_map(|labels| labels.split(','))
    }

    /// The parameters that are set.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self {
            from,
            to,
            last,
            step,
            tz,
            show,
            moving,
            previous,
            fill,
            order,
            limit,
            total,
            group_by,
            quantiles,
        } = self;
        let named = [
            ("from", from),
            ("to", to),
            ("last", last),
            ("step", step),
            ("tz", tz),
            ("show", show),
            ("moving", moving),
            ("previous", previous),
            ("fill", fill),
            ("order", order),
            ("limit", limit),
            ("total", total),
            ("group_by", group_by),
            ("quantiles", quantiles),
        ];
        named.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    fn span(&self, now: Timestamp, zone: &str, step: Option<Step>) -> Result<Query> {
        let zone = self::zone(zone)?;
        if let Some(points) = number("last", self.last.as_deref(), 100_000)? {
            if self.from.is_some() || self.to.is_some() {
                return Err(wrong("last", "last: the last points end with now; leave out from and to"));
            }
            let Some(Step(step)) = step else {
                return Err(wrong("last", "last: a number of points needs a step, such as 1h or day"));
            };
            return Ok(Query::last_points(points, step));
        }
        let from = time("from", self.from.as_deref().unwrap_or("-1d"), now, &zone)?;
        let to = time("to", self.to.as_deref().unwrap_or("now"), now, &zone)?;
        if from >= to {
            return Err(wrong("from", format!("from {from} to {to}: a range ends after it begins")));
        }
        Ok(Query::between(from, to))
    }
}

pub(super) fn wrong(field: &'static str, detail: impl Into<String>) -> WrongParameter {
    WrongParameter { field, detail: detail.into() }
}

pub(super) fn time(field: &'static str, text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    moment(text, now, zone).map_err(|error| wrong(field, format!("{field}: {error}")))
}

/// The time zone of a query.
pub(super) fn zone(name: &str) -> Result<TimeZone> {
    moment::zone(name).map_err(|error| wrong("tz", error.to_string()))
}

fn number(field: &'static str, text: Option<&str>, most: usize) -> Result<Option<usize>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(wrong(field, format!("{field}: {}: a number of points, 1 to {most}", text::quoted(text)))),
    }
}

pub(super) fn choice<T: Copy>(field: &'static str, name: &str, known: &[(&str, T)]) -> Result<T> {
    known.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
        wrong(field, format!("{field}: {}: one of {}", text::quoted(name), names.join(", ")))
    })
}

fn previous(period: &str, step: Option<Step>) -> Result<Previous> {
    const FIELD: &str = "previous";
    if period == "span" {
        return Ok(Previous::Span);
    }
    if period.bytes().all(|c| c.is_ascii_digit()) {
        let points = number(FIELD, Some(period), 100_000)?.unwrap_or_default();
        return Ok(Previous::Points(points));
    }
    let Span(span) = period
        .parse()
        .map_err(|error| wrong(FIELD, format!("{FIELD}: {error}; or span, or a number of points")))?;
    if let Some(step @ Step(forebay::series::Step::Calendar(_))) = step {
        let text =
            format!("{FIELD}: {period}: with points of a {step}, span or a number of points, such as 7");
        return Err(wrong(FIELD, text));
    }
    Ok(Previous::By(span))
}

#[cfg(test)]
mod tests {
    use forebay::time::{days, hours};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn of(pairs: &[(&str, &str)]) -> RangeQuery {
        let mut query = RangeQuery::default();
        for (name, text) in pairs {
            let field = match *name {
                "from" => &mut query.from,
                "last" => &mut query.last,
                "step" => &mut query.step,
                "show" => &mut query.show,
                "moving" => &mut query.moving,
                "previous" => &mut query.previous,
                "fill" => &mut query.fill,
                "order" => &mut query.order,
                "limit" => &mut query.limit,
                "total" => &mut query.total,
                _ => panic!("{name}"),
            };
            *field = Some((*text).to_owned());
        }
        query
    }

    #[test]
    fn texts_are_a_query() {
        let query = of(&[("show", "rate,max"), ("moving", "7"), ("previous", "7d"), ("order", "newest")]);
        let expected = Query::between(NOW.minus(days(1)), NOW).zone("UTC").compute(Function::Rate);
        let expected = expected.compute(Function::Max).compute(Function::Moving(7));
        let expected = expected.previous(Previous::By(days(7))).order(Order::NewestFirst);
        assert_eq!(query.query(NOW).expect("valid"), expected);
        let sent: Vec<_> = query.parameters().collect();
        assert_eq!(sent, [("show", "rate,max"), ("moving", "7"), ("previous", "7d"), ("order", "newest")]);
        let last =
            of(&[("last", "24"), ("step", "1h"), ("previous", "span"), ("limit", "5"), ("fill", "null")]);
        let expected = Query::last_points(24, hours(1)).zone("UTC").previous(Previous::Span).limit(5);
        assert_eq!(last.query(NOW).expect("valid"), expected.fill(Fill::Null));
    }

    #[test]
    fn a_wrong_text_is_answered_with_what_would_be_accepted() {
        for (pairs, told) in [
            (
                &[("show", "rate,mean")][..],
                "show: \"mean\": one of rate, avg, min, max, cumulative, difference",
            ),
            (&[("show", "")], "show: \"\": one of rate"),
            (&[("moving", "0")], "moving: \"0\": a number of points, 1 to 10000"),
            (&[("limit", "many")], "limit: \"many\": a number of points, 1 to 100000"),
            (&[("fill", "none")], "fill: \"none\": one of zero, null, previous, linear"),
            (&[("order", "asc")], "order: \"asc\": one of oldest, newest"),
            (&[("previous", "week")], "or span, or a number of points"),
            (&[("previous", "7d"), ("step", "day")], "previous: 7d: with points of a day, span or a number"),
            (&[("last", "24")], "last: a number of points needs a step"),
            (&[("last", "24"), ("step", "1h"), ("from", "-1d")], "leave out from and to"),
        ] {
            let error = of(pairs).query(NOW).expect_err(told);
            assert!(error.detail.contains(told) && error.detail.contains(error.field), "{error:?}");
        }
        assert!(of(&[("total", "yes")]).wants_total().is_err());
        assert!(of(&[("total", "true")]).wants_total().expect("valid"));
    }
}
