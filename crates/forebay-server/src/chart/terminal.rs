//! Charts in characters, for terminals.

use std::ops::Range;

use console::{measure_text_width, truncate_str};
use forebay::Timestamp;
use jiff::tz::TimeZone;

use super::{
    Kind, Options,
    columns::Columns,
    frame::Scale,
    graph::{Graph, Number, Role, Row},
    heat::{Cell, level, week},
    spark::BLOCKS,
    ticks,
};
use crate::text::shown;

/// The lines of the plot of one row, and of each of several.
const TALL: usize = 10;
const LOW: usize = 4;

/// The widest column in characters.
const MAX_COLUMN: usize = 6;

/// The sign of a heat map for each level, from nothing to the most.
const SHADES: [char; super::paint::LEVELS] = ['·', '░', '░', '▒', '▒', '▓', '█'];

/// A line of a picture.
pub type Line = Vec<Piece>;

/// A part of a line. Its text has no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Its look, where colours can be.
    pub look: Look,
}

/// The look of a text. No meaning is in the look alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As other text.
    Plain,
    /// As the label of something.
    Faint,
    /// As the name of something.
    Bold,
    /// In the colour of a row, from 0.
    Row(usize),
    /// Likewise, of what is counted in part.
    Partial(usize),
}

fn piece(text: impl Into<String>, look: Look) -> Piece {
    Piece { text: text.into(), look }
}

/// Draws a graph in lines of at most `width` characters: bars in a panel for each row, all with the same scale; or a heat map.
///
/// ```
/// use forebay::{Timestamp, time::secs};
/// use forebay_server::chart::{Graph, Options, Row, terminal};
/// let start = Timestamp::from_secs(1_767_225_600);
/// let starts: Vec<_> = (0..3).map(|n| start.plus(secs(10) * n)).collect();
/// let (end, rows) = (start.plus(secs(30)), vec![Row::counts("42", [3, 0, 5])]);
/// let unit = "hits per {}".to_owned();
/// let graph = Graph { title: "42".to_owned(), unit, starts, end, step: Some(secs(10)), counted: start..end, rows };
/// let lines = terminal(graph, &Options::default(), 40);
/// let texts: Vec<String> = lines.iter().map(|line| line.iter().map(|piece| piece.text.as_str()).collect()).collect();
/// assert!(texts.iter().any(|text| text.contains('█')), "{texts:#?}");
/// ```
pub fn terminal(graph: Graph, options: &Options, width: usize) -> Vec<Line> {
    let graph = graph.bounded();
    let mut lines = vec![vec![piece(cut(&graph.title, width), Look::Bold)]];
    lines.extend(match options.kind {
        Kind::Heatmap => heat_map(&graph, &options.zone, width),
        _ => panels(&graph, &options.zone, width),
    });
    lines
}

/// A text of others on one line of a terminal.
fn cut(text: &str, width: usize) -> String {
    truncate_str(&shown(text), width, "…").into_owned()
}

fn panels(graph: &Graph, zone: &TimeZone, width: usize) -> Vec<Line> {
    let mains: Vec<usize> = (0..graph.rows.len()).filter(|&row| graph.rows[row].role == Role::Main).collect();
    let values = || mains.iter().flat_map(|&row| graph.rows[row].values.iter().flatten());
    let is_whole = values().all(|value| matches!(value, Number::Whole(_)));
    // Columns may be sums of points. So the labels are made twice: the first ones tell how much room there is.
    let gutter = |columns: &Columns| {
        let shown = mains.iter().flat_map(|&row| columns.values[row].iter().flatten());
        let range = shown.fold(0.0..0.0, |range: Range<f64>, value| {
            range.start.min(value.as_f64())..range.end.max(value.as_f64())
        });
        let scale = Scale::new(&range, is_whole);
        let room =
            scale.values().iter().map(|&value| measure_text_width(&ticks::short(value))).max().unwrap_or(1);
        (scale, room)
    };
    let columns = Columns::new(graph, width.saturating_sub(10).max(1), zone);
    let (scale, room) = gutter(&columns);
    let plot = width.saturating_sub(room + 2).max(1);
    if columns.len() == 0 {
        return vec![vec![piece("nothing was counted", Look::Faint)]];
    }
    let each = (plot / columns.len()).clamp(1, MAX_COLUMN);
    let span = columns.edges[0]..columns.edges[columns.len()];
    let mut heading = vec![piece(graph.unit.replace("{}", &columns.length), Look::Faint)];
    let range = ticks::range(&span, zone);
    if measure_text_width(&heading[0].text) + measure_text_width(&range) + 2 <= width {
        heading.push(piece(format!(", {range}"), Look::Faint));
    }
    let mut lines = vec![heading];
    let height = if mains.len() == 1 { TALL } else { LOW };
    for (colour, &row) in mains.iter().enumerate() {
        let main = &graph.rows[row];
        let mut summary = describe(main);
        if let Some(previous) = graph.of(Role::Previous).nth(colour) {
            summary = format!("{summary}, previous period {}", describe(previous));
        }
        let name = cut(&main.name, width.saturating_sub(measure_text_width(&summary) + 2));
        lines.push(vec![piece(format!("{name}  "), Look::Row(colour)), piece(summary, Look::Plain)]);
        lines.extend(panel(&columns, row, colour, &scale, (room, each, height)));
    }
    lines.push(time_axis(&span, zone, room, each * columns.len()));
    lines
}

