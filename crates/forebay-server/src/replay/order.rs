//! Sorts events by time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    time::Duration,
};

use forebay::Timestamp;

use super::Event;

/// The number of events held back: about 100 MB, and a minute of 17 000 lines per second.
const MAX_HELD: usize = 1 << 20;

/// Sorts events by time, if they arrive at most `within` too late.
///
/// A server writes a line when the request ends, with the time at which it began. So an event is held back until another
/// one is `within` younger. Events of the same time keep their order. An event that arrives after later ones have passed is
/// [late](Event::late), and passes at once. The result depends only on the order of the lines, so a replay can be repeated.
///
/// At most 2^20 events are held; a busier log is sorted within a shorter time.
#[derive(Debug)]
pub struct Reorder {
    within: Duration,
    /// The held events with their arrival: the earliest first, and among equal times the first to arrive.
    held: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    arrivals: u64,
    /// Events before this time are late. It never decreases.
    turn: Option<Timestamp>,
}

impl Reorder {
    /// Holds events back for `within` of the log's time. With zero, every event before its predecessor is late.
    pub fn new(within: Duration) -> Self {
        Self { within, held: BinaryHeap::new(), arrivals: 0, turn: None }
    }

    /// Takes the next event, and passes those that can no longer be preceded.
    pub fn push(&mut self, event: Event, mut pass: impl FnMut(Event)) {
        if self.turn.is_some_and(|turn| event.at < turn) {
            pass(Event { late: true, ..event });
            return;
        }
        self.turn = self.turn.max(Some(event.at.minus(self.within)));
        self.held.push(Reverse((event.at, self.arrivals, event)));
        self.arrivals += 1;
        loop {
            let is_full = self.held.len() > MAX_HELD;
            let Some(first) = self.held.peek_mut() else { break };
            let Reverse((at, ..)) = *first;
            if is_full {
                self.turn = self.turn.max(Some(at));
            }
            if Some(at) > self.turn {
                break;
            }
            pass(PeekMut::pop(first).0.2);
        }
    }

    /// Passes the held events at the end of the log.
    pub fn finish(&mut self, mut pass: impl FnMut(Event)) {
        while let Some(Reverse((.., event))) = self.held.pop() {
            pass(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::secs;
    use proptest::prelude::*;

    use super::*;

    fn ordered(times: impl IntoIterator<Item = i64>, within: u64) -> Vec<(i64, usize, bool)> {
        let mut order = Reorder::new(secs(within));
        let mut all = Vec::new();
        let mut pass = |event: Event| {
            all.push((event.at.as_secs(), event.key.parse().expect("its place"), event.late));
        };
        for (place, at) in times.into_iter().enumerate() {
            let event = Event { at: Timestamp::from_secs(at), key: place.to_string(), late: false };
            order.push(event, &mut pass);
        }
        order.finish(pass);
        all
    }

    #[test]
    fn an_event_waits_for_those_that_are_late_within_the_bound() {
        let order = ordered([10, 5, 10, 15, 4, 20], 10);
        let expected =
            [(5, 1, false), (4, 4, true), (10, 0, false), (10, 2, false), (15, 3, false), (20, 5, false)];
        assert_eq!(order, expected);
    }

    #[test]
    fn exactly_the_bound_is_not_late() {
        assert_eq!(ordered([20, 10, 9], 10), [(10, 1, false), (9, 2, true), (20, 0, false)]);
    }

    #[test]
    fn zero_keeps_the_file_s_order() {
        let order = ordered([3, 1, 3, 4, 2], 0);
        assert_eq!(order, [(3, 0, false), (1, 1, true), (3, 2, false), (4, 3, false), (2, 4, true)]);
    }

    #[test]
    fn a_busy_log_is_bounded_and_stays_in_order() {
        let times = std::iter::repeat_n(7, MAX_HELD).chain([5, 8, 6]);
        let all = ordered(times, 60);
        // 5 found its place. 8 was one too many, and let the 7s through; 6 came after that.
        assert_eq!(all[0], (5, MAX_HELD, false));
        assert!(all[..=MAX_HELD].is_sorted());
        assert_eq!(all[MAX_HELD + 1..], [(6, MAX_HELD + 2, true), (8, MAX_HELD + 1, false)]);
    }

    proptest! {
        #[test]
        fn on_time_events_come_sorted_and_stable(times in prop::collection::vec(0..200_i64, 0..100), within in 0..200_u64) {
            let all = ordered(times.iter().copied(), within);
            prop_assert_eq!(all.len(), times.len());
            let on_time: Vec<_> = all.iter().filter(|(.., late)| !late).collect();
            prop_assert!(on_time.is_sorted());
            let mut newest = i64::MIN;
            for (place, &at) in times.iter().enumerate() {
                newest = newest.max(at);
                let is_late = at < newest.saturating_sub_unsigned(within);
                prop_assert!(all.contains(&(at, place, is_late)));
            }
        }

        #[test]
        fn extreme_times_do_not_overflow(times in prop::collection::vec(any::<i64>(), 0..9), within: u64) {
            let mut order = Reorder::new(Duration::from_micros(within));
            let mut passed = 0;
            for &at in &times {
                let event = Event { at: Timestamp::from_micros(at), key: "a".to_owned(), late: false };
                order.push(event, |_| passed += 1);
            }
            order.finish(|_| passed += 1);
            prop_assert_eq!(passed, times.len());
        }
    }
}
