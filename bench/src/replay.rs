//! A long log through the program's own `replay`.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use jiff::{ToSpan, civil::DateTime};

/// The number of copies of the log, each four days after the one before.
const COPIES: i64 = 100;

const TIME: &str = "%d/%b/%Y:%H:%M:%S";

/// Lines per second, by the program's own summary.
pub(crate) fn lines_per_second(scratch: &Path) -> Result<f64> {
    let log = scratch.join("access.log");
    if !log.exists() {
        write_log(&log)?;
    }
    let program = std::env::current_exe()?.with_file_name("forebay");
    let output = Command::new(&program)
        .current_dir(scratch)
        .arg("replay")
        .arg(&log)
        .args(["--event", "hit", "--key", "ip", "--json"])
        .output()
        .with_context(|| format!("run {} (scripts/bench builds it)", program.display()))?;
    anyhow::ensure!(output.status.success(), "replay: {}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    anyhow::ensure!(summary["agree"] == true, "replay: database and series do not agree: {summary}");
    summary["rate"].as_f64().context("replay: a summary without a rate")
}

fn write_log(path: &Path) -> Result<()> {
    let log = sample()?;
    let lines: Vec<(&str, DateTime, &str)> = log.lines().filter_map(split).collect();
    let mut out = BufWriter::new(File::create(path)?);
    for copy in 0..COPIES {
        for (before, time, after) in &lines {
            let time = time.checked_add((4 * copy).days())?;
            writeln!(out, "{before}{}{after}", time.strftime(TIME))?;
        }
    }
    Ok(out.flush()?)
}

/// A real log if there is one. Otherwise a made-up one of four days, in which one caller in ten exceeds the limit.
fn sample() -> Result<String> {
    let Some(path) = forebay_testkit::sample_log() else { return Ok(made_up()) };
    let mut bytes = vec![];
    flate2::read::MultiGzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes six requests per visit, and a visit every three minutes. Every tenth visitor is the same one, which exceeds the
/// limit.
fn made_up() -> String {
    let start = jiff::civil::date(2015, 5, 17).at(0, 0, 0, 0);
    let line = |n: i64| {
        let visit = n / 6;
        let visitor = if visit % 10 == 0 { 0 } else { visit * 7_919 % 1_753 };
        let requests = if visitor == 0 { 5 } else { 1 };
        let time = start.saturating_add((visit * 200 + n % 6).seconds()).strftime(TIME).to_string();
        let (high, low) = (visitor / 250, visitor % 250);
        let line =
            format!("10.1.{high}.{low} - - [{time} +0000] \"GET /page/{n} HTTP/1.1\" 200 1234 \"-\" \"-\"\n");
        line.repeat(requests)
    };
    (0..7_143).map(line).collect()
}

/// The text before the time, the time, and the text after it.
fn split(line: &str) -> Option<(&str, DateTime, &str)> {
    let start = line.find('[')? + 1;
    let (before, rest) = line.split_at(start);
    let (time, after) = rest.split_at(rest.find(' ')?);
    Some((before, DateTime::strptime(TIME, time).ok()?, after))
}
