//! What an operator should know of a server that runs.

use std::fmt;

/// A condition that somebody should look at, while the server goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What kind of condition, for programs and for callers who may not read the text.
    pub code: &'static str,
    /// The condition in words. It may name hosts, files, buffers and keys.
    pub text: String,
}

impl Warning {
    /// The store: a setting that breaks a promise, a host that is down.
    pub const STORE: &'static str = "store";
    /// The database: a setting under which commits do not last, or why batches are not applied at the moment.
    pub const DATABASE: &'static str = "database";
    /// The configuration file: it has mistakes, or what it says takes a restart.
    pub const CONFIGURATION: &'static str = "configuration";
    /// A counter of the canary is late.
    pub const CANARY: &'static str = "canary-late";
    /// Somebody has paused a buffer.
    pub const PAUSED: &'static str = "buffer-paused";
    /// More rows wait than the soft bound.
    pub const FILLING: &'static str = "buffer-filling";
    /// A batch waits for a person.
    pub const PARKED: &'static str = "buffer-parked";
    /// The store has rows of a buffer that is not configured.
    pub const ORPHANED: &'static str = "buffer-orphaned";

    /// A warning.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The same code for each of several texts.
    pub fn each(code: &'static str, texts: impl IntoIterator<Item = String>) -> impl Iterator<Item = Self> {
        texts.into_iter().map(move |text| Self { code, text })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
