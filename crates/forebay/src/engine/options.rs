//! The options of an engine.

use crate::{
    clock::Clock,
    error::{Error, Result, invalid},
};

/// How to open an engine.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The first part of every key in a shared store.
    pub prefix: String,
    /// The clock of the embedded engine and of all waiting.
    pub clock: Clock,
    /// Faults in front of a store in memory.
    #[cfg(feature = "test-util")]
    pub faults: Option<super::fault::Faults>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "forebay".into(),
            clock: Clock::system(),
            #[cfg(feature = "test-util")]
            faults: None,
        }
    }
}

impl Options {
    /// Checks the prefix.
    pub(crate) fn check(&self) -> Result<()> {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(ok) {
            return Err(invalid(format!(
                "prefix {:?}: 1 to 64 of letters, digits, '_', '-' and '.'",
                self.prefix
            )));
        }
        Ok(())
    }
}

/// The error for a parameter of a store's URL that nothing reads.
pub(super) fn unknown_parameter(name: &str, accepted: &[&str]) -> Error {
    let nearest = accepted.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let nearest = nearest.copied().unwrap_or_default();
    let accepted = accepted.join(", ");
    invalid(format!(
        "store URL: unknown parameter {name:?}: did you mean {nearest:?}? ({accepted} is accepted)"
    ))
}

/// The error for a URL whose hosts have schemes of their own.
#[cfg(feature = "redis")]
pub(super) fn mixed_schemes() -> Error {
    invalid(
        "store URL: the hosts of a URL share its scheme: write it once, in front of all (hosts that differ stand in \
         [cluster.hosts])",
    )
}
