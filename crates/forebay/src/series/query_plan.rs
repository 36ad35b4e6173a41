//! The plan of a query: its points, those before them, and those of the previous period.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{
    CalendarUnit,
    cover::{Cover, is_edge, oldest},
    plan::{Buckets, Extent, MAX_POINTS, Plan, plan_fixed, plan_windows, start_of_step},
    query::{Previous, Query, QuerySpan},
    step::Step,
};
use crate::{
    error::{Error, Result, invalid, out_of_range},
    model::resolution::Resolution,
    time::{Timestamp, micros},
};

/// The maximum length of a moving window, in points.
const MAX_WINDOW: usize = 10_000;

/// All buckets that a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryPlan {
    pub main: Plan,
    pub lead: Option<Lead>,
    pub previous: Option<Plan>,
    /// The length of the buckets of averages, minima and maxima.
    pub bucket: Duration,
    pub now: Timestamp,
}

/// The points before a range, and its first point as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub plan: Plan,
    /// Of each point, whether it is whole buckets that are kept.
    pub known: Vec<bool>,
}

impl QueryPlan {
    /// Plans a query at `now`.
    pub(super) fn new(resolutions: &[Resolution], query: &Query, now: Timestamp) -> Result<Self> {
        let planner = Planner::new(resolutions, query, now)?;
        let (main, previous) = match query.step {
            Some(Step::Calendar(unit)) => planner.calendar(unit)?,
            Some(Step::Fixed(step)) => planner.fixed(Some(step))?,
            None => planner.fixed(None)?,
        };
        let lead = query.lead().map(|points| planner.lead(&main, points));
        let bucket = resolutions[planner.extent.finest(resolutions)].step;
        Ok(Self { main, lead, previous, bucket, now })
    }

    /// The covers of the plans, in the order in which they are read.
    pub(super) fn covers(&self) -> impl Iterator<Item = &Cover> {
        let lead = self.lead.as_ref().map(|lead| &lead.plan);
        [Some(&self.main), lead, self.previous.as_ref()].into_iter().flatten().map(|plan| &plan.cover)
    }

    /// The number of points, with those before the range and of the previous period.
    pub(super) fn points(&self) -> usize {
        let lead = self.lead.as_ref().map_or(0, |lead| lead.plan.starts.len() - 1);
        self.main.starts.len() + lead + self.previous.as_ref().map_or(0, |plan| plan.starts.len())
    }
}

/// A query, and the times that follow from it.
struct Planner<'a> {
    resolutions: &'a [Resolution],
    query: &'a Query,
    zone: TimeZone,
    extent: Extent,
    /// The length of the span as it was requested.
    length: Duration,
}

impl<'a> Planner<'a> {
    fn new(resolutions: &'a [Resolution], query: &'a Query, now: Timestamp) -> Result<Self> {
        check(query)?;
        let zone = match query.step {
            Some(Step::Calendar(_)) => zone(&query.zone)?,
            _ => TimeZone::UTC,
        };
        let (from, to, length) = span(query, now, &zone)?;
        let buckets = if query.needs_buckets() { Buckets::Finest } else { Buckets::Few };
        let extent = Extent { buckets, ..Extent::new(from, to, now) };
        Ok(Self { resolutions, query, zone, extent, length })
    }

    /// Points of one length, and the previous ones.
    fn fixed(&self, requested: Option<Duration>) -> Result<(Plan, Option<Plan>)> {
        let mut extent = self.extent;
        // It ends: the step grows with what is kept at `reach`, and with the coarsest resolution no more.
        loop {
            let main = plan_fixed(self.resolutions, extent, requested)?;
            let Some(previous) = self.query.previous else { return Ok((main, None)) };
            let shift = self.shift(previous, &main)?;
            let reach = extent.from.minus(shift);
            if reach < extent.reach {
                extent.reach = reach;
                continue;
            }
            let Plan { cover, step, starts, end, .. } = &main;
            let earlier = Extent::new(cover.from.minus(shift), cover.to.minus(shift), extent.now);
            let starts = starts.iter().map(|start| start.minus(shift)).collect();
            let previous = plan_windows(self.resolutions, earlier, starts, end.minus(shift), *step);
            return Ok((main, Some(previous)));
        }
    }

