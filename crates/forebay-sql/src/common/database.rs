//! What the sink needs of a database: transactions, and the steps inside one.
//!
//! A database implements the steps with statements of its own. Everything that decides what a batch, a move or a replay
//! does is written once, in [`sink`](super::sink), [`merge`](super::merge), [`moves`](super::moves) and
//! [`replay`](super::replay).

use std::fmt;

use forebay::{Clock, buffer::Schema};

use super::{
    catalogue::{Found, Table},
    cell::Form,
    ddl::Dialect,
    error::{Class, message},
    ledger::Ledger,
    merge::Transaction,
    plan::Plan,
    replay::Letters,
};

/// What a setting means under which commits do not survive a power cut.
pub(crate) const NOT_DURABLE: &str =
    "a batch that was committed can be lost with the machine's power, and the store no longer has it";

/// What a step found, or why the sink cannot go on. The outer error is the database's own.
pub(crate) type Checked<T> = sqlx::Result<Result<T, String>>;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It only reads, and sees one snapshot.
    Read,
    /// It writes. Its commit is durable, whatever the defaults of the database.
    Write,
}

/// An open database.
pub(crate) trait Database: fmt::Debug + Send + Sync + 'static {
    type Form: Form + Send + Sync + 'static;
    type Connection: Send;
    type Open: Steps<Form = Self::Form>;

    /// Its name in messages.
    const NAME: &'static str;
    const DIALECT: Dialect;

    /// Which database it is, for messages: no credentials.
    fn name(&self) -> &str;

    /// Takes a connection, or makes one. Whatever goes wrong here is the database's, and says nothing about a batch.
    fn acquire(&self, access: Access) -> impl Future<Output = sqlx::Result<Self::Connection>> + Send;

    /// Begins a transaction on a connection that was acquired for the same access.
    fn begin(
        &self,
        connection: Self::Connection,
        access: Access,
        clock: &Clock,
    ) -> impl Future<Output = sqlx::Result<Self::Open>> + Send;

    /// Asks whether it answers.
    fn ping(&self) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// What an error means for a batch.
    fn classify(error: &sqlx::Error) -> Class;

    /// Why a row was refused, for people.
    fn reason(error: &sqlx::Error) -> String {
        message(error)
    }
}

/// The steps of an open transaction. One that is dropped is rolled back.
pub(crate) trait Steps: Ledger + Letters + Tables {
    /// Whether the database may answer a commit before it is durable, because somebody ended its waiting.
    fn may_be_cut_short(&self) -> bool {
        false
    }

    fn commit(self) -> impl Future<Output = sqlx::Result<()>> + Send;
    fn rollback(self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// A transaction's view of the tables.
pub(crate) trait Tables: Transaction {
    /// Looks for a buffer's table, and for Forebay's own beside it.
    fn look(&mut self, schema: &Schema) -> impl Future<Output = Checked<Found>> + Send;

    /// Runs the statements that create tables. Two callers at once take turns.
    fn create(&mut self, script: String) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Checks what only this database can say about a table and the plan for it; returns what its operator should know.
    fn check(
        &mut self,
        schema: &Schema,
        table: &Table,
        plan: &Plan<Self::Form>,
    ) -> impl Future<Output = Checked<Vec<String>>> + Send;

    /// The first row of a query whose `columns` columns are texts.
    fn texts(
        &mut self,
        sql: String,
        columns: usize,
    ) -> impl Future<Output = sqlx::Result<Vec<Option<String>>>> + Send;
}
