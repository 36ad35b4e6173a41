//! The bounds on the pending rows of a buffer.

use std::{fmt, time::Duration};

use crate::{
    error::{Result, out_of_range},
    time::secs,
};

/// The largest bound on rows that can be configured.
const MOST_ROWS: u64 = 1 << 40;

/// The bounds on the pending rows of a buffer: on their number, and on the age of the oldest one.
///
/// # Examples
/// ```
/// use forebay::Buffer;
/// let schema = Buffer::new("projects").key("id").sum("hits").bounds_rows(1_000, 10_000).build()?;
/// assert_eq!((schema.bounds.soft_rows, schema.bounds.hard_rows), (1_000, 10_000));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// The number of rows at which an operator is warned.
    pub soft_rows: u64,
    /// The number of rows at which writes are refused. A writer's number may be a second old.
    pub hard_rows: u64,
    /// The age of the oldest row at which an operator is warned.
    pub soft_age: Option<Duration>,
    /// The age of the oldest row at which writes are refused.
    pub hard_age: Option<Duration>,
}

impl Default for Bounds {
    fn default() -> Self {
        // A row with one counter takes some 70 bytes on Redis: 70 MB, and 700 MB.
        Self { soft_rows: 1_000_000, hard_rows: 10_000_000, soft_age: None, hard_age: None }
    }
}

impl Bounds {
    pub(crate) fn check(&self) -> Result<()> {
        let Self { soft_rows, hard_rows, soft_age, hard_age } = *self;
        if !(1..=hard_rows).contains(&soft_rows) || hard_rows > MOST_ROWS {
            return Err(out_of_range(format!(
                "soft_rows {soft_rows} and hard_rows {hard_rows}: 1 <= soft_rows <= hard_rows <= 2^40"
            )));
        }
        for (name, age) in [("soft_age", soft_age), ("hard_age", hard_age)] {
            if age.is_some_and(|age| age < secs(1)) {
                return Err(out_of_range(format!("{name}: at least 1 s")));
            }
        }
        match (soft_age, hard_age) {
            (Some(soft), Some(hard)) if soft > hard => {
                Err(out_of_range(format!("soft_age {soft:?}: at most hard_age, {hard:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Compares the pending rows with the bounds.
    pub(crate) fn pressure(&self, rows: u64, age: Duration) -> Pressure {
        let old = |bound: Option<Duration>| bound.is_some_and(|bound| age >= bound);
        if rows >= self.hard_rows || old(self.hard_age) {
            Pressure::Hard
        } else if rows >= self.soft_rows || old(self.soft_age) {
            Pressure::Soft
        } else {
            Pressure::None
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writes are taken below {}", RowCount(self.hard_rows))?;
        self.hard_age.map_or(Ok(()), |age| write!(f, " and {} s of age", age.as_secs()))
    }
}

/// The pending rows, compared with the [`Bounds`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// use forebay::buffer::Pressure;
/// match projects.stats().await?.pressure {
///     Pressure::None => {}
///     Pressure::Soft => eprintln!("many rows wait for the database"),
///     Pressure::Hard => eprintln!("writes are refused"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// All bounds have room.
    #[default]
    None,
    /// A soft bound is reached: an operator should look.
    Soft,
    /// A hard bound is reached: writes are refused.
    Hard,
}

/// A number of rows, in the form of a message.
pub(crate) struct RowCount(pub u64);

impl fmt::Display for RowCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "row" } else { "rows" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::millis;

    #[test]
    fn bounds_are_reached_not_passed() {
        let bounds = Bounds { soft_rows: 2, hard_rows: 4, soft_age: Some(secs(5)), hard_age: Some(secs(9)) };
        assert!(bounds.check().is_ok());
        for (rows, age, pressure) in [
            (1, 0, Pressure::None),
            (2, 0, Pressure::Soft),
            (1, 5, Pressure::Soft),
            (4, 0, Pressure::Hard),
            (0, 9, Pressure::Hard),
        ] {
            assert_eq!(bounds.pressure(rows, secs(age)), pressure, "{rows} {age}");
        }
        assert!(Bounds { soft_rows: 5, ..bounds }.check().is_err());
        assert!(Bounds { soft_age: Some(secs(10)), ..bounds }.check().is_err());
        assert!(Bounds { hard_age: Some(millis(1)), soft_age: None, ..bounds }.check().is_err());
    }
}
