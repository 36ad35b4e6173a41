//! `forebay flush`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    block_on,
    remote::{Place, declared},
    say, say_json,
};
use crate::{
    app::App,
    client::{Client, escaped},
    config::Config,
    text::{count, shown},
};

/// Bring what buffers hold to the database now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay flush projects
  forebay flush                            every buffer of the server
  forebay flush --store redis://127.0.0.1/0 --config /etc/forebay.toml

The server is asked with the token in FOREBAY_TOKEN, if there is one; it needs the scope admin, \
and without a name also read.
Exit status: 0 what was acknowledged before is committed, 2 not all of it.")]
pub(super) struct Args {
    /// A declared buffer [default: all of them]
    buffer: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A buffer that was flushed.
#[derive(Debug, Serialize)]
struct Flushed {
    buffer: String,
    /// The rows that reached the database by this.
    rows: u64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let flushed = block_on(flush(args))?;
    if args.json {
        say_json(&serde_json::to_string(&flushed)?);
        return Ok(ExitCode::SUCCESS);
    }
    for Flushed { buffer, rows } in flushed {
        say(&format!("{}: {}", shown(&buffer), count(rows, "row")));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the server says of a flush.
#[derive(Deserialize)]
struct Answer {
    rows: u64,
}

async fn flush(args: &Args) -> Result<Vec<Flushed>> {
    if let Some(config) = args.place.opened()? {
        args.place.check_database(&config)?;
        return flush_store(args, config).await;
    }
    let mut client = args.place.client()?;
    let names = match &args.buffer {
        Some(name) => vec![name.clone()],
        None => declared_there(&mut client).await?,
    };
    let mut flushed = vec![];
    for buffer in names {
        let path = format!("/v1/buffers/{}/flush", escaped(&buffer));
        let answer = client.post(&path, "application/json", vec![]).await?.expect(&[])?;
        let Answer { rows } = serde_json::from_value(answer).context("the server's answer to a flush")?;
        flushed.push(Flushed { buffer, rows });
    }
    Ok(flushed)
}

/// The buffers of the server.
async fn declared_there(client: &mut Client) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Buffer {
        name: String,
    }
    let answer = client.get("/v1/buffers").await?.expect(&[])?;
    let buffers: Vec<Buffer> = serde_json::from_value(answer).context("the server's list of buffers")?;
    Ok(buffers.into_iter().map(|buffer| buffer.name).collect())
}

async fn flush_store(args: &Args, mut config: Config) -> Result<Vec<Flushed>> {
    if let Some(name) = &args.buffer {
        let name = declared("buffer", name, &config.buffers)?.0.clone();
        let buffer = config.buffers.remove(&name).into_iter().map(|buffer| (name.clone(), buffer)).collect();
        config.buffers = buffer;
        // They would write to buffers that are left out now.
        config.events.clear();
    }
    let app = App::open(&config).await?;
    app.prepare(&config.buffers).await?;
    let mut flushed = vec![];
    for (name, buffer) in app.buffers.iter() {
        let rows = buffer.handle.flush().await.with_context(|| format!("flushing buffer {name}"))?;
        flushed.push(Flushed { buffer: name.to_string(), rows });
    }
    app.close().await?;
    Ok(flushed)
}
