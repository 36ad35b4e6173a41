//! The health of a host, and since when.

use std::time::Duration;

use crate::{
    clock::Clock,
    model::{Health, HostStatus, Since},
    time::Timestamp,
};

/// The health of a host, since when, and how often it changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    health: Health,
    at: Timestamp,
    /// On the monotonic clock.
    since: Duration,
    changes: u64,
}

impl Standing {
    /// A host that is up as of now.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { health: Health::Up, at: clock.now(), since: clock.monotonic(), changes: 0 }
    }

    /// Takes the host's health as of now, and returns the one before.
    pub(crate) fn enter(&mut self, health: Health, clock: &Clock) -> Health {
        let before = self.health;
        if before != health {
            *self = Self { health, changes: self.changes + 1, ..Self::new(clock) };
        }
        before
    }

    pub(crate) fn health(self) -> Health {
        self.health
    }

    /// The status of a host with this health.
    pub(crate) fn show(self, clock: &Clock, status: HostStatus) -> HostStatus {
        let lasted = clock.monotonic().saturating_sub(self.since);
        HostStatus {
            health: self.health,
            since: Some(Since { at: self.at, lasted }),
            changes: self.changes,
            ..status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, time::secs};

    #[test]
    fn a_state_lasts_until_another_one_whatever_the_time_of_day_does() {
        let manual = ManualClock::at(Timestamp::from_secs(1_790_000_000));
        let clock = Clock::from(manual.clone());
        let mut standing = Standing::new(&clock);
        manual.advance(secs(5));
        assert_eq!(standing.enter(Health::Up, &clock), Health::Up);
        assert_eq!(standing.enter(Health::Down, &clock), Health::Up);
        manual.advance(secs(3));
        assert_eq!(standing.enter(Health::Down, &clock), Health::Down);
        let status = standing.show(&clock, HostStatus::only("a"));
        let since = status.since.expect("known");
        assert_eq!((status.health, status.changes), (Health::Down, 1));
        assert_eq!((since.at, since.lasted), (Timestamp::from_secs(1_790_000_005), secs(3)));
    }
}
