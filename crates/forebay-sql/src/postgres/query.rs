//! The only place that makes queries with parameters, because a server must not keep prepared statements for them.
//!
//! Behind a pooler that gives a connection to somebody else after each transaction (PgBouncer), a statement that was
//! prepared with a name does not exist at the next use, or is another client's of the same name. So each query is prepared
//! without a name, anew each time, and inside a transaction: the driver prepares and runs it in two exchanges.
//! `scripts/check-structure` finds queries that are made elsewhere.

use sqlx::{AssertSqlSafe, Postgres, postgres::PgArguments, query::Query};

pub(super) fn query_with<'q>(sql: String, arguments: PgArguments) -> Query<'q, Postgres, PgArguments> {
    sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(false)
}
