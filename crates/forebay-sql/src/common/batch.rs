//! Merges a batch, and moves the rows that its table refuses to the dead letters.

use forebay::sink::{Applied, Batch};

use super::{dead_letter::DeadRow, merge::Unreached, transaction::Transaction, work::Work};

impl<T: Transaction> Work<'_, T> {
    /// Merges a batch into its table.
    pub(crate) async fn merge_batch(&mut self, batch: &Batch) -> sqlx::Result<Applied> {
        let (mut reached, mut dead) = (0, vec![]);
        for rows in self.follow(&batch.rows).await? {
            let merged = self.merge_rows(&rows, Unreached::AsPlanned).await?;
            reached += merged.reached;
            dead.extend(merged.refused.iter().map(|(i, why)| DeadRow::new(self.schema, &rows[*i], why)));
        }
        if let Some(first) = dead.first() {
            let (buffer, rows, error) = (self.buffer(), dead.len(), &first.reason);
            tracing::warn!(buffer, batch = %batch.id, rows, error, "rows became dead letters; the error is that of the first");
            self.dead_letter(batch.id, &dead).await?;
        }
        Ok(Applied::now(reached, dead.len() as u64))
    }
}