/// The summary of a row with its name.
fn describe(row: &Row) -> String {
    row.summary().map_or_else(|| "no value".to_owned(), |n| format!("{} {n}", row.summary_name()))
}

/// The bars of a row.
fn panel(
    columns: &Columns,
    row: usize,
    colour: usize,
    scale: &Scale,
    (room, each, height): (usize, usize, usize),
) -> Vec<Line> {
    let eighths: Vec<usize> =
        columns.values[row].iter().map(|value| eighths(*value, scale, height)).collect();
    let labels = scale.values();
    let line = |line: usize| {
        let label = match line {
            0 => ticks::short(labels[0]),
            _ if line == height - 1 => ticks::short(labels[labels.len() - 1]),
            _ => String::new(),
        };
        let mut pieces = vec![piece(format!("{label:>room$} ┤"), Look::Faint)];
        for (column, &eighths) in eighths.iter().enumerate() {
            let filled = eighths.saturating_sub(line * 8).min(8);
            let block = if filled == 0 { ' ' } else { BLOCKS[filled - 1] };
            // Wide columns have a gap.
            let gap = usize::from(each > 2);
            let text = block.to_string().repeat(each - gap) + &" ".repeat(gap);
            let look = if columns.partial[column] { Look::Partial(colour) } else { Look::Row(colour) };
            match pieces.last_mut() {
                Some(last) if last.look == look => last.text.push_str(&text),
                _ => pieces.push(piece(text, look)),
            }
        }
        pieces
    };
    (0..height).rev().map(line).collect()
}

/// The height of a value in eighths of a line. Only zero has none.
fn eighths(value: Option<Number>, scale: &Scale, height: usize) -> usize {
    let Some(value) = value.map(Number::as_f64) else { return 0 };
    let part = scale.part(value);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a few lines")]
    let eighths = (part * (height * 8) as f64).round() as usize;
    if value == 0.0 { eighths } else { eighths.max(1) }
}

/// Labels at round times, each beginning below its place.
fn time_axis(span: &Range<Timestamp>, zone: &TimeZone, room: usize, width: usize) -> Line {
    let whole = span.end.since(span.start).as_secs_f64().max(f64::MIN_POSITIVE);
    let mut text = " ".repeat(room + 2);
    for tick in ticks::times(span, (width / 12).max(1), zone) {
        let part = tick.at.since(span.start).as_secs_f64() / whole;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the line")]
        let place = room + 2 + (part * width as f64) as usize;
        let length = measure_text_width(&text);
        let fits = place + measure_text_width(&tick.text) <= room + 2 + width;
        if fits && (place > length || length == room + 2) && place >= length {
            text.push_str(&" ".repeat(place - length));
            text.push_str(&tick.text);
        }
    }
    vec![piece(text, Look::Faint)]
}

fn heat_map(graph: &Graph, zone: &TimeZone, width: usize) -> Vec<Line> {
    let week = week(graph, zone);
    let most = week.iter().flatten().filter_map(Cell::average).fold(0.0, f64::max);
    let each = if width >= 4 + 48 { 2 } else { 1 };
    let hours = (0..24).step_by(if each == 2 { 3 } else { 6 });
    let hours = hours.map(|hour| format!("{hour:<w$}", w = each * if each == 2 { 3 } else { 6 }));
    let mut lines = vec![vec![piece(format!("    {}", hours.collect::<String>()), Look::Faint)]];
    for (day, cells) in super::heat::DAYS.into_iter().zip(&week) {
        let shade = |cell: &Cell| cell.average().map_or(' ', |average| SHADES[level(average, most)]);
        let text: String = cells.iter().map(|cell| shade(cell).to_string().repeat(each)).collect();
        lines.push(vec![piece(format!("{day} "), Look::Faint), piece(text, Look::Row(0))]);
    }
    let words = format!("· nothing  █ {} per hour on average  blank: not counted", Number::Real(most));
    lines.push(vec![piece(cut(&words, width), Look::Faint)]);
    lines
}
