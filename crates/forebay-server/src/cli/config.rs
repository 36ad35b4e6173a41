//! Reads the configuration of a command.

use anyhow::{Result, anyhow};

use crate::{
    config::{Config, Options, load, process_variable},
    text::count,
};

/// Reads the configuration of flags and environment.
///
/// # Errors
/// All its mistakes, one a line.
pub(super) fn read(options: &Options) -> Result<Config> {
    load(options, &process_variable).map_err(|mistakes| {
        let count = count(mistakes.as_slice().len() as u64, "mistake");
        anyhow!("{count} in the configuration\n{mistakes}")
    })
}
