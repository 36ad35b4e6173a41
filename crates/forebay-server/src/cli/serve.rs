//! `forebay serve`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use forebay::{Clock, buffer::Flushing, time::secs};

use super::{
    config::read,
    paths::remove_pid_file,
    runtime::{FAILED, block_on},
    terminal::say,
};
use crate::{
    app::App,
    config::{Config, Options, Origin},
    http::{
        bounds::Bounds,
        listen::{self, Acceptor},
    },
    log::Repeats,
    reload,
    router::router,
    shutdown::{Hangup, Stop},
    statsd::{Listener, Running},
    warning::warnings,
};

/// The time that running requests get once the server stops.
const GRACE: Duration = secs(10);

/// The time limit for the last flush.
const FLUSH_TIMEOUT: Duration = secs(30);

/// Run the server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay serve                                      the built-in example, or ./forebay.toml
  forebay serve --config /etc/forebay.toml
  forebay serve --listen 127.0.0.1:8080 --database sqlite:/var/lib/forebay/data.db
  FOREBAY_TOKEN=... forebay serve --listen 0.0.0.0:7070

SIGTERM and SIGINT stop it: it accepts no more requests, finishes the running ones, and flushes the buffers. \
A second signal stops it at once. On SIGHUP, and when the file changes, it reloads the configuration: limits, events \
and tokens change while it runs, everything else needs a restart. FOREBAY_LOG sets the log level on stderr: error, warn, info (default), debug.")]
pub(super) struct Args {
    #[command(flatten)]
    config: Options,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = read(&args.config)?;
    let repeats = Repeats::init(&Clock::system());
    let served = block_on(serve(config, args.config.clone(), repeats.clone()));
    repeats.report();
    served
}

async fn serve(config: Config, options: Options, repeats: Repeats) -> Result<ExitCode> {
    tokio::spawn(async move { repeats.run().await });
    let store = config.store.clone();
    let stop = Stop::on_signal(move || remove_pid_file(&store))?;
    let hangup = Hangup::listen()?;
    // The port comes first: if it is in use, no new database should be created.
    let listener = listen::bind(config.listen)?;
    let address = listener.local_addr()?;
    let statsd = match &config.statsd {
        Some(statsd) => Some((Listener::bind(statsd).await?, statsd)),
        None => None,
    };
    let opened = tokio::select! {
        opened = open(&config) => opened?,
        () = stop.clone().requested() => return Ok(ExitCode::SUCCESS),
    };
    let (app, flushing) = opened;
    for warning in warnings(&app, secs(5)).await {
        tracing::warn!("{}", warning.text);
    }
    let statsd = statsd.map(|(listener, config)| listener.start(&app, config));
    greet(&config, address, statsd.as_ref().map(Running::address));
    let upkeep = tokio::spawn(app.clone().keep_up());
    let watch = tokio::spawn(reload::watch(app.clone(), options, config.origin.clone(), hangup));
    let router = router(app.clone());
    let stop = async {
        stop.requested().await;
        app.stop_waiting();
    };
    let (clock, bounds, closed) = (app.clock.clone(), Bounds::default(), app.metrics.closed());
    let left = Acceptor { listener, clock, bounds, closed }.serve(router, stop, GRACE).await;
    if left > 0 {
        tracing::warn!(connections = left, "requests were still running after {} s", GRACE.as_secs());
    }
    if let Some(statsd) = statsd {
        statsd.stop().await;
    }
    upkeep.abort();
    watch.abort();
    stop_app(&app, &config, flushing).await
}

async fn open(config: &Config) -> Result<(Arc<App>, Vec<Flushing>)> {
    let app = Arc::new(App::open(config).await?);
    let flushing = app.start_flushing(&config.buffers).await?;
    Ok((app, flushing))
}

/// Flushes the buffers a last time, and closes the store.
async fn stop_app(app: &App, config: &Config, flushing: Vec<Flushing>) -> Result<ExitCode> {
    let drained = drain(&app.clock, flushing).await;
    let mut left = 0;
    for (name, buffer) in &app.buffers.entries {
        let pending = app.clock.timeout(secs(1), buffer.handle.stats()).await;
        let rows = pending.and_then(Result::ok).map_or(0, |stats| stats.pending_rows);
        if rows > 0 {
            tracing::warn!(buffer = %name, rows, "rows are not in the database yet");
        }
        left += rows;
    }
    app.close().await?;
    if left > 0 && config.store.is_volatile() {
        tracing::error!(rows = left, "rows are lost, because the store is in memory");
        return Ok(ExitCode::from(FAILED));
    }
    if drained {
        tracing::info!("stopped; all rows are in the database");
    } else {
        tracing::warn!("stopped; the remaining rows stay in the store until the next start");
    }
    Ok(ExitCode::SUCCESS)
}

/// Flushes the buffers; returns whether all of it succeeded.
async fn drain(clock: &Clock, flushing: Vec<Flushing>) -> bool {
    let stops = futures::future::join_all(flushing.into_iter().map(Flushing::stop));
    let Some(answers) = clock.timeout(FLUSH_TIMEOUT, stops).await else {
        tracing::warn!("the last flush took longer than {} s", FLUSH_TIMEOUT.as_secs());
        return false;
    };
    let failures: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    for error in &failures {
        tracing::warn!(%error, "the last flush failed");
    }
    failures.is_empty()
}

/// Prints the addresses, and a request to try.
fn greet(config: &Config, address: SocketAddr, statsd: Option<SocketAddr>) {
    let url = format!("http://{}", reachable(address));
    let hint = match &config.origin {
        Origin::BuiltIn => " (forebay init writes it to a file)",
        Origin::File(_) => "",
    };
    say(&format!("Forebay {} is ready.", env!("CARGO_PKG_VERSION")));
    say(&format!("  URL       {url}"));
    say(&format!("  store     {}", config.store));
    say(&format!("  database  {}", config.database));
    say(&format!("  config    {}{hint}", config.origin));
    if let Some(address) = statsd {
        say(&format!("  statsd    {address} (UDP)"));
    }
    let token = if config.tokens.is_empty() { "" } else { "-H \"Authorization: Bearer $FOREBAY_TOKEN\" " };
    let request = match config.events.keys().next() {
        Some(event) => format!("curl {token}-d '{{\"key\":\"42\"}}' {url}/v1/events/{event}"),
        None => format!("curl {url}/healthz"),
    };
    say(&format!("\nTry it:\n  {request}"));
    if config.insecure && config.tokens.is_empty() && !address.ip().is_loopback() {
        tracing::warn!(%address, "--insecure: every caller that reaches this address may do everything");
    }
}

/// An address that a client can connect to, instead of the unspecified one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}
