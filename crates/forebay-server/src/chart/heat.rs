//! The heat map: the hours of the day by the days of the week.

use std::{ops::Range, time::Duration};

use forebay::Timestamp;
use jiff::{civil::Weekday, tz::TimeZone};
use svg::node::{Node, element::Group};

use super::{
    Options,
    frame::{Frame, MARGIN},
    graph::{Graph, Merge, Number, Role, Row, sum_of},
    paint::{Face, LEVELS, block, containing, text, width_of},
};

const HOURS: usize = 24;
pub(super) const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// An hour of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub sum: Option<Number>,
    /// The counted time. Weeks that are cut, and days on which clocks are changed, have more or less of an hour than others.
    pub counted: Duration,
}

impl Cell {
    /// The average of an hour; `None` of an hour that is not counted.
    pub(super) fn average(&self) -> Option<f64> {
        let hours = self.counted.as_secs_f64() / 3_600.0;
        self.sum.filter(|_| hours > 0.0).map(|sum| sum.as_f64() / hours)
    }
}

/// The hours of a week, Monday first.
pub(super) fn week(graph: &Graph, zone: &TimeZone) -> [[Cell; HOURS]; 7] {
    let mut week = [[Cell::default(); HOURS]; 7];
    let mains: Vec<&Row> = graph.of(Role::Main).collect();
    let Some(sums) = sum_of(&mains, String::new()) else { return week };
    for (point, value) in sums.values.iter().enumerate() {
        let Some((day, hour)) = place(graph.starts[point], zone) else { continue };
        let cell = &mut week[day][hour];
        cell.sum = Merge::Sum.of([cell.sum, *value]);
        let (start, end) =
            (graph.starts[point].max(graph.counted.start), graph.end_of(point).min(graph.counted.end));
        if value.is_some() && start < end {
            cell.counted += end.since(start);
        }
    }
    week
}

/// The weekday, from Monday, and the hour of a time.
fn place(at: Timestamp, zone: &TimeZone) -> Option<(usize, usize)> {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
    let local = zone.to_datetime(at);
    let day = usize::try_from(local.weekday().since(Weekday::Monday)).ok()?;
    Some((day, usize::try_from(local.hour()).ok()?))
}

/// The step of colour: 0 for nothing, else 1 up to the last one for the most.
pub(super) fn level(average: f64, most: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the levels")]
    let level = (average / most * (LEVELS - 1) as f64).ceil() as usize;
    if average > 0.0 { level.clamp(1, LEVELS - 1) } else { 0 }
}

/// Draws the heat map.
pub(super) fn draw(graph: &Graph, options: &Options) -> String {
    let week = week(graph, &options.zone);
    let mut frame = Frame::new(graph, options);
    frame.legend(graph, options.kind);
    frame.left = MARGIN + 38.0;
    frame.right = frame.width - MARGIN;
    let counted: Range<Timestamp> = graph.counted.clone();
    frame.heading("average per hour", &counted, &options.zone);
    let most = week.iter().flatten().filter_map(Cell::average).fold(0.0, f64::max);
    labels(&mut frame);
    cells(&mut frame, &week, most);
    scale(&mut frame, most);
    if most == 0.0 {
        frame.notice("nothing was counted");
    }
    frame.finish()
}

/// The area of a cell: place and size.
fn area(frame: &Frame, day: usize, hour: usize) -> [f64; 4] {
    let column = |hour: usize| (frame.left + (frame.right - frame.left) * hour as f64 / HOURS as f64).round();
    let line = |day: usize| (frame.top + (frame.bottom - frame.top) * day as f64 / DAYS.len() as f64).round();
    let (x, y) = (column(hour), line(day));
    [x, y, column(hour + 1) - x - 1.0, line(day + 1) - y - 1.0]
}

fn labels(frame: &mut Frame) {
    let faint = |anchor| Face::faint(12.0, frame.palette, anchor);
    let (days, hours) = (faint("end"), faint("start"));
    for (day, name) in DAYS.into_iter().enumerate() {
        let [_, y, _, height] = area(frame, day, 0);
        frame.add(text(name, days, frame.left - 8.0, y + height / 2.0));
    }
    let is_narrow = frame.right - frame.left < 400.0;
    for hour in (0..HOURS).step_by(3) {
        let [x, ..] = area(frame, 0, hour);
        let label = if is_narrow { format!("{hour:02}") } else { format!("{hour:02}:00") };
        frame.add(text(&label, hours, x, frame.bottom + 10.0));
    }
}

fn cells(frame: &mut Frame, week: &[[Cell; HOURS]; 7], most: f64) {
    let mut cells = Group::new().set("class", "cells").set("shape-rendering", "crispEdges");
    for (day, hours) in week.iter().enumerate() {
        for (hour, cell) in hours.iter().enumerate() {
            let [x, y, width, height] = area(frame, day, hour);
            let rect = block(x, y, width.max(1.0), height.max(1.0))
                .set("data-weekday", day + 1)
                .set("data-hour", hour);
            let name = format!("{} {hour:02}:00", DAYS[day]);
            let (rect, words) = if let (Some(average), Some(sum)) = (cell.average(), cell.sum) {
                let level = level(average, most);
                let (average, hours) = (Number::Real(average), cell.counted.as_secs_f64() / 3_600.0);
                let rect = rect
                    .set("class", format!("h{level}"))
                    .set("fill", frame.palette.heat[level])
                    .set("data-sum", sum.plain())
                    .set("data-seconds", cell.counted.as_secs());
                (rect, format!("{name}: {average} per hour, {sum} in {} h", Number::Real(hours)))
            } else {
                // An hour that is not counted is not one of zero.
                let rect =
                    rect.set("class", "axis").set("fill", frame.palette.axis).set("fill-opacity", 0.12);
                (rect, format!("{name}: not counted"))
            };
            cells.append(rect.add(containing("title", &words)));
        }
    }
    frame.add(cells);
}

/// Draws the colours from nothing to the most.
fn scale(frame: &mut Frame, most: f64) {
    let palette = frame.palette;
    let y = frame.bottom + 28.0;
    let label = Number::Real(most).to_string();
    let mut x = frame.right - width_of(&label, 11.0);
    frame.add(text(&label, Face::faint(11.0, palette, "end"), frame.right, y));
    x -= 6.0 + 14.0 * LEVELS as f64;
    for (level, colour) in palette.heat.into_iter().enumerate() {
        let rect = block(x + 14.0 * level as f64, y - 5.0, 14.0, 10.0).set("class", format!("h{level}"));
        frame.add(rect.set("fill", colour));
    }
    frame.add(text("0", Face::faint(11.0, palette, "end"), x - 6.0, y));
}
