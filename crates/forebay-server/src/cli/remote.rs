//! The connection of commands to a running server, or to a store.

use std::path::PathBuf;

use anyhow::{Result, bail};
use forebay::{Clock, Forebay};

use super::{config, paths::must_exist};
use crate::{
    app::open_store,
    client::Client,
    config::{Config, Options, Secret, Url},
};

/// The server to call, or the store to open.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// A running server
    #[arg(long, value_name = "URL", env = "FOREBAY_SERVER", default_value = "http://127.0.0.1:7070")]
    server: String,
    /// Open this store instead of asking a server; names are looked up in the configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// With --store: make the files of store and database if they are not there
    #[arg(long, requires = "store")]
    create: bool,
    /// The configuration file, with --store [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// A client of the server.
    pub(super) fn client(&self) -> Result<Client> {
        client(&self.server)
    }

    /// The configuration for the store that is to be opened, if one is.
    ///
    /// # Errors
    /// For a store that nobody else can have written to, or whose file is not there.
    pub(super) fn opened(&self) -> Result<Option<Config>> {
        let Some(store) = &self.store else { return Ok(None) };
        if store.starts_with("memory:") {
            bail!(
                "--store {store}: it lives in one process and is empty in this one; ask a server with --server"
            );
        }
        if !self.create {
            must_exist("store", &Url::new(store))?;
        }
        self.configuration().map(Some)
    }

    /// Refuses to make the file of the database, unless that was asked for.
    pub(super) fn check_database(&self, config: &Config) -> Result<()> {
        if self.create { Ok(()) } else { must_exist("database", &config.database) }
    }

    /// The configuration, with the store if one is named.
    pub(super) fn configuration(&self) -> Result<Config> {
        let (config, store) = (self.config.clone(), self.store.clone());
        // Nobody listens: what the configuration says of that cannot be wrong.
        let listen = Some("127.0.0.1:0".to_owned());
        config::read(&Options { config, store, listen, insecure: true, ..Options::default() })
    }
}

/// A client of the server at `url`, with the token of the environment.
pub(super) fn client(url: &str) -> Result<Client> {
    let token = std::env::var("FOREBAY_TOKEN").ok().filter(|token| !token.is_empty());
    Client::new(url, token.map(Secret::new))
}

/// Opens the store of a configuration, and nothing else of it.
pub(super) async fn open(config: &Config) -> Result<Forebay> {
    open_store(config, Clock::system()).await
}
