//! The flags of the configuration.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::{
    config::{Config, Options, load, process_variable},
    text::count,
};

/// The configuration file, and the flags that take precedence over it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The listen address [env: FOREBAY_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The store [env: FOREBAY_STORE]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The database [env: FOREBAY_DATABASE] [default: sqlite:forebay.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Serve other machines without tokens: every caller that reaches the port may do everything
    #[arg(long)]
    insecure: bool,
}

impl ConfigArgs {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All its mistakes, one a line.
    pub(super) fn load(&self) -> Result<Config> {
        read(&self.options())
    }

    /// The flags as options of a configuration.
    pub(super) fn options(&self) -> Options {
        Options {
            config: self.config.clone(),
            listen: self.listen.clone(),
            store: self.store.clone(),
            database: self.database.clone(),
            insecure: self.insecure,
        }
    }
}

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
