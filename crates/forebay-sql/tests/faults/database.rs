//! The database at the other end.

use std::collections::BTreeMap;

use forebay::buffer::{BufferHandle, Flusher};
use forebay_sql::{Migrate, MySql, Options, Postgres, Sqlite};
use forebay_testkit as testkit;
use forebay_testkit::{Proxy, Server};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

/// One of the kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
    /// Postgres behind a pooler that shares connections between transactions.
    PgBouncer,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::MariaDb, Self::PgBouncer];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::PgBouncer => "pgbouncer",
        }
    }

    /// The servers that it needs.
    pub(crate) fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[],
            Self::Postgres => &["postgres"],
            Self::MariaDb => &["mariadb"],
            Self::PgBouncer => &["postgres", "pgbouncer"],
        }
    }

    /// Creates a flusher for the database at `url`; retries until it answers.
    pub(crate) async fn flusher(self, buffer: &BufferHandle, url: &str) -> Flusher {
        let options = Options::new().migrate(Migrate::Yes);
        loop {
            let opened = match self {
                Self::Sqlite => {
                    Sqlite::open(url).await.map(|sink| buffer.flush_to(sink.with(options.clone())))
                }
                Self::Postgres | Self::PgBouncer => {
                    Postgres::open(url).await.map(|sink| buffer.flush_to(sink.with(options.clone())))
                }
                Self::MariaDb => {
                    MySql::open(url).await.map(|sink| buffer.flush_to(sink.with(options.clone())))
                }
            };
            if let Ok(flusher) = opened {
                return flusher;
            }
        }
    }
}

/// A database for one test.
pub(crate) enum Database {
    Sqlite(tempfile::TempDir),
    Postgres(testkit::Postgres, Proxy),
    MariaDb(testkit::MariaDb, Proxy),
    PgBouncer(testkit::Postgres, testkit::PgBouncer, Proxy),
}

impl Database {
    pub(crate) fn start(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite(tempfile::tempdir().expect("a temporary directory")),
            Kind::Postgres => {
                let postgres = testkit::Postgres::start();
                let proxy = Proxy::new(postgres.port());
                Self::Postgres(postgres, proxy)
            }
            Kind::PgBouncer => {
                let postgres = testkit::Postgres::start();
                let pgbouncer = testkit::PgBouncer::start(postgres.port());
                let proxy = Proxy::new(pgbouncer.port());
                Self::PgBouncer(postgres, pgbouncer, proxy)
            }
            Kind::MariaDb => {
                let mariadb = testkit::MariaDb::start();
                mariadb.query("mysql", "CREATE DATABASE app");
                let proxy = Proxy::new(mariadb.port());
                Self::MariaDb(mariadb, proxy)
            }
        }
    }

    /// Its URL through the proxy.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => directory.path().join("app.db").display().to_string(),
            Self::Postgres(postgres, proxy) => postgres.url_through(proxy, "postgres"),
            Self::PgBouncer(_, pgbouncer, proxy) => pgbouncer.url_through(proxy, "postgres"),
            Self::MariaDb(mariadb, proxy) => mariadb.url_through(proxy, "app"),
        }
    }

    /// Its process, unless it is a file.
    pub(crate) fn server(&self) -> Option<&Server> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(postgres, _) | Self::PgBouncer(postgres, ..) => Some(postgres),
            Self::MariaDb(mariadb, _) => Some(mariadb),
        }
    }

    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_, proxy) | Self::MariaDb(_, proxy) | Self::PgBouncer(.., proxy) => Some(proxy),
        }
    }

    /// The table, by row.
    pub(crate) async fn table(&self) -> BTreeMap<String, u64> {
        let sql = "SELECT id, n FROM hits";
        match self {
            Self::Sqlite(directory) => {
                let options = SqliteConnectOptions::new().filename(directory.path().join("app.db"));
                let mut connection = options.connect().await.expect("a file");
                let rows: Vec<(String, i64)> =
                    sqlx::query_as(sql).fetch_all(&mut connection).await.expect("rows");
                connection.close().await.expect("closes");
                rows.into_iter().map(|(id, n)| (id, u64::try_from(n).expect("a count"))).collect()
            }
            Self::Postgres(postgres, _) | Self::PgBouncer(postgres, ..) => {
                read(&postgres.query("postgres", sql))
            }
            Self::MariaDb(mariadb, _) => read(&mariadb.query("app", sql)),
        }
    }
}

/// Lines of `id` and `n`.
pub(crate) fn read(lines: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let (id, n) = line.split_once('\t').expect("two columns");
        (id.to_owned(), n.parse().expect("a count"))
    };
    lines.lines().map(row).collect()
}
