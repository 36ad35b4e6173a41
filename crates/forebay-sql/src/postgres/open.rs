//! The connections to a Postgres database.

use forebay::{Clock, Result};
use sqlx::{
    ConnectOptions as _, PgPool, Postgres, SqlSafeStr as _, Transaction, pool::PoolConnection,
    postgres::PgConnectOptions,
};

use super::{dialect::PostgresDialect, transaction::Open};
use crate::common::{
    connect::{self, ServerUrl},
    database::{self, Access},
};

/// Begins the transaction of a batch.
///
/// The store forgets a batch when it is committed, so a commit has to survive a power cut, whatever the role's or
/// database's default; `remote_apply` is more than `on`. Two transactions may apply the same batch: at this isolation
/// the second waits for the first's ledger entry and then sees it. Constraints are checked by the statement whose row
/// violates them, not at the commit, which does not tell the row. A statement timeout must not end the wait of a commit for
/// its standbys, because Postgres then answers the commit with success.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SELECT set_config('statement_timeout', '0', true) WHERE current_setting('synchronous_standby_names') <> ''; \
    SELECT set_config('synchronous_commit', 'on', true) \
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'); \
    SELECT set_config('lock_timeout', '10s', true) WHERE current_setting('lock_timeout') = '0'; \
    SET CONSTRAINTS ALL IMMEDIATE";

/// Begins to read a row and the ledger in one snapshot.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    /// For messages: host and database, no credentials.
    name: String,
    pool: PgPool,
}

impl Database {
    /// Opens the database that `url` names.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = parse(url)?;
        let name = name(&options);
        // The driver sets the digits of floats when it connects, which a pooler refuses. Buffers have no floats.
        let options =
            options.application_name("forebay").extra_float_digits(None).disable_statement_logging();
        let pool = connect::pool(options, "Postgres", &name).await?;
        Ok(Self { name, pool })
    }

    /// Uses a user's connections.
    pub(super) fn of_pool(pool: PgPool) -> Self {
        Self { name: name(&pool.connect_options()), pool }
    }

    /// Begins in a task of its own, which is not dropped with its caller. A dropped beginning would return its connection to
    /// the pool inside a transaction that the driver does not know, and fail the next transaction. Postgres writes a warning
    /// into its log for each `ROLLBACK` without a transaction, so that is no way out.
    async fn begin_on(
        connection: PoolConnection<Postgres>,
        statement: &'static str,
    ) -> sqlx::Result<Transaction<'static, Postgres>> {
        let begin = Transaction::begin(connection, Some(statement.into_sql_str()));
        tokio::spawn(begin).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }
}

impl database::Database for Database {
    type Dialect = PostgresDialect;
    type Connection = PoolConnection<Postgres>;
    type Transaction = Open;

    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, _: Access) -> sqlx::Result<Self::Connection> {
        self.pool.acquire().await
    }

    async fn begin(&self, connection: Self::Connection, access: Access, clock: &Clock) -> sqlx::Result<Open> {
        let begin = if access == Access::Write { BEGIN } else { SNAPSHOT };
        Ok(Open { connection: Self::begin_on(connection, begin).await?, now: clock.now(), waits: false })
    }

    async fn ping(&self) -> sqlx::Result<()> {
        sqlx::raw_sql("SELECT 1").execute(&self.pool).await.map(|_| ())
    }
}

const URL: ServerUrl = ServerUrl {
    kind: "Postgres",
    schemes: &["postgres://", "postgresql://"],
    parameters: "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key \
        statement-cache-capacity host hostaddr port dbname user password application_name options \
        options[NAME]",
    example: "postgres://USER:PASSWORD@HOST:PORT/DATABASE",
};

pub(super) fn parse(url: &str) -> Result<PgConnectOptions> {
    URL.parse(url)
}

fn name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    let socket = options.get_socket().map(AsRef::as_ref);
    connect::name(socket, options.get_host(), options.get_port(), database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_have_no_password() {
        let options = parse("postgresql://me:secret@db.example:6432/app?sslmode=require").expect("a URL");
        assert_eq!(name(&options), "db.example:6432/app");
        for wrong in ["mysql://me:secret@db/app", "postgres://me:secret@db:99999/app", "me:secret"] {
            let error = parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains("postgres://USER") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest() {
        for (query, said) in [
            ("sslmod=verify-full", "unknown parameter \"sslmod\": did you mean \"sslmode\"?"),
            (
                "sslmode=require&ssl_rootcert=ca",
                "unknown parameter \"ssl_rootcert\": did you mean \"sslrootcert\"?",
            ),
            ("SSLMODE=require", "did you mean \"sslmode\"?"),
            ("application_name=a&PGPASSWORD=hunter2", "unknown parameter \"PGPASSWORD\""),
            ("hunter2@db/app", "an unknown parameter after the ?; known: sslmode, "),
            ("options[a=1", "unknown parameter \"options[a\""),
        ] {
            let error = parse(&format!("postgres://me:secret@db/app?{query}")).expect_err(query).to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{query}: {error}");
        }
        for query in [
            "",
            "sslmode=require",
            "ssl-mode=prefer&&application_name=a",
            "options[a.b]=1",
            "options%5Bab%5D=1",
        ] {
            parse(&format!("postgres://me:secret@db/app?{query}")).expect(query);
        }
        let error =
            parse("postgres://me:secret@db/app?sslmode=foo").expect_err("an unknown mode").to_string();
        assert!(error.contains("(unknown value \"foo\""), "{error}");
    }
}
