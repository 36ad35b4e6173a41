//! Steps that are the same for every driver except for its types.

/// Implements steps of [`Transaction`](super::transaction::Transaction) for a type with the fields `connection` and `now`. The
/// module has a function `bound`, which makes a query from a text and its bindings, and the names `Bindings` and `TextRow`.
macro_rules! driver_steps {
    () => {
        fn now(&self) -> forebay::Timestamp {
            self.now
        }

        async fn execute(&mut self, sql: String, bindings: Bindings<'_>) -> sqlx::Result<u64> {
            Ok(bound(sql, bindings)?.execute(&mut *self.connection).await?.rows_affected())
        }

        async fn query(&mut self, sql: String, bindings: Bindings<'_>) -> sqlx::Result<Vec<TextRow>> {
            use sqlx::Row as _;
            let rows = bound(sql, bindings)?.fetch_all(&mut *self.connection).await?;
            rows.iter().map(|row| (0..row.len()).map(|i| row.try_get(i)).collect()).collect()
        }

        async fn run(&mut self, script: String) -> sqlx::Result<()> {
            sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut *self.connection).await.map(|_| ())
        }

        async fn rollback(self) -> sqlx::Result<()> {
            self.connection.rollback().await
        }
    };
}

pub(crate) use driver_steps;
