//! Adding up a buffer's table.

use forebay::{
    buffer::{Merge, Schema},
    sink::SinkError,
};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Sqlite, form::Form};
use crate::{Totals, common::plan::Plan};

impl Sqlite {
    /// Counts the rows of a buffer's table and adds up its `sum` columns, in one snapshot: for checks and reports.
    ///
    /// # Errors
    /// [`SinkError::Permanent`] for a table that does not fit the buffer, or a sum that would leave 64 bits;
    /// [`SinkError::Transient`] if the database does not answer now.
    ///
    /// # Cost
    /// Reads the whole table.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use forebay::{Buffer, Forebay};
    /// use forebay_sql::Sqlite;
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
    /// let database = Sqlite::open(":memory:").await?;
    /// let _flusher = projects.flush_to(database.clone()).prepare().await?;
    /// assert_eq!(database.totals(projects.schema()).await?.sums, [Some(0), None]);
    ///
    /// for id in ["41", "42", "42"] {
    ///     projects.row(id).add("hits", 2).await?;
    /// }
    /// projects.flush().await?;
    /// let totals = database.totals(projects.schema()).await?;
    /// assert_eq!((totals.rows, totals.sums), (2, vec![Some(6), None]));
    /// # Ok(()) }
    /// ```
    pub async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
        let plan = self.plan(schema).await?;
        let adding = |error| self.failed(&format!("adding up table {}", schema.table), &error);
        let mut reader = self.database.reader().await.map_err(adding)?;
        let query = sqlx::query(AssertSqlSafe(statement(&plan))).fetch_one(&mut *reader);
        let row = query.await.map_err(adding)?;
        let rows: i64 = row.try_get(0).map_err(adding)?;
        let mut totals = Totals { rows: rows.unsigned_abs(), sums: vec![] };
        for (i, column) in plan.columns.iter().enumerate() {
            let is_sum = column.merge == Merge::Sum;
            totals.sums.push(is_sum.then(|| row.try_get(i + 1)).transpose().map_err(adding)?);
        }
        Ok(totals)
    }
}

fn statement(plan: &Plan<Form>) -> String {
    let mut wanted = vec!["count(*)".to_owned()];
    wanted.extend(plan.columns.iter().map(|column| match column.merge {
        // An empty table has a sum of NULL.
        Merge::Sum => format!("coalesce(sum({}), 0)", column.name),
        _ => "NULL".to_owned(),
    }));
    format!("SELECT {} FROM {}", wanted.join(", "), plan.table)
}
