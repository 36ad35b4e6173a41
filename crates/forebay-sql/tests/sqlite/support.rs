//! A database in a directory of its own, and batches for it.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{Row, RowKey, Schema, Value},
    sink::{Applied, Batch, Sink as _, SinkError},
};
use forebay_sql::Sqlite;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, FromRow, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use uuid::Uuid;

/// A database file that is removed with the test.
pub(crate) struct File {
    directory: tempfile::TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> String {
        self.directory.path().join("app.db").display().to_string()
    }

    pub(crate) async fn sink(&self) -> Sqlite {
        Sqlite::open(&self.path()).await.expect("a database file")
    }

    /// A connection of the application's own.
    pub(crate) async fn application(&self) -> Application {
        let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(true);
        Application(options.connect().await.expect("a connection"))
    }

    /// A file in which the application has run `sql`.
    pub(crate) async fn with(sql: &str) -> (Self, Application) {
        let file = Self::new();
        let mut application = file.application().await;
        application.run(sql).await;
        (file, application)
    }
}

/// The application beside the sink.
pub(crate) struct Application(SqliteConnection);

impl Application {
    pub(crate) async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.0).await.expect("valid SQL");
    }

    pub(crate) async fn rows<T>(&mut self, sql: &str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        sqlx::query_as(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.0).await.expect("a valid query")
    }

    pub(crate) async fn one<T>(&mut self, sql: &str) -> T
    where
        (T,): for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.rows::<(T,)>(sql).await.pop().expect("a row").0
    }

    /// Row keys and reasons, in the order of the keys.
    pub(crate) async fn dead_letters(&mut self) -> Vec<(String, String)> {
        self.rows("SELECT row_key, error FROM forebay_dead_letters ORDER BY row_key").await
    }
}

/// The buffer of the README.
pub(crate) fn projects() -> Arc<Schema> {
    Buffer::new("projects").key("id").sum("hits").max("last_seen").build().expect("a valid buffer")
}

pub(crate) fn row(schema: &Schema, key: impl Into<Value>, cells: impl Into<Box<[Option<Value>]>>) -> Row {
    let key = RowKey::new(schema, &[key.into()]).expect("a valid key");
    Row { key, cells: cells.into() }
}

/// A row of [`projects`].
pub(crate) fn hits(schema: &Schema, id: &str, hits: i64, at: Timestamp) -> Row {
    row(schema, id, [Some(hits.into()), Some(at.into())])
}

/// A batch with an id of its own.
pub(crate) fn batch(schema: &Arc<Schema>, rows: Vec<Row>) -> Batch {
    Batch::new(Uuid::now_v7(), schema.clone(), 0, rows)
}

/// The message of an error that no retry resolves.
pub(crate) fn permanent(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    match result {
        Err(SinkError::Permanent(error)) => error.to_string(),
        other => panic!("not a permanent refusal: {other:?}"),
    }
}

/// Applies one new batch.
pub(crate) async fn apply(sink: &Sqlite, schema: &Arc<Schema>, rows: Vec<Row>) -> Applied {
    sink.apply(&batch(schema, rows)).await.expect("applied")
}

pub(crate) const NOON: Timestamp = Timestamp::from_secs(1_767_268_800);
