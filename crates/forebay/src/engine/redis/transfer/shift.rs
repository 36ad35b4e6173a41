//! The absolute times in values, for hosts whose clocks are apart.
//!
//! Bytes in, bytes out. `docs/keyspace.md` and the scripts say what the bytes are. A value of another form is somebody else's and
//! stays as it is. The indexes of windows are no times: a window that has begun by the target's clock begins anew there.

use super::super::keys::Keys;

/// Which parts of the value of a key are times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// None.
    None,
    /// The ends of allotments behind the two numbers of a limit's state.
    Ends,
    /// The first of these numbers, a tick of so many µs; and the ends.
    Tick(u64),
    /// Since when a lock is held, and until when.
    Lock,
    /// The scores of a sorted set.
    Scores,
    /// Until when an attempt at a request is left alone.
    Attempt,
}

/// The two numbers of a limit's state, and what each allotment behind them has; its end stands last.
const STATE: usize = 16;
const ALLOTMENT: usize = 40;

/// What a lock has, and where its two times are.
const LOCK: usize = 48;
const LOCK_TIMES: [usize; 2] = [24, 32];

impl Times {
    /// The times of a key of this store.
    pub(super) fn of(keys: &Keys, key: &[u8]) -> Self {
        let Some((kind, rest, part)) = keys.parts(key) else { return Self::None };
        match (kind, part) {
            ("window" | "calendar", _) => Self::Ends,
            ("sliding" | "tokens", _) => {
                let period = rest.split(':').nth(1).unwrap_or_default();
                Self::Tick(if period.strip_suffix(".ms").is_some() { 1_000 } else { 1 })
            }
            ("leases", _) | ("lock", "heard") => Self::Scores,
            ("lock", "") => Self::Lock,
            ("once", _) => Self::Attempt,
            _ => Self::None,
        }
    }

    /// Moves the times in a string by so many µs.
    pub(super) fn shift_text(self, text: &mut Vec<u8>, ahead: u64) {
        let is_state = text.len() >= STATE && (text.len() - STATE).is_multiple_of(ALLOTMENT);
        match self {
            Self::Ends | Self::Tick(_) if is_state => {
                if let Self::Tick(tick) = self {
                    add(text, 0, ahead.div_ceil(tick));
                }
                for end in (STATE + ALLOTMENT..=text.len()).step_by(ALLOTMENT) {
                    add(text, end - 8, ahead);
                }
            }
            Self::Lock if text.len() == LOCK => LOCK_TIMES.into_iter().for_each(|at| add(text, at, ahead)),
            Self::Attempt => {
                if let Some(shifted) = attempt(text, ahead) {
                    *text = shifted;
                }
            }
            _ => {}
        }
    }

    /// Moves the scores of a sorted set by so many µs.
    pub(super) fn shift_scores(self, members: &mut [(Vec<u8>, f64)], ahead: u64) {
        if self != Self::Scores {
            return;
        }
        for (_, score) in members {
            #[expect(clippy::cast_precision_loss, reason = "a second at most")]
            let ahead = ahead as f64;
            *score += ahead;
        }
    }
}

/// Adds to the number at a place; zero is no time.
fn add(text: &mut [u8], at: usize, ahead: u64) {
    let bytes = text[at..].first_chunk_mut::<8>().expect("a number has eight bytes");
    let time = u64::from_le_bytes(*bytes);
    if time != 0 {
        *bytes = time.saturating_add(ahead).to_le_bytes();
    }
}

