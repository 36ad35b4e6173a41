//! How much of a buffer may wait for its sink.

use std::{fmt, time::Duration};

use crate::{
    error::{Result, out_of_range},
    time::secs,
};

/// The most rows that can be configured.
const MOST_ROWS: u64 = 1 << 40;

/// How much of a buffer may wait for its sink.
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
    /// Rows from which on an operator is told.
    pub soft_rows: u64,
    /// Rows from which on writes are refused, as far as a writer knew a second before.
    pub hard_rows: u64,
    /// Age of the oldest row from which on an operator is told.
    pub soft_age: Option<Duration>,
    /// Age of the oldest row from which on writes are refused.
    pub hard_age: Option<Duration>,
}

impl Default for Bounds {
    fn default() -> Self {
        // With one counter some 70 bytes a row on Redis: 70 MB, and 700 MB.
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

    /// How bad it is.
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

/// How much waits, compared with the [`Bounds`].
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
    /// Less than any bound.
    #[default]
    None,
    /// As much as a soft bound: an operator should look.
    Soft,
    /// As much as a hard bound: writes are refused.
    Hard,
}

/// A number of rows, as a message has it.
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
