//! The peers on Redis, each in its usual setup.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use forebay_bench::{Load, together};
/// The subject that needs a module in the server.
pub(crate) const CELL: &str = "redis-cell by redis-rs";

/// `CL.THROTTLE` through a multiplexed connection. Several limits are independent commands in one pipeline.
pub(crate) async fn cell(load: Load, keys: usize, limits: usize) -> Result<f64> {
    let connection = redis::Client::open(load.redis.as_str())?.get_multiplexed_async_connection().await?;
    together(&load, keys, connection, move |connection, key| async move {
        let mut connection = (*connection).clone();
        let mut pipeline = redis::pipe();
        for limit in 0..limits {
            // Burst, count and period are so large that they are never reached.
            let key = format!("{limit}:{key}");
            pipeline.cmd("CL.THROTTLE").arg(key).arg(1_000_000).arg(1_000_000).arg(1).arg(1);
        }
        let answers: Vec<Vec<i64>> = pipeline.query_async(&mut connection).await?;
        Ok(answers.iter().all(|answer| answer[0] == 0))
    })
    .await
}

/// `INCR` of one key, as fast as Redis's own benchmark can send it.
pub(crate) fn incr(load: &Load) -> Result<f64> {
    let port = load.redis.trim_end_matches("/0").rsplit(':').next().context("a port")?.to_owned();
    let run = |requests: u64| -> Result<f64> {
        let requests = requests.to_string();
        let arguments = ["-p", &port, "-P", "64", "-n", &requests, "-q", "--csv", "INCR", "hot"];
        let output = Command::new("redis-benchmark").args(arguments).output().context("redis-benchmark")?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "redis-benchmark: {text}");
        let line = text.lines().rfind(|line| line.contains("INCR")).context("a line of figures")?;
        Ok(line.split(',').nth(1).context("a rate")?.trim_matches('"').parse()?)
    };
    let guess = run(200_000)?;
    run((guess * load.seconds) as u64)
}
