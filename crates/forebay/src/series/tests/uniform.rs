//! Raw buckets, against the points in a map.

use super::{super::*, *};

/// The counts of the model in buckets of `step` that begin at or after `from`, before `to`.
fn model(points: &[(u64, u64)], from: Timestamp, to: Timestamp) -> u64 {
    let inside = |ago: u64| (from..to).contains(&NOON.minus(secs(ago)));
    points.iter().filter(|(ago, _)| inside(*ago)).map(|(_, n)| n).sum()
}

async fn check(series: &SeriesHandle, points: &[(u64, u64)], after: u64, until: u64, reach: u64) {
    let [after, until, reach] = [after, until, reach].map(|ago| NOON.minus(secs(ago)));
    let query = UniformQuery::ending_between(after, until).reach(reach).as_of(NOON);
    let found = series.uniform_buckets(&["k", "none"], &query).await.expect("answers");
    let step = found.resolution.step;
    assert_eq!(found.resolution, series.resolution_at(reach.min(after), NOON));
    let oldest = found.resolution.start(found.resolution.oldest_kept(NOON));
    let KeyBuckets { before, counts, after: later } = &found.keys[0];
    let start = |place: usize| found.start.plus(step * u32::try_from(place).expect("few"));
    for (place, count) in counts.iter().enumerate() {
        assert_eq!(*count, model(points, start(place), start(place + 1)), "bucket {place} of {query:?}");
    }
    let end = start(counts.len());
    assert_eq!(*before, model(points, oldest, found.start), "before {query:?}");
    assert_eq!(*later, model(points, end, NOON.plus(mins(6))), "after {query:?}");
    assert!(found.start.plus(step) > after || found.start == oldest);
    assert!(end <= until.max(found.start) && (end.plus(step) > until || end > NOON), "{end} {query:?}");
    assert_eq!((found.keys[1].before, found.keys[1].after), (0, 0));
}

#[test]
fn buckets_are_those_of_the_points_with_what_is_around_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let strategy = (vec((0_u64..320, 1_u64..9), 0..30), vec((0_u64..320, 0_u64..320, 0_u64..290), 1..10));
    TestRunner::default()
        .run(&strategy, |(points, questions)| {
            runtime.block_on(async {
                let (series, _) = in_memory(two_steps()).await;
                // An older bucket is at its edge, where it is kept in part.
                let kept: Vec<_> = points.into_iter().filter(|(ago, _)| *ago <= 290).collect();
                for (ago, n) in &kept {
                    series.add_at("k", *n, NOON.minus(secs(*ago))).await.expect("kept");
                }
                for (one, two, reach) in questions {
                    check(&series, &kept, one.max(two), one.min(two), reach).await;
                }
            });
            Ok(())
        })
        .expect("buckets of the model");
}

#[tokio::test]
async fn too_many_buckets_are_refused_with_what_would_help() {
    let fine = vec![Resolution::new(secs(1), days(10)).expect("valid")];
    let (series, _) = in_memory(Series::new("fine").resolutions(fine)).await;
    let keys: Vec<String> = (0..300).map(|key| format!("k{key}")).collect();
    let read = async |span| {
        let query = UniformQuery::ending_between(NOON.minus(span), NOON);
        series
            .uniform_buckets(&keys, &query)
            .await
            .map(|found| found.keys.len())
            .map_err(|error| error.to_string())
    };
    assert!(
        read(days(1)).await.expect_err("too many").contains("25920000 buckets of 300 keys: at most 1000000")
    );
    assert!(
        read(mins(10))
            .await
            .expect_err("too many")
            .contains("at most 20000000; ask for fewer keys or a shorter range, or give")
    );
    assert!(series.uniform_buckets(&[""], &UniformQuery::ending_between(NOON, NOON)).await.is_err());
    assert_eq!(
        series
            .uniform_buckets::<&str>(&[], &UniformQuery::ending_between(NOON, NOON))
            .await
            .expect("none")
            .keys,
        []
    );
    let hour = UniformQuery::ending_between(NOON.minus(hours(1)), NOON);
    assert_eq!(series.uniform_buckets(&keys[..3], &hour).await.expect("answers").keys[2].counts.len(), 3_600);
}
