//! The frame of a picture: title, legend, axes.

use std::ops::Range;

use forebay::Timestamp;
use jiff::tz::TimeZone;
use svg::{
    Document,
    node::{Node, element::Element},
};

use super::{
    Kind, Options, Theme,
    graph::{Graph, Role},
    paint::{self, Face, Palette, block, containing, fit, px, text, width_of},
    ticks,
};

/// The space around the plot in pixels. On the left it depends on the labels.
const RIGHT: f64 = 34.0;
const BOTTOM: f64 = 40.0;
pub(super) const MARGIN: f64 = 16.0;

/// The height of a line of the legend, and of what stands above the plot with one line.
const LEGEND: f64 = 20.0;
const TOP: f64 = 88.0;

/// The widest name in the legend.
const NAME: f64 = 220.0;

/// A picture that is being drawn, and where its plot is.
pub(super) struct Frame {
    document: Document,
    pub palette: &'static Palette,
    pub width: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    /// The lower end of the plot.
    pub bottom: f64,
}

/// An item of the legend: a sample, a number, a name. The name may be written from right to left, and the number not.
struct Item {
    swatch: Element,
    number: String,
    name: String,
}

impl Frame {
    /// A picture with ground, title and description.
    pub(super) fn new(graph: &Graph, options: &Options) -> Self {
        let palette = Palette::of(options.theme);
        let (width, height) = size(options);
        let mut document = Document::new()
            .set("width", width)
            .set("height", height)
            .set("viewBox", format!("0 0 {width} {height}"))
            .set("role", "img")
            .set("font-family", "system-ui, sans-serif")
            .set("data-kind", options.kind.as_str());
        document.append(containing("title", &graph.title));
        document.append(containing("desc", &description(graph, &options.zone)));
        if options.theme == Theme::Auto {
            document.append(paint::dark_style());
        }
        let (width, height) = (f64::from(width), f64::from(height));
        document.append(block(0.0, 0.0, width, height).set("class", "ground").set("fill", palette.ground));
        let title = fit(&graph.title, width - 2.0 * MARGIN, 17.0);
        document.append(text(&title, Face { bold: true, ..Face::text(17.0, palette) }, MARGIN, 22.0));
        Self {
            document,
            palette,
            width,
            left: MARGIN,
            right: width - RIGHT,
            top: TOP,
            bottom: height - BOTTOM,
        }
    }

    pub(super) fn add(&mut self, element: impl Into<Box<dyn Node>>) {
        self.document.append(element);
    }

    pub(super) fn finish(self) -> String {
        self.document.to_string() + "\n"
    }

    /// Draws a square, the summary and the name of each main row, and the meaning of the lines. Moves the top of the plot
    /// below the legend.
    pub(super) fn legend(&mut self, graph: &Graph, kind: Kind) {
        let palette = self.palette;
        let mains = graph.of(Role::Main).enumerate().map(|(row, main)| {
            let swatch = block(0.0, -5.0, 10.0, 10.0);
            let swatch = match kind {
                // The colours are those of the hours.
                Kind::Heatmap => swatch.set("class", "axis").set("fill", palette.axis),
                _ => swatch.set("class", format!("c{row}")).set("fill", palette.rows[row]),
            };
            let number = main.summary().map_or_else(|| "-".to_owned(), |summary| summary.to_string());
            Item { swatch: swatch.into(), number, name: fit(&main.name, NAME, 13.0) }
        });
        let lines = [(Role::Previous, "previous period"), (Role::Moving, "moving average")];
        let lines = lines.into_iter().filter(|(role, _)| graph.of(*role).next().is_some());
        let lines = lines.map(|(role, name)| Item {
            swatch: sample(role, palette),
            number: String::new(),
            name: name.to_owned(),
        });
        let items: Vec<Item> = mains.chain(lines).collect();
        let most = if self.bottom < 220.0 { 1 } else { 3 };
        let (mut x, mut line) = (MARGIN, 0);
        for item in items {
            let number = width_of(&item.number, 13.0);
            let number = if number > 0.0 { number + 5.0 } else { 0.0 };
            let width = 16.0 + number + width_of(&item.name, 13.0) + 18.0;
            if x > MARGIN && x + width > self.width {
                line += 1;
                x = MARGIN;
            }
            let y = 48.0 + LEGEND * f64::from(line);
            if line == most {
                // The picture's data and description name the others.
                self.add(text("…", Face::faint(13.0, palette, "end"), self.width - 4.0, y - LEGEND));
                break;
            }
            let mut place = Element::new("g");
            place.assign("transform", format!("translate({} {})", px(x), px(y)));
            place.append(item.swatch);
            self.add(place);
            if number > 0.0 {
                self.add(text(&item.number, Face::text(13.0, palette), x + 16.0, y));
            }
            self.add(text(&item.name, Face::text(13.0, palette), x + 16.0 + number, y));
            x += width;
        }
        self.top = TOP + LEGEND * f64::from(line.min(most - 1));
    }

