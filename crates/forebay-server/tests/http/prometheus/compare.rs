//! The same counts in a real Prometheus: the answers are equal.

use std::collections::BTreeMap;

use forebay_testkit::{Prometheus, without};

use super::{
    model::{Point, RESOLUTIONS, Random, keeps, points, samples},
    *,
};

/// The number of queries of each form; more with `FOREBAY_PROMETHEUS_QUERIES`.
const QUERIES: u64 = 200;

/// A generated query: its text, and the age of the oldest sample that it may read, in seconds.
struct Question {
    text: String,
    age: i64,
    /// Whether its rows are chosen by their values: of equal values, any may be chosen.
    ranks: bool,
    /// Whether it has `rate`, `increase`, `offset` or `by`.
    counts: bool,
}

/// Both systems with the same counts.
struct Both {
    server: Server,
    prometheus: Prometheus,
}

impl Both {
    fn start(points: &[Point]) -> Self {
        let resolutions = RESOLUTIONS.map(|(step, kept)| format!("\"{step}s/{kept}s\"")).join(", ");
        let first = points.first().expect("points").3;
        let hand = ManualClock::at(Timestamp::from_millis(first));
        let clock = Clock::from(hand.clone());
        let series = format!("\n[series.visits]\nresolutions = [{resolutions}]\n");
        let server = server_on(&hand, &series);
        let client = server.client();
        // Each batch comes at the time of its first point: what came until the next minute.
        for batch in points.chunk_by(|one, two| one.3.div_euclid(60_000) == two.3.div_euclid(60_000)) {
            let came = Timestamp::from_millis(batch[0].3);
            hand.advance(came.since(clock.now()));
            let item = |(key, n, at, _): &Point| json!({"key": key, "n": n, "at": Timestamp::from_millis(*at).to_string()});
            for batch in batch.chunks(5_000) {
                let body: Vec<Value> = batch.iter().map(item).collect();
                client.post("/v1/series/visits", Value::from(body).to_string()).expect(202);
            }
        }
        hand.advance(NOW.since(clock.now()));
        Self { server, prometheus: Prometheus::start(&samples(points, NOW.as_millis())) }
    }

    /// The rows of both: values by time and key.
    fn ask(&self, path: &str, question: &Question, oldest: i64) -> [Vec<Vec<(String, f64)>>; 2] {
        let resolution =
            RESOLUTIONS.into_iter().find(|resolution| keeps(*resolution, oldest, NOW.as_millis()));
        let step = resolution.expect("a time that is kept").0;
        let ours = self.server.client().get(&format!("{path}&query={}", encoded(&question.text)));
        let theirs = question.text.replace("visits", &format!("v{step}"));
        let (status, theirs) =
            self.prometheus.get(&format!("{path}&query={}", encoded(&theirs))).expect("an answer");
        assert_eq!(status, 200, "{}: {theirs}", question.text);
        let ours = ours.expect(200);
        assert_eq!(ours.get("warnings"), None, "{}", question.text);
        let theirs: Value = serde_json::from_str(&theirs).expect("JSON");
        [ours, theirs].map(|answer| rows(&answer, question.ranks))
    }
}

/// The values of an answer: a list for each instant, each with its key, in order.
fn rows(answer: &Value, ranks: bool) -> Vec<Vec<(String, f64)>> {
    let mut instants: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    let mut add = |key: &str, value: &Value| {
        let number =
            value[1].as_str().and_then(|text| text.replace("Inf", "inf").parse().ok()).expect("a number");
        instants.entry(value[0].to_string()).or_default().push((key.to_owned(), number));
    };
    let result = &answer["data"]["result"];
    if answer["data"]["resultType"] == "scalar" {
        add("", result);
    } else {
        for row in result.as_array().expect("rows") {
            let key = if ranks { "" } else { row["metric"]["key"].as_str().unwrap_or_default() };
            row["values"]
                .as_array()
                .unwrap_or(&vec![row["value"].clone()])
                .iter()
                .for_each(|value| add(key, value));
        }
    }
    let mut instants: Vec<_> = instants.into_values().collect();
    for values in &mut instants {
        values.sort_by(|one, two| one.0.cmp(&two.0).then(one.1.total_cmp(&two.1)));
    }
    instants
}

/// The largest difference of two answers, relative; infinite if they have other rows.
fn difference(ours: &[Vec<(String, f64)>], theirs: &[Vec<(String, f64)>]) -> f64 {
    let shape = |rows: &[Vec<(String, f64)>]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|(key, _)| key.clone()).collect()).collect()
    };
    if shape(ours) != shape(theirs) {
        return f64::INFINITY;
    }
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    let relative = |((_, one), (_, two)): (&(String, f64), &(String, f64))| {
        let same = one.total_cmp(two).is_eq() || one.is_nan() && two.is_nan();
        if same { 0.0 } else { (one - two).abs() / one.abs().max(two.abs()).max(1e-6) }
    };
    pairs.map(relative).fold(0.0, f64::max)
}

