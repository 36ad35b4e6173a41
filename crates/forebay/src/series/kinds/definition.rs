//! The definitions of series that keep summaries.

use std::time::Duration;

use crate::{
    error::{Result, out_of_range},
    model::{resolution::Resolution, summary::SummaryKind},
    series::Series,
    time::{days, hours, mins, secs},
};

/// The most buckets of one resolution: a deletion asks a shared store for the keys of all, of which a gauge has one for 120.
fn most_buckets(kind: SummaryKind) -> u64 {
    match kind {
        SummaryKind::Distinct | SummaryKind::Percentiles => 50_000,
        SummaryKind::Gauge => 3_000_000,
    }
}

/// A kind of series that keeps summaries: the definition of one. No other crate implements it.
///
/// # Examples
/// ```
/// use forebay::{Distinct, series::Kind};
/// fn steps(kind: &impl Kind) -> usize {
///     kind.steps().len()
/// }
/// assert_eq!(steps(&Distinct::new("visitors")), 2);
/// ```
pub trait Kind: sealed::Sealed {
    /// The resolutions that were set, or the default.
    fn steps(&self) -> &[Resolution];

    /// The maximum of keys that was set.
    fn key_bound(&self) -> Option<u64>;
}

mod sealed {
    use super::{Result, Series, SummaryKind};

    /// The parts of a kind.
    pub trait Sealed {
        /// The number of its [`SummaryKind`].
        const NUMBER: u64;

        /// The definition as that of a series of hits.
        fn into_series(self) -> Series;
    }

    /// The kind of the summaries.
    pub(in crate::series) fn kind_of<K: Sealed>() -> SummaryKind {
        SummaryKind::of_number(K::NUMBER).expect("each definition has the number of a kind")
    }

    /// The checked definition.
    pub(in crate::series) fn checked<K: Sealed>(definition: K) -> Result<Series> {
        let series = definition.into_series();
        super::check(kind_of::<K>(), &series)?;
        Ok(series)
    }
}

pub(super) use sealed::{Sealed, checked, kind_of};

/// Declares a definition: its documentation, its name, its kind, its default resolutions.
macro_rules! definition {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $defaults:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[must_use = "a definition does nothing until it is given to `Forebay`"]
        pub struct $name(Series);

        impl $name {
            /// A series with the default resolutions.
            pub fn new(name: impl Into<String>) -> Self {
                Self(Series::new(name).resolutions($defaults))
            }

            /// Sets the resolutions, 1 to 8, from the finest to the coarsest. Each step must be a multiple of the one before, and
            /// its retention at least as long.
            pub fn resolutions(mut self, resolutions: Vec<Resolution>) -> Self {
                self.0 = self.0.resolutions(resolutions);
                self
            }

            /// Sets over how many partitions the keys spread in a shared store, as [`Series::partitions`].
            pub fn partitions(mut self, partitions: u16) -> Self {
                self.0 = self.0.partitions(partitions);
                self
            }

            /// Sets how many keys the series has at most, as [`Series::max_keys`]: each of them may grow to the size above.
            pub fn max_keys(mut self, keys: u64) -> Self {
                self.0 = self.0.max_keys(keys);
                self
            }

            /// Checks the definition without a store, for a program that checks its configuration.
            ///
            /// # Errors
            /// As [`Series::check`], and [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a step that is too short for
            /// this kind, or a resolution of too many buckets.
            pub fn check(&self) -> Result<()> {
                check(SummaryKind::$kind, &self.0)
            }
        }

        impl Kind for $name {
            fn steps(&self) -> &[Resolution] {
                self.0.steps()
            }

            fn key_bound(&self) -> Option<u64> {
                self.0.key_bound()
            }
        }

        impl Sealed for $name {
            const NUMBER: u64 = SummaryKind::$kind.number();

            fn into_series(self) -> Series {
                self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(name: T) -> Self {
                Self::new(name)
            }
        }
    };
}

