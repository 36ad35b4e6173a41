//! Dead letters, merged after all.

use std::collections::HashMap;

use forebay::{
    buffer::{Row, RowKey, Schema},
    sink::Replayed,
};

use super::{
    dead::{self, Line},
    merge::{Merged, Unreached, merge_rows},
    moves::{Moves, targets},
    plan::Plan,
};

/// A transaction's view of the dead letters.
pub(crate) trait Letters: Moves {
    /// Reads the id, key and cells of those letters of a buffer that are there, in the order of their ids, and keeps them
    /// from other transactions until this one ends: who comes second waits, and finds those that are left.
    fn take(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        ids: &[u64],
    ) -> impl Future<Output = sqlx::Result<Vec<(i64, String, String)>>> + Send;

    /// Removes the letters that were applied, and writes down why others were refused.
    fn settle(
        &mut self,
        plan: &Plan<Self::Form>,
        replayed: &Replayed,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The letters of a buffer with an id above `after`, at most `limit` of them, in the order of their ids.
    fn list(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = sqlx::Result<Vec<Line>>> + Send;

    /// How many letters a buffer has.
    fn count(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

/// Merges letters into their rows. Each succeeds or fails for itself.
pub(crate) async fn replay<T: Letters>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    ids: &[u64],
) -> sqlx::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut letters = vec![];
    for (id, key, cells) in transaction.take(plan, schema, ids).await? {
        let id = id.unsigned_abs();
        match dead::row(schema, &key, &cells) {
            Ok(row) => letters.push((id, row)),
            Err(why) => replayed.refused.push((id, why)),
        }
    }
    let (ids, mut rows): (Vec<u64>, Vec<Row>) = letters.into_iter().unzip();
    let targets = targets(transaction, plan, schema, &rows).await?;
    for row in &mut rows {
        if let Some(target) = targets.get(&row.key) {
            row.key = target.clone();
        }
    }
    for round in rounds(ids.into_iter().zip(rows).collect()) {
        let (ids, rows): (Vec<u64>, Vec<Row>) = round.into_iter().unzip();
        let Merged { refused, .. } = merge_rows(transaction, plan, schema, &rows, Unreached::Refused).await?;
        let refused: HashMap<usize, String> = refused.into_iter().collect();
        replayed
            .applied
            .extend((0..ids.len()).filter(|place| !refused.contains_key(place)).map(|place| ids[place]));
        replayed.refused.extend(refused.into_iter().map(|(place, why)| (ids[place], why)));
    }
    replayed.applied.sort_unstable();
    replayed.refused.sort_unstable();
    transaction.settle(plan, &replayed).await?;
    Ok(replayed)
}

/// Deals letters out so that each round has a key once, and those of one key come in their order: a statement merges
/// into a row once. Within a round they are in the order of their keys, as a batch is.
fn rounds(letters: Vec<(u64, Row)>) -> Vec<Vec<(u64, Row)>> {
    let mut rounds: Vec<Vec<(u64, Row)>> = vec![];
    let mut seen: HashMap<RowKey, usize> = HashMap::new();
    for (id, row) in letters {
        let round = seen.entry(row.key.clone()).and_modify(|round| *round += 1).or_insert(0);
        if *round == rounds.len() {
            rounds.push(vec![]);
        }
        rounds[*round].push((id, row));
    }
    for round in &mut rounds {
        round.sort_unstable_by(|(_, a), (_, b)| a.key.cmp(&b.key));
    }
    rounds
}

#[cfg(test)]
mod tests {
    use forebay::Buffer;

    use super::*;

    #[test]
    fn a_round_has_a_key_once_and_the_letters_of_a_key_keep_their_order() {
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let letter =
            |(id, key): (u64, &str)| (id, Row::empty(&schema, RowKey::parse(&schema, key).expect("a key")));
        let letters = [(1, "b"), (2, "a"), (3, "b"), (4, "b"), (5, "c")].map(letter);
        let dealt: Vec<Vec<u64>> =
            rounds(letters.into()).iter().map(|round| round.iter().map(|(id, _)| *id).collect()).collect();
        assert_eq!(dealt, [vec![2, 1, 5], vec![3], vec![4]]);
    }
}
