//! Slide "Buffering writes": many hits, one UPDATE.
//!
//! The slide incremented a Redis hash, and a job read it and ran the UPDATE. Nothing removed the flushed counts, and a crash
//! in between lost or doubled them. Here a batch leaves the store only after SQL has committed it, and SQL remembers the
//! batch.
//!
//! `cargo run --example slide-buffer`, with `FOREBAY_STORE` for another store than `memory:`.

use forebay::{Buffer, Forebay, Result, Timestamp, buffer::BufferHandle, sink::MemorySink};

async fn incr(projects: &BufferHandle, project_id: &str, now: Timestamp) -> Result<()> {
    projects.row(project_id).add("hits", 1).max("last_seen", now).await
}

async fn flush(projects: &BufferHandle) -> Result<u64> {
    projects.flush().await
}

/// Writes to two projects, flushes, and returns the rows of the database.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn run(bay: &Forebay, name: &str) -> Result<Vec<(String, i64)>> {
    let projects = bay.buffer(Buffer::new(name).table("projects").key("id").sum("hits").max("last_seen"))?;
    let sql = MemorySink::new(); // in an application: `forebay_sql::Sqlite::open("app.db").await?`
    let _ = projects.flush_to(sql.clone());

    let now = Timestamp::from_secs(1_790_000_000);
    for project_id in ["42", "42", "7", "42"] {
        incr(&projects, project_id, now).await?;
    }
    assert_eq!(sql.rows(projects.schema()).len(), 0, "nothing is in SQL yet");
    assert_eq!(flush(&projects).await?, 2, "two rows for four hits");
    assert_eq!(flush(&projects).await?, 0, "what was flushed is gone from the store");

    let rows = sql.rows(projects.schema()).into_iter().map(|row| match row.cells[0] {
        Some(forebay::buffer::Value::Integer(hits)) => (row.key.as_str().to_owned(), hits),
        _ => (row.key.as_str().to_owned(), 0),
    });
    Ok(rows.collect())
}

#[allow(dead_code, clippy::print_stdout, reason = "prints as an example does; the tests call `run` instead")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::var("FOREBAY_STORE").unwrap_or_else(|_| "memory:".into());
    for (id, hits) in run(&Forebay::open(&store).await?, "projects").await? {
        println!("project {id}: {hits} hits");
    }
    Ok(())
}
