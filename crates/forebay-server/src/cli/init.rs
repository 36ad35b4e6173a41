//! `forebay init`.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Result, anyhow};

use super::{output, terminal::say};
use crate::{config::EXAMPLE, text::shown};

/// Write a commented configuration file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay init                      write ./forebay.toml
  forebay init /etc/forebay.toml
  forebay init -                    print it

An existing file is not overwritten. Exit status: 0 written, 2 not written.")]
pub(super) struct Args {
    /// The file to write; - prints it
    #[arg(value_name = "FILE", default_value = "forebay.toml")]
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let file = args.file.to_string_lossy();
    let file = shown(&file);
    if args.file.as_os_str() == "-" {
        say(EXAMPLE.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    output::write_new(&args.file, EXAMPLE.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{file} exists already; remove it, or choose another file")
        }
        _ => anyhow::Error::new(error).context(format!("writing {file}")),
    })?;
    say(&format!("wrote {file}; edit it, and check it with: forebay check-config --config {file}"));
    say(&format!("for .gitignore: {}", DATA_FILES.join(" ")));
    Ok(ExitCode::SUCCESS)
}

/// The files that a server writes beside its configuration.
const DATA_FILES: [&str; 5] = ["*.redb", "*.redb.pid", "*.db", "*.db-shm", "*.db-wal"];
