//! Bars, stacks and lines.

use std::ops::Range;

use forebay::Timestamp;
use svg::node::{
    Node,
    element::{Element, Group},
};

use super::{
    Kind, Options,
    columns::Columns,
    frame::{Frame, Scale, dashes, size},
    graph::{Graph, Number, Role, Row, sum_of},
    paint::{block, containing, px},
    ticks,
};

/// The widest bar in pixels.
const MAX_BAR_WIDTH: f64 = 56.0;

/// The opacity of what is counted in part.
const PARTIAL: f64 = 0.5;

/// Draws a graph over time.
pub(super) fn draw(graph: &Graph, options: &Options) -> String {
    let columns = Columns::new(graph, most_columns(graph, options), &options.zone);
    let (Some(&start), Some(&end)) = (columns.edges.first(), columns.edges.last()) else {
        return empty(graph, options);
    };
    let mut frame = Frame::new(graph, options);
    frame.legend(graph, options.kind);
    let over = overlays(graph, options.kind);
    let lines: Vec<Columns> = over
        .iter()
        .map(|row| {
            let alone = Graph { rows: vec![row.clone()], ..graph.clone() };
            Columns::new(&alone, most_columns(graph, options), &options.zone)
        })
        .collect();
    let scale = scale(graph, &columns, &lines, options.kind);
    frame.left = scale.room();
    let span = start..end;
    frame.heading(&graph.unit.replace("{}", &columns.length), &span, &options.zone);
    frame.values_axis(&scale);
    frame.time_axis(&span, &options.zone);
    let plot = Plot { columns: &columns, scale: &scale, span: &span };
    for (place, row) in graph.rows.iter().enumerate() {
        let colour = place_in_role(&graph.rows, place);
        let mut group = row_group(row, place);
        if row.role == Role::Main {
            match options.kind {
                Kind::Line => plot.line(&frame, &mut group, &columns.values[place], &Stroke::row(colour)),
                _ => plot.bars(&frame, &mut group, graph, place, options.kind),
            }
        }
        frame.add(group);
    }
    for (place, (row, line)) in over.iter().zip(&lines).enumerate() {
        let mut group = Group::new().set("class", "over").set("data-role", row.role.as_str());
        let colour = place_in_role(&over, place);
        let stroke = Stroke { row: (options.kind == Kind::Line).then_some(colour), role: row.role };
        plot.line(&frame, &mut group, &line.values[0], &stroke);
        frame.add(group);
    }
    let is_zero = |value: &Option<Number>| value.is_none_or(|value| value.as_f64() == 0.0);
    if graph.rows.iter().all(|row| row.values.iter().all(is_zero)) {
        frame.notice("nothing was counted");
    }
    frame.add(plot.data(&frame, graph, options));
    frame.finish()
}

/// The place of a row among those of its role: the rows of one name have one colour.
fn place_in_role(rows: &[Row], place: usize) -> usize {
    rows[..place].iter().filter(|other| other.role == rows[place].role).count()
}

/// A chart of no point at all.
fn empty(graph: &Graph, options: &Options) -> String {
    let mut frame = Frame::new(graph, options);
    frame.legend(graph, options.kind);
    frame.notice("nothing was counted");
    frame.finish()
}

/// The number of columns that leaves three pixels for each bar.
fn most_columns(graph: &Graph, options: &Options) -> usize {
    let bars = match options.kind {
        Kind::Bars => graph.of(Role::Main).count().max(1),
        _ => 1,
    };
    (size(options).0 as usize / 3 / bars).max(1)
}

/// The lines over the values. Over a stack, they are those of all rows together.
fn overlays(graph: &Graph, kind: Kind) -> Vec<Row> {
    let of = |role| {
        let rows: Vec<&Row> = graph.of(role).collect();
        if kind == Kind::Stacked {
            return sum_of(&rows, String::new()).into_iter().collect();
        }
        rows.into_iter().cloned().collect::<Vec<_>>()
    };
    [of(Role::Previous), of(Role::Moving)].concat()
}

