//! The only place where queries with parameters are made: a server must not keep what was prepared for them.
//!
//! Behind a pooler that gives a connection to somebody else after each transaction (PgBouncer), a statement that was
//! prepared with a name is not there at the next use, or is somebody else's of the same name. So each query is prepared
//! without a name, anew each time, and inside a transaction: the driver prepares and runs it in two exchanges.
//! `scripts/check-structure` finds queries that are made elsewhere.

use sqlx::{
    AssertSqlSafe, FromRow, Postgres,
    postgres::{PgArguments, PgRow},
    query::{Query, QueryAs, QueryScalar},
};

pub(super) fn query<'q>(sql: impl Into<String>) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(sql.into())).persistent(false)
}

pub(super) fn query_with<'q>(
    sql: impl Into<String>,
    arguments: PgArguments,
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query_with(AssertSqlSafe(sql.into()), arguments).persistent(false)
}

pub(super) fn query_as<'q, O>(sql: impl Into<String>) -> QueryAs<'q, Postgres, O, PgArguments>
where
    O: for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_as(AssertSqlSafe(sql.into())).persistent(false)
}

pub(super) fn query_scalar<'q, O>(sql: impl Into<String>) -> QueryScalar<'q, Postgres, O, PgArguments>
where
    (O,): for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_scalar(AssertSqlSafe(sql.into())).persistent(false)
}

pub(super) fn query_scalar_with<'q, O>(
    sql: impl Into<String>,
    arguments: PgArguments,
) -> QueryScalar<'q, Postgres, O, PgArguments>
where
    (O,): for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_scalar_with(AssertSqlSafe(sql.into()), arguments).persistent(false)
}
