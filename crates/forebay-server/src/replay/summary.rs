//! The summary of a replay.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{Counts, LimitedKey};
use crate::text::{grouped, shown};

/// The numbers of a replay, which `replay` prints as text, or as JSON with `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Lines of the log, without empty ones.
    pub lines: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// Skipped bytes after the end of the gzip data.
    pub padding: u64,
    /// Lines that arrived too late to be sorted; they were replayed.
    pub late: u64,
    /// Hits accepted.
    pub accepted: u64,
    /// Hits that a limit denied.
    pub limited: u64,
    /// Hits among both that `on_error` decided, because the store did not answer.
    pub degraded: u64,
    /// Hits that the event refused.
    pub refused: u64,
    /// Hits with an unknown outcome, because a series or a buffer failed.
    pub failed: u64,
    /// Distinct keys.
    pub keys: usize,
    /// The first time in the log.
    pub first: Option<String>,
    /// The last time in the log.
    pub last: Option<String>,
    /// Seconds added to the log's times.
    pub shifted: f64,
    /// Seconds that the replay took.
    pub elapsed: f64,
    /// Lines per second.
    pub rate: u64,
    /// The number of hits that each limit denied.
    pub denied_by: BTreeMap<String, u64>,
    /// The keys that were limited most.
    pub top_limited: Vec<LimitedKey>,
    /// The totals of the buffers' tables.
    pub buffers: Vec<BufferTotal>,
    /// The totals of the series.
    pub series: Vec<SeriesTotal>,
    /// True if database and series agree with the accepted hits; `None` if they were not compared.
    pub agree: Option<bool>,
    /// The first lines that could not be read.
    pub bad_lines: Vec<String>,
    /// The first hits that were refused.
    pub refusals: Vec<String>,
}

/// The total of a buffer's table.
#[derive(Clone, Debug, Serialize)]
pub struct BufferTotal {
    /// The buffer.
    pub buffer: String,
    /// Its table.
    pub table: String,
    /// Rows of the table.
    pub rows: u64,
    /// Rows that are dead letters.
    pub dead: u64,
    /// For each column that counts hits, the increase of its sum over the table.
    pub sums: BTreeMap<String, i64>,
}

/// The total of a series.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesTotal {
    /// The series.
    pub series: String,
    /// The sum over all keys and the time of the log.
    pub sum: u64,
    /// Accepted hits that are older than its retention.
    pub expired: u64,
}

impl Summary {
    /// A summary without the totals of database and series.
    pub fn new(counts: &Counts, shift: i64, elapsed: Duration) -> Self {
        let tally = &counts.tally;
        let rate = u128::from(tally.lines) * 1_000_000 / elapsed.as_micros().max(1);
        Self {
            lines: tally.lines,
            bad: tally.bad,
            padding: tally.padding,
            late: tally.late,
            accepted: counts.accepted,
            limited: counts.limited,
            degraded: counts.degraded,
            refused: counts.refused,
            failed: 0,
            keys: counts.keys().len(),
            first: tally.first.map(|at| at.to_string()),
            last: tally.last.map(|at| at.to_string()),
            shifted: shift as f64 / 1e6,
            elapsed: elapsed.as_secs_f64(),
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            denied_by: counts.denied_by().iter().map(|(limit, n)| (limit.to_string(), *n)).collect(),
            top_limited: counts.top_limited(),
            buffers: vec![],
            series: vec![],
            agree: None,
            bad_lines: counts.bad.iter().map(ToString::to_string).collect(),
            refusals: counts.refusals.clone(),
        }
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, n: u64, what: &str| writeln!(f, "{:>14} {what}", thousands(n));
        row(f, self.lines, &plural(self.lines, "line"))?;
        row(f, self.accepted, "accepted")?;
        row(f, self.limited, "limited")?;
        row(f, self.keys as u64, &plural(self.keys as u64, "distinct key"))?;
        for (n, what) in [
            (self.bad, &*(plural(self.bad, "bad line") + ", skipped")),
            (self.padding, &*(plural(self.padding, "byte") + " after the end of the gzip data, skipped")),
            (self.late, &*(plural(self.late, "late line") + ": beyond --reorder, replayed on arrival")),
            (self.refused, "refused by the event"),
            (self.failed, "failed: their outcome is not known"),
            (self.degraded, "decided without the store (on_error)"),
        ] {
            if n > 0 {
                row(f, n, what)?;
            }
        }
        Ok(())
    }

    fn write_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (limit, n) in &self.denied_by {
            writeln!(f, "limit {limit}: {} denied", thousands(*n))?;
        }
        if !self.top_limited.is_empty() {
            writeln!(f, "most limited keys:")?;
        }
        for LimitedKey { key, limited, accepted } in &self.top_limited {
            let (limited, of) = (thousands(*limited), thousands(limited + accepted));
            writeln!(f, "{limited:>14} of {of:<9} {}", shown(key))?;
        }
        Ok(())
    }

    fn write_totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for BufferTotal { buffer, table, rows, dead, sums } in &self.buffers {
            write!(f, "buffer {buffer}: table {table} has {} {}", thousands(*rows), plural(*rows, "row"))?;
            for (column, sum) in sums {
                let sign = if *sum < 0 { "-" } else { "+" };
                write!(f, ", {column} {sign}{}", thousands(sum.unsigned_abs()))?;
            }
            if *dead > 0 {
                write!(f, "; {} {}", thousands(*dead), plural(*dead, "dead letter"))?;
            }
            writeln!(f)?;
        }
        for SeriesTotal { series, sum, expired } in &self.series {
            write!(f, "series {series}: {}", thousands(*sum))?;
            if *expired > 0 {
                write!(f, "; {} older than its retention", thousands(*expired))?;
            }
            writeln!(f)?;
        }
        match self.agree {
            Some(true) => writeln!(f, "database and series agree with what was accepted"),
            Some(false) => writeln!(f, "DATABASE AND SERIES DO NOT AGREE WITH WHAT WAS ACCEPTED"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_counts(f)?;
        if let Some((first, last)) = self.first.as_ref().zip(self.last.as_ref()) {
            writeln!(f, "log from {first} to {last}")?;
        }
        if self.shifted != 0.0 {
            writeln!(f, "replayed {:.1} days later", self.shifted / 86_400.0)?;
        }
        self.write_limits(f)?;
        self.write_totals(f)?;
        writeln!(f, "took {:.2} s, {} lines/s", self.elapsed, thousands(self.rate))
    }
}

/// `row` for one, `rows` for others.
fn plural(n: u64, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{what}s") }
}

fn thousands(n: u64) -> String {
    grouped(n, ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(thousands(n), text);
        }
    }
}
