//! Dead letters: listed, and replayed.

use forebay::{buffer::Schema, sink::Replayed};
use sqlx::AssertSqlSafe;

use super::{form::Form, open::Open};
use crate::common::{dead::Line, plan::Plan, replay::Letters};

impl Letters for Open {
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

    async fn list(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> sqlx::Result<Vec<Line>> {
        let sql = format!(
            "SELECT `id`, `gen`, `row_key`, `cells`, `error`, CAST(`at` AS CHAR CHARACTER SET utf8mb4)
             FROM {}`forebay_dead_letters` WHERE `buffer` = ? AND `id` > ? ORDER BY `id` LIMIT ?",
            plan.place
        );
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(schema.name.as_str()).bind(after).bind(limit);
        query.fetch_all(&mut *self.connection).await
    }

    async fn count(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<i64> {
        let sql = format!("SELECT COUNT(*) FROM {}`forebay_dead_letters` WHERE `buffer` = ?", plan.place);
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(schema.name.as_str());
        query.fetch_one(&mut *self.connection).await
    }
}

/// `1, 2`. None is NULL, which nothing equals.
fn list(ids: &[u64]) -> String {
    if ids.is_empty() {
        return "NULL".into();
    }
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}
