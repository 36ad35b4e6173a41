//! Dead letters: listed, and replayed.

use forebay::{
    buffer::Schema,
    sink::{DeadLetter, Replayed, SinkError},
};
use sqlx::AssertSqlSafe;

use super::{MySql, apply::Applying, form::Form};
use crate::common::{
    dead::{self, Line},
    plan::Plan,
    replay::{Letters, replay},
};

impl Letters for Applying<'_> {
    async fn take(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        ids: &[u64],
    ) -> sqlx::Result<Vec<(i64, String, String)>> {
        let sql = format!(
            "SELECT `id`, `row_key`, `cells` FROM {}`forebay_dead_letters`
             WHERE `id` IN ({}) AND `buffer` = ? ORDER BY `id` FOR UPDATE",
            plan.place,
            list(ids)
        );
        let query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(schema.name.as_str());
        query.fetch_all(&mut *self.connection).await
    }

    async fn settle(&mut self, plan: &Plan<Form>, replayed: &Replayed) -> sqlx::Result<()> {
        let (place, applied) = (&plan.place, list(&replayed.applied));
        let sql = format!("DELETE FROM {place}`forebay_dead_letters` WHERE `id` IN ({applied})");
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *self.connection).await?;
        let sql = format!("UPDATE {place}`forebay_dead_letters` SET `error` = ? WHERE `id` = ?");
        for (id, why) in &replayed.refused {
            let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(why).bind(*id);
            query.execute(&mut *self.connection).await?;
        }
        Ok(())
    }
}

impl MySql {
    pub(super) async fn list_dead(
        &self,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let plan = self.plan(schema).await?;
        let sql = format!(
            "SELECT `id`, `gen`, `row_key`, `cells`, `error`, CAST(`at` AS CHAR CHARACTER SET utf8mb4)
             FROM {}`forebay_dead_letters` WHERE `buffer` = ? AND `id` > ? ORDER BY `id` LIMIT ?",
            plan.place
        );
        let lines: Vec<Line> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(schema.name.as_str())
            .bind(after)
            .bind(limit)
            .fetch_all(&self.database.pool)
            .await
            .map_err(|error| self.failed("listing dead letters", &error))?;
        let letters = lines.into_iter().map(|line| dead::letter(schema, line));
        letters.collect::<Result<_, _>>().map_err(|why| self.refused(&why))
    }

    pub(super) async fn count_dead(&self, schema: &Schema) -> Result<u64, SinkError> {
        let plan = self.plan(schema).await?;
        let sql = format!("SELECT COUNT(*) FROM {}`forebay_dead_letters` WHERE `buffer` = ?", plan.place);
        let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).bind(schema.name.as_str());
        let count = query.fetch_one(&self.database.pool).await;
        Ok(count.map_err(|error| self.failed("counting dead letters", &error))?.unsigned_abs())
    }

    /// Looks at the table first: somebody may have mended it.
    pub(super) async fn replay_dead(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        let plan = self.survey(schema).await?;
        let writing = |error| self.failed(&format!("writing into table {}", schema.table), &error);
        let now = self.state.options.clock.now();
        let mut transaction = self.database.begin().await.map_err(writing)?;
        let mut applying = Applying { connection: &mut transaction, now };
        let replayed = replay(&mut applying, &plan, schema, ids).await.map_err(writing)?;
        transaction.commit().await.map_err(writing)?;
        Ok(replayed)
    }
}

/// `1, 2`. None is NULL, which nothing equals.
fn list(ids: &[u64]) -> String {
    if ids.is_empty() {
        return "NULL".into();
    }
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
