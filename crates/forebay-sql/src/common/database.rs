//! The connections to a database.

use std::fmt;

use forebay::Clock;

use super::{
    dialect::Dialect,
    transaction::{Step, Transaction},
};

/// The consequence of a setting under which commits do not survive a power cut.
pub(crate) const NOT_DURABLE: &str =
    "a batch that was committed can be lost with the machine's power, and the store no longer has it";

/// The purpose of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It only reads, and sees one snapshot.
    Read,
    /// It writes. Its commit is durable, whatever the defaults of the database.
    Write,
}

/// An open database.
pub(crate) trait Database: fmt::Debug + Send + Sync + 'static {
    type Dialect: Dialect;
    type Connection: Send;
    type Transaction: Transaction<Dialect = Self::Dialect>;

    /// Host and database, for messages; no credentials.
    fn name(&self) -> &str;

    /// Takes a connection from the pool, or makes one. No error here is the fault of a batch.
    fn acquire(&self, access: Access) -> impl Step<Self::Connection>;

    /// Begins a transaction on a connection that was acquired for the same access.
    fn begin(
        &self,
        connection: Self::Connection,
        access: Access,
        clock: &Clock,
    ) -> impl Step<Self::Transaction>;

    /// Checks that the database answers.
    fn ping(&self) -> impl Step<()>;
}
