//! The store or the server that has the lock.

use anyhow::Result;
use forebay::{Forebay, lock::Attempt};

use super::{
    super::{remote, terminal::complain},
    args::Args,
    held::Held,
    server::{self, path},
};
use crate::api::lock::{Forced, HeldBody, StateBody};

/// The store or the server that has the lock.
pub(super) enum Place {
    Store(Forebay),
    Server(remote::Place),
}

impl Place {
    /// Opens the store, or checks the address of the server.
    pub(super) async fn open(place: &remote::Place) -> Result<Self> {
        match place.opened()? {
            Some(config) => Ok(Self::Store(remote::open(&config).await?)),
            None => place.client().map(|_| Self::Server(place.clone())),
        }
    }

    /// Acquires the lock; the inner error says who holds it instead.
    pub(super) async fn acquire(&self, args: &Args) -> Result<Result<Held, HeldBody>> {
        match self {
            Self::Server(place) => {
                Ok(server::acquire(place, &args.name, args.ttl.0, args.wait.0).await?.map(Held::Server))
            }
            Self::Store(bay) => {
                let attempt = bay.lock(&args.name).ttl(args.ttl.0).acquire_within(args.wait.0).await?;
                Ok(match attempt {
                    Attempt::Acquired(guard) => Ok(Held::Store(guard)),
                    Attempt::Held { holder, remaining, ahead } => {
                        let (holder, remaining) = (holder.to_string(), remaining.as_secs_f64());
                        Err(HeldBody { holder, remaining, ahead })
                    }
                })
            }
        }
    }

    /// Reads who holds the lock.
    pub(super) async fn state(&self, name: &str) -> Result<StateBody> {
        match self {
            Self::Store(bay) => Ok(bay.lock(name).state().await?.into()),
            Self::Server(place) => place.client()?.get(&path(name)).await?.read(&[]),
        }
    }

    /// Releases the lock, whoever holds it.
    pub(super) async fn force_release(&self, name: &str) -> Result<Forced> {
        match self {
            Self::Store(bay) => Ok(Forced { released: bay.lock(name).force_release().await? }),
            Self::Server(place) => {
                let path = format!("{}/force-release", path(name));
                place.client()?.post(&path, &serde_json::json!({})).await?.read(&[])
            }
        }
    }

    /// Closes the store, which waits for its background work.
    pub(super) async fn close(self) {
        if let Self::Store(bay) = self
            && let Err(error) = bay.close().await
        {
            complain(&format!("warning: {error}"));
        }
    }
}
