//! Slide "Time series data": hits by time.
//!
//! The slide kept one Redis key per bucket (120 bytes each) in the caller's time zone, for ever, and needed 8 640 GETs to read
//! a day. Here buckets share chunks that expire, and one round trip reads a day.
//!
//! `cargo run --example slide-series`, with `FOREBAY_STORE` for another store than `memory:`.

use forebay::{Forebay, Result, series::SeriesHandle, time::days};

async fn process_hit(hits: &SeriesHandle, project_id: &str) -> Result<()> {
    hits.add(project_id, 1).await
}

async fn count_hits_today(hits: &SeriesHandle, project_id: &str) -> Result<u64> {
    hits.sum(project_id, days(1)).await
}

/// Counts three hits, and reads those of the day.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn run(bay: &Forebay, name: &str) -> Result<u64> {
    let hits = bay.series(name)?;
    for _ in 0..3 {
        process_hit(&hits, "42").await?;
    }
    count_hits_today(&hits, "42").await
}

#[allow(dead_code, clippy::print_stdout, reason = "prints as an example does; the tests call `run` instead")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::var("FOREBAY_STORE").unwrap_or_else(|_| "memory:".into());
    println!("hits today: {}", run(&Forebay::open(&store).await?, "hits").await?);
    Ok(())
}
