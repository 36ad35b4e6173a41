//! Merges dead letters into their rows.

use std::collections::HashMap;

use forebay::{
    buffer::{Row, RowKey, Schema},
    sink::Replayed,
};

use super::{
    dead_letter,
    merge::{Merged, Unreached, merge_rows},
    moves::targets,
    plan::Plan,
    transaction::Transaction,
};

/// Merges dead letters into their rows. Each succeeds or fails on its own.
pub(crate) async fn replay<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    ids: &[u64],
) -> sqlx::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut letters = vec![];
    for (id, row) in dead_letter::lock(transaction, plan, schema, ids).await? {
        match row {
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
            .extend((0..ids.len()).filter(|index| !refused.contains_key(index)).map(|index| ids[index]));
        replayed.refused.extend(refused.into_iter().map(|(index, why)| (ids[index], why)));
    }
    replayed.applied.sort_unstable();
    replayed.refused.sort_unstable();
    dead_letter::update(transaction, plan, &replayed).await?;
    Ok(replayed)
}

/// Splits letters into rounds that have each key once, because a statement merges into a row once. Letters of one key keep
/// their order. Within a round they are in the order of their keys, as in a batch.
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
