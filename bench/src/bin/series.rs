//! Measures reads of series: a day in one round trip against the ways of plain commands, the largest of many keys, and counting
//! in this process: `cargo run --profile bench -p forebay-bench --bin series`.
//!
//! The ways that are compared run in turn, and the medians count.

#![expect(clippy::print_stdout, reason = "this is its output")]

use anyhow::{Context as _, Result, ensure};
use forebay::{
    Clock, Forebay, Series, Timestamp, When,
    series::{Query, RankQuery, SeriesHandle},
    time::{days, hours, secs},
};
use forebay_testkit::Redis;

/// Turns of each measurement.
const TURNS: usize = 41;

/// Keys among which the largest are looked for.
const KEYS: u64 = 100_000;

/// Buckets of 10 s in a day.
const DAY: i64 = 8_640;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        in_this_process().await?;
        let redis = Redis::start();
        a_day(&redis).await?;
        for is_even in [false, true] {
            the_largest(&redis, is_even).await?;
        }
        Ok(())
    })
}

/// Counting in one thread, 1 000 keys.
async fn in_this_process() -> Result<()> {
    let series = Forebay::open("memory:").await?.series("hits")?;
    let keys: Vec<String> = (0..1_000).map(|key| format!("user:{key}")).collect();
    let (clock, mut rates) = (Clock::system(), vec![]);
    for _ in 0..5 {
        let start = clock.monotonic();
        let mut count = 0u32;
        while clock.monotonic().saturating_sub(start) < secs(1) {
            for key in &keys {
                series.add(key, 1).await?;
            }
            count += 1_000;
        }
        rates.push(f64::from(count) / clock.monotonic().saturating_sub(start).as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!("adds in this process, one thread, 4 resolutions: {:.2} M/s", rates[2] / 1e6);
    Ok(())
}

/// A day of 10 s points, all of them counted.
async fn a_day(redis: &Redis) -> Result<()> {
    let series = counted_day(redis).await?;
    let client = redis::Client::open(redis.url())?;
    let mut plain = client.get_multiplexed_async_connection().await?;
    let names: Vec<String> = (0..DAY).map(|bucket| format!("ts:user:42:{}", 179_000_000 + bucket)).collect();
    let (mut set, mut gets, mut mget) = (redis::pipe(), redis::pipe(), redis::cmd("MGET"));
    for name in &names {
        let options = redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(86_400));
        set.set_options(name, 1_234, options).ignore();
        gets.get(name);
        mget.arg(name);
    }
    set.query_async::<()>(&mut plain).await?;
    let fine = Query::last(days(1)).step(secs(10));
    let coarse = Query::last(days(1)).step(hours(1));
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..TURNS {
        let ask = async |query| {
            ensure!(!series.query("user:42", query).await?.values.is_empty());
            Ok(())
        };
        times[0].push(timed(ask(&fine)).await?);
        times[1].push(timed(ask(&coarse)).await?);
        let mut connection = plain.clone();
        times[2].push(
            timed(async {
                ensure!(gets.query_async::<Vec<u64>>(&mut connection).await?.len() == names.len());
                Ok(())
            })
            .await?,
        );
        times[3].push(
            timed(async {
                ensure!(mget.query_async::<Vec<u64>>(&mut plain).await?.len() == names.len());
                Ok(())
            })
            .await?,
        );
    }
    let [fine, coarse, gets, mget] = times.map(median);
    println!("a day by the hour: {coarse:.3} ms");
    println!(
        "a day of 10 s points: {fine:.2} ms; 8 640 GETs in a pipeline {gets:.2} ms ({:.1} x); one MGET {mget:.2} ms ({:.1} x)",
        gets / fine,
        mget / fine
    );
    Ok(())
}

/// A series with a count in each bucket of a day, some time after.
async fn counted_day(redis: &Redis) -> Result<SeriesHandle> {
    let series = Forebay::open(&redis.url()).await?.series("day")?;
    let now = series.store_time("").await;
    let point = |ago: i64| {
        let ago = ago.unsigned_abs();
        ("user:42", 1 + ago % 5_000, now.minus(secs(10 * ago)))
    };
    series.add_many((0..DAY).map(point).collect::<Vec<_>>(), When::EngineClock).await?;
    // The last hour goes to open buckets first: until these are sealed it is not as in a series that is counted now.
    Clock::system().sleep(secs(25)).await;
    Ok(series)
}

/// The ten largest of many keys, whose counts are even, or follow Zipf's law.
async fn the_largest(redis: &Redis, is_even: bool) -> Result<()> {
    let (name, law) = if is_even { ("even", "uniform") } else { ("zipf", "Zipf") };
    let bay = Forebay::open(&redis.url()).await?;
    let series = bay.series(Series::new(name).ranked())?;
    fill(&series, is_even).await?;
    let now = series.store_time("").await;
    let midnight = Timestamp::from_secs(now.as_secs() - now.as_secs() % 86_400);
    for (what, query) in [
        ("a whole day", RankQuery::between(midnight.minus(days(1)), midnight)),
        ("two whole days", RankQuery::between(midnight.minus(days(2)), midnight)),
        ("24 h back from now", RankQuery::last(hours(24))),
        ("the last hour", RankQuery::last(hours(1))),
    ] {
        let (mut times, mut exact) = (vec![], false);
        for _ in 0..TURNS {
            times.push(
                timed(async {
                    let top = series.top(&query).await?;
                    exact = top.is_exact;
                    ensure!(top.rows.len() == 10);
                    Ok(())
                })
                .await?,
            );
        }
        println!("top(10) of {KEYS} keys, {law}, {what}: {:.2} ms, exact: {exact}", median(times));
    }
    Ok(())
}

/// Counts of each key in each of the last 60 hours.
async fn fill(series: &SeriesHandle, is_even: bool) -> Result<()> {
    let now = series.store_time("").await;
    let mut seed = 1u64;
    for ago in (0..60).step_by(4) {
        let mut points: Vec<(String, u64, Timestamp)> = vec![];
        for key in 0..KEYS {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = 80 + (seed >> 33) % 41;
            let n = if is_even { noise } else { (10_000_000 / (key + 1) * noise / 100).max(1) };
            points.push((format!("user:{key}"), n, now.minus(hours(ago))));
        }
        for points in points.chunks(10_000) {
            series.add_many(points.to_vec(), When::EngineClock).await.context("fills the series")?;
        }
    }
    Ok(())
}

/// The duration of some work, in ms.
async fn timed(work: impl Future<Output = Result<()>>) -> Result<f64> {
    let clock = Clock::system();
    let start = clock.monotonic();
    work.await?;
    Ok(clock.monotonic().saturating_sub(start).as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
