//! The flags that lead to a configuration.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::{
    config::{Config, Mistakes, Options, Origin, load, load_text},
    text::count,
};

/// Which configuration, and what wins over it.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [env: FOREBAY_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where counters live [env: FOREBAY_STORE]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where buffers flush to [env: FOREBAY_DATABASE] [default: sqlite:forebay.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Serve other machines although there is no token: whoever reaches the port may do everything
    #[arg(long)]
    insecure: bool,
}

impl ConfigArgs {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All its mistakes, one a line.
    pub fn load(&self) -> Result<Config> {
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

/// Reads the configuration that flags and environment lead to.
///
/// # Errors
/// All its mistakes, one a line.
pub(super) fn read(options: &Options) -> Result<Config> {
    check(options).map_err(|mistakes| {
        let count = count(mistakes.as_slice().len() as u64, "mistake");
        anyhow!("{count} in the configuration\n{mistakes}")
    })
}

/// As [`read`], with the mistakes one by one.
pub(crate) fn check(options: &Options) -> Result<Config, Mistakes> {
    load(options, &variable)
}

/// As [`check`], of a text that was read from `origin`.
pub(crate) fn check_text(options: &Options, origin: Origin, text: &str) -> Result<Config, Mistakes> {
    load_text(options, &variable, origin, text)
}

/// A variable that is not UTF-8 is one that is not set: no field could take it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
