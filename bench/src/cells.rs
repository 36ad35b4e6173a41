//! What is measured.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use forebay::{
    Buffer, Clock, Event, Forebay, Limit,
    event::Cell as Part,
    limit::{Kind, LimitHandle},
    time::{hours, mins},
};

/// How hard, how long, and where.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub redis: String,
    pub callers: usize,
    pub seconds: f64,
}

type Run = Pin<Box<dyn Future<Output = Result<f64>>>>;

/// One subject in one setting.
pub(crate) struct Cell {
    pub name: &'static str,
    pub subject: &'static str,
    pub unit: &'static str,
    /// Whether more is better; else less is.
    pub more_is_better: bool,
    pub run: fn(Load) -> Run,
}

/// A quota that nobody reaches: the path that is measured is the one that admits.
const PLENTY: u64 = 1 << 40;

/// Every cell; those of one name are compared with each other, the first being ours.
pub(crate) fn all() -> Vec<Cell> {
    let per_second = |name, subject, run| Cell { name, subject, unit: "1/s", more_is_better: true, run };
    let micros = |name, subject, run| Cell { name, subject, unit: "us", more_is_better: false, run };
    vec![
        per_second("exact limit, 10 000 keys, one Redis", "forebay fixed window", |load| {
            Box::pin(takes(load, 10_000, Kind::FixedWindow))
        }),
        per_second("exact limit, 10 000 keys, one Redis", "forebay token bucket", |load| {
            Box::pin(takes(load, 10_000, Kind::TokenBucket))
        }),
        per_second("exact limit, 10 000 keys, one Redis", "redis-rs INCR", |load| {
            Box::pin(incrs(load, 10_000))
        }),
        per_second("exact limit, one hot key, one Redis", "forebay fixed window", |load| {
            Box::pin(takes(load, 1, Kind::FixedWindow))
        }),
        per_second("exact limit, one hot key, one Redis", "redis-rs INCR", |load| Box::pin(incrs(load, 1))),
        micros("a lone call, one Redis", "forebay take", |load| Box::pin(lone_take(load))),
        micros("a lone call, one Redis", "redis-rs INCR", |load| Box::pin(lone_incr(load))),
        per_second("limit in this process, 10 000 keys", "forebay memory:", |load| {
            Box::pin(takes_in_memory(load))
        }),
        per_second("event: limit + series + buffer", "forebay memory:", |load| {
            Box::pin(events(load, "memory:".into()))
        }),
        per_second("event: limit + series + buffer", "forebay one Redis", |load| {
            let url = load.redis.clone();
            Box::pin(events(load, url))
        }),
    ]
}

async fn open(url: &str) -> Result<Forebay> {
    Ok(Forebay::options().prefix("bench").open(url).await?)
}

fn limit(bay: &Forebay, kind: Kind) -> Result<LimitHandle> {
    let name = if kind == Kind::FixedWindow { "window" } else { "bucket" };
    let (quota, per) =
        if kind == Kind::FixedWindow { (PLENTY, hours(1)) } else { (1_000_000, Duration::from_millis(1)) };
    // Under this load a call may wait its turn for longer than a request should.
    Ok(bay.limit(Limit::new(name, quota, per).kind(kind).deadline(mins(1)))?)
}

async fn takes(load: Load, keys: usize, kind: Kind) -> Result<f64> {
    let limit = limit(&open(&load.redis).await?, kind)?;
    together(&load, keys, move |key| {
        let limit = limit.clone();
        async move { Ok(limit.take(key).await?.is_allowed()) }
    })
    .await
}

async fn takes_in_memory(load: Load) -> Result<f64> {
    let limit = limit(&open("memory:").await?, Kind::FixedWindow)?;
    together(&Load { callers: 2, ..load }, 10_000, move |key| {
        let limit = limit.clone();
        async move { Ok(limit.take(key).await?.is_allowed()) }
    })
    .await
}

async fn incrs(load: Load, keys: usize) -> Result<f64> {
    let connection = redis::Client::open(load.redis.as_str())?.get_multiplexed_async_connection().await?;
    together(&load, keys, move |key| {
        let mut connection = connection.clone();
        async move {
            let count: i64 = redis::cmd("INCR").arg(&*key).query_async(&mut connection).await?;
            Ok(count > 0)
        }
    })
    .await
}

async fn events(load: Load, url: String) -> Result<f64> {
    let bay = open(&url).await?;
    let limit = limit(&bay, Kind::FixedWindow)?;
    let series = bay.series("hits")?;
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
    let cells = [("hits", Part::N), ("last_seen", Part::At)];
    let event = Event::new("hit").limit(&limit).series(&series).buffer(&buffer, [Part::Key], cells);
    let event = bay.event(event)?;
    together(&load, 10_000, move |key| {
        let event = event.clone();
        async move { Ok(event.hit(key, 1).await?.is_accepted()) }
    })
    .await
}

/// Calls per second of `callers` tasks that each wait for their own answer before they call again.
async fn together<F>(
    load: &Load,
    keys: usize,
    call: impl Fn(Arc<str>) -> F + Clone + Send + Sync + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<bool>> + Send + 'static,
{
    let keys: Arc<[Arc<str>]> = (0..keys).map(|key| Arc::from(format!("user:{key}"))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Clock::system();
    let start = clock.monotonic();
    let callers: Vec<_> = (0..load.callers)
        .map(|caller| {
            let (keys, stop, call) = (keys.clone(), stop.clone(), call.clone());
            tokio::spawn(async move {
                // A stride that shares no factor with the number of keys: every caller visits all, in its own order.
                let (mut at, mut done) = (caller * 7_919, 0u64);
                while !stop.load(Ordering::Relaxed) {
                    at += 7_919;
                    anyhow::ensure!(call(keys[at % keys.len()].clone()).await?, "a call was denied");
                    done += 1;
                    // An engine in this process never waits, and a task that never waits starves the timer.
                    if done % 1_024 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(done)
            })
        })
        .collect();
    clock.sleep(Duration::from_secs_f64(load.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(done as f64 / clock.monotonic().saturating_sub(start).as_secs_f64())
}

async fn lone_take(load: Load) -> Result<f64> {
    let limit = limit(&open(&load.redis).await?, Kind::FixedWindow)?;
    alone(&load, async || Ok(limit.take("lone").await?.is_allowed())).await
}

async fn lone_incr(load: Load) -> Result<f64> {
    let connection = redis::Client::open(load.redis.as_str())?.get_multiplexed_async_connection().await?;
    alone(&load, async || {
        let count: i64 = redis::cmd("INCR").arg("lone").query_async(&mut connection.clone()).await?;
        Ok(count > 0)
    })
    .await
}

/// The median time of one call, in microseconds.
async fn alone(load: &Load, call: impl AsyncFn() -> Result<bool>) -> Result<f64> {
    let clock = Clock::system();
    let (start, span) = (clock.monotonic(), Duration::from_secs_f64(load.seconds));
    let mut times = vec![];
    while clock.monotonic().saturating_sub(start) < span {
        let before = clock.monotonic();
        anyhow::ensure!(call().await?, "a call was denied");
        times.push(clock.monotonic().saturating_sub(before));
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}
