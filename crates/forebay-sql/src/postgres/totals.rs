//! Adding up a buffer's table.

use forebay::{
    buffer::{Merge, Schema},
    sink::SinkError,
};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Postgres, form::Form};
use crate::{Totals, common::plan::Plan};

impl Postgres {
    /// Counts the rows of a buffer's table and adds up its `sum` columns, in one snapshot: for checks and reports.
    ///
    /// # Errors
    /// [`SinkError::Permanent`] for a table that does not fit the buffer, or a sum that would leave 64 bits;
    /// [`SinkError::Transient`] if the database does not answer now.
    ///
    /// # Cost
    /// Reads the whole table.
    pub async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
        let plan = self.plan(schema).await?;
        let adding = |error| self.failed(&format!("adding up table {}", schema.table), &error);
        let query = sqlx::query(AssertSqlSafe(statement(&plan))).fetch_one(&self.database.pool);
        let row = query.await.map_err(adding)?;
        let rows: i64 = row.try_get(0).map_err(adding)?;
        let sums = (1..=plan.columns.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>();
        Ok(Totals { rows: rows.unsigned_abs(), sums: sums.map_err(adding)? })
    }
}

fn statement(plan: &Plan<Form>) -> String {
    let mut wanted = vec!["count(*)".to_owned()];
    wanted.extend(plan.columns.iter().map(|column| match column.merge {
        // An empty table has a sum of NULL.
        Merge::Sum => format!("coalesce(sum({}), 0)::int8", column.name),
        _ => "NULL::int8".to_owned(),
    }));
    format!("SELECT {} FROM {}", wanted.join(", "), plan.table)
}
