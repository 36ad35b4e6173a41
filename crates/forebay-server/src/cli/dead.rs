//! `forebay dead`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{FAILED, block_on, remote::client, say, say_json};
use crate::{client::escaped, text::shown};

/// List or replay the rows that the database refused
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay dead list projects               rows that the database refused, and why
  forebay dead replay projects --id 7 --id 9
  forebay dead replay projects --all       after what was in their way is mended

The server is asked with the token in FOREBAY_TOKEN, if there is one; it needs the scope admin.
Exit status: 0 done, 2 error, or letters that were refused again: they stay, with the new reason.")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The dead letters of a buffer, the oldest first
    List {
        /// A declared buffer
        buffer: String,
        /// How many at most, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Only those with a larger id: the last one of the page before
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
        /// Whatever there is
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

/// A page, as the server writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Page {
    letters: Vec<Letter>,
    next: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Letter {
    id: u64,
    batch: String,
    at: String,
    reason: String,
    row: Option<Map<String, Value>>,
    columns: Option<Map<String, Value>>,
    misfit: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Replayed {
    applied: u64,
    refused: u64,
    unknown: u64,
    reason: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::List { buffer, limit, after, how } => {
            let page = block_on(list(how, buffer, *limit, *after))?;
            if how.json {
                say_json(&serde_json::to_string(&page)?);
            } else {
                say(&describe(buffer, &page));
            }
            Ok(ExitCode::SUCCESS)
        }
        What::Replay { buffer, ids, all, how } => {
            let which = if *all { json!({ "all": true }) } else { json!({ "ids": ids }) };
            let replayed = block_on(replay(how, buffer, &which))?;
            if how.json {
                say_json(&serde_json::to_string(&replayed)?);
            } else {
                say(&replayed.describe(buffer));
            }
            Ok(if replayed.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
        }
    }
}

async fn list(how: &How, buffer: &str, limit: u32, after: u64) -> Result<Page> {
    let path = format!("/v1/buffers/{}/dead?limit={limit}&after={after}", escaped(buffer));
    let answer = client(&how.server)?.get(&path).await?.expect(&[])?;
    serde_json::from_value(answer).context("the server's list of dead letters")
}

async fn replay(how: &How, buffer: &str, which: &Value) -> Result<Replayed> {
    let path = format!("/v1/buffers/{}/dead", escaped(buffer));
    let body = which.to_string().into_bytes();
    let answer = client(&how.server)?.post(&path, "application/json", body).await?.expect(&[])?;
    serde_json::from_value(answer).context("the server's answer to a replay")
}

fn describe(buffer: &str, page: &Page) -> String {
    if page.letters.is_empty() {
        return format!("{}: no dead letters", shown(buffer));
    }
    let mut lines: Vec<String> = page.letters.iter().map(Letter::describe).collect();
    lines.extend(page.next.map(|next| format!("there may be more: --after {next}")));
    lines.join("\n")
}

impl Letter {
    fn describe(&self) -> String {
        let (id, at, reason) = (self.id, shown(&self.at), shown(&self.reason));
        let what = match (&self.row, &self.columns, &self.misfit) {
            (Some(row), Some(columns), _) => {
                format!("row {} columns {}", Value::from(row.clone()), Value::from(columns.clone()))
            }
            (.., misfit) => misfit.clone().unwrap_or_default(),
        };
        format!("{id}  {at}  {}\n    {reason}", shown(&what))
    }
}

impl Replayed {
    fn describe(&self, buffer: &str) -> String {
        let mut parts = vec![format!("{} applied", self.applied)];
        if self.refused > 0 {
            let reason = self.reason.as_deref().unwrap_or("no reason given");
            parts.push(format!("{} refused again: {}", self.refused, shown(reason)));
        }
        if self.unknown > 0 {
            parts.push(format!("{} not there any more", self.unknown));
        }
        format!("{}: {}", shown(buffer), parts.join(", "))
    }
}
