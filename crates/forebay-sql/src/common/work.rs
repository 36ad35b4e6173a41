//! A unit of work: a transaction on the tables of one buffer.

use std::sync::Arc;

use forebay::buffer::Schema;

use super::{
    bindings::Parameters,
    dialect::Dialect as _,
    plan::Plan,
    transaction::{TextRow, Transaction},
};

/// An open transaction, and the buffer whose tables it is for.
pub(crate) struct Work<'a, T: Transaction> {
    pub(crate) transaction: T,
    pub(crate) plan: Arc<Plan<T::Dialect>>,
    pub(crate) schema: &'a Schema,
}

impl<T: Transaction> Work<'_, T> {
    /// The name of the buffer.
    pub(crate) fn buffer(&self) -> &str {
        self.schema.name.as_str()
    }

    /// One of Forebay's own tables, in the schema of the buffer's table.
    pub(crate) fn own(&self, table: &str) -> String {
        T::Dialect::own(&self.plan.place, table)
    }

    pub(crate) async fn execute(&mut self, sql: String, bind: Parameters<T::Dialect>) -> sqlx::Result<u64> {
        self.transaction.execute(sql, bind.into()).await
    }

    pub(crate) async fn query(
        &mut self,
        sql: String,
        bind: Parameters<T::Dialect>,
    ) -> sqlx::Result<Vec<TextRow>> {
        self.transaction.query(sql, bind.into()).await
    }
}