/// A record of a request, whose attempt is left alone for longer; `None`: it has no attempt under way, or another form.
fn attempt(record: &[u8], ahead: u64) -> Option<Vec<u8>> {
    let end = record.iter().position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&record[..end]).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let [print, owner, state @ ("f" | "a" | "t"), lease, hour, hosts] = words[..] else { return None };
    let lease = lease.parse::<u64>().ok()?.saturating_add(ahead);
    let line = format!("{print} {owner} {state} {lease} {hour} {hosts}");
    Some([line.as_bytes(), &record[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::cluster::Layout, model::rate::rule::Rule};

    fn times(key: &str) -> Times {
        Times::of(&Keys::new("forebay", Layout::Named), key.as_bytes())
    }

    fn shifted(times: Times, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        times.shift_text(&mut text, 1_500);
        text
    }

    #[test]
    fn each_kind_of_key_has_its_times() {
        for (key, expected) in [
            ("forebay:window:hits:60s:{a:b}", Times::Ends),
            ("forebay:calendar:hits:day:{a}", Times::Ends),
            ("forebay:sliding:hits:60s:{a.ms:}", Times::Tick(1)),
            ("forebay:sliding:hits:86400s.ms:{a}", Times::Tick(1_000)),
            ("forebay:tokens:hits:250ms:{a}", Times::Tick(1)),
            ("forebay:leases:jobs:{a}", Times::Scores),
            ("forebay:lock:{a:queue}", Times::Lock),
            ("forebay:lock:{a}:queue", Times::None),
            ("forebay:lock:{a}:heard", Times::Scores),
            ("forebay:once:{a}", Times::Attempt),
            ("forebay:once-bytes", Times::None),
            ("forebay:charge:{a}:1", Times::None),
            ("forebay:series:{hits.0}:10:1:k", Times::None),
            ("forebay:buffer:{rows.0}:guard", Times::None),
            ("user:1", Times::None),
            ("other:lock:{a}", Times::None),
        ] {
            assert_eq!(times(key), expected, "{key}");
        }
        for word in Rule::words() {
            assert_ne!(times(&format!("forebay:{word}:hits:60s:{{a}}")), Times::None, "{word}");
        }
    }

    #[test]
    fn numbers_that_are_no_times_and_what_is_of_somebody_else_stay() {
        let state = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let window = [7, 3, 1, 1, 5, 2, 90_000];
        assert_eq!(shifted(Times::Ends, &state(&window)), state(&[7, 3, 1, 1, 5, 2, 91_500]));
        assert_eq!(shifted(Times::Tick(1), &state(&window)), state(&[1_507, 3, 1, 1, 5, 2, 91_500]));
        assert_eq!(shifted(Times::Tick(1_000), &state(&[7, 3])), state(&[9, 3]), "rounded to later");
        assert_eq!(shifted(Times::Lock, &state(&[1, 1, 4, 50, 60, 9])), state(&[1, 1, 4, 1_550, 1_560, 9]));
        assert_eq!(shifted(Times::Lock, &state(&[0, 0, 4, 0, 60, 0])), state(&[0, 0, 4, 0, 1_560, 0]));
        for times in [Times::Ends, Times::Tick(1), Times::Lock, Times::Scores, Times::Attempt, Times::None] {
            for foreign in [&b""[..], b"x", &[9; 15], &[9; 17], &[9; 55], b"a b f 5 6\n", b"a b f x 6 h\n"] {
                assert_eq!(shifted(times, foreign), foreign, "{times:?}");
            }
        }
        let mut scores = vec![(b"a".to_vec(), 1.0)];
        Times::None.shift_scores(&mut scores, 1_500);
        assert_eq!(scores[0].1.to_string(), "1");
        Times::Scores.shift_scores(&mut scores, 1_500);
        assert_eq!(scores[0].1.to_string(), "1501");
    }

    #[test]
    fn an_attempt_that_is_under_way_is_left_alone_for_longer() {
        let shifted = |text: &str| String::from_utf8(shifted(Times::Attempt, text.as_bytes())).expect("text");
        assert_eq!(shifted("0a 0b t 500 12 h:1,\nthe note\n"), "0a 0b t 2000 12 h:1,\nthe note\n");
        assert_eq!(shifted("0a 0b f 500 12 \n"), "0a 0b f 2000 12 \n");
        for over in ["0a 0b e 0 12 h:1,\nanswer", "0a 0b o 500 12 \nnote"] {
            assert_eq!(shifted(over), over);
        }
    }
}
