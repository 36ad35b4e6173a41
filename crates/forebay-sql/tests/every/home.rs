//! A database for one test, and the application that shares it with the sink.

use std::{path::PathBuf, sync::Arc};

use forebay::{buffer::Schema, sink::Sink};
use forebay_sql::{Migrate, MySql, Options, Postgres, Sqlite};
use forebay_testkit::{MariaDb, Proxy};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// A database.
pub(crate) enum Home {
    Sqlite(tempfile::TempDir),
    Postgres(String),
    MariaDb(String),
}

impl Home {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(forebay_testkit::Postgres::shared().new_database())
    }

    pub(crate) fn mariadb() -> Self {
        Self::MariaDb(MariaDb::shared().new_database())
    }

    /// Picks the argument for this database: SQLite's, Postgres's or MariaDB's.
    pub(crate) fn pick<T>(&self, sqlite: T, postgres: T, mariadb: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
            Self::MariaDb(_) => mariadb,
        }
    }

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("app.db")
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => Self::path(directory).display().to_string(),
            Self::Postgres(name) => forebay_testkit::Postgres::shared().url(name),
            Self::MariaDb(name) => MariaDb::shared().url(name),
        }
    }

    /// A sink with connections of its own, which may create tables.
    pub(crate) async fn sink(&self) -> Arc<dyn Sink> {
        self.sink_with(options()).await
    }

    pub(crate) async fn sink_with(&self, options: Options) -> Arc<dyn Sink> {
        self.sink_at(&self.url(), options).await
    }

    pub(crate) async fn sink_at(&self, url: &str, options: Options) -> Arc<dyn Sink> {
        match self {
            Self::Sqlite(_) => Arc::new(Sqlite::open(url).await.expect("a database").with(options)),
            Self::Postgres(_) => Arc::new(Postgres::open(url).await.expect("a database").with(options)),
            Self::MariaDb(_) => Arc::new(MySql::open(url).await.expect("a database").with(options)),
        }
    }

    /// A proxy in front of the server, unless the database is a file.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_) => Some(Proxy::new(forebay_testkit::Postgres::shared().port())),
            Self::MariaDb(_) => Some(Proxy::new(MariaDb::shared().port())),
        }
    }

    pub(crate) fn url_through(&self, proxy: &Proxy) -> String {
        match self {
            Self::Sqlite(_) => unreachable!("a file has no proxy"),
            Self::Postgres(name) => forebay_testkit::Postgres::shared().url_through(proxy, name),
            Self::MariaDb(name) => MariaDb::shared().url_through(proxy, name),
        }
    }

    pub(crate) fn ddl(&self, schema: &Schema) -> String {
        self.pick::<fn(&Schema) -> String>(Sqlite::ddl, Postgres::ddl, MySql::ddl)(schema)
    }

    /// Runs `sql` for the application, without the sink; returns a line per row, with tabs between the values.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        match self {
            Self::Sqlite(directory) => {
                let options =
                    SqliteConnectOptions::new().filename(Self::path(directory)).create_if_missing(true);
                let mut connection = options.connect().await.expect("a connection");
                let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await;
                rows.expect("valid SQL").iter().map(shown).collect::<Vec<_>>().join("\n")
            }
            Self::Postgres(name) => {
                let (name, sql) = (name.clone(), sql.to_owned());
                off(move || forebay_testkit::Postgres::shared().query(&name, &sql)).await
            }
            Self::MariaDb(name) => {
                let (name, sql) = (name.clone(), sql.to_owned());
                off(move || MariaDb::shared().query(&name, &sql)).await
            }
        }
    }

    /// Like [`ask`](Self::ask), in lines.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        self.ask(sql).await.lines().map(str::to_owned).collect()
    }

    /// Row keys and reasons, in the order of the keys.
    pub(crate) async fn dead_letters(&self) -> Vec<(String, String)> {
        let lines = self.lines("SELECT row_key, error FROM forebay_dead_letters ORDER BY row_key").await;
        let parts = lines.iter().map(|line| line.split_once('\t').expect("two columns"));
        parts.map(|(key, why)| (key.to_owned(), why.to_owned())).collect()
    }
}

/// Options that let a sink create tables.
pub(crate) fn options() -> Options {
    Options::new().migrate(Migrate::Yes)
}

async fn off(work: impl FnOnce() -> String + Send + 'static) -> String {
    tokio::task::spawn_blocking(work).await.expect("a valid question")
}

fn shown(row: &SqliteRow) -> String {
    let value = |i| {
        let raw = row.try_get_raw(i).expect("a column");
        match raw.type_info().name() {
            _ if raw.is_null() => "NULL".to_owned(),
            "INTEGER" => row.get::<i64, _>(i).to_string(),
            "REAL" => row.get::<f64, _>(i).to_string(),
            _ => row.get::<String, _>(i),
        }
    };
    row.columns().iter().map(|column| value(column.ordinal())).collect::<Vec<_>>().join("\t")
}
