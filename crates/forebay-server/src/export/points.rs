//! The points of a key: its buckets, or sums of them, with or without zeros.

use std::{collections::VecDeque, time::Duration};

use forebay::Timestamp;

/// A count, and the span that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub start: Timestamp,
    pub step: Duration,
    pub n: u64,
}

impl Point {
    /// The end of the span.
    pub(super) fn end(self) -> Timestamp {
        self.start.plus(self.step)
    }
}

/// Makes points of the buckets of a key.
///
/// A point has the length `step`. A bucket that does not fit into it is a point of its own. With `zeros`, points from the first
/// to the last one that is not zero are passed on; otherwise only those that are not zero.
#[derive(Debug)]
pub(super) struct Points {
    step: Option<Duration>,
    zeros: bool,
    /// The point that the next bucket may belong to.
    open: Option<Point>,
    /// Zeros that are passed on if another count follows, and how many of each: a pause of years is one entry.
    held: Vec<(Point, u64)>,
    ready: VecDeque<(Point, u64)>,
    has_begun: bool,
}

impl Points {
    pub(super) fn new(step: Option<Duration>, zeros: bool) -> Self {
        Self { step, zeros, open: None, held: vec![], ready: VecDeque::new(), has_begun: false }
    }

    /// Takes the next bucket.
    pub(super) fn push(&mut self, bucket: Point) {
        let Some(step) = self.step.filter(|step| step.as_micros().is_multiple_of(bucket.step.as_micros()))
        else {
            self.finish();
            return self.settle(bucket);
        };
        let length = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        let begin = bucket.start.as_micros();
        let start = Timestamp::from_micros(begin - begin.rem_euclid(length));
        match &mut self.open {
            Some(open) if open.start == start => open.n = open.n.saturating_add(bucket.n),
            _ => {
                self.finish();
                self.open = Some(Point { start, step, n: bucket.n });
            }
        }
    }

    /// Ends the last point: no bucket follows.
    pub(super) fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            self.settle(open);
        }
    }

    /// The next complete point.
    pub(super) fn pop(&mut self) -> Option<Point> {
        let (point, left) = self.ready.front_mut()?;
        let next = *point;
        point.start = point.end();
        *left -= 1;
        if *left == 0 {
            self.ready.pop_front();
        }
        Some(next)
    }

    fn settle(&mut self, point: Point) {
        if point.n > 0 {
            self.has_begun = true;
            self.ready.extend(self.held.drain(..));
            self.ready.push_back((point, 1));
        } else if self.zeros && self.has_begun {
            match self.held.last_mut() {
                Some((held, count)) if held.step == point.step => *count += 1,
                _ => self.held.push((point, 1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::secs;

    use super::*;

    /// The points of buckets: start, length, count of each.
    fn points(step: Option<u64>, zeros: bool, buckets: &[(i64, u64, u64)]) -> Vec<(i64, u64, u64)> {
        let mut points = Points::new(step.map(secs), zeros);
        let mut found = vec![];
        let mut drain = |points: &mut Points| {
            while let Some(point) = points.pop() {
                found.push((point.start.as_secs(), point.step.as_secs(), point.n));
            }
        };
        for (start, step, n) in buckets {
            points.push(Point { start: Timestamp::from_secs(*start), step: secs(*step), n: *n });
            drain(&mut points);
        }
        points.finish();
        drain(&mut points);
        found
    }

    #[test]
    fn zeros_are_left_out_or_kept_between_the_first_and_the_last_count() {
        let buckets = [(0, 10, 0), (10, 10, 3), (20, 10, 0), (30, 10, 0), (40, 1, 0), (41, 1, 2), (42, 1, 0)];
        assert_eq!(points(None, false, &buckets), [(10, 10, 3), (41, 1, 2)]);
        let kept = [(10, 10, 3), (20, 10, 0), (30, 10, 0), (40, 1, 0), (41, 1, 2)];
        assert_eq!(points(None, true, &buckets), kept);
        assert!(points(None, true, &[(0, 10, 0)]).is_empty());
    }

    #[test]
    fn a_step_adds_up_the_buckets_that_fit_into_it() {
        let buckets = [(0, 60, 1), (60, 60, 2), (120, 10, 4), (130, 10, 8), (150, 10, 16), (180, 10, 0)];
        assert_eq!(
            points(Some(30), false, &buckets),
            [(0, 60, 1), (60, 60, 2), (120, 30, 12), (150, 30, 16)]
        );
        assert_eq!(points(Some(120), true, &buckets), [(0, 120, 3), (120, 120, 28)]);
    }
}
