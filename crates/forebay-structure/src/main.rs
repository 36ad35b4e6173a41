//! `forebay-structure [--report]`: checks the workspace in the current directory.
//!
//! Without an option it prints violations of the rules that are enforced, and fails if there are any. `--report` prints
//! all violations with their number for each crate, and does not fail.

use std::{
    env,
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use forebay_structure::{
    check::check,
    rules::{Rule, WORKSPACE},
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let report = env::args().nth(1).is_some_and(|option| option == "--report");
    let mut out = io::stdout().lock();
    let mut failed = false;
    for rules in WORKSPACE {
        let violations = check(Path::new("."), rules)?;
        for violation in &violations {
            if report || rules.enforced.contains(&violation.rule) {
                writeln!(out, "{violation}")?;
                failed = !report;
            }
        }
        if report {
            let count = |rule| violations.iter().filter(|violation| violation.rule == rule).count();
            let [circles, layers, pure] = [Rule::Circles, Rule::Layers, Rule::Pure].map(count);
            writeln!(out, "== {}: {circles} circles, {layers} of layers, {pure} of purity\n", rules.folder)?;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
