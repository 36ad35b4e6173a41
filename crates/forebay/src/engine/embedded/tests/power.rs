//! The power fails: at every moment of a random run, with any part of what was not synced.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use forebay_testkit::Random;
use uuid::Uuid;

use super::{SYNC, claim, disk::Disk, engine, hits, part, start};
use crate::{
    engine::{
        embedded::Embedded,
        step::{Claimed, Rotate},
    },
    model::{Holder, Value},
};

/// Something done to the store, as told by the age of the disk before and after.
struct Told<T> {
    asked: usize,
    answered: usize,
    what: T,
}

/// A generation and its rows.
type Batch = (Uuid, Vec<(String, i64)>);

/// A hold: its owner and fence, and whether it was given back.
struct Held {
    granted: Told<(Uuid, u64)>,
    released: Option<Told<()>>,
}

/// The reports of a run.
#[derive(Default)]
struct Run {
    /// Hits by row.
    hits: BTreeMap<String, Vec<Told<i64>>>,
    /// The generations that SQL committed, with their rows.
    applied: Vec<Told<Batch>>,
    /// The holders of the lock, in turn.
    held: Vec<Held>,
}

/// The content of SQL: the ledger, and sums by row.
#[derive(Default)]
struct Sql {
    ledger: HashSet<Uuid>,
    rows: BTreeMap<String, i64>,
}

impl Sql {
    fn apply(&mut self, id: Uuid, rows: &[(String, i64)]) {
        if self.ledger.insert(id) {
            for (row, n) in rows {
                *self.rows.entry(row.clone()).or_default() += n;
            }
        }
    }

    /// Applies and acknowledges all that is frozen.
    async fn drain(&mut self, engine: &Embedded) {
        for index in 0..4 {
            for frozen in engine.buffer_frozen(&part(index)).await.expect("answers") {
                let rows = read(engine, index, frozen.id).await;
                self.apply(frozen.id, &rows);
                engine.buffer_ack(&part(index), frozen.id, None).await.expect("answers");
            }
        }
    }
}

async fn read(engine: &Embedded, index: u16, id: Uuid) -> Vec<(String, i64)> {
    let generation = engine.buffer_read(&part(index), id).await.expect("answers").expect("frozen");
    let sum = |cell: &Option<Value>| match cell {
        Some(Value::Integer(n)) => *n,
        other => unreachable!("a sum, not {other:?}"),
    };
    generation.rows.iter().map(|row| (row.key.as_str().to_owned(), sum(&row.cells[0]))).collect()
}

async fn run(engine: &Arc<Embedded>, disk: &Disk, dice: &mut Random, steps: usize) -> Run {
    let mut run = Run::default();
    for _ in 0..steps {
        let asked = disk.age();
        let index = u16::try_from(dice.below(4)).expect("small");
        match dice.below(8) {
            0..=3 => {
                // A few at once, so that commits have more than one in them.
                let rows: Vec<String> = (0..=dice.below(4)).map(|_| format!("{}", dice.below(9))).collect();
                let writes = rows.iter().map(|row| async {
                    engine.buffer_add(&part(index), hits(&part(index), row, 1)).await.expect("commits")
                });
                futures::future::join_all(writes).await;
                for row in rows {
                    let told = Told { asked, answered: disk.age(), what: 1 };
                    run.hits.entry(row).or_default().push(told);
                }
            }
            4..=5 => drop(engine.buffer_rotate(&part(index), Rotate::Now, 3).await.expect("commits")),
            6 => {
                for frozen in engine.buffer_frozen(&part(index)).await.expect("answers") {
                    let rows = read(engine, index, frozen.id).await;
                    let told = Told { asked, answered: disk.age(), what: (frozen.id, rows) };
                    run.applied.push(told);
                    // Sometimes the flusher ends here, and the next one does it again.
                    if dice.below(3) > 0 {
                        engine.buffer_ack(&part(index), frozen.id, None).await.expect("answers");
                    }
                }
            }
            _ => lock_step(engine, disk, &mut run, asked).await,
        }
    }
    run
}

/// Takes the lock, or gives it back.
async fn lock_step(engine: &Embedded, disk: &Disk, run: &mut Run, asked: usize) {
    if let Some(Held { granted, released: released @ None }) = run.held.last_mut() {
        assert!(engine.lock_release("l", granted.what.0).await.expect("commits"));
        *released = Some(Told { asked, answered: disk.age(), what: () });
        return;
    }
    let owner = Uuid::now_v7();
    let Claimed::Granted { fence } = engine.lock_claim(claim("l", owner)).await.expect("commits") else {
        unreachable!("nobody holds it")
    };
    let granted = Told { asked, answered: disk.age(), what: (owner, fence) };
    run.held.push(Held { granted, released: None });
}

impl Run {
    /// The content that a restart at this age has to find.
    async fn check(&self, age: usize, engine: &Embedded) {
        let mut sql = Sql::default();
        for applied in self.applied.iter().filter(|applied| applied.answered <= age) {
            sql.apply(applied.what.0, &applied.what.1);
        }
        sql.drain(engine).await;
        for (row, hits) in &self.hits {
            let sum = |counts: &dyn Fn(&Told<i64>) -> bool| -> i64 {
                hits.iter().filter(|told| counts(told)).map(|told| told.what).sum()
            };
            let least = sum(&|told| told.answered <= age);
            let most = sum(&|told| told.asked <= age);
            let found = sql.rows.get(row).copied().unwrap_or(0);
            assert!((least..=most).contains(&found), "age {age}, row {row}: {found}, not {least} to {most}");
        }
        self.check_lock(age, engine).await;
    }

    async fn check_lock(&self, age: usize, engine: &Embedded) {
        let state = engine.lock_state("l").await.expect("answers");
        let holder = state.holding.map(|holding| (holding.holder, holding.fence));
        for Held { granted, released } in &self.held {
            let this = Some((Holder::from_owner(granted.what.0), granted.what.1));
            if granted.answered <= age && released.as_ref().is_none_or(|released| released.asked > age) {
                assert_eq!(holder, this, "age {age}: a hold is lost");
            }
            if granted.asked > age || released.as_ref().is_some_and(|released| released.answered <= age) {
                assert_ne!(holder, this, "age {age}: a hold that nobody has");
            }
        }
        assert_eq!(engine.lock_force_release("l").await.expect("commits"), holder.is_some());
        let next = engine.lock_claim(claim("l", Uuid::now_v7())).await.expect("commits");
        let before = self.held.iter().filter(|held| held.granted.answered <= age);
        let before = before.map(|held| held.granted.what.1).max().unwrap_or(0);
        assert!(matches!(next, Claimed::Granted { fence } if fence > before), "age {age}: {next:?}");
    }
}

#[tokio::test]
async fn whenever_the_power_fails_what_was_acknowledged_is_there_once() {
    let (seeds, cuts) = if std::env::var_os("FOREBAY_LONG").is_some() { (12, 200) } else { (4, 40) };
    for seed in 0..seeds {
        let (clock, disk, mut dice) = (start(), Disk::default(), Random::new(seed));
        let before = engine(disk.opener(), SYNC, &clock).await;
        let begun = disk.age();
        let told = run(&before, &disk, &mut dice, 120).await;
        before.close().await.expect("closes");
        for _ in 0..cuts {
            let span = u64::try_from(disk.age() - begun).expect("small");
            let age = begun + usize::try_from(dice.below(span + 1)).expect("small");
            let found = engine(disk.at(age, &mut dice).opener(), SYNC, &clock).await;
            told.check(age, &found).await;
            found.close().await.expect("closes");
        }
    }
}
