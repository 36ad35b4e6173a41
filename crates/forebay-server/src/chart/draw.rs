//! Draws bars, axes and text.

use std::{io, ops::Range};

use forebay::Timestamp;
use jiff::tz::TimeZone;
use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea},
    element::Rectangle,
    style::{
        Color, FontStyle, IntoFont, RGBColor, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{Options, Theme, bars::Bars, ticks};
use crate::text::{Span, grouped};

/// The space around the plot in pixels. On the left it depends on the labels.
const TOP: i32 = 84;
const RIGHT: i32 = 34;
const BOTTOM: i32 = 40;
const MARGIN: i32 = 16;

/// The widest bar in pixels.
const MAX_BAR_WIDTH: f64 = 56.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// The number of bars that leaves three pixels for each.
pub(super) fn most_bars(options: &Options) -> usize {
    size(options).0 as usize / 3
}

/// The offset of the zone from UTC, in microseconds.
pub(super) fn offset(at: Timestamp, zone: &TimeZone) -> i64 {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .map_or(0, |at| i64::from(zone.to_offset(at).seconds()) * 1_000_000)
}

/// Draws stacked bars, the first kind lowest. The bars may exceed `span`, the requested time.
pub(super) fn svg<const L: usize>(
    title: &str,
    names: [&str; L],
    bars: &Bars<L>,
    span: &Range<Timestamp>,
    options: &Options,
) -> String {
    let mut picture = String::new();
    let (width, height) = size(options);
    let area = SVGBackend::with_string(&mut picture, (width, height)).into_drawing_area();
    let most = bars.counts.iter().map(total).max().unwrap_or(0);
    let chart = Chart {
        area,
        colours: Colours::of(options.theme),
        width: width.cast_signed(),
        bottom: height.cast_signed() - BOTTOM,
        values: ticks::counts(most),
    };
    chart.draw(title, names, bars, span, &options.zone).expect("a string takes any drawing");
    drop(chart);
    picture
}

fn size(options: &Options) -> (u32, u32) {
    (options.width.clamp(320, 4_096), options.height.clamp(200, 4_096))
}

fn total<const L: usize>(counts: &[u64; L]) -> u64 {
    counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
}

struct Colours {
    ground: RGBColor,
    text: RGBColor,
    faint: RGBColor,
    grid: RGBColor,
    axis: RGBColor,
    bars: [RGBColor; 2],
}

impl Colours {
    const fn of(theme: Theme) -> Self {
        match theme {
            Theme::Light => Self {
                ground: RGBColor(255, 255, 255),
                text: RGBColor(31, 41, 55),
                faint: RGBColor(107, 114, 128),
                grid: RGBColor(232, 235, 239),
                axis: RGBColor(156, 163, 175),
                bars: [RGBColor(59, 130, 196), RGBColor(232, 116, 59)],
            },
            Theme::Dark => Self {
                ground: RGBColor(17, 22, 29),
                text: RGBColor(226, 232, 240),
                faint: RGBColor(148, 160, 176),
                grid: RGBColor(38, 46, 57),
                axis: RGBColor(84, 96, 112),
                bars: [RGBColor(88, 164, 232), RGBColor(255, 148, 87)],
            },
        }
    }
}

struct Chart<'a> {
    area: Area<'a>,
    colours: Colours,
    width: i32,
    /// The height of zero.
    bottom: i32,
    /// The labels of the counts, from zero to the top.
    values: Vec<u128>,
}

