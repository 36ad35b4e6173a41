//! The engine in this process: no server, and in memory unless given a file.

mod buffer;
mod kv;
mod limit;
mod lock;
mod series;
mod shards;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use self::shards::Shards;
use crate::{clock::Clock, error::Result};

/// How often what has expired is thrown away. Expiry itself is exact; this only bounds the memory.
const SWEEP: Duration = Duration::from_secs(1);

/// The embedded engine.
#[derive(Debug)]
pub(crate) struct Embedded {
    clock: Clock,
    limits: Shards<limit::Entry>,
    series: Shards<series::Entry>,
    buffers: buffer::Partitions,
    locks: lock::Locks,
    kv: Shards<kv::Entry>,
}

impl Embedded {
    /// An empty engine in memory. Needs a tokio runtime for its sweeper, which ends with the engine.
    pub(crate) fn in_memory(clock: Clock) -> Arc<Self> {
        let engine = Arc::new(Self {
            clock,
            limits: Shards::new(),
            series: Shards::new(),
            buffers: buffer::Partitions::default(),
            locks: lock::Locks::default(),
            kv: Shards::new(),
        });
        tokio::spawn(sweep_regularly(Arc::downgrade(&engine), engine.clock.clone()));
        engine
    }

    /// Throws away what has expired.
    pub(crate) fn sweep(&self) {
        let now = self.clock.monotonic();
        self.sweep_limits(now);
        self.sweep_series(now);
        self.sweep_locks(now);
        self.sweep_kv(now);
    }

    /// How many keys of limits and series are held.
    pub(crate) fn keys(&self) -> usize {
        self.limits.len() + self.series.len()
    }

    #[expect(clippy::unused_async, clippy::unused_self, reason = "steps are async on every engine")]
    pub(crate) async fn ping(&self) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "a question every engine answers")]
    pub(crate) fn warnings(&self) -> Vec<String> {
        vec![]
    }

    #[expect(clippy::unused_async, clippy::unused_self, reason = "steps are async on every engine")]
    pub(crate) async fn close(&self) -> Result<()> {
        Ok(())
    }
}

async fn sweep_regularly(engine: Weak<Embedded>, clock: Clock) {
    loop {
        clock.sleep(SWEEP).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.sweep();
    }
}
