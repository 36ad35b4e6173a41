//! The steps of a transaction on Postgres.

use forebay::{Timestamp, buffer::Schema};
use sqlx::{Arguments as _, Postgres, postgres::PgArguments, query::Query};

use super::{
    array::Array,
    catalogue::{INDEXED, NONDETERMINISTIC, NOT_DURABLE_SETTINGS},
    dialect::{Bindings, Parameters, Plan, PostgresDialect},
    query::query_with,
};
use crate::common::{
    bindings::Parameter,
    database::NOT_DURABLE,
    ddl::LEDGER,
    dialect::Dialect as _,
    driver::driver_steps,
    plan::MergeMode,
    statement,
    table::Table,
    transaction::{Checked, Encoded, Outcome, TextRow, Transaction, encoded, reached, texts, unreached},
};

/// Makes transactions that create tables take turns: `IF NOT EXISTS` fails when both find nothing. Any number serves; this
/// one spells `forebay`.
const CREATE_LOCK: &str = "SELECT pg_advisory_xact_lock(x'666f7265626179'::bigint)";

/// An open transaction.
pub(super) struct Open {
    pub(super) connection: sqlx::Transaction<'static, Postgres>,
    pub(super) now: Timestamp,
    /// Whether its commit waits for standbys.
    pub(super) waits: bool,
}

impl Transaction for Open {
    type Dialect = PostgresDialect;

    driver_steps!();

    /// An array has any number of elements.
    fn rows_per_statement(left: usize) -> usize {
        left
    }

    /// Also answers whether commits wait for standbys. Somebody can end such a wait, and the commit is then answered as if
    /// it had succeeded.
    async fn insert_new(&mut self, sql: String, parameters: Parameters) -> sqlx::Result<bool> {
        let sql = sql
            + " ON CONFLICT DO NOTHING
               RETURNING CASE WHEN current_setting('synchronous_standby_names') <> '' THEN 'waits' END";
        let inserted = self.query(sql, parameters.into()).await?;
        self.waits |= inserted.iter().flatten().any(Option::is_some);
        Ok(!inserted.is_empty())
    }

    /// In one exchange, and by a name that is gone after it: the driver's own would stay.
    async fn prepare(&mut self, sql: String) -> sqlx::Result<()> {
        self.run(format!(r#"PREPARE "forebay_try" AS {sql}; DEALLOCATE "forebay_try""#)).await
    }

    async fn before_create(&mut self) -> sqlx::Result<()> {
        self.run(CREATE_LOCK.into()).await
    }

    async fn check_table(&mut self, schema: &Schema, table: &Table, _: &Plan) -> Checked<Vec<String>> {
        check_collations(schema, table)?;
        // An update that changes no indexed column stays in its page. One that does writes into every index.
        let mut bind = Parameters::new();
        bind.text(&*table.name);
        bind.texts(&schema.columns.iter().map(|column| column.name.to_string()).collect::<Vec<_>>());
        for indexed in self.query(INDEXED.into(), bind.into()).await? {
            let [index, column] = texts(indexed)?;
            tracing::warn!(
                table = table.name,
                index,
                column,
                "an index on a column that a buffer writes makes each of its updates several times more expensive"
            );
        }
        let off = self.query(NOT_DURABLE_SETTINGS.into(), Parameters::new().into()).await?;
        let warning = |name| format!("{name} is off: {NOT_DURABLE}; set it to on");
        Ok(off.into_iter().flatten().flatten().map(warning).collect())
    }

    async fn merge_rows(&mut self, plan: &Plan, mode: MergeMode, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let (sql, bindings) = (statement::merge(plan, mode, rows.len()), encoded(plan, mode, rows));
        if !mode.reports_rows() {
            return Ok(Outcome::counted(self.execute(sql, bindings).await?, mode, rows.len()));
        }
        let answered =
            self.query(format!("{sql} RETURNING {}", PostgresDialect::cast("x.n")), bindings).await?;
        let affected = answered.len() as u64;
        Ok(Outcome::Merged { rows: affected, unreached: unreached(&reached(answered, rows.len())) })
    }

    /// A move takes a lock on the ledger that excludes other moves, and the entries and locks of transactions that merge
    /// rows. It does not exclude readers, so that a backup does not delay it.
    async fn exclude_merges(&mut self, plan: &Plan, _: &str) -> sqlx::Result<()> {
        let ledger = PostgresDialect::own(&plan.place, LEDGER);
        self.run(format!("LOCK TABLE {ledger} IN SHARE ROW EXCLUSIVE MODE")).await
    }

    async fn lock_as_merge(&mut self, plan: &Plan) -> sqlx::Result<()> {
        let ledger = PostgresDialect::own(&plan.place, LEDGER);
        self.run(format!("LOCK TABLE {ledger} IN ROW EXCLUSIVE MODE")).await
    }

    fn may_be_cut_short(&self) -> bool {
        self.waits
    }

    async fn commit(self) -> sqlx::Result<()> {
        self.connection.commit().await
    }
}

/// Refuses key columns that take different keys of the buffer for one.
fn check_collations(schema: &Schema, table: &Table) -> Result<(), String> {
    for key in &schema.keys {
        if let Some(column) = table.column(&key.name)
            && column.collation.as_deref() == Some(NONDETERMINISTIC)
        {
            return Err(format!(
                "key column {} of table {} has a nondeterministic collation, which takes different keys for one: use \
                 ALTER TABLE {} ALTER COLUMN {} TYPE {} COLLATE \"C\"",
                key.name,
                schema.table,
                table.name,
                PostgresDialect::quoted(&column.name),
                column.declared,
            ));
        }
    }
    Ok(())
}

/// A query with what it binds. Each column of the rows of a buffer's table is one array.
fn bound(sql: String, bindings: Bindings<'_>) -> sqlx::Result<Query<'static, Postgres, PgArguments>> {
    let mut arguments = PgArguments::default();
    match bindings {
        Bindings::Rows { codecs, rows } => codecs.iter().enumerate().try_for_each(|(i, codec)| {
            arguments.add(Array { element: codec.element, cells: rows.iter().map(|row| &row[i]).collect() })
        }),
        Bindings::Parameters(parameters) => parameters.values.into_iter().try_for_each(|value| match value {
            Parameter::Text(text) => arguments.add(text),
            Parameter::Integer(integer) => arguments.add(integer),
        }),
    }
    .map_err(sqlx::Error::Encode)?;
    Ok(query_with(sql, arguments))
}
