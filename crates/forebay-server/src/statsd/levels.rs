//! The levels of gauges, to which signed values are added.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use forebay::Timestamp;

use super::{
    line::{MAX_VALUE, Setting},
    why::Why,
};

/// The most gauges whose levels are known.
const MAX_GAUGES: usize = 65_536;

/// A gauge as this server last saw it.
#[derive(Clone, Copy, Debug)]
struct Level {
    value: f64,
    /// The time of its last value.
    at: Timestamp,
}

/// The levels of gauges by target and key.
#[derive(Debug)]
pub(super) struct Levels {
    known: HashMap<(usize, Box<str>), Level>,
    most: usize,
}

impl Default for Levels {
    fn default() -> Self {
        Self { known: HashMap::new(), most: MAX_GAUGES }
    }
}

impl Levels {
    /// Sets or changes a gauge; returns its value, and the time that orders it after the one before. A gauge that is not known
    /// begins with 0.
    pub(super) fn set(
        &mut self,
        (target, key): (usize, &str),
        setting: Setting,
        now: Timestamp,
    ) -> Result<(f64, Timestamp), Why> {
        let is_full = self.known.len() >= self.most;
        match self.known.entry((target, key.into())) {
            Entry::Occupied(mut known) => {
                let Level { value, at } = *known.get();
                // Lines of one datagram have one time, and the last of them counts.
                let at = now.max(at.plus(Duration::from_micros(1)));
                let value = after(value, setting)?;
                known.insert(Level { value, at });
                Ok((value, at))
            }
            Entry::Vacant(free) => {
                let value = after(0.0, setting)?;
                if !is_full {
                    free.insert(Level { value, at: now });
                } else if matches!(setting, Setting::By(_)) {
                    return Err(Why::Overflow);
                }
                Ok((value, now))
            }
        }
    }
}

fn after(value: f64, setting: Setting) -> Result<f64, Why> {
    let value = match setting {
        Setting::To(value) => value,
        Setting::By(change) => value + change,
    };
    if value.abs() <= MAX_VALUE { Ok(value) } else { Err(Why::Value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    #[test]
    fn a_sign_changes_the_last_value_and_each_value_is_later() {
        let mut levels = Levels::default();
        let mut set = |key: &str, setting| levels.set((0, key), setting, NOW);
        let micro = Duration::from_micros(1);
        assert_eq!(set("a", Setting::To(333.0)), Ok((333.0, NOW)));
        assert_eq!(set("a", Setting::By(-10.0)), Ok((323.0, NOW.plus(micro))));
        assert_eq!(set("a", Setting::By(4.0)), Ok((327.0, NOW.plus(2 * micro))));
        assert_eq!(set("a", Setting::To(0.0)), Ok((0.0, NOW.plus(3 * micro))));
        assert_eq!(set("b", Setting::By(-5.0)), Ok((-5.0, NOW)), "from zero");
        assert_eq!(set("c", Setting::To(MAX_VALUE)), Ok((MAX_VALUE, NOW)));
        assert_eq!(set("c", Setting::By(MAX_VALUE)), Err(Why::Value));
        assert_eq!(set("c", Setting::By(-MAX_VALUE)).map(|(value, _)| value), Ok(0.0));
    }

    #[test]
    fn unknown_gauges_beyond_the_bound_can_be_set_but_not_changed() {
        let mut levels = Levels { most: 1, ..Levels::default() };
        levels.set((0, "a"), Setting::To(1.0), NOW).expect("room");
        assert_eq!(levels.set((0, "b"), Setting::To(2.0), NOW), Ok((2.0, NOW)));
        assert_eq!(levels.set((0, "b"), Setting::By(2.0), NOW), Err(Why::Overflow));
        assert_eq!(levels.set((0, "a"), Setting::By(2.0), NOW).map(|(value, _)| value), Ok(3.0));
    }
}