    /// Draws what stands above the plot: the unit, and the span of time if there is room for it.
    pub(super) fn heading(&mut self, unit: &str, span: &Range<Timestamp>, zone: &TimeZone) {
        let palette = self.palette;
        let y = self.top - 19.0;
        self.add(text(unit, Face::faint(11.0, palette, "start"), MARGIN, y));
        let range = ticks::range(span, zone);
        if width_of(unit, 11.0) + width_of(&range, 12.0) + 3.0 * MARGIN < self.width {
            self.add(text(&range, Face::faint(12.0, palette, "end"), self.width - MARGIN, y));
        }
    }

    /// Draws the labels of values and their lines.
    pub(super) fn values_axis(&mut self, scale: &Scale) {
        let palette = self.palette;
        let (left, right) = (self.left, self.right);
        let mut axis = Element::new("g");
        axis.assign("class", "values");
        for &value in &scale.values {
            let y = self.y(value, scale);
            let (class, colour) = if value == 0.0 { ("axis", palette.axis) } else { ("grid", palette.grid) };
            let line = block(left, y - 0.5, right - left, 1.0).set("class", class).set("fill", colour);
            axis.append(line.set("data-value", value).set("shape-rendering", "crispEdges"));
            axis.append(text(&ticks::short(value), Face::faint(12.0, palette, "end"), left - 8.0, y));
        }
        self.add(axis);
    }

    /// Draws the labels of times.
    pub(super) fn time_axis(&mut self, span: &Range<Timestamp>, zone: &TimeZone) {
        let palette = self.palette;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a picture's width"
        )]
        let most = ((self.right - self.left) / 76.0) as usize;
        for tick in ticks::times(span, most.max(1), zone) {
            let x = self.x(tick.at, span);
            let mark = block(x.round(), self.bottom, 1.0, 5.0).set("class", "axis");
            self.add(mark.set("fill", palette.axis).set("data-at", tick.at.to_string()));
            self.add(text(&tick.text, Face::faint(12.0, palette, "middle"), x, self.bottom + 17.0));
        }
    }

    /// Says in the middle of the plot why it is empty.
    pub(super) fn notice(&mut self, words: &str) {
        let middle = (f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom));
        self.add(text(words, Face::faint(14.0, self.palette, "middle"), middle.0, middle.1));
    }

    pub(super) fn y(&self, value: f64, scale: &Scale) -> f64 {
        self.bottom - scale.part(value) * (self.bottom - self.top)
    }

    pub(super) fn x(&self, at: Timestamp, span: &Range<Timestamp>) -> f64 {
        let whole = span.end.since(span.start).as_secs_f64();
        let part = if whole > 0.0 { at.since(span.start).as_secs_f64() / whole } else { 0.0 };
        self.left + part * (self.right - self.left)
    }
}

/// The values that are labelled, from the lowest to the highest.
pub(super) struct Scale {
    values: Vec<f64>,
}

impl Scale {
    pub(super) fn new(range: &Range<f64>, is_whole: bool) -> Self {
        Self { values: ticks::values(range, is_whole) }
    }

    /// The values that are labelled.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The place of a value between the lowest label and the highest.
    pub(super) fn part(&self, value: f64) -> f64 {
        let (low, high) = (self.values[0], self.values[self.values.len() - 1]);
        // Twice the half, because the difference of two large numbers may be infinite.
        ((value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)).clamp(0.0, 1.0)
    }

    /// The space that the labels need.
    pub(super) fn room(&self) -> f64 {
        let widest =
            self.values.iter().map(|&value| width_of(&ticks::short(value), 12.0)).fold(16.0, f64::max);
        MARGIN + 8.0 + widest
    }
}

/// A picture's width and height.
pub(super) fn size(options: &Options) -> (u32, u32) {
    (options.width.clamp(320, 4_096), options.height.clamp(200, 4_096))
}

/// The look of a line with a role.
pub(super) fn dashes(role: Role) -> Option<&'static str> {
    (role == Role::Previous).then_some("2 3")
}

/// A short line for the legend.
fn sample(role: Role, palette: &Palette) -> Element {
    let mut line = Element::new("path");
    line.assign("d", "M0 0h12");
    line.assign("class", "ink");
    line.assign("stroke", palette.text);
    line.assign("stroke-width", 1.5);
    if let Some(dashes) = dashes(role) {
        line.assign("stroke-dasharray", dashes);
    }
    line
}

/// The picture in words.
fn description(graph: &Graph, zone: &TimeZone) -> String {
    let mut text = ticks::range(&graph.span(), zone);
    for row in graph.of(Role::Main) {
        let summary =
            row.summary().map_or_else(|| "no value".to_owned(), |n| format!("{} {n}", row.summary_name()));
        text = format!("{text}. {}: {summary}", row.name);
        let largest = row.values.iter().enumerate().filter_map(|(place, value)| Some((place, (*value)?)));
        let largest = largest.reduce(|a, b| if b.1.as_f64() > a.1.as_f64() { b } else { a });
        if let Some((place, most)) = largest.filter(|(_, most)| most.as_f64() > 0.0) {
            let at = graph.starts[place]..graph.end_of(place);
            text = format!("{text}, largest {most} at {}", ticks::range(&at, zone));
        }
    }
    text + "."
}
