//! `forebay init`.

use std::{fs::OpenOptions, io, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow};

use super::say;
use crate::config::EXAMPLE;

/// Write a commented configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay init                      write ./forebay.toml
  forebay init /etc/forebay.toml
  forebay init -                    print it

A file that is there already is left alone. Exit status: 0 written, 2 not.")]
pub(super) struct Args {
    /// The file to write; - prints it
    #[arg(value_name = "FILE", default_value = "forebay.toml")]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let file = args.file.display();
    if args.file.as_os_str() == "-" {
        say(EXAMPLE.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let created = OpenOptions::new().write(true).create_new(true).open(&args.file);
    let mut created = created.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{file} is there already; remove it first, or name another file")
        }
        _ => anyhow::Error::new(error).context(format!("writing {file}")),
    })?;
    created.write_all(EXAMPLE.as_bytes()).with_context(|| format!("writing {file}"))?;
    say(&format!("wrote {file}; edit it, and check it with: forebay check-config --config {file}"));
    Ok(ExitCode::SUCCESS)
}
