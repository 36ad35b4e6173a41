//! The retention of the ledger.

use forebay::{
    Clock, ManualClock, Timestamp,
    sink::{Applied, Batch, Sink as _},
    time::{days, secs},
};
use forebay_sql::Options;
use uuid::{NoContext, Uuid};

use crate::support::{File, NOON, hits, permanent, projects};

fn born(at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_secs()).expect("after 1970");
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, 0))
}

#[tokio::test]
async fn a_batch_older_than_the_ledger_remembers_is_refused_unless_it_is_there() {
    let (file, schema, hand) = (File::new(), projects(), ManualClock::at(NOON));
    let options = Options::new().clock(Clock::from(hand.clone())).ledger_retention(days(7));
    let sink = file.sink().await.with(options);
    let old = |id: &str| Batch::new(born(NOON), schema.clone(), 0, vec![hits(&schema, id, 1, NOON)]);
    let (one, two) = (old("1"), old("2"));
    hand.advance(days(7));
    assert_eq!(sink.apply(&one).await.expect("seven days are not more"), Applied::now(1, 0));
    hand.advance(secs(1));
    assert_eq!(sink.apply(&one).await.expect("it is there"), Applied::Before);
    assert!(permanent(sink.apply(&two).await).contains("may have been applied before"));
    assert_eq!(file.application().await.one::<i64>("SELECT sum(hits) FROM projects").await, 1);
}

#[tokio::test]
async fn old_entries_are_pruned_every_hour_but_never_the_newest_thousand() {
    let (file, schema, hand) = (File::new(), projects(), ManualClock::at(NOON));
    let sink = file.sink().await.with(Options::new().clock(Clock::from(hand.clone())));
    sink.prepare(&schema).await.expect("prepared");
    let mut application = file.application().await;
    let entries = |from: u32, to: u32, at: &str| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})
             INSERT INTO forebay_ledger (gen, buffer, partition, rows, applied_at)
             SELECT 'gen-' || i, 'projects', 0, 1, datetime('{at}', (i - 12000) || ' seconds') FROM n"
        )
    };
    application.run(&entries(0, 12_000, "2025-12-25 11:00:00")).await;
    application.run(&entries(12_000, 12_010, "2025-12-25 13:00:00")).await;
    let now = || Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![]);
    sink.apply(&now()).await.expect("applied");
    let count = "SELECT count(*) FROM forebay_ledger";
    assert_eq!(application.one::<i64>(count).await, 12_011, "it was pruned when the buffer was prepared");
    hand.advance(forebay::time::hours(1));
    sink.apply(&now()).await.expect("applied");
    // 2 batches, 10 entries younger than 7 days, and older ones up to the thousandth.
    assert_eq!(application.one::<i64>(count).await, 12_012 - 12_000 + 988);
    assert_eq!(sink.prune().await.expect("pruned"), 0);
}
