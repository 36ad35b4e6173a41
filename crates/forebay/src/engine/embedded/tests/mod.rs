//! Tests the promises of the file by closing it, by failures, by loss of power and by death of the process.

mod damage;
mod disk;
mod expiry;
mod faults;
mod group;
mod power;
mod reopen;
mod summary;

use std::{future::Future, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Embedded, FileOptions, file::Opener};
use crate::{
    Buffer, Clock, ManualClock, Name, Timestamp,
    engine::step::{BufferPart, Claim, SeriesPart, Take},
    model::{
        Row, RowKey, Schema,
        rate::rule::Rule,
        resolution::{Grid, Resolution},
    },
    time::{millis, secs},
};

/// Before the answer.
const SYNC: FileOptions = FileOptions { sync: Duration::ZERO };

/// At most a second after it.
const RELAXED: FileOptions = FileOptions { sync: Duration::from_secs(1) };

/// The time at which tests begin.
fn start() -> ManualClock {
    ManualClock::at(Timestamp::from_secs(1_790_000_000))
}

/// An engine on a disk that the test holds.
async fn engine(opener: Opener, options: FileOptions, clock: &ManualClock) -> Arc<Embedded> {
    Embedded::open_storage(opener, options, clock.clone().into()).await.expect("opens")
}

/// A partition of a buffer that sums `n`.
fn part(index: u16) -> BufferPart {
    let schema = Buffer::new("b").key("id").sum("n").partitions(4).build().expect("valid");
    BufferPart { schema, index }
}

fn key(schema: &Schema, row: &str) -> RowKey {
    RowKey::new(schema, &[row.into()]).expect("valid")
}

/// `n` for a row.
fn hits(part: &BufferPart, row: &str, n: i64) -> Vec<Row> {
    vec![Row { key: key(&part.schema, row), cells: Box::new([Some(n.into())]) }]
}

/// The sum of a row over all generations.
async fn pending(engine: &Embedded, part: &BufferPart, row: &str) -> i64 {
    let rows = engine.buffer_pending(part, &key(&part.schema, row)).await.expect("read");
    rows.iter().filter_map(|pending| pending.row.cells[0].as_ref()?.to_text().parse::<i64>().ok()).sum()
}

/// A limit of 10 a minute.
fn take<'a>(limit: &'a Name, key: &'a str, cost: u64) -> Take<'a> {
    let rule = Rule::fixed_window(10, secs(60), secs(0)).expect("valid");
    Take { limit, key, rule, cost, within: Duration::from_mins(1) }
}

fn claim(name: &str, owner: Uuid) -> Claim<'_> {
    Claim { name, owner, ttl: secs(60), queue: None }
}

fn series() -> SeriesPart {
    let name = Name::new("s").expect("valid");
    let grid = Grid { name, resolutions: Resolution::defaults().into(), partitions: 1, is_ranked: false };
    SeriesPart::new(Arc::new(grid), 0)
}

/// Waits for what another thread is about to do.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let done = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    Clock::system().timeout(secs(20), done).await.expect("it happens within 20 s");
}

/// Lets the engine's half second pass once it waits for it.
async fn tick(engine: &Embedded, clock: &ManualClock) {
    until(|| async { clock.sleepers() > 0 }).await;
    let before = engine.commits();
    clock.advance(millis(500));
    until(|| async { engine.commits() > before }).await;
}
