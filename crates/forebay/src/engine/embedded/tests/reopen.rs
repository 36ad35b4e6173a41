//! A file that was closed has everything when it is opened again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forebay_testkit::Random;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use uuid::Uuid;

use super::{
    super::{file::open_database, tables},
    SYNC, claim,
    disk::Disk,
    engine, hits, key, part, pending, series, start, take,
};
use crate::{
    Buffer, Clock, ManualClock, Name, Timestamp, When,
    engine::{
        embedded::Embedded,
        step::{BufferPart, Claimed, Point, Rotate, SeriesPart, Span},
    },
    model::{
        ColumnType, Holder, Merge, Row, RowKey,
        resolution::{Grid, Resolution},
    },
    time::{days, hours, millis, mins, secs},
};

/// Two engines that are told the same; one of them has a file and is opened anew now and then.
struct Twins {
    clock: ManualClock,
    dice: Random,
    disk: Disk,
    file: Arc<Embedded>,
    memory: Arc<Embedded>,
    owners: BTreeMap<&'static str, Uuid>,
}

const NAMES: [&str; 3] = ["a", "b}", "{ç"];

/// The random numbers of a step.
struct Step {
    what: u64,
    name: &'static str,
    owner: Uuid,
    part: BufferPart,
    n: u64,
    ago: u64,
    now: Timestamp,
}

impl Twins {
    async fn step(&mut self) -> [String; 2] {
        let name = NAMES[usize::try_from(self.dice.below(3)).expect("small")];
        let index = u16::try_from(self.dice.below(4)).expect("small");
        let n = 1 + self.dice.below(5);
        match self.dice.below(12) {
            0 => drop(self.owners.insert(name, Uuid::now_v7())),
            1 => self.clock.advance(millis(n * 400)),
            2 => self.clock.advance(mins(n)),
            _ => {}
        }
        let step = Step {
            what: self.dice.below(12),
            name,
            owner: *self.owners.entry(name).or_insert_with(Uuid::now_v7),
            part: part(index),
            n,
            ago: self.dice.below(100_000),
            now: Clock::from(self.clock.clone()).now(),
        };
        [step.tell(&self.file).await, step.tell(&self.memory).await]
    }

    /// Closes the file and opens it again; or takes what a loss of power leaves of it, once limits and series are saved.
    async fn reopen(&mut self, close: bool) {
        if close {
            self.file.close().await.expect("closes");
        } else {
            self.file.save();
            for engine in [&self.file, &self.memory] {
                engine.buffer_add(&part(0), hits(&part(0), "nobody", 0)).await.expect("commits");
            }
            self.disk = self.disk.at(self.disk.age(), &mut self.dice);
        }
        self.file = engine(self.disk.opener(), SYNC, &self.clock).await;
        for index in 0..4 {
            self.memory.buffer_rotate(&part(index), Rotate::Now, u64::MAX).await.expect("rotates");
        }
    }
}

impl Step {
    /// Does the step; what must be the same for both, as text.
    async fn tell(&self, engine: &Embedded) -> String {
        let limit = Name::new("l").expect("valid");
        let take = take(&limit, self.name, self.n);
        match self.what {
            0..=2 => format!("{:?}", engine.take(take, When::EngineClock).await.expect("answers")),
            3 => format!("{:?}", engine.reset(take, When::EngineClock).await.expect("answers")),
            4..=5 => {
                let rows = hits(&self.part, self.name, i64::try_from(self.n).expect("small"));
                format!("{:?}", engine.buffer_add(&self.part, rows).await.expect("commits").len())
            }
            6 => self.flush(engine).await,
            7 => pending(engine, &self.part, self.name).await.to_string(),
            8..=9 => {
                let at = self.now.minus(secs(self.ago));
                let point = |key: &str| Point { key: key.into(), at, n: self.n };
                let points = vec![point(self.name), point("all")];
                format!("{:?}", engine.series_add(&series(), points, self.now).await.expect("answers"))
            }
            10 => self.count(engine).await,
            _ => {
                let claimed = engine.lock_claim(claim(self.name, self.owner)).await.expect("commits");
                let state = engine.lock_state(self.name).await.expect("answers");
                if self.ago.is_multiple_of(3) {
                    engine.lock_release(self.name, self.owner).await.expect("commits");
                }
                format!("{claimed:?} {state:?}")
            }
        }
    }

    async fn flush(&self, engine: &Embedded) -> String {
        let rotated = engine.buffer_rotate(&self.part, Rotate::Now, 3).await.expect("commits").is_some();
        let frozen = engine.buffer_frozen(&self.part).await.expect("answers");
        let mut generations = vec![];
        for generation in &frozen {
            let read = engine.buffer_read(&self.part, generation.id).await.expect("answers");
            let mut rows = read.expect("there").rows;
            rows.sort_by(|a, b| a.key.cmp(&b.key));
            generations.push((generation.born, generation.rows, rows));
        }
        if let Some(oldest) = frozen.first().filter(|_| self.ago.is_multiple_of(2)) {
            engine.buffer_ack(&self.part, oldest.id, None).await.expect("answers");
        }
        format!("{rotated} {generations:?}")
    }