fn scale(graph: &Graph, columns: &Columns, lines: &[Columns], kind: Kind) -> Scale {
    let rows = || graph.rows.iter().zip(&columns.values).filter(|(row, _)| row.role == Role::Main);
    let heights: Vec<f64> = if kind == Kind::Stacked {
        let sum = |column: usize| rows().map(|(_, row)| row[column].map_or(0.0, Number::as_f64)).sum();
        (0..columns.len()).map(sum).collect()
    } else {
        rows().flat_map(|(_, row)| row.iter().flatten().map(|value| value.as_f64())).collect()
    };
    let over = lines.iter().flat_map(|line| line.values[0].iter().flatten().map(|value| value.as_f64()));
    let all = heights.into_iter().chain(over);
    let range = all.fold(0.0..0.0, |range: Range<f64>, value| range.start.min(value)..range.end.max(value));
    let mut values = rows().flat_map(|(_, row)| row.iter().flatten());
    Scale::new(&range, values.all(|value| matches!(value, Number::Whole(_))))
}

/// The element of a row, which has its name for programs.
fn row_group(row: &Row, place: usize) -> Group {
    let name = super::paint::printable(&row.name);
    let group = Group::new().set("class", "row").set("data-row", place);
    group.set("data-role", row.role.as_str()).set("data-name", name)
}

/// The look of a line: the colour of a row, or that of the text where bars have the colours.
struct Stroke {
    row: Option<usize>,
    role: Role,
}

impl Stroke {
    const fn row(row: usize) -> Self {
        Self { row: Some(row), role: Role::Main }
    }
}

/// The area in which values are drawn.
struct Plot<'a> {
    columns: &'a Columns,
    scale: &'a Scale,
    span: &'a Range<Timestamp>,
}

impl Plot<'_> {
    fn edge(&self, frame: &Frame, column: usize) -> f64 {
        frame.x(self.columns.edges[column], self.span)
    }

    /// Draws a row as bars, beside those of other rows or on top of them.
    fn bars(&self, frame: &Frame, group: &mut Group, graph: &Graph, place: usize, kind: Kind) {
        let mains: Vec<usize> =
            (0..graph.rows.len()).filter(|&row| graph.rows[row].role == Role::Main).collect();
        let colour = place_in_role(&graph.rows, place);
        group.assign("class", format!("row c{colour}"));
        group.assign("fill", frame.palette.rows[colour]);
        for column in 0..self.columns.len() {
            let Some(value) = self.columns.values[place][column].map(Number::as_f64) else { continue };
            if value == 0.0 {
                continue;
            }
            let (left, right) = (self.edge(frame, column), self.edge(frame, column + 1));
            let below = |row: &usize| self.columns.values[*row][column].map_or(0.0, Number::as_f64);
            let (slot, slots, base) = match kind {
                Kind::Stacked => (0, 1, mains[..colour].iter().map(below).sum()),
                _ => (colour, mains.len(), 0.0),
            };
            let (left, width) = bar(left, right, slot, slots);
            let (from, to) = (frame.y(base, self.scale), frame.y(base + value, self.scale));
            // One hit among millions is still visible.
            let height = (from - to).abs().max(1.0);
            let top = if value < 0.0 { from } else { from - height };
            let mut rect = block(left, top, width, height).set("data-column", column);
            if self.columns.partial[column] {
                rect = rect.set("class", "partial").set("fill-opacity", PARTIAL);
            }
            group.append(rect);
        }
    }

    /// Draws a row as a line through the middles of the columns. A gap interrupts it; a point without neighbours is a dot.
    fn line(&self, frame: &Frame, group: &mut Group, values: &[Option<Number>], stroke: &Stroke) {
        let (class, colour) = match stroke.row {
            Some(row) => (format!("s{row}"), frame.palette.rows[row]),
            None => ("ink".to_owned(), frame.palette.text),
        };
        let point = |column: usize| {
            let x = f64::midpoint(self.edge(frame, column), self.edge(frame, column + 1));
            values[column].map(|value| (x, frame.y(value.as_f64(), self.scale)))
        };
        let points: Vec<_> = (0..values.len()).map(point).collect();
        let is_dashed = |column: usize| self.columns.partial[column];
        let mut lines = Group::new().set("class", class.clone()).set("stroke", colour).set("fill", "none");
        lines = lines.set("stroke-width", if stroke.role == Role::Main { 2.0 } else { 1.5 });
        lines = lines.set("stroke-linejoin", "round").set("stroke-linecap", "round");
        if let Some(dashes) = dashes(stroke.role) {
            lines = lines.set("stroke-dasharray", dashes);
        }
        for (start, end, is_partial) in runs(&points, is_dashed) {
            let mut path = Element::new("path");
            path.assign("d", path_of(&points[start..=end]));
            path.assign("data-column", start);
            if is_partial {
                path.assign("class", "partial");
                path.assign("stroke-dasharray", "4 3");
            }
            lines.append(path);
        }
        for column in isolated(&points) {
            let Some((x, y)) = points[column] else { continue };
            let mut dot = Element::new("circle");
            for (name, value) in [("cx", px(x)), ("cy", px(y)), ("r", "2.5".to_owned())] {
                dot.assign(name, value);
            }
            dot.assign("fill", colour);
            dot.assign("class", class.replacen('s', "c", 1));
            dot.assign("data-column", column);
            lines.append(dot);
        }
        group.append(lines);
    }

    /// The values of each column, for readers that point at it, and for programs.
    fn data(&self, frame: &Frame, graph: &Graph, options: &Options) -> Group {
        let mut data = Group::new().set("class", "columns").set("fill", "none").set("pointer-events", "all");
        data = data.set("data-end", self.span.end.to_string());
        for column in 0..self.columns.len() {
            let (left, right) = (self.edge(frame, column), self.edge(frame, column + 1));
            let value = |row: usize| self.columns.values[row][column];
            let values = (0..graph.rows.len()).map(|row| value(row).map_or("-".to_owned(), Number::plain));
            let edges = self.columns.edges[column]..self.columns.edges[column + 1];
            let rect = block(left, frame.top, right - left, frame.bottom - frame.top)
                .set("data-at", edges.start.to_string())
                .set("data-values", values.collect::<Vec<_>>().join(" "));
            let is_partial = self.columns.partial[column];
            let rect = if is_partial { rect.set("data-partial", "true") } else { rect };
            let lines = graph.rows.iter().enumerate().map(|(place, row)| {
                let value = value(place).map_or("-".to_owned(), |value| value.to_string());
                format!("\n{}: {value}", row.name.replace('\n', " "))
            });
            let mut words = ticks::range(&edges, &options.zone);
            words.extend(lines);
            if is_partial {
                words.push_str("\ncounted in part");
            }
            data.append(rect.add(title(&words)));
        }
        data
    }
}

