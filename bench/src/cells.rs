//! The cells of the benchmark.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use forebay::{
    Buffer, Clock, Event, Forebay, Limit, Series,
    event::{Cell as Part, EventHandle},
    limit::{Kind, LimitHandle},
    time::{hours, mins, secs},
};
use futures::future::join_all;

use forebay_bench::{Cell, Load, median_us, per_second, takes, together};

use crate::{
    flush::{Into, flushes, updates},
    map,
    pending::{self, connect},
    ways,
};

const MANY: &str = "exact limit, 10 000 keys, one Redis";
const HOT: &str = "exact limit, one hot key, one Redis";
const ROWS: &str = "buffer add, 10 000 rows, one Redis";
const FEW_ROWS: &str = "buffer add, 100 rows, one Redis";
const FLUSH: &str = "flush of 10 000 rows, Postgres";
const HITS: &str = "50 hits a row into Postgres";
const PENDING: [&str; 3] = ["forebay sum", "forebay sum and max", "a hash per row, as Sentry"];
const EVENT: &str = "event: limit + series + buffer";

/// A quota that is never reached: all calls are admitted.
const PLENTY: u64 = 1 << 40;

/// All cells. Cells with the same name are compared with each other, and the first one is Forebay's.
pub(crate) fn all() -> Vec<Cell> {
    let mut cells = vec![
        per_second(MANY, &["forebay fixed window"], |load| exact(load, 10_000, Kind::FixedWindow)),
        per_second(MANY, &["forebay token bucket"], |load| exact(load, 10_000, Kind::TokenBucket)),
        per_second(MANY, &["redis-rs INCR"], |load| commands(load, 10_000, incr)),
        per_second(HOT, &["forebay fixed window"], |load| exact(load, 1, Kind::FixedWindow)),
        per_second(HOT, &["redis-rs INCR"], |load| commands(load, 1, incr)),
        Cell::new("a lone call, one Redis", &["forebay take", "redis-rs INCR"], "us", lone),
        per_second("limit in this process, 10 000 keys", &["forebay memory:"], in_memory),
        per_second(ROWS, &["forebay sum"], |load| adds(load, 10_000)),
        per_second(ROWS, &["redis-rs HINCRBY"], |load| commands(load, 10_000, hincrby)),
        per_second(FEW_ROWS, &["forebay sum"], |load| adds(load, 100)),
        per_second(FEW_ROWS, &["redis-rs HINCRBY"], |load| commands(load, 100, hincrby)),
        per_second("series add, 1 000 keys, one Redis", &["forebay 4 resolutions"], |load| {
            points(load, 1_000)
        }),
        per_second("series add, 10 000 keys, one Redis", &["forebay 4 resolutions"], |load| {
            points(load, 10_000)
        }),
        per_second("series add, 10 000 keys, one Redis", &["forebay ranked"], ranked_points),
        per_second("series add, 1 000 000 keys, one Redis", &["forebay 4 resolutions"], |load| {
            points(load, 1_000_000)
        }),
        per_second(
            "series add, at random times of an hour, one Redis",
            &["forebay 4 resolutions"],
            late_points,
        ),
        per_second(FLUSH, &["forebay"], |load| flushes(load, Into::Postgres)),
        per_second(FLUSH, &["an UPDATE per row"], updates),
        per_second("flush of 10 000 rows, MariaDB", &["forebay"], |load| flushes(load, Into::MariaDb)),
        per_second("flush of 10 000 rows, SQLite", &["forebay"], |load| flushes(load, Into::Sqlite)),
        per_second(HITS, &["forebay through Redis"], pending::into_postgres),
        per_second(HITS, &["an UPDATE per hit, 16 connections"], |load| {
            pending::updates(load, pending::CONNECTIONS)
        }),
        per_second(HITS, &["an UPDATE per hit, one connection"], |load| pending::updates(load, 1)),
        Cell::new("Redis memory per pending row", &PENDING, "B", pending::bytes),
        per_second("replay of 1 000 000 lines", &["forebay memory:"], |load| async move {
            crate::replay::lines_per_second(&load.scratch)
        }),
        per_second(EVENT, &["forebay memory:"], |load| events("memory:".into(), load)),
        per_second(EVENT, &["forebay one Redis"], |load| events(load.redis.clone(), load)),
        per_second("flood of denied events, one key, one Redis", &["forebay"], |load| flood(load, 1)),
        per_second("flood of denied events, 10 000 keys, one Redis", &["forebay"], |load| {
            flood(load, 10_000)
        }),
    ];
    cells.extend(map::cells());
    cells.extend(ways::cells());
    cells
}

async fn open(url: &str) -> Result<Forebay> {
    Ok(Forebay::options().prefix("bench").open(url).await?)
}

fn limit(bay: &Forebay, kind: Kind) -> Result<LimitHandle> {
    let name = if kind == Kind::FixedWindow { "window" } else { "bucket" };
    let (quota, per) =
        if kind == Kind::FixedWindow { (PLENTY, hours(1)) } else { (1_000_000, Duration::from_millis(1)) };
    // Under this load a call may wait for longer than a request should.
    Ok(bay.limit(Limit::new(name, quota, per).kind(kind).deadline(mins(1)))?)
}

