//! Measures what one operation costs: processor time of the server and of this process, bytes on the wire, and memory of the
//! server for each key. Processor time, not speed, so that other programs on the machine matter little. `docs/scaling.md`
//! computes with these numbers: `cargo run --profile bench -p forebay-bench --bin cost`.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::fs;

use anyhow::{Context as _, Result, bail};
use forebay::{Buffer, Clock, Event, Forebay, Limit, event::Cell};
use forebay_testkit::{Redis, Reply};
use futures::{StreamExt as _, stream};

/// Keys of each operation. Each is used twice: first it is new, then it is there.
const KEYS: usize = 100_000;

/// Operations under way at once.
const CALLERS: usize = 512;

/// Seconds of processor time, bytes received and sent, and bytes of memory.
#[derive(Clone, Copy, Default)]
struct Reading {
    server: f64,
    client: f64,
    received: f64,
    sent: f64,
    memory: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("{:<36} {:>9} {:>9} {:>8} {:>8} {:>8}", "operation", "server", "client", "to", "from", "memory");
    println!("{:<36} {:>9} {:>9} {:>8} {:>8} {:>8}", "", "us", "us", "bytes", "bytes", "a key");
    let limit = async |bay: &Forebay| {
        let limit = bay.limit(Limit::per_day("hits", 1_000_000))?;
        Ok(move |key: String| {
            let limit = limit.clone();
            async move { limit.take(key).await.map(drop) }
        })
    };
    measure("take, fixed window", limit).await?;
    let buffer = async |bay: &Forebay| {
        let buffer = bay.buffer(Buffer::new("rows").key("id").sum("hits").max("last"))?;
        Ok(move |key: String| {
            let buffer = buffer.clone();
            async move { buffer.row(&*key).add("hits", 1).max("last", Clock::system().now()).await }
        })
    };
    measure("buffer add, two columns", buffer).await?;
    let series = async |bay: &Forebay| {
        let series = bay.series("hits")?;
        Ok(move |key: String| {
            let series = series.clone();
            async move { series.add(key, 1).await }
        })
    };
    measure("series add, four resolutions", series).await?;
    let lock = async |bay: &Forebay| {
        let bay = bay.clone();
        Ok(move |key: String| {
            let bay = bay.clone();
            async move { bay.lock(key).acquire().await?.release().await.map(drop) }
        })
    };
    measure("lock, acquired and released", lock).await?;
    let event = async |bay: &Forebay| {
        let limit = bay.limit(Limit::per_day("hits", 1_000_000))?;
        let buffer = bay.buffer(Buffer::new("rows").key("id").sum("hits").max("last"))?;
        let cells = [("hits", Cell::N), ("last", Cell::At)];
        let event = Event::new("hit").limit(&limit).series(&bay.series("hits")?);
        let event = bay.event(event.buffer(&buffer, [Cell::Key], cells))?;
        Ok(move |key: String| {
            let event = event.clone();
            async move { event.hit(key, 1).await.map(drop).map_err(Into::into) }
        })
    };
    measure("event: limit, series and buffer", event).await
}

/// Runs an operation on all keys twice, and prints what the second round cost. The first one tells the memory.
async fn measure<Call, F>(name: &str, open: impl AsyncFn(&Forebay) -> Result<Call>) -> Result<()>
where
    Call: Fn(String) -> F,
    F: Future<Output = forebay::Result<()>>,
{
    let server = Redis::start();
    let bay = Forebay::open(&server.url()).await?;
    let call = open(&bay).await?;
    let mut readings = vec![read(&server)?];
    for _ in 0..2 {
        let mut calls =
            stream::iter((0..KEYS).map(|key| call(format!("user:{key:08}")))).buffer_unordered(CALLERS);
        while let Some(answer) = calls.next().await {
            answer?;
        }
        readings.push(read(&server)?);
    }
    let [start, first, second] = readings[..] else { unreachable!("two rounds") };
    let each = |of: fn(Reading) -> f64| (of(second) - of(first)) / KEYS as f64;
    println!(
        "{name:<36} {:>9.2} {:>9.2} {:>8.0} {:>8.0} {:>8.0}",
        each(|reading| reading.server) * 1e6,
        each(|reading| reading.client) * 1e6,
        each(|reading| reading.received),
        each(|reading| reading.sent),
        (first.memory - start.memory) / KEYS as f64,
    );
    Ok(bay.close().await?)
}

fn read(server: &Redis) -> Result<Reading> {
    let Reply::Text(info) = server.command(["INFO"]) else { bail!("INFO is answered otherwise") };
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| text.trim().parse::<f64>().ok()).with_context(|| format!("INFO lacks {name}"))
    };
    Ok(Reading {
        server: field("used_cpu_user")? + field("used_cpu_sys")?,
        client: own_processor_time()?,
        received: field("total_net_input_bytes")?,
        sent: field("total_net_output_bytes")?,
        memory: field("used_memory")?,
    })
}

/// Seconds of processor time of this process, as Linux counts them: 100 ticks a second.
fn own_processor_time() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("stat has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}
