//! Series.

use std::sync::Arc;

use super::{NOON, fresh};
use crate::{
    bay::Forebay,
    engine::step::{Point, SeriesPart, Span},
    model::resolution::{Grid, Resolution},
    time::{Timestamp, days, secs},
};

fn part() -> SeriesPart {
    let grid = Grid { name: fresh("series"), resolutions: Resolution::defaults().into(), partitions: 1 };
    SeriesPart { grid: Arc::new(grid), index: 0 }
}

async fn add(bay: &Forebay, part: &SeriesPart, points: &[(&str, Timestamp, u64)]) {
    let points = points.iter().map(|&(key, at, n)| Point { key: key.into(), at, n }).collect();
    bay.engine().series_add(part, points, NOON).await.unwrap();
}

/// The counts of `count` buckets that end with the one of `last`.
async fn read(
    bay: &Forebay,
    part: &SeriesPart,
    key: &str,
    resolution: usize,
    last: Timestamp,
    count: i64,
) -> Vec<u64> {
    let resolution = part.grid.resolutions[resolution];
    let to = resolution.bucket(last) + 1;
    let span = Span { key, resolution, from: to - count, to };
    bay.engine().series_read(part, &[span]).await.unwrap().remove(0)
}

pub(super) async fn points_are_counted_in_every_resolution(bay: Forebay) {
    let part = part();
    let late = NOON.minus(days(3));
    add(&bay, &part, &[("k", NOON, 1), ("k", NOON.minus(secs(10)), 2), ("k", NOON, 4), ("k", late, 8)]).await;
    assert_eq!(read(&bay, &part, "k", 0, NOON, 3).await, [0, 2, 5]);
    assert_eq!(read(&bay, &part, "k", 1, NOON, 2).await, [2, 5]);
    assert_eq!(
        read(&bay, &part, "k", 3, NOON, 5).await,
        [0, 8, 0, 0, 7],
        "late data is right where it is kept"
    );
    assert_eq!(read(&bay, &part, "k", 0, late, 1).await, [0], "10 s buckets are kept for a day");
    let spans = [0, 1].map(|i| {
        let resolution = part.grid.resolutions[i];
        Span { key: "k", resolution, from: resolution.bucket(NOON), to: resolution.bucket(NOON) + 1 }
    });
    assert_eq!(bay.engine().series_read(&part, &spans).await.unwrap(), [vec![5], vec![5]]);
}

pub(super) async fn a_chunk_fills_and_grows(bay: Forebay) {
    let part = part();
    // Three hours of 10 s buckets, each with its own count: through every form a chunk has.
    for i in 0..1_080u64 {
        add(&bay, &part, &[("k", NOON.minus(secs(10 * i)), i + 1)]).await;
        add(&bay, &part, &[("k", NOON.minus(secs(10 * (i / 2))), 1)]).await;
    }
    let counts = read(&bay, &part, "k", 0, NOON, 1_080).await;
    let expected: Vec<u64> = (0..1_080u64).rev().map(|i| i + 1 + if i < 540 { 2 } else { 0 }).collect();
    assert_eq!(counts, expected);
    assert_eq!(read(&bay, &part, "k", 3, NOON, 1).await, [(1..=1_080).sum::<u64>() + 1_080]);
}

pub(super) async fn counts_beyond_32_bits_are_kept(bay: Forebay) {
    let part = part();
    for _ in 0..5 {
        add(&bay, &part, &[("k", NOON, 1 << 31), ("k", NOON.minus(secs(10)), 1)]).await;
    }
    // Fill the hour, so that the large count meets a dense chunk as well.
    let points: Vec<_> = (0..360).map(|i| ("k", NOON.minus(secs(10 * i)), 1 << 31)).collect();
    add(&bay, &part, &points).await;
    add(&bay, &part, &points).await;
    assert_eq!(read(&bay, &part, "k", 0, NOON, 2).await, [(2 << 31) + 5, 7 << 31]);
    assert_eq!(read(&bay, &part, "k", 3, NOON, 1).await, [(725 << 31) + 5]);
}

pub(super) async fn keys_and_series_do_not_mix(bay: Forebay) {
    let (one, two) = (part(), part());
    let keys = ["a", "a:b", "a}", "{a}", "%7B", "ключ"];
    for (n, key) in (1..).zip(keys) {
        add(&bay, &one, &[(key, NOON, n)]).await;
        add(&bay, &two, &[(key, NOON, 100 * n)]).await;
    }
    for (n, key) in (1..).zip(keys) {
        assert_eq!(read(&bay, &one, key, 0, NOON, 1).await, [n], "{key}");
        assert_eq!(read(&bay, &two, key, 0, NOON, 1).await, [100 * n], "{key}");
    }
    assert_eq!(read(&bay, &one, "other", 0, NOON, 2).await, [0, 0]);
}

pub(super) async fn a_deleted_key_is_gone(bay: Forebay) {
    let part = part();
    add(&bay, &part, &[("k", NOON, 1), ("k", NOON.minus(days(5)), 1), ("other", NOON, 3)]).await;
    bay.engine().series_delete(&part, "k", NOON).await.unwrap();
    assert_eq!(read(&bay, &part, "k", 0, NOON, 1).await, [0]);
    assert_eq!(read(&bay, &part, "k", 3, NOON, 9).await, [0; 9]);
    assert_eq!(read(&bay, &part, "other", 0, NOON, 1).await, [3]);
    add(&bay, &part, &[("k", NOON, 2)]).await;
    assert_eq!(read(&bay, &part, "k", 0, NOON, 1).await, [2]);
}
