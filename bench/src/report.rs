//! Medians, ratios, and the table.

use std::fmt::Write;

use serde_json::json;

use crate::Cell;

/// The measured values of each cell.
#[derive(Debug, Default)]
pub struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    cell: &'static str,
    subject: &'static str,
    unit: &'static str,
    more_is_better: bool,
    values: Vec<f64>,
}

impl Report {
    /// Adds the value of one round.
    pub fn add(&mut self, cell: &Cell, subject: &'static str, value: f64) {
        match self.0.iter_mut().find(|row| row.cell == cell.name && row.subject == subject) {
            Some(row) => row.values.push(value),
            None => self.0.push(Row {
                cell: cell.name,
                subject,
                unit: cell.unit,
                more_is_better: cell.more_is_better,
                values: vec![value],
            }),
        }
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let mut text =
            format!("{:38} {:24} {:>12} {:>19} {:>6}\n", "cell", "subject", "median", "min .. max", "ratio");
        for row in &self.0 {
            let _ = writeln!(
                text,
                "{:38} {:24} {:>7} {:4} {:>8} .. {:>7} {:>6.2}",
                row.cell,
                row.subject,
                show(row.median()),
                row.unit,
                show(row.least()),
                show(row.most()),
                self.ratio(row)
            );
        }
        text
    }

    /// The table for BENCHMARKS.md.
    pub fn markdown(&self, callers: &str) -> String {
        let mut text =
            String::from("| cell | subject | median | min .. max | ours / theirs |\n|---|---|---|---|---|\n");
        for row in &self.0 {
            let (median, least, most) = (show(row.median()), show(row.least()), show(row.most()));
            let _ = writeln!(
                text,
                "| {} | {} | {median} {} | {least} .. {most} | {:.2} |",
                row.cell,
                row.subject,
                row.unit,
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
    pub fn json(&self) -> String {
        let object = |row: &Row| {
            let ratio = self.ratio(row);
            json!({"cell": row.cell, "subject": row.subject, "value": row.median(), "unit": row.unit, "ratio": ratio})
        };
        self.0.iter().fold(String::new(), |text, row| text + &object(row).to_string() + "\n")
    }

    /// Ours over theirs, so that more than 1 is ours being better; ours is the first subject of a cell.
    fn ratio(&self, row: &Row) -> f64 {
        let ours = self.0.iter().find(|first| first.cell == row.cell).map_or(f64::NAN, Row::median);
        if row.more_is_better { ours / row.median() } else { row.median() / ours }
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

/// A number as a person reads it.
pub fn show(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => format!("{:.0} k", v / 1e3),
        v => format!("{v:.1}"),
    }
}
