//! Labels, filters and groups, in every store against a plain count.

use std::collections::BTreeMap;

use super::{super::*, NOON, in_memory, in_redis};
use crate::{
    ErrorKind,
    time::{hours, mins},
};

fn labelled() -> Series {
    Series::new("requests").labels(["endpoint", "status", "method"])
}

/// Values that would be taken apart at the wrong places if nothing were escaped.
const ENDPOINTS: [&str; 6] = ["/cart", "/cart/x", "/a|b", "/a\\", "", "ключ"];
const STATUSES: [&str; 4] = ["200", "500", "", "|"];
const METHODS: [&str; 3] = ["", "GET", "POST|x"];

/// Adds a different count for each combination, at two times, and answers the counts.
async fn fill(series: &SeriesHandle) -> Vec<([&'static str; 3], u64)> {
    let now = series.store_time("").await;
    let mut counts = vec![];
    for (a, endpoint) in (1..).zip(ENDPOINTS) {
        for (b, status) in (1..).zip(STATUSES) {
            for (c, method) in (1..).zip(METHODS) {
                let values = [("method", method), ("endpoint", endpoint), ("status", status)];
                let Ok(key) = series.key_of(values) else {
                    assert!(values.iter().all(|(_, value)| value.is_empty()), "{values:?}");
                    continue;
                };
                let n = a * 100 + b * 10 + c;
                series.add(&key, n).await.expect("counts");
                series.add_at(&key, n, now.minus(mins(90))).await.expect("is kept");
                counts.push(([endpoint, status, method], 2 * n));
            }
        }
    }
    counts
}

/// Whether the values of the labels are of a filter.
type Fits = fn(&[&str; 3]) -> bool;

async fn keys_are_filtered_and_grouped_as_a_plain_count_is(series: SeriesHandle) {
    let counts = fill(&series).await;
    let query = Query::last(hours(3)).step(mins(30));
    let filters: [(Filter, Fits); 7] = [
        (Filter::new(), |_| true),
        (Filter::new().label("endpoint", "/cart"), |values| values[0] == "/cart"),
        (Filter::new().label("endpoint", "/a|b").label("status", ""), |values| {
            values[0] == "/a|b" && values[1].is_empty()
        }),
        (Filter::new().label_in("status", ["200", "|"]).label_not("method", ""), |values| {
            ["200", "|"].contains(&values[1]) && !values[2].is_empty()
        }),
        (Filter::new().label_in("endpoint", ["/cart", ""]).label_not("endpoint", ""), |values| {
            values[0] == "/cart"
        }),
        (Filter::new().label_in("status", [""; 0]), |_| false),
        (Filter::new().prefix("/cart"), |values| values[0].starts_with("/cart")),
    ];
    for (filter, fits) in filters {
        let chosen = || counts.iter().filter(|(values, _)| fits(values));
        let page = series.keys(&KeyQuery::new().filter(filter.clone()).limit(100)).await.expect("lists");
        let mut expected: Vec<String> = chosen()
            .map(|([a, b, c], _)| {
                series.key_of([("endpoint", a), ("status", b), ("method", c)]).expect("a key")
            })
            .collect();
        expected.sort_unstable();
        assert_eq!((page.keys, page.more), (expected, false), "{filter:?}");
        for by in [&[][..], &["status"], &["method", "endpoint"], &["endpoint", "status", "method"]] {
            let places: Vec<usize> = by
                .iter()
                .map(|label| series.label_names().position(|name| name == *label).expect("a label"))
                .collect();
            let mut expected: BTreeMap<Vec<&str>, (usize, u64)> = BTreeMap::new();
            for (values, n) in chosen() {
                let group = places.iter().map(|place| values[*place]).collect();
                let (keys, sum) = expected.entry(group).or_default();
                (*keys, *sum) = (*keys + 1, *sum + n);
            }
            let found = series.query_by(&filter, by, &query).await.expect("answers");
            let total: u64 = expected.values().map(|(_, sum)| sum).sum();
            assert_eq!(found.total.sum(), total, "{filter:?} by {by:?}");
            let sum = series.total_by(&filter, found.total.from, found.total.to).await.expect("answers");
            assert_eq!(sum.sum, total, "{filter:?}");
            let groups: Vec<_> = found
                .groups
                .iter()
                .map(|group| {
                    let values: Vec<&str> = group.labels.iter().map(|(_, value)| &**value).collect();
                    assert!(group.labels.iter().map(|(name, _)| &**name).eq(by.iter().copied()));
                    (values, (group.keys, group.range.sum()))
                })
                .collect();
            assert_eq!(groups, expected.into_iter().collect::<Vec<_>>(), "{filter:?} by {by:?}");
        }
    }
}

#[tokio::test]
async fn keys_are_filtered_and_grouped_in_memory() {
    let (series, _) = in_memory(labelled()).await;
    keys_are_filtered_and_grouped_as_a_plain_count_is(series).await;
}

#[tokio::test]
async fn keys_are_filtered_and_grouped_in_redis() {
    let (series, _) = in_redis(labelled(), NOON).await;
    keys_are_filtered_and_grouped_as_a_plain_count_is(series).await;
}

/// A point must not get a second key for values that have one, and must not be lost silently.
#[tokio::test]
async fn a_key_that_is_not_made_of_the_labels_is_refused_wherever_counts_are_added() {
    let (series, _) = in_memory(labelled()).await;
    let now = series.store_time("").await;
    let errors = [
        series.add("/cart|200|", 1).await,
        series.add_at("/cart|200|GET|x", 1, now).await,
        series.add_many([("/cart", 1, now), ("/cart\\x", 1, now)], crate::When::EngineClock).await,
        series.merge("/cart", "/cart|").await.map(|_| ()),
    ];
    for error in errors {
        let error = error.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("labels endpoint, status, method: at most 3 values"), "{error}");
    }
    assert_eq!(series.keys(&KeyQuery::new()).await.expect("lists").keys, [""; 0]);
    let problem =
        series.query_by(&Filter::new(), ["stat"], &Query::last(hours(1))).await.expect_err("no label");
    assert!(
        problem.to_string().contains("label \"stat\": the labels are: endpoint, status, method"),
        "{problem}"
    );
    let problem = series.key_of([("status", "1"), ("status", "2")]).expect_err("twice").to_string();
    assert!(problem.contains("label \"status\" is there twice"), "{problem}");
}

#[tokio::test]
async fn an_answer_without_any_key_is_of_zeros() {
    let (series, _) = in_memory(labelled()).await;
    let none = series
        .query_by(&Filter::new(), ["status"], &Query::last(hours(1)).step(mins(10)))
        .await
        .expect("answers");
    assert!(none.groups.is_empty() && none.total.values.len() >= 6 && none.total.sum() == 0);
}

/// A page is cut after the limit, also where most keys do not fit.
#[tokio::test]
async fn filtered_keys_come_page_by_page() {
    let (series, _) = in_memory(labelled()).await;
    for endpoint in 0..50 {
        for status in ["200", "500"] {
            series.add(format!("/{endpoint:02}|{status}"), 1).await.expect("counts");
        }
    }
    let (mut found, mut after) = (vec![], None);
    loop {
        let mut query = KeyQuery::new().filter(Filter::new().label("status", "500")).limit(7);
        if let Some(after) = after {
            query = query.after(after);
        }
        let page = series.keys(&query).await.expect("lists");
        after = page.keys.last().cloned();
        found.extend(page.keys);
        if !page.more {
            break;
        }
    }
    let expected: Vec<String> = (0..50).map(|endpoint| format!("/{endpoint:02}|500")).collect();
    assert_eq!(found, expected);
}
