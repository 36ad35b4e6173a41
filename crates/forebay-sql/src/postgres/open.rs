//! Databases, and the connections to them.

use std::str::FromStr;

use forebay::{Clock, Error, ErrorKind, Result, Timestamp};
use sqlx::{
    ConnectOptions as _, PgPool, Postgres, SqlSafeStr as _, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{ddl::POSTGRES, error::classify, form::Form};
use crate::common::{
    connect::{CONNECT_TIMEOUT, MAX_CONNECTIONS, reach},
    database::{self, Access, Steps},
    ddl::Dialect,
    error::{self, Class},
    parameters,
};

/// Begins the transaction of a batch.
///
/// The store forgets a batch when it is committed, so a commit has to survive a power cut, whatever the role's or
/// database's default; `remote_apply` is more than `on`. Two batches at once may have the same id: at this isolation
/// the second waits for the first's ledger entry and then sees it. Constraints are checked by the statement whose row
/// breaks them, not at the commit, where nobody could tell which row it was. A statement that takes too long may be
/// ended, but not the wait of a commit for its standbys, which Postgres answers with success then.
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

/// An open transaction.
pub(super) struct Open {
    pub(super) connection: Transaction<'static, Postgres>,
    /// When it began, for the rows that say so.
    pub(super) now: Timestamp,
    /// Its commit waits for standbys.
    pub(super) waits: bool,
}

impl Database {
    /// Opens the database that `url` names.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let options = parse(url)?;
        let name = name(&options);
        // The driver asks for more digits of floats when it connects, which a pooler refuses. There are none here.
        let options =
            options.application_name("forebay").extra_float_digits(None).disable_statement_logging();
        reach(&options, "Postgres", &name).await?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { name, pool })
    }

    /// Checks a URL without connecting.
    pub(super) fn check(url: &str) -> Result<()> {
        parse(url).map(|_| ())
    }

    /// Takes a user's connections.
    pub(super) fn of_pool(pool: PgPool) -> Self {
        Self { name: name(&pool.connect_options()), pool }
    }

    /// In a task of its own, which is not dropped with its caller: a connection on which a beginning was broken off would
    /// return to the pool inside a transaction that the driver does not know of, and fail whoever comes next. Postgres has
    /// no way to end a transaction that may not be there without a warning in the log.
    async fn begin_on(
        connection: PoolConnection<Postgres>,
        statement: &'static str,
    ) -> sqlx::Result<Transaction<'static, Postgres>> {
        let begin = Transaction::begin(connection, Some(statement.into_sql_str()));
        tokio::spawn(begin).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }
}

impl database::Database for Database {
    type Form = Form;
    type Connection = PoolConnection<Postgres>;
    type Open = Open;

    const NAME: &'static str = "Postgres";
    const DIALECT: Dialect = POSTGRES;

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

    fn classify(error: &sqlx::Error) -> Class {
        classify(error)
    }
}

impl Steps for Open {
    fn may_be_cut_short(&self) -> bool {
        self.waits
    }

    async fn commit(self) -> sqlx::Result<()> {
        self.connection.commit().await
    }

    async fn rollback(self) -> sqlx::Result<()> {
        self.connection.rollback().await
    }
}

/// The parameters of a URL that the driver takes.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[NAME]",
];

/// The URL itself is in no message: it may have a password.
fn parse(url: &str) -> Result<PgConnectOptions> {
    let invalid = |why: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "that is no URL of a Postgres database ({why}): give postgres://USER:PASSWORD@HOST:PORT/DATABASE"
            ),
        )
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(invalid(&"another scheme"));
    }
    parameters::check(url, &PARAMETERS).map_err(|why| invalid(&why))?;
    PgConnectOptions::from_str(url).map_err(|error| invalid(&error::message(&error)))
}

fn name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
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
