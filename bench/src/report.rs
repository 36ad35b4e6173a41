//! Medians, ratios, and the table.

use std::fmt::Write;

use serde_json::json;

use crate::load::{Cell, PER_SECOND};

/// The measured values of each cell.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    cell: Cell,
    subject: &'static str,
    values: Vec<f64>,
}

impl Report {
    /// Adds the value of one round.
    pub(crate) fn add(&mut self, cell: &Cell, subject: &'static str, value: f64) {
        match self.0.iter_mut().find(|row| row.cell.name == cell.name && row.subject == subject) {
            Some(row) => row.values.push(value),
            None => self.0.push(Row { cell: *cell, subject, values: vec![value] }),
        }
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text =
            format!("{:38} {:24} {:>12} {:>19} {:>6}\n", "cell", "subject", "median", "min .. max", "ratio");
        for row in &self.0 {
            let _ = writeln!(
                text,
                "{:38} {:24} {:>7} {:4} {:>8} .. {:>7} {:>6.2}",
                row.cell.name,
                row.subject,
                show(row.median()),
                row.cell.unit,
                show(row.least()),
                show(row.most()),
                self.ratio(row)
            );
        }
        text
    }

    /// The table for BENCHMARKS.md.
    pub(crate) fn markdown(&self, callers: usize) -> String {
        let mut text =
            String::from("| cell | subject | median | min .. max | ours / theirs |\n|---|---|---|---|---|\n");
        for row in &self.0 {
            let (median, least, most) = (show(row.median()), show(row.least()), show(row.most()));
            let _ = writeln!(
                text,
                "| {} | {} | {median} {} | {least} .. {most} | {:.2} |",
                row.cell.name,
                row.subject,
                row.cell.unit,
                self.ratio(row)
            );
        }
        let rounds = self.0.first().map_or(0, |row| row.values.len());
        let _ = writeln!(
            text,
            "\nMedians of {rounds} interleaved rounds, {callers} callers where a cell has many."
        );
        text
    }

    /// One object per cell and subject, a line each.
    pub(crate) fn json(&self) -> String {
        let object = |row: &Row| {
            let ratio = self.ratio(row);
            json!({"cell": row.cell.name, "subject": row.subject, "value": row.median(), "unit": row.cell.unit, "ratio": ratio})
        };
        self.0.iter().fold(String::new(), |text, row| text + &object(row).to_string() + "\n")
    }

    /// Ours over theirs, so that more than 1 is ours being better; ours is the first subject of a cell.
    fn ratio(&self, row: &Row) -> f64 {
        let ours = self.0.iter().find(|first| first.cell.name == row.cell.name).map_or(f64::NAN, Row::median);
        if row.cell.unit == PER_SECOND { ours / row.median() } else { row.median() / ours }
    }
}

impl Row {
    fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
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
