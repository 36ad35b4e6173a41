//! How long the ledger remembers.

use forebay::{
    Clock, ManualClock, Timestamp,
    sink::{Applied, Batch},
    time::{days, hours, secs},
};
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

    async fn old_entries_are_pruned_every_hour_but_never_the_newest_thousand(home) {
        let (schema, hand) = (projects(), ManualClock::at(NOON));
        let sink = home.sink_with(options().clock(Clock::from(hand.clone()))).await;
        home.ask(&home.ddl(&schema)).await;
        let entries = |from: u32, to: u32, at: &str| home.pick(
            format!(
                "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})
                 INSERT INTO forebay_ledger
                 SELECT 'gen-' || i, 'projects', 0, 1, datetime('{at}', (i - 12000) || ' seconds') FROM n"
            ),
            format!(
                "INSERT INTO forebay_ledger SELECT gen_random_uuid(), 'projects', 0, 1,
                 timestamptz '{at}+00' + (i - 12000) * interval '1 second' FROM generate_series({from}, {to} - 1) AS i"
            ),
            format!(
                "INSERT INTO forebay_ledger SELECT UUID(), 'projects', 0, 1,
                 TIMESTAMPADD(SECOND, CAST(seq AS SIGNED) - 12000, '{at}') FROM seq_{from}_to_{}", to - 1
            ),
        );
        home.ask(&entries(0, 12_000, "2025-12-25 11:00:00")).await;
        home.ask(&entries(12_000, 12_010, "2025-12-25 13:00:00")).await;
        // Within the seven days yet when the buffer is prepared.
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
