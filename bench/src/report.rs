//! Medians, ratios, and the table.

use std::fmt::Write as _;

use serde_json::json;

use crate::load::{Cell, PER_SECOND};

/// The measured values of each cell.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    cell: &'static str,
    unit: &'static str,
    subject: &'static str,
    values: Vec<f64>,
}

impl Report {
    /// Adds the value of one round.
    pub(crate) fn add(&mut self, cell: &Cell, subject: &'static str, value: f64) {
        match self.0.iter_mut().find(|row| row.cell == cell.name && row.subject == subject) {
            Some(row) => row.values.push(value),
            None => self.0.push(Row { cell: cell.name, unit: cell.unit, subject, values: vec![value] }),
        }
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("{:38} {:24} {:>12} {:>19} {:>6}\n", "cell", "subject", "median", "min .. max", "ratio");
        for row @ Row { cell, subject, unit, .. } in &self.0 {
            let ([median, least, most], ratio) = (row.figures(), self.ratio(row));
            let figures = format!("{median:>7} {unit:4} {least:>8} .. {most:>7} {ratio:>6.2}");
            let _ = writeln!(text, "{cell:38} {subject:24} {figures}");
        }
        text
    }

    /// The table for BENCHMARKS.md.
    pub(crate) fn markdown(&self, callers: usize) -> String {
        let mut text =
            String::from("| cell | subject | median | min .. max | ours / theirs |\n|---|---|---|---|---|\n");
        for row @ Row { cell, subject, unit, .. } in &self.0 {
            let ([median, least, most], ratio) = (row.figures(), self.ratio(row));
            let figures = format!("{median} {unit} | {least} .. {most} | {ratio:.2}");
            let _ = writeln!(text, "| {cell} | {subject} | {figures} |");
        }
        let rounds = self.0.first().map_or(0, |row| row.values.len());
        let note = format!("{rounds} interleaved rounds, {callers} callers where a cell has many.");
        text + &format!("\nMedians of {note}\n")
    }

    /// One object per cell and subject, a line each.
    pub(crate) fn json(&self) -> String {
        let object = |row: &Row| {
            let ratio = self.ratio(row);
            json!({"cell": row.cell, "subject": row.subject, "value": row.median(), "unit": row.unit, "ratio": ratio})
        };
        self.0.iter().fold(String::new(), |text, row| text + &object(row).to_string() + "\n")
    }

    /// The ratio of Forebay's median to that of a row: above 1, Forebay is better. Forebay is the first subject of a cell.
    fn ratio(&self, row: &Row) -> f64 {
        let ours = self.0.iter().find(|first| first.cell == row.cell).map_or(f64::NAN, Row::median);
        if row.unit == PER_SECOND { ours / row.median() } else { row.median() / ours }
    }
}

impl Row {
    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// The median, the least and the largest value.
    fn figures(&self) -> [String; 3] {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(0.0, f64::max);
        [self.median(), least, most].map(show)
    }
}

/// A number with few digits.
pub(crate) fn show(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v => format!("{v:.1}"),
    }
}