definition! {
    /// The definition of a series of different elements, such as the visitors of each page.
    ///
    /// A bucket is a HyperLogLog: at most 12 KB, however many elements there are, and 3 to 4 bytes for each of the first ones. Its
    /// number is exact for the first few hundred, and then has a standard error of 0.81 %. The default resolutions are
    /// `1h/30d, 1d/2y`: at most 17 MB for each key. A step has at least an
    /// hour, and a resolution at most 50 000 buckets.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Distinct, series::Resolution, time::{days, hours}};
    /// let by_default = Distinct::new("visitors");
    /// let a_week = Distinct::new("visitors").resolutions(vec![Resolution::new(hours(1), days(7))?]).max_keys(1_000);
    /// assert!(a_week.check().is_ok());
    /// # Ok::<(), forebay::Error>(())
    /// ```
    Distinct, Distinct, vec![
        Resolution { step: hours(1), retention: days(30) },
        Resolution { step: days(1), retention: days(730) },
    ]
}

definition! {
    /// The definition of a series of gauges, such as the temperature of each room: the last value, the smallest, the largest and
    /// the average.
    ///
    /// A bucket with a value takes 70 bytes in a shared store, and some 100 in this process. The default resolutions are those of
    /// [`Series`]: at most 1.5 MB for each key with a value every 10 s. A resolution has at most 3 000 000 buckets.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Gauge, series::Resolution, time::{days, mins}};
    /// let by_default = Gauge::new("temperature");
    /// let minutes = Gauge::new("temperature").resolutions(vec![Resolution::new(mins(1), days(7))?]);
    /// assert!(minutes.check().is_ok());
    /// # Ok::<(), forebay::Error>(())
    /// ```
    Gauge, Gauge, Resolution::defaults()
}

definition! {
    /// The definition of a series of percentiles, such as the latency of each route.
    ///
    /// A bucket is a sketch of at most 2 048 bins, each of values within 2 % of each other: 116 bins where the largest value is
    /// ten times the smallest. In a shared store a bin takes 12 bytes in a bucket of up to 500 bins, and 48 bytes in a larger
    /// one: at most 100 KB for each bucket. The default resolutions are `1m/1d, 15m/7d, 1h/30d, 1d/2y`. A step has at least a
    /// minute, and a resolution at most 50 000 buckets.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Percentiles, series::Resolution, time::{days, mins}};
    /// let by_default = Percentiles::new("latency");
    /// let minutes = Percentiles::new("latency").resolutions(vec![Resolution::new(mins(5), days(2))?]).max_keys(100);
    /// assert!(minutes.check().is_ok());
    /// # Ok::<(), forebay::Error>(())
    /// ```
    Percentiles, Percentiles, vec![
        Resolution { step: mins(1), retention: days(1) },
        Resolution { step: mins(15), retention: days(7) },
        Resolution { step: hours(1), retention: days(30) },
        Resolution { step: days(1), retention: days(730) },
    ]
}

/// A kind whose points are values. No other crate implements it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::series::{KindHandle, Values};
/// async fn both(series: &KindHandle<impl Values>, values: [f64; 2]) -> forebay::Result<()> {
///     series.record("one", values[0]).await?;
///     series.record("two", values[1]).await
/// }
/// # let bay = forebay::Forebay::open("memory:").await?;
/// both(&bay.gauge("temperature")?, [20.0, 21.0]).await?;
/// both(&bay.percentiles("latency")?, [0.1, 0.2]).await?;
/// # Ok(()) }
/// ```
pub trait Values: Kind {}

impl Values for Gauge {}

impl Values for Percentiles {}

/// The shortest step of a kind: a summary is larger than a count.
fn shortest_step(kind: SummaryKind) -> Duration {
    match kind {
        SummaryKind::Distinct => hours(1),
        SummaryKind::Gauge => secs(1),
        SummaryKind::Percentiles => mins(1),
    }
}

fn check(kind: SummaryKind, series: &Series) -> Result<()> {
    series.check()?;
    let name = series.name();
    for resolution in series.steps() {
        let (step, shortest) = (resolution.step, shortest_step(kind));
        if step < shortest {
            let word = kind.word();
            return Err(out_of_range(format!(
                "series {name}: buckets of {step:?}: at least {shortest:?} in a series of {word}"
            )));
        }
        let buckets = resolution.retention.as_secs() / step.as_secs();
        let most = most_buckets(kind);
        if buckets > most {
            return Err(out_of_range(format!(
                "series {name}: {buckets} buckets of {step:?}: at most {most} in a series of {}",
                kind.word()
            )));
        }
    }
    Ok(())
}
