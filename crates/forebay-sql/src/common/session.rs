//! A sink: its database, its transactions and its errors.

use std::{fmt, sync::Arc, time::Duration};

use forebay::{
    Clock, Error, ErrorKind,
    buffer::Schema,
    sink::{BoxFuture, SinkError},
    time::mins,
};

use super::{
    database::{Access, Database},
    dialect::Dialect as _,
    error::{self, Class, StepError},
    plan::Plan,
    state::State,
    work::Work,
};
use crate::Options;

/// The deadline of a transaction. Without one, a server that vanishes would block its flusher for ever.
const TRANSACTION_TIMEOUT: Duration = mins(5);

/// A database that buffers flush to, and what is known about its tables. Clones share both.
pub(crate) struct Session<D: Database> {
    pub(crate) database: Arc<D>,
    pub(crate) state: Arc<State<D::Dialect>>,
}

impl<D: Database> Session<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database: Arc::new(database), state: Arc::new(State::new(Options::default())) }
    }

    /// A sink with the same connections and other options.
    pub(crate) fn with(&self, options: Options) -> Self {
        Self { database: self.database.clone(), state: Arc::new(State::new(options)) }
    }

    /// Begins a transaction. A failure to connect says nothing about a batch, whatever the server's reason: a locked account,
    /// a renamed database. It is an outage that ends when somebody resolves it.
    pub(crate) async fn begin(&self, access: Access) -> Result<D::Transaction, StepError> {
        let connection = self.database.acquire(access).await.map_err(|error| {
            error::failed(&format!("{}: connecting", self.name()), Class::Transient, &error)
        })?;
        Ok(self.database.begin(connection, access, self.clock()).await?)
    }

    /// Begins a transaction on the tables of a buffer.
    pub(crate) async fn open<'a>(
        &self,
        access: Access,
        plan: Arc<Plan<D::Dialect>>,
        schema: &'a Schema,
    ) -> Result<Work<'a, D::Transaction>, StepError> {
        Ok(Work { transaction: self.begin(access).await?, plan, schema })
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

    /// The sink's error for the error of a step that happened while `doing` something.
    pub(crate) fn failed(&self, doing: &str, error: impl Into<StepError>) -> SinkError {
        let name = self.name();
        match error.into() {
            StepError::Database(error) => {
                error::failed(&format!("{name}: {doing}"), D::Dialect::classify(&error), &error)
            }
            StepError::Refused(why) => error::permanent(ErrorKind::Configuration, format!("{name}: {why}")),
            StepError::Sink(error) => error,
        }
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
