//! Merges dead letters into their rows.

use std::collections::{BTreeMap, HashMap};

use forebay::{
    buffer::{Row, RowKey},
    sink::Replayed,
};

use super::{
    merge::Unreached,
    moves::rounds,
    transaction::{Checked, Transaction},
    work::Work,
};

impl<T: Transaction> Work<'_, T> {
    /// Merges dead letters into their rows. Each succeeds or fails on its own.
    pub(crate) async fn replay(&mut self, ids: &[u64]) -> Checked<Replayed> {
        let mut replayed = Replayed::default();
        let (mut found, mut rows) = (vec![], vec![]);
        for (id, row) in self.lock_dead(ids).await? {
            match row {
                Ok(row) => {
                    found.push(id);
                    rows.push(row);
                }
                Err(why) => replayed.refused.push((id, why)),
            }
        }
        let targets = self.targets(&rows).await?;
        let mut letters: BTreeMap<RowKey, Vec<(u64, Row)>> = BTreeMap::new();
        for (id, mut row) in found.into_iter().zip(rows) {
            if let Some(target) = targets.get(&row.key) {
                row.key = target.clone();
            }
            letters.entry(row.key.clone()).or_default().push((id, row));
        }
        for round in rounds(letters) {
            let (ids, rows): (Vec<u64>, Vec<Row>) = round.into_iter().unzip();
            let refused = self.merge_rows(&rows, Unreached::Refused).await?.refused;
            let refused: HashMap<usize, String> = refused.into_iter().collect();
            let applied = ids.iter().enumerate().filter(|(index, _)| !refused.contains_key(index));
            replayed.applied.extend(applied.map(|(_, id)| id));
            replayed.refused.extend(refused.into_iter().map(|(index, why)| (ids[index], why)));
        }
        replayed.applied.sort_unstable();
        replayed.refused.sort_unstable();
        self.update_dead(&replayed).await?;
        Ok(replayed)
    }
}
