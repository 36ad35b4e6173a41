//! Summaries come back from a file, and go when their time is over.

use std::sync::Arc;

use forebay_testkit::Random;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use super::{
    super::{file::open_database, tables},
    SYNC,
    disk::Disk,
    engine, start,
};
use crate::{
    Clock, Name,
    engine::{
        embedded::Embedded,
        request::Token,
        step::{SeriesPart, Span, Summaries, SummaryPart},
    },
    model::{
        resolution::{Grid, Resolution},
        summary::{Observation, Observed, SummaryKind},
    },
    time::{days, hours, secs},
};

fn part(kind: SummaryKind) -> SeriesPart {
    let resolutions = [(hours(1), days(2)), (days(1), days(40))];
    let resolutions = resolutions.map(|(step, retention)| Resolution::new(step, retention).expect("valid"));
    let name = Name::new(kind.word()).expect("valid");
    let grid = Grid { name, resolutions: resolutions.into(), partitions: 1, is_ranked: false };
    SeriesPart::new(Arc::new(grid), 0)
}

fn what(kind: SummaryKind, random: u64) -> Observed {
    match kind {
        SummaryKind::Distinct => Observed::Element(format!("user-{random}").into()),
        SummaryKind::Gauge | SummaryKind::Percentiles => Observed::Value(random as f64 / 7.0 - 1_000.0),
    }
}

/// All that is kept of some keys.
async fn read(engine: &Embedded, kind: SummaryKind) -> Vec<Summaries> {
    let (part, now) = (part(kind), engine.clock.now());
    let span = |(key, resolution): (&'static str, &Resolution)| {
        let to = resolution.bucket(now) + 2;
        Span { key, resolution: *resolution, from: to - 60, to }
    };
    let keys = ["a", "b}", "{ç"].into_iter();
    let spans: Vec<Span<'_>> = keys
        .flat_map(|key| part.grid.resolutions.iter().map(move |resolution| span((key, resolution))))
        .collect();
    engine.summary_read(SummaryPart { kind, part: &part }, &spans).await.expect("answers")
}

/// A file that is closed, or is left by a loss of power after a save, has what memory has, in every form of a summary.
#[tokio::test]
async fn a_file_has_what_memory_has_after_every_restart() {
    for &kind in SummaryKind::ALL {
        let (clock, mut disk, mut dice) = (start(), Disk::default(), Random::new(5));
        let memory = Embedded::in_memory(clock.clone().into());
        let mut file = engine(disk.opener(), SYNC, &clock).await;
        for round in 0..8 {
            let part = part(kind);
            let series = SummaryPart { kind, part: &part };
            let now = Clock::from(clock.clone()).now();
            let points: Vec<Observation> = (0..=dice.below(900))
                .map(|_| {
                    let key = ["a", "b}", "{ç"][usize::try_from(dice.below(3)).expect("small")];
                    let at = now.minus(secs(dice.below(200_000)));
                    Observation { key: key.into(), at, what: what(kind, dice.below(100_000)) }
                })
                .collect();
            let token = Token { id: u128::from(round / 2u64), hour: 1, since: None };
            for engine in [&file, &memory] {
                engine.summary_add(series, points.clone(), now).await.expect("adds");
                engine.summary_add_once(series, points[0].clone(), now, &token).await.expect("adds");
            }
            if round == 5 {
                for engine in [&file, &memory] {
                    engine.summary_delete(series, "a", now).await.expect("deletes");
                }
            }
            if round % 2 == 0 {
                file.close().await.expect("closes");
            } else {
                file.save();
                file.summary_add_once(series, points[0].clone(), now, &token).await.expect("commits");
                disk = disk.at(disk.age(), &mut dice);
            }
            file = engine(disk.opener(), SYNC, &clock).await;
            assert_eq!(read(&file, kind).await, read(&memory, kind).await, "{kind:?} in round {round}");
            clock.advance(hours(5));
            file.sweep();
            memory.sweep();
        }
        assert!(read(&file, kind).await.iter().any(|summaries| !summaries.is_empty()));
        clock.advance(days(42));
        file.sweep();
        memory.sweep();
        assert!(file.summaries.len() == 0 && memory.summaries.len() == 0, "memory is given back");
        file.close().await.expect("closes");
        let database = open_database(disk.clone()).expect("opens");
        let table = database.begin_read().expect("reads").open_table(tables::SUMMARIES).expect("it is there");
        assert_eq!(table.len().expect("reads"), 0, "and so is the file");
    }
}

/// Versions before had no such table.
#[tokio::test]
async fn a_file_without_summaries_is_opened_and_gets_them() {
    let (clock, disk, kind) = (start(), Disk::default(), SummaryKind::Distinct);
    engine(disk.opener(), SYNC, &clock).await.close().await.expect("closes");
    let database = open_database(disk.clone()).expect("opens");
    let transaction = database.begin_write().expect("writes");
    assert!(transaction.delete_table(tables::SUMMARIES).expect("deletes"));
    transaction.commit().expect("commits");
    drop(database);
    for _ in 0..2 {
        let engine = engine(disk.opener(), SYNC, &clock).await;
        let (part, now) = (part(kind), engine.clock.now());
        let point = Observation { key: "a".into(), at: now, what: what(kind, 1) };
        engine.summary_add(SummaryPart { kind, part: &part }, vec![point], now).await.expect("adds");
        assert_eq!(read(&engine, kind).await.iter().flatten().count(), 2);
        engine.close().await.expect("closes");
    }
}

/// A definition that becomes one of another kind begins anew, and harms nothing.
#[tokio::test]
async fn a_series_of_another_kind_does_not_see_what_was_before() {
    let (clock, disk) = (start(), Disk::default());
    for kinds in [SummaryKind::ALL, SummaryKind::ALL] {
        for &kind in kinds {
            let engine = engine(disk.opener(), SYNC, &clock).await;
            let part = part(SummaryKind::Distinct);
            let (series, now) = (SummaryPart { kind, part: &part }, engine.clock.now());
            let point = Observation { key: "a".into(), at: now, what: what(kind, 1) };
            engine.summary_add(series, vec![point], now).await.expect("adds");
            let resolution = part.grid.resolutions[0];
            let bucket = resolution.bucket(now);
            let span = Span { key: "a", resolution, from: bucket, to: bucket + 1 };
            let summaries = engine.summary_read(series, &[span]).await.expect("answers");
            assert!(summaries[0].len() == 1 && summaries[0][0].1.kind() == kind);
            engine.close().await.expect("closes");
        }
    }
}
