//! Reads a picture.

use forebay::{
    Timestamp,
    time::{days, secs},
};
use roxmltree::{Document, Node};

use crate::chart::{Graph, Kind, Options, Row, draw};

/// 2026-01-01T00:00:00Z, a Thursday.
pub(super) const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A graph of points of 10 s.
pub(super) fn graph(rows: Vec<Row>) -> Graph {
    let points = rows.first().map_or(0, |row| row.values.len());
    let at = |point: usize| START.plus(secs(10) * u32::try_from(point).expect("few"));
    Graph {
        title: "hits of a".to_owned(),
        unit: "hits per {}".to_owned(),
        starts: (0..points).map(at).collect(),
        end: at(points),
        step: Some(secs(10)),
        counted: START..START.plus(days(20_000)),
        rows,
    }
}

pub(super) fn counts(values: &[u64]) -> Vec<Row> {
    vec![Row::counts("a", values.iter().copied())]
}

pub(super) fn svg(rows: Vec<Row>, kind: Kind) -> String {
    draw(graph(rows), &Options { kind, ..Options::default() })
}

/// A picture that is read.
pub(super) struct Picture<'a> {
    pub document: &'a Document<'a>,
}

pub(super) fn number(node: Node<'_, '_>, name: &str) -> f64 {
    let text = node.attribute(name).unwrap_or_else(|| panic!("no {name} in {node:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

pub(super) fn has_class(node: Node<'_, '_>, class: &str) -> bool {
    node.attribute("class").is_some_and(|classes| classes.split(' ').any(|found| found == class))
}

impl<'a> Picture<'a> {
    pub(super) fn all(&self, class: &str) -> Vec<Node<'a, 'a>> {
        self.document.descendants().filter(|node| has_class(*node, class)).collect()
    }

    /// The values of each row as the data says: column by column.
    pub(super) fn data(&self) -> Vec<Vec<Option<f64>>> {
        let columns = self.all("columns").into_iter().flat_map(|group| group.children());
        let values = |node: Node<'_, '_>| {
            let texts = node.attribute("data-values").expect("values").split(' ');
            texts.map(|text| text.parse().ok()).collect()
        };
        columns.filter(Node::is_element).map(values).collect()
    }

    /// The value at a height, by two labels of the axis.
    pub(super) fn value_at(&self, y: f64) -> f64 {
        let mut lines = self.all("grid");
        lines.extend(self.all("axis").into_iter().filter(|node| node.has_attribute("data-value")));
        let mut ends: Vec<(f64, f64)> =
            lines.into_iter().map(|line| (number(line, "y") + 0.5, number(line, "data-value"))).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ((top, high), (bottom, low)) = (ends[0], ends[ends.len() - 1]);
        low + (bottom - y) / (bottom - top) * (high - low)
    }

    /// A hundredth of a pixel, and the rounding of an edge, in values.
    pub(super) fn tolerance(&self) -> f64 {
        (self.value_at(100.0) - self.value_at(100.03)).abs()
    }

    /// The values of a row, read off the heights of its bars.
    pub(super) fn bars(&self, row: usize, columns: usize) -> Vec<f64> {
        let mut values = vec![0.0; columns];
        let group = self.all("row").into_iter().nth(row).expect("a row");
        for bar in group.children().filter(Node::is_element) {
            let (top, height) = (number(bar, "y"), number(bar, "height"));
            let place: usize = bar.attribute("data-column").expect("a column").parse().expect("a number");
            values[place] = self.value_at(top) - self.value_at(top + height);
        }
        values
    }

    /// The values of a line, read off its points; `None` where it has none.
    pub(super) fn line(&self, group: Node<'a, 'a>, columns: usize) -> Vec<Option<f64>> {
        let mut values = vec![None; columns];
        for node in group.descendants().filter(|node| node.has_attribute("data-column")) {
            let first: usize = node.attribute("data-column").expect("a column").parse().expect("a number");
            if node.has_tag_name("circle") {
                values[first] = Some(self.value_at(number(node, "cy")));
                continue;
            }
            let path = node.attribute("d").expect("a path").trim_start_matches('M');
            for (place, point) in path.split('L').enumerate() {
                let (_, y) = point.split_once(' ').expect("two places");
                values[first + place] = Some(self.value_at(y.parse().expect("a number")));
            }
        }
        values
    }
}

/// Calls `check` with the picture.
pub(super) fn read(svg: &str, check: impl FnOnce(&Picture<'_>)) {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    check(&Picture { document: &document });
}
