//! `forebay-structure`: checks the workspace in the current directory. It prints what breaks a rule, and fails if anything
//! does.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use forebay_structure::{check::check, rules::WORKSPACE};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut code = ExitCode::SUCCESS;
    for rules in WORKSPACE {
        for violation in check(Path::new("."), rules)? {
            writeln!(io::stdout(), "{violation}")?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