    /// The time by which the previous period is earlier: whole buckets of the finest resolution that is kept at its start.
    fn shift(&self, previous: Previous, main: &Plan) -> Result<Duration> {
        let kept = |shift| {
            let from = self.extent.from.minus(shift);
            Extent { from, ..self.extent }.finest(self.resolutions)
        };
        match (previous, main.step) {
            (Previous::Points(points), Step::Fixed(step)) => {
                let points = u32::try_from(points).unwrap_or(u32::MAX);
                Ok(step.saturating_mul(points))
            }
            (Previous::By(shift), _) => {
                let bucket = self.resolutions[kept(shift)].step;
                if shift.is_zero() || micros(shift) % micros(bucket) != 0 {
                    let text = format!(
                        "previous period {shift:?} earlier: a multiple of {bucket:?}, the finest buckets there"
                    );
                    return Err(out_of_range(text));
                }
                Ok(shift)
            }
            _ => {
                let rounded = |resolution: &Resolution| {
                    let (length, bucket) = (self.length.as_secs(), resolution.step.as_secs());
                    let buckets = length.saturating_add(bucket / 2) / bucket;
                    Duration::from_secs(buckets.max(1).saturating_mul(bucket))
                };
                let mut shifts = self.resolutions.iter().map(rounded).enumerate();
                let coarsest = self.resolutions.last().map(rounded).unwrap_or_default();
                Ok(shifts
                    .find(|(number, shift)| kept(*shift) <= *number)
                    .map_or(coarsest, |(_, shift)| shift))
            }
        }
    }

    /// Points of the calendar, and the previous ones.
    fn calendar(&self, unit: CalendarUnit) -> Result<(Plan, Option<Plan>)> {
        let Extent { from, to, now, .. } = self.extent;
        // Nothing before is kept.
        let from = from.max(oldest(self.resolutions, now)).min(to);
        let (starts, end) = windows(unit, from, to, &self.zone).ok_or_else(|| {
            let word = unit.as_str();
            out_of_range(format!("more than {MAX_POINTS} {word}s: ask for a shorter range"))
        })?;
        let extent = Extent { from, reach: from, ..self.extent };
        let main = plan_windows(self.resolutions, extent, starts.clone(), end, unit.into());
        let Some(previous) = self.query.previous else { return Ok((main, None)) };
        let count = starts.len();
        let back = match previous {
            Previous::Span => count,
            Previous::Points(points) => points,
            Previous::By(shift) => {
                let word = unit.as_str();
                let text = format!(
                    "previous period {shift:?} earlier, by the {word}: a number of {word}s, or the span"
                );
                return Err(invalid(text));
            }
        };
        let mut edges = self.before(main.step, starts[0], back);
        if edges.len() < back {
            return Err(out_of_range("the previous period begins before 1970"));
        }
        edges.extend(starts.iter().chain([&end]));
        let (earlier, earlier_end) = (edges[..count].to_vec(), edges[count]);
        // Cut after the same time since the start.
        let offset = main.cover.from.since(starts[0]);
        let from = earlier[0].plus(offset).min(earlier_end);
        let rest = main.cover.to.since(starts[count - 1]);
        let whole = main.cover.to >= end;
        let to = if whole { earlier_end } else { earlier[count - 1].plus(rest).min(earlier_end) };
        let extent = Extent::new(from.min(to), to, now);
        let previous = plan_windows(self.resolutions, extent, earlier, earlier_end, unit.into());
        Ok((main, Some(previous)))
    }

    /// So many points before the first one, and the first one as a whole.
    fn lead(&self, main: &Plan, points: usize) -> Lead {
        let (first, now) = (main.starts[0], self.extent.now);
        let mut starts = self.before(main.step, first, points);
        starts.push(first);
        let end = main.starts.get(1).copied().unwrap_or(main.end);
        let extent = Extent::new(starts[0], end.min(self.extent.to), now);
        let plan = plan_windows(self.resolutions, extent, starts.clone(), end, main.step);
        // A point is known if it begins and ends where it should.
        let is_met = |number: usize, start: Timestamp| {
            let met = if number == 0 { plan.cover.from } else { plan.starts[number] };
            met == start && is_edge(self.resolutions, start, now)
        };
        let met = starts.iter().enumerate().map(|(number, start)| is_met(number, *start));
        let first_end = main.starts.get(1).map_or(main.cover.to, |next| (*next).min(main.cover.to));
        let met: Vec<bool> = met.chain([plan.cover.to == first_end]).collect();
        let known = met.windows(2).map(|pair| pair[0] && pair[1]).collect();
        Lead { plan, known }
    }

