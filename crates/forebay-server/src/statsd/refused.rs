//! Counts what does not count, with one line in the log for many.

use metrics::Counter;
use parking_lot::Mutex;

use super::why::Why;
use crate::{
    metrics::{Metrics, StatsdRefusedMetrics},
    text::quoted,
};

/// Counts what is refused, and keeps the last of it for the log.
#[derive(Debug)]
pub(super) struct Refusals {
    counters: Vec<Counter>,
    recent: Mutex<Option<Recent>>,
}

/// The refusals since the last line of the log.
#[derive(Debug)]
struct Recent {
    count: u64,
    why: Why,
    example: String,
}

impl Refusals {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |why: Why| metrics.named::<StatsdRefusedMetrics>("why", why.as_str()).refused;
        Self { counters: Why::ALL.map(counter).into(), recent: Mutex::default() }
    }

    /// Counts a line or a datagram. Its beginning is kept if it is the first one since the last [`log`](Self::log).
    pub(super) fn add(&self, why: Why, text: &[u8]) {
        self.counters[why as usize].increment(1);
        let mut recent = self.recent.lock();
        if let Some(recent) = &mut *recent {
            recent.count += 1;
            return;
        }
        let head = &text[..text.len().min(200)];
        *recent = Some(Recent { count: 1, why, example: quoted(&String::from_utf8_lossy(head)) });
    }

    /// Logs what was refused since the last call, in one line.
    pub(super) fn log(&self) {
        let Some(Recent { count, why, example }) = self.recent.lock().take() else { return };
        tracing::warn!(count, why = why.as_str(), example = %example, "statsd: lines or datagrams do not count");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_counter() {
        let metrics = Metrics::default();
        let refusals = Refusals::new(&metrics);
        for (place, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
            refusals.add(why, &[b'\xff'; 1_000]);
        }
        let text = metrics.render();
        for why in Why::ALL {
            let line = format!("forebay_statsd_refused_total{{why=\"{}\"}} 1", why.as_str());
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let recent = refusals.recent.lock().take().expect("refused");
        assert!(recent.count == 13 && recent.why == Why::Name && recent.example.len() < 500);
    }
}
