//! The measurements of one host: round trips, redirects and memory.
//!
//! Two readings of the clock and two additions for a round trip, which carries the calls of many callers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use super::reply::info_field;
use crate::{
    model::{HostStatus, Latency, LatencyCounts, Memory, Redirects},
    time::secs,
};

/// The recent round trips are those of one to two such intervals.
const INTERVAL: Duration = secs(30);

/// For how long the memory that a host reported is shown without asking again.
const MEMORY_VALIDITY: Duration = secs(4);

/// The measurements of one host. All connections to it share them.
#[derive(Debug, Default)]
pub(super) struct Meter {
    latency: LatencyCounts,
    /// Nothing is ordered by them, so any memory order will do.
    pub moved: AtomicU64,
    pub ask: AtomicU64,
    pub try_again: AtomicU64,
    /// The memory, and when it was reported. Locked to copy and to replace.
    memory: Mutex<Option<(Memory, Duration)>>,
    /// Locked to read and to replace, never across an await.
    window: Mutex<Window>,
}

/// Earlier states of the round trips, from which the recent ones are counted.
#[derive(Debug, Default)]
struct Window {
    /// When `newer` was read.
    at: Duration,
    older: Latency,
    newer: Latency,
}

impl Meter {
    /// A round trip took so long, answered or not.
    pub(super) fn round_trip(&self, took: Duration) {
        self.latency.add(took);
    }

    /// Lets round trips that are no longer recent go. To be called every few seconds.
    pub(super) fn turn(&self, now: Duration) {
        let mut window = self.window.lock();
        if now.saturating_sub(window.at) >= INTERVAL {
            *window = Window { at: now, older: window.newer, newer: self.latency.read() };
        }
    }

    /// Whether the memory is to be asked for.
    pub(super) fn wants_memory(&self, now: Duration) -> bool {
        self.memory.lock().is_none_or(|(_, at)| now.saturating_sub(at) >= MEMORY_VALIDITY)
    }

    /// Takes the memory as it was reported at `now`, if it was.
    pub(super) fn learn_memory(&self, memory: Option<Memory>, now: Duration) {
        if let Some(memory) = memory {
            *self.memory.lock() = Some((memory, now));
        }
    }

    /// Adds the measurements to a status.
    pub(super) fn show(&self, status: HostStatus) -> HostStatus {
        let latency = self.latency.read();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let redirects =
            Redirects { moved: count(&self.moved), ask: count(&self.ask), try_again: count(&self.try_again) };
        HostStatus {
            latency,
            recent: latency.since(&self.window.lock().older),
            redirects,
            memory: self.memory.lock().map(|(memory, _)| memory),
            ..status
        }
    }
}

/// Reads the memory from an answer to `INFO`.
pub(super) fn memory(info: &str) -> Option<Memory> {
    let bytes = |name: &str| info_field(info, name)?.trim().parse::<u64>().ok();
    Some(Memory { used: bytes("used_memory")?, max: bytes("maxmemory").filter(|&max| max > 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_info() {
        let info =
            "# Memory\r\nused_memory:1048576\r\nused_memory_rss:9\r\nmaxmemory:0\r\nmaxmemory_policy:x\r\n";
        assert_eq!(memory(info), Some(Memory { used: 1_048_576, max: None }));
        let bounded = info.replace("maxmemory:0", "maxmemory:2097152");
        assert_eq!(memory(&bounded).and_then(|memory| memory.max), Some(2_097_152));
        assert_eq!(memory("used_memory_rss:9"), None);
    }

    #[test]
    fn round_trips_are_recent_for_one_to_two_intervals() {
        let meter = Meter::default();
        let recent = |meter: &Meter| meter.show(HostStatus::only("a")).recent.count();
        meter.round_trip(Duration::from_micros(100));
        meter.turn(secs(30));
        assert_eq!(recent(&meter), 1);
        meter.turn(secs(59));
        assert_eq!(recent(&meter), 1, "it is not over yet");
        meter.round_trip(Duration::from_micros(100));
        meter.turn(secs(60));
        assert_eq!(recent(&meter), 1, "the first one is no longer recent");
        meter.turn(secs(90));
        let status = meter.show(HostStatus::only("a"));
        assert_eq!((status.recent.count(), status.latency.count()), (0, 2));
    }
}