impl Chart<'_> {
    fn draw<const L: usize>(
        &self,
        title: &str,
        names: [&str; L],
        bars: &Bars<L>,
        span: &Range<Timestamp>,
        zone: &TimeZone,
    ) -> Drawn {
        self.area.fill(&self.colours.ground)?;
        let title = fit(title, self.width - 2 * MARGIN, 17.0);
        self.text(&title, Face { bold: true, ..Face::at(17.0, self.colours.text) }, (MARGIN, 22))?;
        let legend = self.legend(names, bars)?;
        let range = ticks::range(span, zone);
        if legend + width_of(&range, 13.0) + 3 * MARGIN < self.width {
            self.text(&range, self.faint(13.0, HPos::Right), (self.width - MARGIN, 48))?;
        }
        self.counts_axis(bars.width)?;
        self.bars(bars)?;
        self.time_axis(&bars.span(), zone)?;
        if bars.counts.iter().all(|counts| total(counts) == 0) {
            let middle = (i32::midpoint(self.left(), self.right()), i32::midpoint(TOP, self.bottom));
            self.text("nothing was counted", self.faint(14.0, HPos::Center), middle)?;
        }
        self.area.present()
    }

    /// Draws a square and a sum for each kind; returns where the legend ends.
    fn legend<const L: usize>(
        &self,
        names: [&str; L],
        bars: &Bars<L>,
    ) -> Result<i32, DrawingAreaErrorKind<io::Error>> {
        let mut x = MARGIN;
        for (kind, name) in names.into_iter().enumerate() {
            let sum = bars.counts.iter().fold(0_u64, |sum, counts| sum.saturating_add(counts[kind]));
            let text = format!("{} {name}", grouped(sum, ','));
            self.block((x, 43), (x + 10, 53), self.colours.bars[kind])?;
            self.text(&text, Face::at(13.0, self.colours.text), (x + 16, 48))?;
            x += 16 + width_of(&text, 13.0) + 18;
        }
        Ok(x)
    }

    fn counts_axis(&self, bar: i64) -> Drawn {
        let unit = format!("hits per {}", Span(std::time::Duration::from_micros(bar.unsigned_abs())));
        self.text(&unit, self.faint(11.0, HPos::Left), (MARGIN, TOP - 15))?;
        for &value in &self.values {
            let y = self.y(value);
            let colour = if value == 0 { self.colours.axis } else { self.colours.grid };
            self.block((self.left(), y), (self.right(), y + 1), colour)?;
            self.text(&ticks::short(value), self.faint(12.0, HPos::Right), (self.left() - 8, y))?;
        }
        Ok(())
    }

    fn time_axis(&self, span: &Range<Timestamp>, zone: &TimeZone) -> Drawn {
        let most = usize::try_from((self.right() - self.left()) / 76).unwrap_or(1);
        for tick in ticks::times(span, most, zone) {
            let x = self.x(tick.at, span);
            self.block((x, self.bottom), (x + 1, self.bottom + 5), self.colours.axis)?;
            self.text(&tick.text, self.faint(12.0, HPos::Center), (x, self.bottom + 17))?;
        }
        Ok(())
    }

    fn bars<const L: usize>(&self, bars: &Bars<L>) -> Drawn {
        let room = f64::from(self.right() - self.left()) / bars.counts.len().max(1) as f64;
        // Narrow bars have no gaps, because rounding would make the gaps a pattern.
        let gap = if room < 5.0 { 0 } else { 1.max(pixels(room - MAX_BAR_WIDTH, 1)) };
        for (place, counts) in bars.counts.iter().enumerate() {
            let edge = |place: usize| self.left() + pixels(place as f64 * room, 1);
            let (left, right) = (edge(place) + gap / 2, edge(place + 1) - (gap - gap / 2));
            let mut base = self.bottom;
            let mut sum = 0_u128;
            for (kind, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                sum += u128::from(count);
                // One hit among millions is still visible.
                let top = self.y(sum).min(base - 1);
                self.block((left, top), (right.max(left + 1), base), self.colours.bars[kind])?;
                base = top;
            }
        }
        Ok(())
    }

    fn left(&self) -> i32 {
        let widest = self.values.iter().map(|&value| width_of(&ticks::short(value), 12.0)).max();
        MARGIN + 8 + widest.unwrap_or(0).max(16)
    }

    fn right(&self) -> i32 {
        self.width - RIGHT
    }

    fn y(&self, value: u128) -> i32 {
        let top = self.values.last().copied().unwrap_or(1).max(1);
        self.bottom - pixels(value as f64 / top as f64, self.bottom - TOP)
    }

    fn x(&self, at: Timestamp, span: &Range<Timestamp>) -> i32 {
        let whole = span.end.since(span.start).as_secs_f64();
        let part = if whole > 0.0 { at.since(span.start).as_secs_f64() / whole } else { 0.0 };
        self.left() + pixels(part, self.right() - self.left())
    }

    /// Draws a rectangle. Lines are rectangles too, because strokes on whole pixels are blurred.
    fn block(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        self.area.draw(&Rectangle::new([from, to], colour.filled()))
    }

    /// The style of a label.
    fn faint(&self, size: f64, anchor: HPos) -> Face {
        Face { anchor, ..Face::at(size, self.colours.faint) }
    }

    fn text(&self, text: &str, face: Face, at: (i32, i32)) -> Drawn {
        let style = if face.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The backend divides sizes by this.
        let size = face.size * 1.24;
        let style = TextStyle::from(("sans-serif", size, style).into_font())
            .color(&face.colour)
            .pos(Pos::new(face.anchor, VPos::Center));
        self.area.draw_text(&printable(text), &style, at)
    }
}

/// The style of a text.
#[derive(Clone, Copy)]
struct Face {
    size: f64,
    colour: RGBColor,
    anchor: HPos,
    bold: bool,
}

impl Face {
    fn at(size: f64, colour: RGBColor) -> Self {
        Self { size, colour, anchor: HPos::Left, bold: false }
    }
}

/// A part of a length, rounded.
fn pixels(part: f64, length: i32) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "at most a picture's size")]
    let pixels = (part * f64::from(length)).round() as i32;
    pixels
}

/// The approximate width of a text. The viewer's font is not known.
fn width_of(text: &str, size: f64) -> i32 {
    let ems: f64 = text.chars().map(em).sum();
    pixels(ems * size, 1)
}

/// The approximate width of a character, in font sizes.
fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | ' ' | '.' | ',' | ':' | '|' => 0.34,
        'm' | 'w' | 'M' | 'W' | '@' => 0.9,
        'A'..='Z' => 0.7,
        // From Hangul on letters are mostly square.
        '\u{1100}'.. => 1.05,
        _ => 0.6,
    }
}

/// Cuts a text to a width.
fn fit(text: &str, width: i32, size: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut room = f64::from(width) / size - 1.0;
    let kept = text.chars().take_while(|&c| {
        room -= em(c);
        room > 0.0
    });
    kept.chain(['…']).collect()
}

/// Replaces characters that XML cannot contain. The backend escapes markup.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c })
        .collect()
}