    async fn count(&self, engine: &Embedded) -> String {
        let mut counts = vec![];
        for resolution in Resolution::defaults() {
            let to = resolution.bucket(self.now) + 1;
            let span = Span { key: self.name, resolution, from: to - 900, to };
            let read = engine.series_read(&series(), &[span]).await.expect("answers").remove(0);
            counts.push(read.into_iter().enumerate().filter(|(_, count)| *count > 0).collect::<Vec<_>>());
        }
        if self.ago.is_multiple_of(50) {
            engine.series_delete(&series(), self.name, self.now).await.expect("answers");
        }
        format!("{counts:?}")
    }
}

#[tokio::test]
async fn a_file_opened_again_and_again_answers_like_memory() {
    for seed in 0..6 {
        let (clock, disk) = (start(), Disk::default());
        let file = engine(disk.opener(), SYNC, &clock).await;
        let memory = Embedded::in_memory(clock.clone().into());
        let mut twins = Twins { clock, dice: Random::new(seed), disk, file, memory, owners: BTreeMap::new() };
        for number in 0..400 {
            let [file, memory] = twins.step().await;
            assert_eq!(file, memory, "seed {seed}, step {number}");
            if twins.dice.below(40) == 0 {
                let close = twins.dice.below(2) == 0;
                twins.reopen(close).await;
            }
        }
        twins.file.close().await.expect("closes");
    }
}

/// A generation may be in SQL, if the process died between SQL's commit and the acknowledgement. Hits that came into it
/// after the restart would be taken for a replay, and be lost.
#[tokio::test]
async fn what_was_live_gets_no_more_hits_after_a_restart() {
    let (clock, disk, part) = (start(), Disk::default(), part(0));
    let before = engine(disk.opener(), SYNC, &clock).await;
    before.buffer_add(&part, hits(&part, "a", 1)).await.expect("commits");
    let live = before.buffer_pending(&part, &key(&part.schema, "a")).await.expect("read")[0].generation;
    before.close().await.expect("closes");

    let after = engine(disk.opener(), SYNC, &clock).await;
    let frozen = after.buffer_frozen(&part).await.expect("read");
    assert_eq!(frozen.iter().map(|g| (g.id, g.rows)).collect::<Vec<_>>(), [(live, 1)]);
    after.buffer_add(&part, hits(&part, "a", 1)).await.expect("commits");
    let generations = after.buffer_pending(&part, &key(&part.schema, "a")).await.expect("read");
    assert_eq!(generations.len(), 2);
    assert_ne!(generations[1].generation, live);
    after.close().await.expect("closes");
}

#[tokio::test]
async fn every_type_of_value_and_every_text_is_found_again() {
    let schema = Buffer::new("b")
        .table("x.t")
        .key("id")
        .key_of("at", ColumnType::Timestamp)
        .sum("n")
        .max("last")
        .column("word", Merge::Max, ColumnType::Text)
        .column("who", Merge::Min, ColumnType::Uuid)
        .build()
        .expect("valid");
    let part = BufferPart { schema, index: 65_535 };
    let now = Clock::from(start()).now();
    let rows: Vec<Row> = [("plain", i64::MIN), ("nul \0 | % {}", i64::MAX), ("日本", 0)]
        .into_iter()
        .map(|(word, n)| Row {
            key: RowKey::new(&part.schema, &[word.into(), now.into()]).expect("valid"),
            cells: Box::new([Some(n.into()), None, Some(word.into()), Some(Uuid::from_u128(7).into())]),
        })
        .collect();
    let (clock, disk) = (start(), Disk::default());
    let before = engine(disk.opener(), SYNC, &clock).await;
    before.buffer_add(&part, rows.clone()).await.expect("commits");
    before.close().await.expect("closes");
    let after = engine(disk.opener(), SYNC, &clock).await;
    let frozen = after.buffer_frozen(&part).await.expect("read").remove(0);
    let mut found = after.buffer_read(&part, frozen.id).await.expect("read").expect("there");
    found.rows.sort_by_key(|row| rows.iter().position(|other| other.key == row.key));
    assert_eq!((found.rows, &*found.fingerprint), (rows, &*part.schema.fingerprint));
    after.close().await.expect("closes");
}

/// The hits that an event denied are counted in a series whose name nobody could give. A file with one could not be opened.
#[tokio::test]
async fn what_an_event_denied_is_found_again() {
    let (clock, disk) = (start(), Disk::default());
    let before = engine(disk.opener(), SYNC, &clock).await;
    let now = Clock::from(clock.clone()).now();
    let grid = Grid {
        name: series().grid.name.limited(),
        resolutions: [Resolution::defaults()[0]].into(),
        partitions: 1,
        is_ranked: false,
    };
    let limited = SeriesPart::new(Arc::new(grid), 0);
    let points = vec![Point { key: "42".into(), at: now, n: 5 }];
    before.series_add(&limited, points, now).await.expect("answers");
    before.close().await.expect("closes");
    let after = engine(disk.opener(), SYNC, &clock).await;
    let resolution = Resolution::defaults()[0];
    let bucket = resolution.bucket(now);
    let span = Span { key: "42", resolution, from: bucket, to: bucket + 1 };
    assert_eq!(after.series_read(&limited, &[span]).await.expect("answers"), [[5]]);
    after.close().await.expect("closes");
}

