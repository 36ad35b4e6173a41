//! The connections to a MySQL or MariaDB database.

use forebay::{Clock, Result};
use sqlx::{
    ConnectOptions as _, MySql, MySqlPool, SqlSafeStr as _, Transaction, mysql::MySqlConnectOptions,
    pool::PoolConnection,
};

use super::{dialect::MySqlDialect, transaction::Open};
use crate::common::{
    connect::{self, ServerUrl},
    database::{self, Access},
};

/// Begins the transaction of a batch.
///
/// The `ROLLBACK` ends a transaction that a cancelled beginning left. The mode is strict, because otherwise values that do not
/// fit are silently truncated. The time zone is UTC, for columns of type `TIMESTAMP`. At this isolation level, rows that do not
/// exist are not locked, so that flushers and the application do not deadlock over them.
const BEGIN: &str = "ROLLBACK; \
    SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'), time_zone = '+00:00'; \
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

/// Begins to read in one snapshot. It is not `READ ONLY`, because there MariaDB refuses to prepare the statement of a plan.
const SNAPSHOT: &str = "ROLLBACK; SET SESSION time_zone = '+00:00'; \
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT";

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    /// For messages: host and database, no credentials.
    name: String,
    pool: MySqlPool,
}

impl Database {
    /// Opens the database that `url` names.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = parse(url)?;
        let name = name(&options);
        let options = options.disable_statement_logging();
        let pool = connect::pool(options, "MySQL", &name).await?;
        Ok(Self { name, pool })
    }

    /// Uses a user's connections.
    pub(super) fn of_pool(pool: MySqlPool) -> Self {
        Self { name: name(&pool.connect_options()), pool }
    }
}

impl database::Database for Database {
    type Dialect = MySqlDialect;
    type Connection = PoolConnection<MySql>;
    type Transaction = Open;

    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, _: Access) -> sqlx::Result<Self::Connection> {
        self.pool.acquire().await
    }

    async fn begin(&self, connection: Self::Connection, access: Access, clock: &Clock) -> sqlx::Result<Open> {
        let begin = if access == Access::Write { BEGIN } else { SNAPSHOT };
        let connection = Transaction::begin(connection, Some(begin.into_sql_str())).await?;
        Ok(Open { connection, now: clock.now() })
    }

    async fn ping(&self) -> sqlx::Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ())
    }
}

const URL: ServerUrl = ServerUrl {
    kind: "MySQL",
    schemes: &["mysql://", "mariadb://"],
    parameters: "sslmode ssl-mode sslca ssl-ca sslcert ssl-cert sslkey ssl-key charset collation \
        statement-cache-capacity socket timezone time-zone",
    example: "mysql://USER:PASSWORD@HOST:PORT/DATABASE",
};

pub(super) fn parse(url: &str) -> Result<MySqlConnectOptions> {
    let options: MySqlConnectOptions = URL.parse(url)?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(URL.invalid(&"no database"));
    }
    Ok(options)
}

fn name(options: &MySqlConnectOptions) -> String {
    let socket = options.get_socket().map(AsRef::as_ref);
    connect::name(socket, options.get_host(), options.get_port(), options.get_database().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_have_no_password() {
        for url in ["mysql://me:secret@db.example:3307/app", "mariadb://me:secret@db.example:3307/app"] {
            assert_eq!(name(&parse(url).expect("a URL")), "db.example:3307/app");
        }
        for wrong in ["postgres://me:secret@db/app", "mysql://me:secret@db:99999/app", "mysql://me:secret@db"]
        {
            let error = parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains("mysql://USER") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest() {
        for (query, said) in [
            ("sslmod=REQUIRED", "unknown parameter \"sslmod\": did you mean \"sslmode\"?"),
            ("ssl-mode=REQUIRED&ssl_ca=ca", "unknown parameter \"ssl_ca\": did you mean \"ssl-ca\"?"),
            ("sslrootcert=hunter2", "unknown parameter \"sslrootcert\"; known: sslmode, "),
            ("hunter2@db/app", "an unknown parameter after the ?; known: sslmode, "),
        ] {
            let error = parse(&format!("mysql://me:secret@db/app?{query}")).expect_err(query).to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{query}: {error}");
        }
        for query in ["", "ssl-mode=REQUIRED", "sslmode=preferred&charset=utf8mb4"] {
            parse(&format!("mysql://me:secret@db/app?{query}")).expect(query);
        }
        let error = parse("mysql://me:secret@db/app?ssl-mode=foo").expect_err("an unknown mode").to_string();
        assert!(error.contains("(unknown value \"foo\""), "{error}");
    }
}
