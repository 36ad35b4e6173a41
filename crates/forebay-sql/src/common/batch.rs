//! Merges a batch, and moves the rows that its table refuses to the dead letters.

use forebay::sink::{Applied, Batch};

use super::{
    dead_letter::{DeadRow, dead_letter},
    merge::{Unreached, merge_rows},
    moves::follow,
    plan::Plan,
    transaction::Transaction,
};

/// Merges a batch into its table.
pub(crate) async fn merge<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    batch: &Batch,
) -> sqlx::Result<Applied> {
    let schema = &batch.schema;
    let (mut reached, mut dead) = (0, vec![]);
    for rows in follow(transaction, plan, schema, &batch.rows).await? {
        let merged = merge_rows(transaction, plan, schema, &rows, Unreached::AsPlanned).await?;
        reached += merged.reached;
        dead.extend(merged.refused.iter().map(|(index, why)| DeadRow::new(schema, &rows[*index], why)));
    }
    if let Some(first) = dead.first() {
        let (buffer, rows, error) = (&schema.name, dead.len(), &first.reason);
        tracing::warn!(%buffer, batch = %batch.id, rows, error, "rows became dead letters; the error is that of the first");
        dead_letter(transaction, plan, batch, &dead).await?;
    }
    Ok(Applied::now(reached, dead.len() as u64))
}
