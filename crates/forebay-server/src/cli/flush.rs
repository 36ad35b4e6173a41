//! `forebay flush`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::{remote::Place, runtime::block_on, terminal::answer};
use crate::{
    api::buffer::{BufferBody, Flushed},
    app::App,
    client::escaped,
    config::Config,
    registry::find,
    text::{count, shown},
};

/// Flush buffers to the database now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay flush projects
  forebay flush                            every buffer of the server
  forebay flush --store redis://127.0.0.1/0 --config /etc/forebay.toml

The token for the server is taken from FOREBAY_TOKEN; it needs the scope admin, and without a buffer also read.
Exit status: 0 everything that was acknowledged before is committed, 2 not all of it.")]
pub(super) struct Args {
    /// A declared buffer [default: all buffers]
    buffer: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result of one buffer.
#[derive(Debug, Serialize)]
struct FlushedBuffer {
    buffer: String,
    /// The rows that this flush committed.
    rows: u64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let line = |one: &FlushedBuffer| format!("{}: {}", shown(&one.buffer), count(one.rows, "row"));
    let flushed = block_on(flush(args))?;
    if args.json || !flushed.is_empty() {
        answer(args.json, &flushed, |all| all.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn flush(args: &Args) -> Result<Vec<FlushedBuffer>> {
    if let Some(config) = args.place.opened()? {
        args.place.check_database(&config)?;
        return Box::pin(flush_store(args, config)).await;
    }
    let mut client = args.place.client()?;
    let names = if let Some(name) = &args.buffer {
        vec![name.clone()]
    } else {
        let declared: Vec<BufferBody> = client.get("/v1/buffers").await?.read(&[])?;
        declared.into_iter().map(|buffer| buffer.name).collect()
    };
    let mut flushed = vec![];
    for buffer in names {
        let path = format!("/v1/buffers/{}/flush", escaped(&buffer));
        let Flushed { rows } = client.post(&path, &json!({})).await?.read(&[])?;
        flushed.push(FlushedBuffer { buffer, rows });
    }
    Ok(flushed)
}

async fn flush_store(args: &Args, mut config: Config) -> Result<Vec<FlushedBuffer>> {
    if let Some(name) = &args.buffer {
        let name = find("buffer", name, &config.buffers)?.0.clone();
        config.buffers.retain(|other, _| *other == name);
        // They use buffers that are left out now.
        config.events.clear();
    }
    let app = App::open(&config).await?;
    app.prepare(&config.buffers).await?;
    let mut flushed = vec![];
    for (name, buffer) in &app.buffers.entries {
        let rows = buffer.handle.flush().await.with_context(|| format!("flushing buffer {name}"))?;
        flushed.push(FlushedBuffer { buffer: name.to_string(), rows });
    }
    app.close().await?;
    Ok(flushed)
}
