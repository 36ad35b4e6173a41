//! Series that keep summaries: every store gives the numbers of the model.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{NOON, fresh, splitmix::Random};
use crate::{
    bay::Forebay,
    engine::step::{KeyRange, SeriesPart, Span, Summaries, SummaryPart},
    error::ErrorKind,
    model::{
        resolution::{Grid, Resolution},
        summary::{Observation, Observed, Summary, SummaryKind},
    },
    series::{Distinct, Gauge, KeyQuery, Query},
    time::{Timestamp, When, days, hours, mins},
};

/// The ages of points: some are kept in no resolution, or in the coarser one alone.
const AGES: [Duration; 9] =
    [hours(0), mins(7), hours(1), hours(5), days(2), days(29), days(31), days(600), days(740)];

/// A series of its own.
struct Kept {
    bay: Forebay,
    kind: SummaryKind,
    part: SeriesPart,
}

impl Kept {
    fn new(bay: &Forebay, kind: SummaryKind) -> Self {
        let resolutions = [(hours(1), days(30)), (days(1), days(730))];
        let resolutions = resolutions.map(|(step, retention)| Resolution::new(step, retention).unwrap());
        let grid = Grid {
            name: fresh(kind.word()),
            resolutions: resolutions.into(),
            partitions: 1,
            is_ranked: false,
        };
        Self { bay: bay.clone(), kind, part: SeriesPart::new(Arc::new(grid), 0) }
    }

    fn summaries(&self) -> SummaryPart<'_> {
        SummaryPart { kind: self.kind, part: &self.part }
    }

    async fn add(&self, points: impl IntoIterator<Item = Observation>) {
        let points = points.into_iter().collect();
        self.bay.engine().summary_add(self.summaries(), points, NOON).await.unwrap();
    }

    /// The summaries of the `count` buckets that end with the one of `last`.
    async fn read(&self, key: &str, resolution: usize, last: Timestamp, count: i64) -> Summaries {
        let resolution = self.part.grid.resolutions[resolution];
        let to = resolution.bucket(last) + 1;
        let span = Span { key, resolution, from: to - count, to };
        self.bay.engine().summary_read(self.summaries(), &[span]).await.unwrap().remove(0)
    }

    async fn list(&self, prefix: &str, after: Option<&str>, most: usize) -> Vec<String> {
        let range = KeyRange { prefix, after, most };
        self.bay.engine().summary_list(self.summaries(), &range, NOON).await.unwrap()
    }
}

/// Something that a series of a kind takes.
fn observation(kind: SummaryKind, key: &str, at: Timestamp, random: u64) -> Observation {
    let what = match kind {
        SummaryKind::Distinct => Observed::Element(format!("user-{}", random % 5_000).into()),
        SummaryKind::Gauge => Observed::Value(random as f64 / 7.0 - 1e11),
        // Of both signs, zero, and so far apart that bins collapse.
        SummaryKind::Percentiles => {
            let size = 10f64.powi(i32::try_from(random % 40).unwrap() - 20) * (1.0 + random as f64 / 1e13);
            Observed::Value([size, size, 0.0, -size, 1.0 + size][usize::try_from(random / 40 % 5).unwrap()])
        }
    };
    Observation { key: key.into(), at, what }
}

/// Random points of each kind, late, early and very old, in random batches: each bucket holds what one summary of all its points
/// does.
pub(super) async fn buckets_are_those_of_the_model(bay: Forebay) {
    for &kind in SummaryKind::ALL {
        let series = Kept::new(&bay, kind);
        let mut random = Random(7);
        let mut all: Vec<Observation> = vec![];
        for batch in [1usize, 2, 700, 1, 3_000, 300] {
            let points: Vec<Observation> = (0..batch)
                .map(|_| {
                    let early = Duration::from_micros(random.below(300_000_000));
                    let at = NOON.minus(*random.pick(&AGES)).plus(early);
                    let key = *random.pick(&["a", "b:c", "{d}"]);
                    observation(kind, key, at, random.below(1 << 40))
                })
                .collect();
            all.extend(points.clone());
            series.add(points).await;
        }
        for key in ["a", "b:c", "{d}", "none"] {
            for (number, count) in [(0, 40 * 24), (1, 740)] {
                let resolution = series.part.grid.resolutions[number];
                let read = series.read(key, number, NOON.plus(hours(1)), count).await;
                let mut expected: Summaries = vec![];
                let mut mine: Vec<&Observation> = all.iter().filter(|point| &*point.key == key).collect();
                mine.retain(|point| resolution.keeps(resolution.bucket(point.at), NOON));
                mine.sort_by_key(|point| resolution.bucket(point.at));
                for point in mine {
                    let bucket = resolution.bucket(point.at);
                    if expected.last().is_none_or(|(last, _)| *last != bucket) {
                        expected.push((bucket, Summary::new(kind)));
                    }
                    expected.last_mut().unwrap().1.observe(point);
                }
                let word = kind.word();
                assert_eq!(read.len(), expected.len(), "{word} {key} {number}");
                for (read, expected) in read.iter().zip(&expected) {
                    assert!(
                        read.0 == expected.0 && read.1.is_like(&expected.1),
                        "{word} {key}: {read:?} {expected:?}"
                    );
                }
            }
        }
    }
}

