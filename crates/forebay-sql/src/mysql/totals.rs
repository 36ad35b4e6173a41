//! Adding up a buffer's table.

use forebay::{
    buffer::{Merge, Schema},
    sink::SinkError,
};
use sqlx::{AssertSqlSafe, Row as _};

use super::{MySql, form::Form};
use crate::{Totals, common::plan::Plan};

impl MySql {
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
        let sum = |i| -> Result<Option<i64>, SinkError> {
            let text: Option<String> = row.try_get(i).map_err(adding)?;
            let sum = text.map(|text| text.parse()).transpose();
            sum.map_err(|_| self.refused(&format!("table {}: a sum would leave 64 bits", schema.table)))
        };
        let sums = (1..=plan.columns.len()).map(sum).collect::<Result<_, _>>()?;
        Ok(Totals { rows: rows.unsigned_abs(), sums })
    }
}

fn statement(plan: &Plan<Form>) -> String {
    let mut wanted = vec!["COUNT(*)".to_owned()];
    wanted.extend(plan.columns.iter().map(|column| match column.merge {
        // A decimal, which has room for any sum. An empty table has one of NULL.
        Merge::Sum => format!("CAST(COALESCE(SUM({}), 0) AS CHAR)", column.name),
        _ => "CAST(NULL AS CHAR)".to_owned(),
    }));
    format!("SELECT {} FROM {}", wanted.join(", "), plan.table)
}
