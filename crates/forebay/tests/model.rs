//! Random calls of the public API against a model that is too small to be wrong.

use std::collections::BTreeMap;

use forebay::{
    Buffer, Clock, Decision, Forebay, Limit, ManualClock, Timestamp,
    buffer::{BufferHandle, ColumnType, Value},
    limit::LimitHandle,
    series::SeriesHandle,
    sink::MemorySink,
    time::{millis, secs},
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_790_000_000);
const KEYS: [&str; 3] = ["a", "b", "c"];
const QUOTA: u64 = 5;
const WINDOW_MS: u64 = 1_000;

#[derive(Clone, Debug)]
enum Call {
    Wait { ms: u64 },
    Take { key: usize, cost: u64 },
    Refund { key: usize, cost: u64 },
    Reset { key: usize },
    Count { key: usize, n: u64, ago: u64 },
    Sum { key: usize, last: u64 },
    Write { key: usize, n: i64, at: i64 },
    Flush,
    Value { key: usize },
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let key = 0..KEYS.len();
    let call = prop_oneof![
        (0u64..700).prop_map(|ms| Call::Wait { ms }),
        (key.clone(), 1..=QUOTA).prop_map(|(key, cost)| Call::Take { key, cost }),
        (key.clone(), 1..=QUOTA).prop_map(|(key, cost)| Call::Refund { key, cost }),
        key.clone().prop_map(|key| Call::Reset { key }),
        (key.clone(), 1u64..9, 0u64..7_200).prop_map(|(key, n, ago)| Call::Count { key, n, ago }),
        (key.clone(), 1u64..9_000).prop_map(|(key, last)| Call::Sum { key, last }),
        (key.clone(), -9i64..9, 0i64..99).prop_map(|(key, n, at)| Call::Write { key, n, at }),
        Just(Call::Flush),
        key.prop_map(|key| Call::Value { key }),
    ];
    prop::collection::vec(call, 1..120)
}

/// The expected state of the store, in the simplest form.
#[derive(Default)]
struct Model {
    /// The used part by (key, window).
    used: BTreeMap<(usize, u64), u64>,
    /// The count by (key, second).
    counted: BTreeMap<(usize, i64), u64>,
    /// (Sum, largest time, the value that came with that time first) by key.
    rows: BTreeMap<usize, (i64, i64, i64)>,
}

struct Real {
    hand: ManualClock,
    limit: LimitHandle,
    series: SeriesHandle,
    buffer: BufferHandle,
    sink: MemorySink,
}

async fn open() -> Real {
    let hand = ManualClock::at(START);
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let buffer = Buffer::new("rows").key("id").sum("n").max("at").last("state", ColumnType::Integer, "at");
    let buffer = bay.buffer(buffer.partitions(2)).expect("valid");
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    Real {
        hand,
        limit: bay.limit(Limit::new("limit", QUOTA, millis(WINDOW_MS))).expect("valid"),
        series: bay.series("series").expect("valid"),
        buffer,
        sink,
    }
}

async fn run(calls: Vec<Call>) {
    let (real, mut model) = (open().await, Model::default());
    let mut now_ms = START.as_millis().unsigned_abs();
    for call in calls {
        let window = now_ms / WINDOW_MS;
        match call {
            Call::Wait { ms } => {
                real.hand.advance(millis(ms));
                now_ms += ms;
            }
            Call::Take { key, cost } => {
                let used = model.used.entry((key, window)).or_default();
                let fits = *used + cost <= QUOTA;
                *used += if fits { cost } else { 0 };
                let decision = real.limit.take_n(KEYS[key], cost).await.expect("answers");
                assert_eq!((decision.is_allowed(), decision.used()), (fits, *used));
                if let Decision::Deny { retry_after, .. } = decision {
                    assert_eq!(retry_after, Some(millis((window + 1) * WINDOW_MS - now_ms)));
                }
            }
            Call::Refund { key, cost } => {
                let used = model.used.entry((key, window)).or_default();
                *used = used.saturating_sub(cost);
                assert_eq!(real.limit.refund(KEYS[key], cost).await.expect("answers").used(), *used);
            }
            Call::Reset { key } => {
                model.used.remove(&(key, window));
                real.limit.reset(KEYS[key]).await.expect("answers");
                assert_eq!(real.limit.peek(KEYS[key]).await.expect("answers").used(), 0);
            }
            Call::Count { key, n, ago } => {
                let at = Timestamp::from_millis(i64::try_from(now_ms).expect("fits")).minus(secs(ago));
                *model.counted.entry((key, at.as_secs())).or_default() += n;
                real.series.add_at(KEYS[key], n, at).await.expect("answers");
            }
            Call::Sum { key, last } => check_sum(&real, &model, key, last, now_ms).await,
            Call::Write { key, n, at } => {
                let row = model.rows.entry(key).or_insert((0, at, n));
                let (at_last, state) = (row.1, row.2).max((at, n));
                *row = (row.0 + n, at_last, state);
                let write = real.buffer.row(KEYS[key]).add("n", n).max("at", Timestamp::from_secs(at));
                write.last("state", n).await.expect("answers");
            }
            Call::Flush => {
                real.buffer.flush().await.expect("flushes");
                assert_eq!(real.buffer.stats().await.expect("answers").pending_rows, 0);
                assert_eq!(real.sink.rows(real.buffer.schema()).len(), model.rows.len());
            }
            Call::Value { key } => {
                let cells = real.buffer.value([KEYS[key].into()]).await.expect("answers");
                let row = model.rows.get(&key);
                assert_eq!(cells[0], row.map(|row| Value::from(row.0)));
                assert_eq!(cells[1], row.map(|row| Timestamp::from_secs(row.1).into()));
                assert_eq!(cells[2], row.map(|row| Value::from(row.2)));
            }
        }
    }
}

/// A sum is exact to the bucket: it includes the first and the last 10 s as a whole.
async fn check_sum(real: &Real, model: &Model, key: usize, last: u64, now_ms: u64) {
    let now = i64::try_from(now_ms / 1_000).expect("fits");
    let from = now - i64::try_from(last).expect("fits");
    let (from, to) = (from.div_euclid(10) * 10, now + 10);
    let sum: u64 = model.counted.range((key, from)..(key, to)).map(|(_, n)| n).sum();
    assert_eq!(real.series.sum(KEYS[key], secs(last)).await.expect("answers"), sum);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_store_agrees_with_the_model(calls in calls()) {
        tokio::runtime::Builder::new_current_thread().build().expect("builds").block_on(run(calls));
    }
}