pub(super) async fn a_deleted_key_is_gone_and_keys_are_listed(bay: Forebay) {
    for &kind in SummaryKind::ALL {
        let series = Kept::new(&bay, kind);
        assert_eq!(series.list("", None, 9).await, [""; 0]);
        let keys = ["a", "a*b", "aa", "a{b}", "b", "ключ"];
        for (number, key) in keys.into_iter().enumerate() {
            // The last ones are in the oldest list, of which a part is not kept any more.
            let ago = [days(0), days(1), days(40), days(729)][number % 4];
            series.add([observation(kind, key, NOON.minus(ago), 1)]).await;
        }
        series.add([observation(kind, "gone", NOON.minus(days(731)), 1)]).await;
        assert_eq!(series.list("", None, 9).await, keys);
        assert_eq!(series.list("a", Some("a"), 2).await, ["a*b", "aa"]);
        assert_eq!(series.list("a*", None, 9).await, ["a*b"]);
        bay.engine().summary_delete(series.summaries(), "a{b}", NOON).await.unwrap();
        bay.engine().summary_delete(series.summaries(), "a", NOON).await.unwrap();
        assert_eq!(series.list("", None, 9).await, ["a*b", "aa", "b", "ключ"]);
        for key in ["a", "a{b}"] {
            assert_eq!(series.read(key, 1, NOON, 740).await, [], "{key}");
        }
        series.add([observation(kind, "a", NOON, 2)]).await;
        let mut summary = Summary::new(kind);
        summary.observe(&observation(kind, "a", NOON, 2));
        assert!(series.read("a", 0, NOON, 1).await[0].1.is_like(&summary));
        assert_eq!(series.list("", None, 9).await, ["a", "a*b", "aa", "b", "ключ"]);
    }
}

/// Unions over spans, over points and over keys, which may be on different hosts.
pub(super) async fn different_elements_are_counted_once_over_spans_and_keys(bay: Forebay) {
    let visitors = bay.distinct(Distinct::new(fresh("visitors").as_str())).unwrap();
    let now = visitors.store_time("page-0").await;
    let mut random = Random(3);
    let mut all: Vec<(String, String, Timestamp)> = vec![];
    for _ in 0..3_000 {
        let page = format!("page-{}", random.below(7));
        let ago = *random.pick(&[mins(1), hours(3), hours(30), days(10)]);
        all.push((page, format!("user-{}", random.below(400)), now.minus(ago)));
    }
    visitors.add_many(all.clone(), When::EngineClock).await.unwrap();
    let near = |count: u64, exact: usize| (count as f64 / exact as f64 - 1.0).abs() <= 0.02;
    for (ago, pages) in [(hours(2), 1), (hours(2), 7), (days(2), 3), (days(20), 7)] {
        let pages: Vec<String> = (0..pages).map(|page| format!("page-{page}")).collect();
        // The span begins with an hour.
        let from = Timestamp::from_secs(now.minus(ago).as_secs().div_euclid(3_600) * 3_600);
        let users = |from: Timestamp, to: Timestamp| {
            let within = all.iter().filter(|(page, _, at)| pages.contains(page) && *at >= from && *at < to);
            within.map(|(_, user, _)| user).collect::<HashSet<_>>().len()
        };
        let to = now.plus(hours(1));
        let counted = visitors.count_between(&pages, from, to).await.unwrap();
        assert!(counted.from == from && near(counted.value, users(from, to)), "{counted:?} {pages:?}");
        let query = Query::between(from, now.plus(mins(1))).step(hours(1));
        let range = visitors.query(&pages, &query).await.unwrap();
        assert!(near(range.total, users(from, to)), "{}", range.total);
        for (start, value) in range.starts.iter().zip(&range.values) {
            let exact = users(*start, start.plus(hours(1)));
            assert!(
                if exact == 0 { *value == 0 } else { near(*value, exact) },
                "{start}: {value}, not {exact}"
            );
        }
    }
    visitors.delete("page-3").await.unwrap();
    assert_eq!(visitors.count("page-3", days(20)).await.unwrap(), 0);
    let pages = visitors.keys(&KeyQuery::new()).await.unwrap().keys;
    assert_eq!(pages, ["page-0", "page-1", "page-2", "page-4", "page-5", "page-6"]);
}

/// In a store of this process and in a shared one, where one host counts the keys of all partitions.
pub(super) async fn a_bound_on_keys_holds_for_summaries(bay: Forebay) {
    let gauge = bay.gauge(Gauge::new(fresh("bounded").as_str()).max_keys(2)).unwrap();
    for key in ["a", "b", "a"] {
        gauge.record(key, 1.0).await.unwrap();
    }
    assert_eq!(gauge.record("c", 1.0).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(
        (gauge.refused_keys(), gauge.keys(&KeyQuery::new()).await.unwrap().keys),
        (1, vec!["a".into(), "b".into()])
    );
    gauge.record("b", 2.0).await.unwrap();
    assert_eq!(gauge.stats("b", hours(1)).await.unwrap().unwrap().count, 2);
}
