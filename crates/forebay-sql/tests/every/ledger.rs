//! The retention of the ledger.

use forebay::{
    Clock, ManualClock, Timestamp,
    sink::{Applied, Batch},
    time::{days, hours, secs},
};
use forebay_sql::Migrate;
use uuid::{NoContext, Uuid};

use crate::{
    home::{Home, options},
    on_every_database,
    support::{NOON, hits, permanent, projects},
};

fn born(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_secs()).expect("after 1970");
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, 0))
}

on_every_database! {
    async fn a_batch_older_than_the_ledger_remembers_is_refused_unless_it_is_there(home) {
        let (schema, hand) = (projects(), ManualClock::at(NOON));
        let options = options().clock(Clock::from(hand.clone())).ledger_retention(days(7));
        let sink = home.sink_with(options).await;
        assert_eq!(sink.ledger_retention(), Some(days(7)));
        let old = |id: &str| Batch::new(born(NOON), schema.clone(), 0, vec![hits(&schema, id, 1, NOON)]);
        let (one, two) = (old("1"), old("2"));
        hand.advance(days(7));
        assert_eq!(sink.apply(&one).await.expect("seven days are not more"), Applied::now(1, 0));
        hand.advance(secs(1));
        assert_eq!(sink.apply(&one).await.expect("it is there"), Applied::Before);
        assert!(permanent(sink.apply(&two).await).contains("may have been applied before"));
        assert_eq!(home.ask("SELECT sum(hits) FROM projects").await, "1");
    }

    /// A commit is visible before it is on disk. Only a later commit of the same sink proves that it is there.
    async fn a_batch_that_is_there_is_answered_after_the_commit_of_a_row_of_its_own(home) {
        let (schema, hand) = (projects(), ManualClock::at(NOON));
        let sink = home.sink_with(options().clock(Clock::from(hand.clone()))).await;
        let one = Batch::new(born(NOON), schema.clone(), 3, vec![hits(&schema, "1", 1, NOON)]);
        assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
        let barriers = home.pick(
            r#"SELECT "gen", "buffer", "rows" FROM forebay_ledger WHERE "partition" = -1"#,
            r#"SELECT "gen", "buffer", "rows" FROM forebay_ledger WHERE "partition" = -1"#,
            "SELECT `gen`, `buffer`, `rows` FROM forebay_ledger WHERE `partition` = -1",
        );
        for times in 1..=2 {
            assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
            let lines = home.lines(barriers).await;
            assert_eq!(lines.len(), times);
            for line in lines {
                let (id, rest) = line.split_once('\t').expect("columns");
                assert_eq!((id.parse::<Uuid>().expect("an id").get_version_num(), rest), (4, "projects\t0"));
            }
        }
        assert_eq!(home.ask("SELECT sum(hits) FROM projects").await, "1");
    }

    async fn a_batch_with_writes_after_its_commit_is_reported(home) {
        let (schema, sink) = (projects(), home.sink().await);
        let (early, noon, late) = (NOON.minus(secs(1)), NOON, NOON.plus(std::time::Duration::from_micros(1)));
        for (committed, again, answer) in [
            (Some(noon), Some(noon), None),
            (Some(noon), Some(early), None),
            (Some(noon), Some(late), Some(noon)),
            (None, Some(late), None),
            (Some(noon), None, None),
        ] {
            let batch = || Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![hits(&schema, "1", 1, NOON)]);
            let mut one = batch().last_written(committed);
            assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
            one = one.last_written(again);
            for _ in 0..2 {
                let told = match sink.apply(&one).await.expect("known") {
                    Applied::WrittenSince { committed, .. } => Some(committed),
                    Applied::Before => None,
                    other => panic!("{other:?}"),
                };
                assert_eq!(told, answer, "{committed:?} {again:?}");
            }
        }
        assert_eq!(home.ask("SELECT sum(hits) FROM projects").await, "5");
    }

    /// A time that no database can store does not refuse the batch.
    async fn an_odd_time_of_the_last_write_is_left_out(home) {
        let (schema, sink) = (projects(), home.sink().await);
        for at in [Timestamp::from_micros(i64::MAX), Timestamp::from_micros(i64::MIN)] {
            let one = Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![hits(&schema, "1", 1, NOON)]);
            let one = one.last_written(Some(at));
            assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
            assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
        }
    }

    async fn a_ledger_of_an_older_version_goes_on_and_gets_its_column_where_that_is_allowed(home) {
        let schema = projects();
        home.ask(&home.ddl(&schema)).await;
        let drop = "ALTER TABLE forebay_ledger DROP COLUMN last_write";
        let mends = |sink: &dyn forebay::sink::Sink| -> Vec<String> {
            sink.warnings().into_iter().filter(|warning| warning.contains("ALTER TABLE")).collect()
        };
        let since = async |sink: &dyn forebay::sink::Sink| {
            let batch = Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![hits(&schema, "1", 1, NOON)]);
            let one = batch.last_written(Some(NOON));
            assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
            let again = sink.apply(&one.last_written(Some(NOON.plus(secs(1))))).await.expect("known");
            matches!(again, Applied::WrittenSince { .. })
        };
        home.ask(drop).await;
        let old = home.sink_with(options().migrate(Migrate::No)).await;
        old.prepare(&schema).await.expect("as before");
        assert!(!since(&*old).await, "as before");
        let [mend] = &*mends(&*old) else { panic!("one warning: {:?}", old.warnings()) };
        home.ask(mend.split_once("use ").expect("a mend").1).await;
        let mended = home.sink_with(options().migrate(Migrate::No)).await;
        assert!(since(&*mended).await, "it keeps the time");
        assert!(mends(&*mended).is_empty());

        home.ask(drop).await;
        let new = home.sink_with(options()).await;
        new.prepare(&schema).await.expect("altered");
        assert!(since(&*new).await, "it keeps the time");
        assert!(mends(&*new).is_empty());
    }

    async fn old_entries_are_pruned_every_hour_but_never_the_newest_thousand(home) {
        let (schema, hand) = (projects(), ManualClock::at(NOON));
        let sink = home.sink_with(options().clock(Clock::from(hand.clone()))).await;
        home.ask(&home.ddl(&schema)).await;
        let entries = |from: u32, to: u32, at: &str| home.pick(
            format!(
                "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})
                 INSERT INTO forebay_ledger (gen, buffer, partition, rows, applied_at)
                 SELECT 'gen-' || i, 'projects', 0, 1, datetime('{at}', (i - 12000) || ' seconds') FROM n"
            ),
            format!(
                "INSERT INTO forebay_ledger SELECT gen_random_uuid(), 'projects', 0, 1,
                 timestamptz '{at}+00' + (i - 12000) * interval '1 second' FROM generate_series({from}, {to} - 1) AS i"
            ),
            format!(
                "INSERT INTO forebay_ledger (`gen`, `buffer`, `partition`, `rows`, `applied_at`) SELECT UUID(), 'projects', 0, 1,
                 TIMESTAMPADD(SECOND, CAST(seq AS SIGNED) - 12000, '{at}') FROM seq_{from}_to_{}", to - 1
            ),
        );
        home.ask(&entries(0, 12_000, "2025-12-25 11:00:00")).await;
        home.ask(&entries(12_000, 12_010, "2025-12-25 13:00:00")).await;
        // These entries are still within the seven days when the buffer is prepared.
        sink.prepare(&schema).await.expect("prepared");
        let now = || Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![]);
        sink.apply(&now()).await.expect("applied");
        let count = async || home.ask("SELECT count(*) FROM forebay_ledger").await.parse::<u64>().expect("a number");
        // 10 entries younger than 7 days and older ones up to the thousandth, and the batch.
        assert_eq!(count().await, 1_001);
        sink.apply(&now()).await.expect("applied");
        assert_eq!(count().await, 1_002, "it is not yet time again");
        hand.advance(hours(1));
        sink.apply(&now()).await.expect("applied");
        assert_eq!(count().await, 1_000, "the newest thousand");
    }
}