/// A title of several lines.
fn title(words: &str) -> Element {
    // Line ends are no control characters here.
    let lines: Vec<String> = words.lines().map(super::paint::printable).collect();
    let mut title = containing("title", "");
    title.get_children_mut().clear();
    title.append(svg::node::Text::new(lines.join("\n")));
    title
}

/// The left edge and the width of a bar in its slot, in whole pixels.
fn bar(left: f64, right: f64, slot: usize, slots: usize) -> (f64, f64) {
    // The bars of one column stand apart from those of the next.
    let (left, right) = if slots > 1 && right - left > 12.0 {
        let apart = (right - left) * 0.08;
        (left + apart, right - apart)
    } else {
        (left, right)
    };
    let room = (right - left) / slots as f64;
    // Narrow bars have no gaps, because rounding would make the gaps a pattern. Bars of one column touch each other.
    let gap =
        if right - left < 5.0 || (slots > 1 && room < 3.0) { 0.0 } else { (room - MAX_BAR_WIDTH).max(1.0) };
    let from = (left + room * slot as f64).round();
    let to = (left + room * (slot + 1) as f64).round();
    let half = (gap / 2.0).floor();
    (from + half, (to - from - gap.round()).max(1.0))
}

/// The stretches of two or more points in a row: first, last, and whether an end is counted in part.
fn runs(points: &[Option<(f64, f64)>], is_partial: impl Fn(usize) -> bool) -> Vec<(usize, usize, bool)> {
    let mut runs: Vec<(usize, usize, bool)> = vec![];
    for place in 1..points.len() {
        if points[place - 1].is_none() || points[place].is_none() {
            continue;
        }
        let dashed = is_partial(place - 1) || is_partial(place);
        match runs.last_mut() {
            Some((_, end, last)) if *end == place - 1 && *last == dashed => *end = place,
            _ => runs.push((place - 1, place, dashed)),
        }
    }
    runs
}

/// The points without a neighbour.
fn isolated(points: &[Option<(f64, f64)>]) -> Vec<usize> {
    let is_there =
        |place: Option<usize>| place.and_then(|place| points.get(place)).is_some_and(Option::is_some);
    (0..points.len())
        .filter(|&place| {
            points[place].is_some() && !is_there(place.checked_sub(1)) && !is_there(Some(place + 1))
        })
        .collect()
}

fn path_of(points: &[Option<(f64, f64)>]) -> String {
    let points = points.iter().flatten().map(|(x, y)| format!("{} {}", px(*x), px(*y)));
    format!("M{}", points.collect::<Vec<_>>().join("L"))
}