/// A query at `age` seconds before now.
fn question(random: &mut Random, age: i64) -> Question {
    let selectors = [
        "",
        "{key=\"steady\"}",
        "{key=~\"s.*|gaps\"}",
        "{key!=\"born\"}",
        "{key!~\"[a-f].*\"}",
        "{key=~\"young|rare\"}",
    ];
    let key = random.one_of(&selectors);
    let range = random.one_of(&[25, 60, 95, 150, 300, 700, 1_800, 4_000, 9_000]);
    let offset = random.one_of(&[0, 45, 600, 3_700, 10_000]);
    let back = if offset > 0 { format!(" offset {offset}s") } else { String::new() };
    let (counter, gauge) =
        (format!("visits_total{key}[{range}s]{back}"), format!("visits{key}[{range}s]{back}"));
    let rate = random.one_of(&["rate", "increase"]);
    let over = random.one_of(&["sum", "avg", "min", "max", "count", "last", "stddev", "stdvar", "present"]);
    let fold = random.one_of(&["sum", "avg", "min", "max", "count"]);
    let group = random.one_of(&["by (key)", "by ()", "without (key)", "without ()", ""]);
    let limit = 1 + random.below(4);
    let text = match random.below(14) {
        0..=3 => format!("{rate}({counter})"),
        4 => format!("{fold} {group} ({rate}({counter}))"),
        5 => format!("topk({limit}, {rate}({counter}))"),
        6 => format!("{over}_over_time({gauge})"),
        7 => format!("quantile_over_time(0.{}, {gauge})", random.below(100)),
        8 => format!("{rate}({counter}) / {rate}(visits_total{key}[{range}s])"),
        9 => format!(
            "{rate}({counter}) {} 0.{}",
            random.one_of(&[">", "<=", "> bool", "!= bool", "%", "-"]),
            random.below(10)
        ),
        10 => format!("visits_total{key} - visits_total{key}{back}"),
        11 => format!("{fold} {group} (visits{key}{back})"),
        12 => format!("{rate}({counter}) / on() group_left() sum({rate}(visits_total{key}[{range}s]))"),
        _ => format!("-visits{key}{back} * 2 ^ 0.5 > -90"),
    };
    let counts = ["rate(", "increase(", "offset", "by"].iter().any(|word| text.contains(word));
    // An instant reads 300 s.
    let age = age + offset + range.max(300);
    Question { ranks: text.starts_with("topk"), text, age, counts }
}

/// The oldest instant that a query reads, in milliseconds: its windows, of which an instant has 300 s.
fn oldest(question: &Question, instant: i64) -> i64 {
    let spans = |start: &str, end: char| -> Vec<i64> {
        let parts = question.text.split(start).skip(1);
        parts.filter_map(|part| part.split(end).next()?.trim_end_matches(')').parse().ok()).collect()
    };
    let range = spans("[", 's').into_iter().max().unwrap_or(300);
    let offset = spans("offset ", 's').into_iter().max().unwrap_or(0);
    instant - (range + offset) * 1_000
}

/// Whether all windows have two buckets of the resolution.
fn is_wide(question: &Question, oldest: i64) -> bool {
    let ranges =
        question.text.split('[').skip(1).filter_map(|part| part.split('s').next()?.parse::<i64>().ok());
    let step = RESOLUTIONS.into_iter().find(|resolution| keeps(*resolution, oldest, NOW.as_millis()));
    step.is_some_and(|(step, _)| ranges.min().unwrap_or(i64::MAX) >= step * 2)
}

#[test]
fn a_real_prometheus_has_the_same_answers() {
    if without("prometheus") {
        return;
    }
    let wanted = std::env::var("FOREBAY_PROMETHEUS_QUERIES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(QUERIES);
    let mut random = Random(42);
    let both = Both::start(&points(&mut random, NOW.as_millis()));
    let (mut asked, mut counting, mut empty, mut values, mut worst) = (0, 0, 0, 0, 0.0_f64);
    let mut by_resolution = BTreeMap::new();
    while asked < wanted {
        let youngest = random.one_of(&[3_600, 3_600, 18_000, 72_000]);
        let age = random.within(0, youngest);
        // At no edge of a bucket: there, releases before 3.0 count a sample more.
        let instant = NOW.as_millis() - age * 1_000 - random.within(1, 200);
        let question = question(&mut random, age);
        let range = asked % 10 == 9;
        let oldest = oldest(&question, instant);
        if question.age > 35 * 3_600 || !is_wide(&question, oldest) {
            continue;
        }
        let path = if range {
            let end = (instant + 37 * 200_000).min(NOW.as_millis());
            format!("/api/v1/query_range?start={}&end={}&step=37", instant as f64 / 1e3, end as f64 / 1e3)
        } else {
            format!("/api/v1/query?time={}", instant as f64 / 1e3)
        };
        let [ours, theirs] = both.ask(&path, &question, oldest);
        let difference = difference(&ours, &theirs);
        let first = ours
            .iter()
            .zip(&theirs)
            .find(|(one, two)| self::difference(&[(*one).clone()], &[(*two).clone()]) > 1e-9);
        assert!(difference <= 1e-9, "{} {path}: {difference}\n{first:?}", question.text);
        worst = worst.max(difference);
        values += ours.iter().map(Vec::len).sum::<usize>();
        let resolution = RESOLUTIONS.into_iter().find(|one| keeps(*one, oldest, NOW.as_millis()));
        *by_resolution.entry(resolution).or_insert(0) += 1;
        counting += u64::from(question.counts);
        empty += u64::from(ours.is_empty());
        asked += 1;
    }
    println!(
        "{asked} queries, {counting} with rate, increase, offset or by, {empty} without rows; {values} values; largest \
         difference {worst:e}; by resolution {by_resolution:?}"
    );
    assert!(counting * 2 >= asked && empty * 5 <= asked, "{counting} count, {empty} are empty");
    assert!(
        by_resolution.len() == RESOLUTIONS.len() && by_resolution.values().all(|count| count * 10 >= asked)
    );
}
