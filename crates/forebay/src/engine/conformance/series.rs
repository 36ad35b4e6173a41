//! Series.

use std::sync::Arc;

use super::{NOON, fresh};
use crate::{
    bay::Forebay,
    engine::step::{KeyRange, Point, SeriesPart, Span},
    model::resolution::{Grid, Resolution},
    series::KeyQuery,
    time::{Timestamp, days, mins, secs},
};

/// A series of its own.
struct Counted {
    bay: Forebay,
    part: SeriesPart,
}

impl Counted {
    fn new(bay: &Forebay) -> Self {
        let grid = Grid {
            name: fresh("series"),
            resolutions: Resolution::defaults().into(),
            partitions: 1,
            is_ranked: false,
        };
        Self { bay: bay.clone(), part: SeriesPart::new(Arc::new(grid), 0) }
    }

    async fn add(&self, points: &[(&str, Timestamp, u64)]) {
        let points = points.iter().map(|&(key, at, n)| Point { key: key.into(), at, n }).collect();
        self.bay.engine().series_add(&self.part, points, NOON).await.unwrap();
    }

    /// The span of `count` buckets that ends with the one of `last`.
    fn span<'a>(&self, key: &'a str, resolution: usize, last: Timestamp, count: i64) -> Span<'a> {
        let resolution = self.part.grid.resolutions[resolution];
        let to = resolution.bucket(last) + 1;
        Span { key, resolution, from: to - count, to }
    }

    /// The counts of a [`span`](Self::span).
    async fn read(&self, key: &str, resolution: usize, last: Timestamp, count: i64) -> Vec<u64> {
        let span = self.span(key, resolution, last, count);
        self.bay.engine().series_read(&self.part, &[span]).await.unwrap().remove(0)
    }
}

pub(super) async fn points_are_counted_in_every_resolution(bay: Forebay) {
    let series = Counted::new(&bay);
    let late = NOON.minus(days(3));
    series.add(&[("k", NOON, 1), ("k", NOON.minus(secs(10)), 2), ("k", NOON, 4), ("k", late, 8)]).await;
    assert_eq!(series.read("k", 0, NOON, 3).await, [0, 2, 5]);
    assert_eq!(series.read("k", 1, NOON, 2).await, [2, 5]);
    assert_eq!(series.read("k", 3, NOON, 5).await, [0, 8, 0, 0, 7], "late data is right where it is kept");
    assert_eq!(series.read("k", 0, late, 1).await, [0], "10 s buckets are kept for a day");
    let spans = [0, 1].map(|resolution| series.span("k", resolution, NOON, 1));
    assert_eq!(bay.engine().series_read(&series.part, &spans).await.unwrap(), [vec![5], vec![5]]);
}

pub(super) async fn a_chunk_fills_and_grows(bay: Forebay) {
    let series = Counted::new(&bay);
    // Three hours of 10 s buckets, each with its own count: through every form a chunk has.
    for i in 0..1_080u64 {
        series.add(&[("k", NOON.minus(secs(10 * i)), i + 1)]).await;
        series.add(&[("k", NOON.minus(secs(10 * (i / 2))), 1)]).await;
    }
    let counts = series.read("k", 0, NOON, 1_080).await;
    let expected: Vec<u64> = (0..1_080u64).rev().map(|i| i + 1 + if i < 540 { 2 } else { 0 }).collect();
    assert_eq!(counts, expected);
    assert_eq!(series.read("k", 3, NOON, 1).await, [(1..=1_080).sum::<u64>() + 1_080]);
}

pub(super) async fn counts_beyond_32_bits_are_kept(bay: Forebay) {
    let series = Counted::new(&bay);
    for _ in 0..5 {
        series.add(&[("k", NOON, 1 << 31), ("k", NOON.minus(secs(10)), 1)]).await;
    }
    // Fill the hour, so that the large count meets a dense chunk as well.
    let points: Vec<_> = (0..360).map(|i| ("k", NOON.minus(secs(10 * i)), 1 << 31)).collect();
    series.add(&points).await;
    series.add(&points).await;
    assert_eq!(series.read("k", 0, NOON, 2).await, [(2 << 31) + 5, 7 << 31]);
    assert_eq!(series.read("k", 3, NOON, 1).await, [(725 << 31) + 5]);
}

pub(super) async fn keys_and_series_do_not_mix(bay: Forebay) {
    let (one, two) = (Counted::new(&bay), Counted::new(&bay));
    let keys = ["a", "a:b", "a}", "{a}", "%7B", "ключ"];
    for (n, key) in (1..).zip(keys) {
        one.add(&[(key, NOON, n)]).await;
        two.add(&[(key, NOON, 100 * n)]).await;
    }
    for (n, key) in (1..).zip(keys) {
        assert_eq!(one.read(key, 0, NOON, 1).await, [n], "{key}");
        assert_eq!(two.read(key, 0, NOON, 1).await, [100 * n], "{key}");
    }
    assert_eq!(one.read("other", 0, NOON, 2).await, [0, 0]);
}

