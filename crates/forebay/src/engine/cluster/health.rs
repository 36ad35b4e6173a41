//! Whether a host is asked at all: probes in, verdicts out.
//!
//! Only probes move a host between the states. What its callers run into makes a probe come sooner and no
//! more: one key with a poisoned value would otherwise take its host from everybody else's.

use std::time::Duration;

use crate::model::Health;

/// Failed probes in a row after which a host is down. One can be lost to a restart that is already over.
const MAX_FAILURES: u8 = 2;

/// Between two probes of a host that is well. They cost it five small commands a second for each process.
const CALM_INTERVAL: Duration = Duration::from_millis(250);

/// Between two probes of a host that is well that also ask who it is.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a host has to answer a probe. [`MAX_FAILURES`] times that is more than a busy server's hiccup, and with the interval
/// before it less than a second, after which a silent host is down.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(325);

/// Between two probes of one that may not be.
pub(super) const ALERT_INTERVAL: Duration = Duration::from_millis(100);

/// Between two probes of one that is down: how long its keys may wait needlessly.
const DOWN_INTERVAL: Duration = Duration::from_millis(250);

/// The state of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthState {
    health: Health,
    /// Failed probes in a row.
    failures: u8,
}

impl HealthState {
    /// The state of a host that did not answer at the start.
    pub(super) fn down() -> Self {
        Self { health: Health::Down, failures: MAX_FAILURES }
    }

    pub(super) fn health(self) -> Health {
        self.health
    }

    /// After a probe.
    pub(super) fn probed(self, answered: bool) -> Self {
        let failures = if answered { 0 } else { self.failures.saturating_add(1).min(MAX_FAILURES) };
        let health = match (self.health, answered) {
            (Health::Down, true) => Health::HalfOpen,
            (_, true) => Health::Up,
            (Health::Down | Health::HalfOpen, false) => Health::Down,
            (_, false) if failures >= MAX_FAILURES => Health::Down,
            (_, false) => Health::Suspect,
        };
        Self { health, failures }
    }

    /// After a caller had no answer.
    pub(super) fn troubled(self) -> Self {
        let health = if self.health == Health::Up { Health::Suspect } else { self.health };
        Self { health, ..self }
    }

    /// Whether the next probe asks who the host is, if it was asked that so long ago. Otherwise an answer is enough.
    pub(super) fn asks_identity(self, asked: Option<Duration>) -> bool {
        self.health != Health::Up || asked.is_none_or(|asked| asked >= IDENTITY_INTERVAL)
    }

    /// How long until the next probe, unless a caller runs into trouble before.
    pub(super) fn pause(self) -> Duration {
        match self.health {
            Health::Up => CALM_INTERVAL,
            Health::Suspect | Health::HalfOpen => ALERT_INTERVAL,
            Health::Down => DOWN_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Answered,
        Failed,
        Trouble,
    }

    fn after(events: &[Event]) -> HealthState {
        events.iter().fold(HealthState::default(), |health_state, event| match event {
            Event::Answered => health_state.probed(true),
            Event::Failed => health_state.probed(false),
            Event::Trouble => health_state.troubled(),
        })
    }

    #[test]
    fn a_host_goes_down_by_two_failed_probes_and_comes_back_by_two_good_ones() {
        use Event::{Answered, Failed};
        let path = [Failed, Failed, Answered, Answered];
        let states: Vec<_> = (0..=4).map(|n| after(&path[..n]).health()).collect();
        assert_eq!(states, [Health::Up, Health::Suspect, Health::Down, Health::HalfOpen, Health::Up]);
        assert_eq!(after(&[Failed, Failed, Answered, Failed]).health(), Health::Down);
        assert_eq!(HealthState::down().probed(true).health(), Health::HalfOpen);
    }

    #[test]
    fn a_silent_host_is_down_within_a_second() {
        assert!(CALM_INTERVAL + PROBE_TIMEOUT * u32::from(MAX_FAILURES) <= Duration::from_millis(900));
    }

    #[test]
    fn a_host_that_may_be_another_one_is_asked_each_time() {
        use Event::{Answered, Failed, Trouble};
        let now = Some(Duration::ZERO);
        assert!(!after(&[Answered]).asks_identity(now));
        assert!(after(&[Answered]).asks_identity(None) && after(&[]).asks_identity(Some(IDENTITY_INTERVAL)));
        let doubtful: [&[Event]; 4] = [&[Trouble], &[Failed], &[Failed; 2], &[Failed, Failed, Answered]];
        assert!(doubtful.iter().all(|events| after(events).asks_identity(now)));
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![Just(Event::Answered), Just(Event::Failed), Just(Event::Trouble)];
        prop::collection::vec(event, 0..40)
    }

    proptest! {
        /// A caller's trouble may be its own: only probes take a host from everybody.
        #[test]
        fn trouble_alone_takes_no_host_down(events in events()) {
            let health_state = after(&events);
            let troubled = (0..9).fold(health_state, |health_state, _| health_state.troubled());
            prop_assert_eq!(troubled.health() == Health::Down, health_state.health() == Health::Down);
        }

        #[test]
        fn two_good_probes_heal_whatever_was_before(events in events()) {
            prop_assert_eq!(after(&events).probed(true).probed(true), HealthState::default());
        }

        #[test]
        fn two_failed_probes_are_down_whatever_was_before(events in events()) {
            prop_assert_eq!(after(&events).probed(false).probed(false), HealthState::down());
        }
    }
}