    /// The starts of so many points before `first`, in order; fewer, if the calendar has no more.
    fn before(&self, step: Step, first: Timestamp, points: usize) -> Vec<Timestamp> {
        match step {
            Step::Fixed(step) => {
                let start = |back| first.minus(step.saturating_mul(u32::try_from(back).unwrap_or(u32::MAX)));
                (1..=points).rev().map(start).collect()
            }
            Step::Calendar(unit) => before(unit, first, points, &self.zone),
        }
    }
}

/// The windows of the calendar that have a part of `from..to`, and the end of the last one. `None`: they are too many.
fn windows(
    unit: CalendarUnit,
    from: Timestamp,
    to: Timestamp,
    zone: &TimeZone,
) -> Option<(Vec<Timestamp>, Timestamp)> {
    // The longest lead and a range have no more.
    let most = usize::try_from(MAX_POINTS).unwrap_or(usize::MAX);
    let (starts, end) = unit.windows(from.as_micros(), to.as_micros(), zone, most)?;
    Some((starts.into_iter().map(Timestamp::from_micros).collect(), Timestamp::from_micros(end)))
}

/// The starts of the last windows before `first`, in order.
fn before(unit: CalendarUnit, first: Timestamp, points: usize, zone: &TimeZone) -> Vec<Timestamp> {
    let days = match unit {
        CalendarUnit::Day => 1,
        CalendarUnit::Week => 7,
        CalendarUnit::Month => 31,
    };
    // A day may have 25 hours, and a zone may skip one.
    let hours = u64::try_from(points).unwrap_or(u64::MAX).saturating_mul(days * 24 + 1).saturating_add(72);
    let from = first.minus(Duration::from_secs(hours.saturating_mul(3_600)));
    let Some((starts, _)) = windows(unit, from, first, zone).filter(|_| points > 0) else { return vec![] };
    let starts: Vec<Timestamp> = starts.into_iter().filter(|start| *start < first).collect();
    starts[starts.len().saturating_sub(points)..].to_vec()
}

/// The span of a query, and its length as it was requested.
fn span(query: &Query, now: Timestamp, zone: &TimeZone) -> Result<(Timestamp, Timestamp, Duration)> {
    let after = now.plus(Duration::from_micros(1));
    match (query.span, query.step) {
        (QuerySpan::Between(from, to), _) if from >= to => {
            Err(out_of_range(format!("from {from} to {to}: a range ends after it begins")))
        }
        (QuerySpan::Between(from, to), _) => Ok((from, to, to.since(from))),
        (QuerySpan::Last(span), _) => Ok((now.minus(span), after, span)),
        (QuerySpan::Points(points), Some(Step::Calendar(unit))) => {
            let current = windows(unit, now, after, zone).map_or(now, |(starts, _)| starts[0]);
            let from = before(unit, current, points - 1, zone).first().copied().unwrap_or(current);
            Ok((from, after, after.since(from)))
        }
        (QuerySpan::Points(points), Some(Step::Fixed(step))) if !step.is_zero() => {
            let points = u32::try_from(points).unwrap_or(u32::MAX);
            let from = start_of_step(now, step).minus(step.saturating_mul(points - 1));
            Ok((from, after, step.saturating_mul(points)))
        }
        (QuerySpan::Points(_), _) => Err(invalid("the last points need a step")),
    }
}

fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name)
        .map_err(|_| invalid(format!("zone {name:?}: no such time zone; a name such as Europe/Berlin")))
}

/// Checks the numbers of a query.
fn check(query: &Query) -> Result<()> {
    let most = usize::try_from(MAX_POINTS).unwrap_or(usize::MAX);
    let within = |what: &str, number: usize, most: usize| -> Result<(), Error> {
        if (1..=most).contains(&number) {
            return Ok(());
        }
        Err(out_of_range(format!("{what} of {number} points: 1 to {most}")))
    };
    if let QuerySpan::Points(points) = query.span {
        within("range", points, most)?;
    }
    if let Some(Previous::Points(points)) = query.previous {
        within("previous period", points, most)?;
    }
    query.moving().map_or(Ok(()), |points| within("moving window", points, MAX_WINDOW))?;
    query.limit.map_or(Ok(()), |points| within("limit", points, most))
}
