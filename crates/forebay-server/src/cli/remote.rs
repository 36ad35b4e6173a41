//! The connection of commands to a running server, or to a store.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use axum::Router;
use forebay::{Clock, Forebay};

use super::{config, paths::must_exist};
use crate::{
    app::{App, open_store},
    client::Client,
    config::{Config, Options, Secret, Url},
    router::router,
};

/// The server to call, or the store to open.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// A running server
    #[arg(long, value_name = "URL", env = "FOREBAY_SERVER", default_value = "http://127.0.0.1:7070")]
    server: String,
    /// Open this store instead of calling a server; names are looked up in the configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// With --store: create the files of store and database if they do not exist
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

    /// The configuration with `--store`; `None` without it.
    ///
    /// # Errors
    /// For a store in memory, which is empty, and for a file that does not exist.
    pub(super) fn opened(&self) -> Result<Option<Config>> {
        let Some(store) = &self.store else { return Ok(None) };
        if store.starts_with("memory:") {
            bail!(
                "--store {store}: a store in memory belongs to one process, and is empty here; call a server with --server"
            );
        }
        if !self.create {
            must_exist("store", &Url::new(store))?;
        }
        self.configuration().map(Some)
    }

    /// Refuses a database file that does not exist, unless `--create` is given.
    pub(super) fn check_database(&self, config: &Config) -> Result<()> {
        if self.create { Ok(()) } else { must_exist("database", &config.database) }
    }

    /// The configuration, with the store of `--store`.
    pub(super) fn configuration(&self) -> Result<Config> {
        let (config, store) = (self.config.clone(), self.store.clone());
        // This command does not listen, so that the address is not checked.
        let listen = Some("127.0.0.1:0".to_owned());
        config::read(&Options { config, store, listen, insecure: true, ..Options::default() })
    }
}

/// The series of a running server, or of a store that this process opens. Both answer the same requests.
pub(super) enum Target {
    Server(Place),
    Store(Arc<App>, Router),
}

impl Target {
    /// Opens the store, or finds out that the server is there.
    pub(super) async fn open(place: &Place) -> Result<Self> {
        let Some(mut config) = place.opened()? else {
            place.client()?.get("/healthz").await?.expect(&[])?;
            return Ok(Self::Server(place.clone()));
        };
        // The series need nothing else, and their requests come from here alone.
        (config.events, config.buffers, config.limits) = Default::default();
        (config.tokens, config.canary) = Default::default();
        config.database = Url::new("sqlite::memory:");
        let app = Arc::new(App::open(&config).await?);
        Ok(Self::Store(app.clone(), router(app)))
    }

    /// A client of it.
    pub(super) fn client(&self) -> Result<Client> {
        match self {
            Self::Server(place) => place.client(),
            Self::Store(_, router) => Ok(Client::local(router.clone())),
        }
    }

    /// Closes the store.
    pub(super) async fn close(self) -> Result<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Store(app, _) => app.close().await,
        }
    }
}

/// A client of the server at `url`, with the token of the environment.
pub(super) fn client(url: &str) -> Result<Client> {
    let token = std::env::var("FOREBAY_TOKEN").ok().filter(|token| !token.is_empty());
    Client::new(url, token.map(Secret::new))
}

/// Opens the store of a configuration.
pub(super) async fn open(config: &Config) -> Result<Forebay> {
    open_store(config, Clock::system()).await
}
