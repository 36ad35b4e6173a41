//! The log on stderr, which limits an error that repeats to one line a second.

use std::{
    collections::HashMap,
    env, fmt,
    hash::{BuildHasher, RandomState},
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use forebay::{Clock, time::secs};
use parking_lot::Mutex;
use tracing::{Event, Level, Subscriber, callsite::Identifier};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
};

/// The interval between two lines with the same text.
const INTERVAL: Duration = secs(1);

/// The most different texts that one call site may log in that time.
const MAX_TEXTS: usize = 5;

/// The target of the lines that count others.
const COUNTS: &str = "forebay::repeated";

/// The warnings and errors that were left out of the log. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    clock: Clock,
    /// The call sites. It is never locked while something is logged.
    sites: Arc<Mutex<HashMap<Identifier, Site>>>,
    hasher: RandomState,
}

/// A call site that logs.
#[derive(Debug)]
struct Site {
    level: Level,
    /// The time at which it logged the first of `texts`.
    since: Duration,
    /// Hashes of the texts that it has logged since.
    texts: Vec<u64>,
    /// The number of lines left out since the last report, and the last of them.
    left_out: u64,
    last: String,
}

impl Repeats {
    /// Starts the log on stderr, with the level in `FOREBAY_LOG`.
    pub(crate) fn init(clock: &Clock) -> Self {
        let filter = env::var("FOREBAY_LOG").ok().and_then(|text| text.parse().ok());
        let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        let (repeats, subscriber) = Self::subscriber(clock, filter, io::stderr, io::stderr().is_terminal());
        tracing::subscriber::set_global_default(subscriber).expect("the program starts its log once");
        repeats
    }

    fn subscriber<W>(clock: &Clock, filter: Targets, to: W, colour: bool) -> (Self, impl Subscriber)
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (sites, hasher) = (Arc::default(), RandomState::new());
        let repeats = Self { clock: clock.clone(), sites, hasher };
        let format = Format { line: format::format(), repeats: repeats.clone() };
        let lines =
            tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(to).with_ansi(colour);
        (repeats, lines.event_format(format).finish().with(filter))
    }

    /// Reports once a second how many lines were left out. Does not end.
    pub(crate) async fn run(&self) {
        loop {
            self.clock.sleep(INTERVAL).await;
            self.report();
        }
    }

    /// Reports how many lines were left out since the last report.
    pub(crate) fn report(&self) {
        let mut counted = vec![];
        for site in self.sites.lock().values_mut().filter(|site| site.left_out > 0) {
            counted.push((site.level, std::mem::take(&mut site.left_out), std::mem::take(&mut site.last)));
        }
        for (level, more, text) in counted {
            if level == Level::ERROR {
                tracing::error!(target: COUNTS, "{more} more in the last second: {text}");
            } else {
                tracing::warn!(target: COUNTS, "{more} more in the last second: {text}");
            }
        }
    }

    /// Returns whether a line is logged; otherwise it is counted.
    fn admits(&self, event: &Event<'_>, text: String) -> bool {
        let (now, hash) = (self.clock.monotonic(), self.hasher.hash_one(&text));
        let metadata = event.metadata();
        let mut sites = self.sites.lock();
        let site = sites.entry(metadata.callsite()).or_insert_with(|| Site {
            level: *metadata.level(),
            since: now,
            texts: vec![],
            left_out: 0,
            last: String::new(),
        });
        if now.saturating_sub(site.since) >= INTERVAL {
            site.since = now;
            site.texts.clear();
        }
        if site.texts.len() < MAX_TEXTS && !site.texts.contains(&hash) {
            site.texts.push(hash);
            return true;
        }
        site.left_out += 1;
        site.last = text;
        false
    }
}

/// The default format, without the warnings and errors that repeat.
struct Format {
    line: format::Format,
    repeats: Repeats,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Lower levels are logged only on request.
        if *metadata.level() <= Level::WARN && metadata.target() != COUNTS {
            let mut text = String::new();
            context.field_format().format_fields(Writer::new(&mut text), event)?;
            if !self.repeats.admits(event, text) {
                return Ok(());
            }
        }
        self.line.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use forebay::{ManualClock, Timestamp};

    use super::*;

    /// The log's output.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// The lines since the last call, without their times.
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            let text = String::from_utf8(bytes).expect("text");
            text.lines()
                .map(|line| line.split_once(' ').map_or("", |(_, rest)| rest.trim()).to_owned())
                .collect()
        }
    }

    fn log(work: impl FnOnce(&Repeats, &ManualClock, &Lines)) {
        let (hand, lines) = (ManualClock::at(Timestamp::UNIX_EPOCH), Lines::default());
        let to = lines.clone();
        let clock = Clock::from(hand.clone());
        let (repeats, subscriber) = Repeats::subscriber(
            &clock,
            Targets::new().with_default(LevelFilter::INFO),
            move || to.clone(),
            false,
        );
        tracing::subscriber::with_default(subscriber, || work(&repeats, &hand, &lines));
    }

    fn fail(key: u32) {
        tracing::error!(key, "request failed");
    }

    #[test]
    fn an_error_that_repeats_is_logged_once_a_second_with_a_count() {
        log(|repeats, hand, lines| {
            for _ in 0..1_346 {
                fail(1);
            }
            assert_eq!(lines.take(), ["ERROR forebay_server::log::tests: request failed key=1"]);
            repeats.report();
            assert_eq!(
                lines.take(),
                ["ERROR forebay::repeated: 1345 more in the last second: request failed key=1"]
            );
            repeats.report();
            assert_eq!(lines.take(), Vec::<String>::new(), "counted once");
            hand.advance(secs(1));
            fail(1);
            assert_eq!(lines.take().len(), 1);
        });
    }

    #[test]
    fn texts_that_differ_are_logged_up_to_a_few_from_one_place() {
        log(|repeats, _, lines| {
            for key in (0..100).chain(0..100) {
                fail(key);
            }
            let logged = lines.take();
            assert_eq!(logged.len(), MAX_TEXTS, "{logged:?}");
            repeats.report();
            assert_eq!(
                lines.take(),
                ["ERROR forebay::repeated: 195 more in the last second: request failed key=99"]
            );
        });
    }

    #[test]
    fn other_call_sites_and_lower_levels_are_not_suppressed() {
        log(|repeats, _, lines| {
            for _ in 0..3 {
                fail(1);
                tracing::warn!("a lock was lost");
                tracing::info!("SIGHUP");
                tracing::debug!("not asked for");
            }
            let logged = lines.take();
            let count = |text: &str| logged.iter().filter(|line| line.contains(text)).count();
            assert_eq!([count("request failed"), count("a lock was lost"), count("SIGHUP")], [1, 1, 3]);
            assert_eq!(logged.len(), 5, "{logged:?}");
            repeats.report();
            let counts = lines.take();
            assert_eq!(counts.iter().filter(|line| line.contains("2 more in the last second")).count(), 2);
            assert!(counts.iter().any(|line| line.starts_with("WARN")), "{counts:?}");
        });
    }
}
