//! Transactions on a sink's database, and the errors of a sink.

use std::{fmt, sync::Arc, time::Duration};

use forebay::{
    Clock, Error, ErrorKind,
    sink::{BoxFuture, SinkError},
    time::mins,
};

use super::{
    database::{Access, Database},
    dialect::Dialect as _,
    error::{self, Class},
    state::State,
};
use crate::Options;

/// The deadline of a transaction. Without one, a server that vanishes would block its flusher for ever.
const TRANSACTION_TIMEOUT: Duration = mins(5);

/// A database and a sink's state. Clones share both.
pub(crate) struct Session<D: Database> {
    pub(crate) database: Arc<D>,
    pub(crate) state: Arc<State<D::Dialect>>,
}

impl<D: Database> Session<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database: Arc::new(database), state: Arc::new(State::new(Options::default())) }
    }

    /// A session on the same database with other options.
    pub(crate) fn with(&self, options: Options) -> Self {
        Self { database: self.database.clone(), state: Arc::new(State::new(options)) }
    }

    /// Begins a transaction. A failure to connect says nothing about a batch, whatever the server's reason: a locked account,
    /// a renamed database. It is an outage that ends when somebody resolves it.
    pub(crate) async fn begin(
        &self,
        access: Access,
        doing: impl Fn(sqlx::Error) -> SinkError + Send,
    ) -> Result<D::Transaction, SinkError> {
        let connection = self.database.acquire(access).await.map_err(|error| {
            error::failed(&format!("{}: connecting", self.name()), Class::Transient, &error)
        })?;
        self.database.begin(connection, access, self.clock()).await.map_err(doing)
    }

    /// Gives up work that takes longer than [`TRANSACTION_TIMEOUT`].
    pub(crate) async fn in_time<T>(
        &self,
        what: &str,
        work: BoxFuture<'_, Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        self.clock().timeout(TRANSACTION_TIMEOUT, work).await.unwrap_or_else(|| {
            let message = format!("{}: {what} took longer than {TRANSACTION_TIMEOUT:?}", self.name());
            Err(SinkError::Transient(Error::new(ErrorKind::Unavailable, message)))
        })
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.state.options.clock
    }

    /// The database in messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", D::Dialect::NAME, self.database.name())
    }

    pub(crate) fn failed(&self, doing: &str, error: &sqlx::Error) -> SinkError {
        error::failed(&format!("{}: {doing}", self.name()), D::Dialect::classify(error), error)
    }

    pub(crate) fn refused(&self, why: &str) -> SinkError {
        error::refused(format!("{}: {why}", self.name()))
    }
}

impl<D: Database> Clone for Session<D> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), state: self.state.clone() }
    }
}

impl<D: Database> fmt::Debug for Session<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(D::Dialect::NAME)
            .field("database", &self.database.name())
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}