async fn exact(load: Load, keys: usize, kind: Kind) -> Result<f64> {
    takes(&load, keys, limit(&open(&load.redis).await?, kind)?).await
}

async fn in_memory(load: Load) -> Result<f64> {
    let limit = limit(&open("memory:").await?, Kind::FixedWindow)?;
    takes(&Load { callers: 2, ..load }, 10_000, limit).await
}

/// Commands of redis-rs whose answer is above zero.
async fn commands(load: Load, keys: usize, command: fn(&str) -> redis::Cmd) -> Result<f64> {
    together(&load, keys, connect(&load).await?, move |connection, key| async move {
        let mut connection = (*connection).clone();
        Ok(command(&key).query_async::<i64>(&mut connection).await? > 0)
    })
    .await
}

fn incr(key: &str) -> redis::Cmd {
    redis::cmd("INCR").arg(key).clone()
}

fn hincrby(key: &str) -> redis::Cmd {
    redis::cmd("HINCRBY").arg("plain").arg(key).arg(1).clone()
}

async fn adds(load: Load, rows: usize) -> Result<f64> {
    let buffer = open(&load.redis).await?.buffer(Buffer::new("adds").key("id").sum("hits"))?;
    together(&load, rows, buffer, |buffer, key| async move {
        buffer.row(&*key).add("hits", 1).await?;
        Ok(true)
    })
    .await
}

async fn points(load: Load, keys: usize) -> Result<f64> {
    let series = open(&load.redis).await?.series("points")?;
    together(&load, keys, series, |series, key| async move {
        series.add(&*key, 1).await?;
        Ok(true)
    })
    .await
}

/// Points of a series that keeps lists of its largest keys.
async fn ranked_points(load: Load) -> Result<f64> {
    let series = open(&load.redis).await?.series(Series::new("ranked").ranked())?;
    together(&load, 10_000, series, |series, key| async move {
        series.add(&*key, 1).await?;
        Ok(true)
    })
    .await
}

/// Points of 1 000 keys, each at any of the last 3 600 seconds.
async fn late_points(load: Load) -> Result<f64> {
    let series = open(&load.redis).await?.series("late")?;
    let turn = Arc::new(AtomicU64::new(0));
    together(&load, 1_000, (series, turn), |shared, key| async move {
        let (series, turn) = &*shared;
        // The golden ratio spreads the turns.
        let ago = turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) % 3_600;
        series.add_at(&*key, 1, Clock::system().now().minus(secs(ago))).await?;
        Ok(true)
    })
    .await
}

async fn events(url: String, load: Load) -> Result<f64> {
    let bay = open(&url).await?;
    let limit = limit(&bay, Kind::FixedWindow)?;
    let series = bay.series("hits")?;
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
    let cells = [("hits", Part::N), ("last_seen", Part::At)];
    let event = Event::new("hit").limit(&limit).series(&series).buffer(&buffer, [Part::Key], cells);
    let hit = |event: Arc<EventHandle>, key| async move { Ok(event.hit(key, 1).await?.is_accepted()) };
    together(&load, 10_000, bay.event(event)?, hit).await
}

/// Events against a limit that is full: all are denied.
async fn flood(load: Load, keys: usize) -> Result<f64> {
    let bay = open(&load.redis).await?;
    let limit = bay.limit(Limit::per_day("full", 1))?;
    let event = bay.event(Event::new("flood").limit(&limit).series(&bay.series("flood")?))?;
    let all: Vec<String> = (0..keys).map(|key| format!("user:{key}")).collect();
    // The first hits are admitted, the second ones are denied by the store.
    for keys in all.chunks(512).chain(all.chunks(512)) {
        for answer in join_all(keys.iter().map(|key| event.hit(key, 1))).await {
            let _ = answer?;
        }
    }
    let hit = |event: Arc<EventHandle>, key| async move { Ok(event.hit(key, 1).await.map(|_| true)?) };
    together(&Load { callers: 512, ..load }, keys, event, hit).await
}

/// A take and an `INCR` in turn, without other load: the median time of each, in microseconds.
async fn lone(load: Load) -> Result<Vec<f64>> {
    let limit = limit(&open(&load.redis).await?, Kind::FixedWindow)?;
    let mut connection = connect(&load).await?;
    let clock = Clock::system();
    let end = clock.monotonic() + Duration::from_secs_f64(load.seconds);
    let mut times = [vec![], vec![]];
    let mut before = clock.monotonic();
    while before < end {
        anyhow::ensure!(limit.take("lone").await?.is_allowed(), "a call was denied");
        let between = clock.monotonic();
        let _: i64 = redis::cmd("INCR").arg("lone").query_async(&mut connection).await?;
        let after = clock.monotonic();
        times[0].push(between.saturating_sub(before));
        times[1].push(after.saturating_sub(between));
        before = after;
    }
    Ok(times.map(median_us).into())
}
