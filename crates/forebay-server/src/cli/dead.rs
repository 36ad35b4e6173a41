//! `forebay dead`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;

use super::{
    remote::client,
    runtime::{FAILED, block_on},
    terminal::answer,
};
use crate::{
    api::{
        buffer::{LetterBody, PageBody, ReplayRequest, ReplayedBody},
        fields::Id,
    },
    client::escaped,
    text::shown,
};

/// List or replay the rows that the database refused
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay dead list projects               rows that the database refused, and why
  forebay dead replay projects --id 7 --id 9
  forebay dead replay projects --all       after their reason was removed

The token for the server is taken from FOREBAY_TOKEN; it needs the scope admin.
Exit status: 0 done, 2 error, or letters were refused again: they stay, with the new reason.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the dead letters of a buffer, oldest first
    List {
        /// A declared buffer
        buffer: String,
        /// The number of letters, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Only letters with a larger id: the last id of the previous page
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        how: How,
    },
    /// Merge dead letters into their rows; each counts once
    Replay {
        /// A declared buffer
        buffer: String,
        /// A letter's id; may be repeated
        #[arg(long = "id", value_name = "ID", required_unless_present = "all")]
        ids: Vec<u64>,
        /// Replay all letters of the buffer
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    /// A running server
    #[arg(long, value_name = "URL", env = "FOREBAY_SERVER", default_value = "http://127.0.0.1:7070")]
    server: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::List { buffer, limit, after, how } => {
            let path = format!("{}?limit={limit}&after={after}", path(buffer));
            let page = block_on(async { client(&how.server)?.get(&path).await?.read(&[]) })?;
            answer(how.json, &page, |page| describe(buffer, page))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Replay { buffer, ids, all, how } => {
            let ids = (!all).then(|| ids.iter().copied().map(Id).collect());
            let request = ReplayRequest { ids, all: *all };
            let replayed: ReplayedBody =
                block_on(async { client(&how.server)?.post(&path(buffer), &request).await?.read(&[]) })?;
            answer(how.json, &replayed, |replayed| describe_replay(buffer, replayed))?;
            Ok(if replayed.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
    }
}

fn path(buffer: &str) -> String {
    format!("/v1/buffers/{}/dead", escaped(buffer))
}

fn describe(buffer: &str, page: &PageBody) -> String {
    if page.letters.is_empty() {
        return format!("{}: no dead letters", shown(buffer));
    }
    let mut lines: Vec<String> = page.letters.iter().map(describe_letter).collect();
    lines.extend(page.next.map(|next| format!("there may be more: --after {next}")));
    lines.join("\n")
}

fn describe_letter(letter: &LetterBody) -> String {
    let (id, at, reason) = (letter.id, shown(&letter.at), shown(&letter.reason));
    let what = match (&letter.row, &letter.columns, &letter.misfit) {
        (Some(row), Some(columns), _) => {
            format!("row {} columns {}", Value::from(row.clone()), Value::from(columns.clone()))
        }
        (.., misfit) => misfit.clone().unwrap_or_default(),
    };
    format!("{id}  {at}  {}\n    {reason}", shown(&what))
}

fn describe_replay(buffer: &str, replayed: &ReplayedBody) -> String {
    let mut parts = vec![format!("{} applied", replayed.applied)];
    if replayed.refused > 0 {
        let reason = replayed.reason.as_deref().unwrap_or("no reason given");
        parts.push(format!("{} refused again: {}", replayed.refused, shown(reason)));
    }
    if replayed.unknown > 0 {
        parts.push(format!("{} not found", replayed.unknown));
    }
    format!("{}: {}", shown(buffer), parts.join(", "))
}