/// A lease goes on while nobody is there to see it, and a clock that was set back does not stretch it.
#[tokio::test]
async fn a_hold_ends_when_it_would_have_without_the_restart() {
    for (stepped, left) in [(secs(0), secs(40)), (hours(1), secs(60))] {
        let (clock, disk) = (start(), Disk::default());
        let before = engine(disk.opener(), SYNC, &clock).await;
        let owner = Uuid::now_v7();
        let Claimed::Granted { fence } = before.lock_claim(claim("l", owner)).await.expect("commits") else {
            unreachable!("nobody else is there")
        };
        before.close().await.expect("closes");
        clock.advance(secs(20));
        clock.step_to(Clock::from(clock.clone()).now().minus(stepped));
        let after = engine(disk.opener(), SYNC, &clock).await;
        let holding = after.lock_state("l").await.expect("read").holding.expect("held");
        assert_eq!(holding.holder, Holder::from_owner(owner));
        assert_eq!((holding.fence, holding.remaining), (fence, left));
        assert_eq!(after.lock_renew("l", owner, None).await.expect("commits"), Some(secs(60)));
        clock.advance(secs(61));
        let other = after.lock_claim(claim("l", Uuid::now_v7())).await.expect("commits");
        assert!(matches!(other, Claimed::Granted { fence: later } if later > fence));
        after.close().await.expect("closes");
    }
}

#[tokio::test]
async fn fences_grow_across_restarts_that_set_the_clock_back() {
    let (clock, disk) = (start(), Disk::default());
    let mut last = 0;
    for _ in 0..3 {
        let engine = engine(disk.opener(), SYNC, &clock).await;
        let owner = Uuid::now_v7();
        let claimed = engine.lock_claim(claim("l", owner)).await.expect("commits");
        assert!(matches!(claimed, Claimed::Granted { fence } if fence > last), "{claimed:?} after {last}");
        let Claimed::Granted { fence } = claimed else { unreachable!("granted") };
        last = fence;
        engine.lock_release("l", owner).await.expect("commits");
        engine.close().await.expect("closes");
        clock.step_to(Clock::from(clock.clone()).now().minus(days(1)));
    }
}

/// While SQL is away a generation stays live; its log must not grow with the hits, only with the rows.
#[tokio::test]
async fn a_hot_row_does_not_fill_the_disk() {
    let (clock, disk, part) = (start(), Disk::default(), part(0));
    let before = engine(disk.opener(), SYNC, &clock).await;
    for _ in 0..1_300 {
        before.buffer_add(&part, hits(&part, "hot", 1)).await.expect("commits");
    }
    before.close().await.expect("closes");
    let database = open_database(disk.clone()).expect("opens");
    let transaction = database.begin_read().expect("begins");
    let entries = transaction.open_table(tables::ROWS).expect("opens").len().expect("counts");
    assert!(entries < 600, "{entries} entries for one row");
    drop((transaction, database));
    let after = engine(disk.opener(), SYNC, &clock).await;
    assert_eq!(pending(&after, &part, "hot").await, 1_300);
    after.close().await.expect("closes");
}

#[tokio::test]
async fn the_log_of_a_limit_does_not_grow_with_its_use() {
    let (clock, disk) = (start(), Disk::default());
    let before = engine(disk.opener(), SYNC, &clock).await;
    let limit = Name::new("l").expect("valid");
    for _ in 0..1_000 {
        before.take(take(&limit, "a", 1), When::EngineClock).await.expect("answers");
        clock.advance(Duration::from_secs(30));
        before.sweep();
        before.save();
        before.buffer_add(&part(0), hits(&part(0), "a", 1)).await.expect("commits");
    }
    let used = before.take(take(&limit, "a", 0), When::EngineClock).await.expect("answers").state;
    before.close().await.expect("closes");
    let after = engine(disk.opener(), SYNC, &clock).await;
    let found = after.take(take(&limit, "a", 0), When::EngineClock).await.expect("answers").state;
    assert_eq!(found, used);
    let logged: u64 = after.logged.lock().0.iter().sum();
    assert!(logged < 600, "{logged} entries for one key");
    after.close().await.expect("closes");
}

/// Its last commit was left to a thread, which had the file for a moment longer: opening it at once failed.
#[tokio::test]
async fn a_store_that_was_dropped_can_be_opened_again_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("store.redb");
    let open = async || Embedded::open(&path, SYNC, start().into()).await;
    for round in 1..=20 {
        let engine = open().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        engine.buffer_add(&part(0), hits(&part(0), "a", 1)).await.expect("commits");
        assert_eq!(pending(&engine, &part(0), "a").await, round);
        let error = open().await.expect_err("it is in use");
        assert!(error.to_string().contains("share that handle"), "{error}");
    }
}