/// Of each store the same pages, whatever the keys look like, and only keys with a count that is kept.
pub(super) async fn keys_are_listed_page_by_page(bay: Forebay) {
    let series = Counted::new(&bay);
    let list = async |prefix: &str, after: Option<&str>, most| {
        let range = KeyRange { prefix, after, most };
        bay.engine().series_list(&series.part, &range, NOON).await.unwrap()
    };
    assert_eq!(list("", None, 9).await, [""; 0]);
    let keys = ["a", "a*b", "aa", "a[b", "a\\b", "a{b}", "b", "%7B", "ключ", "клён", "é"];
    for (n, key) in keys.iter().enumerate() {
        let ago = days([0, 1, 20, 600][n % 4]);
        series.add(&[(key, NOON.minus(ago), 1), (key, NOON.minus(ago), 2)]).await;
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(list("", None, 99).await, sorted);
    for most in [1, 3, 4] {
        let mut all: Vec<String> = vec![];
        loop {
            let page = list("", all.last().map(String::as_str), most).await;
            let ended = page.len() < most;
            all.extend(page);
            if ended {
                break;
            }
        }
        assert_eq!(all, sorted, "{most} in a page");
    }
    assert_eq!(list("a*", None, 9).await, ["a*b"]);
    assert_eq!(list("a[", None, 9).await, ["a[b"]);
    assert_eq!(list("a\\", None, 9).await, ["a\\b"]);
    assert_eq!(list("a", None, 9).await, ["a", "a*b", "a[b", "a\\b", "aa", "a{b}"]);
    assert_eq!(list("a", Some("a"), 2).await, ["a*b", "a[b"]);
    assert_eq!(list("a", Some("b"), 2).await, [""; 0]);
    assert_eq!(list("b", Some("a"), 2).await, ["b"]);
    assert_eq!(list("кл", None, 9).await, ["ключ", "клён"]);
    assert_eq!(list("c", None, 9).await, [""; 0]);
    bay.engine().series_delete(&series.part, "aa", NOON).await.unwrap();
    series.add(&[("a", NOON, 1)]).await;
    assert_eq!(list("a", None, 9).await, ["a", "a*b", "a[b", "a\\b", "a{b}"]);
}

pub(super) async fn a_key_is_merged_into_another_and_renamed(bay: Forebay) {
    let series = bay.series(fresh("series").as_str()).unwrap();
    let now = series.store_time("a").await;
    let ago = [secs(0), secs(40), days(2), days(20), days(300)];
    for ago in ago {
        series.add_at("a", 3, now.minus(ago)).await.unwrap();
    }
    series.add("b", 1).await.unwrap();
    assert!(series.rename("a", "b").await.is_err(), "it has counts");
    assert!(series.merge("a", "a").await.is_err());
    assert_eq!(series.merge("a", "b").await.unwrap(), 15);
    for (key, counts) in [("a", [0; 5]), ("b", [1 + 3, 6 + 1, 9 + 1, 12 + 1, 15 + 1])] {
        for (span, count) in [secs(1), mins(10), days(3), days(21), days(301)].into_iter().zip(counts) {
            assert_eq!(series.sum(key, span).await.unwrap(), count, "{key} over {span:?}");
        }
    }
    assert_eq!(series.keys(&KeyQuery::new()).await.unwrap().keys, ["b"]);
    assert_eq!(series.merge("a", "b").await.unwrap(), 0, "nothing is left");
    assert_eq!(series.rename("b", "c:d").await.unwrap(), 16);
    assert_eq!(series.keys(&KeyQuery::new()).await.unwrap().keys, ["c:d"]);
    assert_eq!(series.sum("c:d", days(301)).await.unwrap(), 16);
    series.add("b", 1).await.unwrap();
    assert_eq!(series.sum("b", days(301)).await.unwrap(), 1);
}

pub(super) async fn a_deleted_key_is_gone(bay: Forebay) {
    let series = Counted::new(&bay);
    series.add(&[("k", NOON, 1), ("k", NOON.minus(days(5)), 1), ("other", NOON, 3)]).await;
    bay.engine().series_delete(&series.part, "k", NOON).await.unwrap();
    assert_eq!(series.read("k", 0, NOON, 1).await, [0]);
    assert_eq!(series.read("k", 3, NOON, 9).await, [0; 9]);
    assert_eq!(series.read("other", 0, NOON, 1).await, [3]);
    series.add(&[("k", NOON, 2)]).await;
    assert_eq!(series.read("k", 0, NOON, 1).await, [2]);
}
