//! Values that were worked out by hand from the rules of Prometheus 3.

use super::*;

/// `hits_total` of key a: 1, 2, 4, 8, 16, 32, 64 from second 10 to 70; of key b: 10 a bucket.
fn two_counters() -> Vec<Stream> {
    streams(&[
        ("hits_total", "a", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
        ("hits_total", "b", &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]),
        ("hits", "a", &[1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]),
        ("hits", "b", &[10.0; 7]),
    ])
}

#[track_caller]
fn check(text: &str, secs: i64, expected: &[(&str, f64)]) {
    let found = at(text, &two_counters(), secs);
    let near = |found: f64, expected: f64| {
        (found - expected).abs() < 1e-12 || found.total_cmp(&expected.copysign(found)).is_eq()
    };
    let same = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| found.0 == expected.0 && near(found.1, expected.1));
    assert!(same, "{text} at {secs}: {found:?} instead of {expected:?}");
}

#[test]
fn a_range_on_the_grid_is_open_on_its_left() {
    let (a, b) = ("{key=\"a\"}", "{key=\"b\"}");
    // Samples of the seconds 50, 60 and 70: the one of second 40 is at the open edge. They cover 20 s of the 30 s. The edge is
    // near to the first one, but counter a was zero 20 * 16 / 48 s before it.
    check("increase(hits_total[30s])", 70, &[(a, 64.0), (b, 20.0 * 1.5)]);
    check("rate(hits_total[30s])", 70, &[(a, 64.0 / 30.0), (b, 1.0)]);
    // Windows of whole steps never have a sample in common.
    check("sum_over_time(hits[30s])", 70, &[(a, 56.0), (b, 30.0)]);
    check("sum_over_time(hits[30s])", 40, &[(a, 7.0), (b, 30.0)]);
    check("count_over_time(hits[20s] offset 10s)", 70, &[(a, 2.0), (b, 2.0)]);
    // One sample makes no rate.
    check("rate(hits_total[10s])", 70, &[]);
    check("sum_over_time(hits[10s])", 70, &[(a, 32.0), (b, 10.0)]);
}

#[test]
fn an_instant_has_the_newest_sample_of_the_five_minutes_before_it() {
    let (a, b) = ("{__name__=\"hits\", key=\"a\"}", "{__name__=\"hits\", key=\"b\"}");
    check("hits", 9, &[]);
    check("hits", 10, &[(a, 1.0), (b, 10.0)]);
    check("hits", 69, &[(a, 16.0), (b, 10.0)]);
    check("hits", 369, &[(a, 32.0), (b, 10.0)]);
    // At 370 the sample of second 70 is at the open edge.
    check("hits", 370, &[]);
    check("hits offset 300s", 370, &[(a, 32.0), (b, 10.0)]);
    check("hits offset -1m", 10, &[(a, 32.0), (b, 10.0)]);
}

#[test]
fn a_counter_is_not_extrapolated_below_zero_nor_past_its_life() {
    // The samples of seconds 10 and 20 rise by 1 from 1: zero was 10 s before the first one, and the window begins 15 s before.
    // That is far, so the counter is taken to begin 5 s before. The window ends 5 s after the last one.
    check("increase(hits_total{key=\"a\"}[30s])", 25, &[("{key=\"a\"}", 1.0 * (10.0 + 5.0 + 5.0) / 10.0)]);
    // From 8 to 64 in 30 s, zero was 30 * 8 / 56 = 4.29 s before; the window begins 8 s before.
    check(
        "increase(hits_total{key=\"a\"}[38s])",
        70,
        &[("{key=\"a\"}", 56.0 * (30.0 + 30.0 * 8.0 / 56.0) / 30.0)],
    );
    // 100 s after its end a counter has ended 5 s after its last sample.
    check(
        "increase(hits_total{key=\"b\"}[120s])",
        170,
        &[("{key=\"b\"}", 10.0 * (10.0 + 10.0 + 5.0) / 10.0)],
    );
    let reset = streams(&[("hits_total", "r", &[5.0, 9.0, 2.0, 3.0])]);
    let found = at("increase(hits_total[40s])", &reset, 45);
    assert!((found[0].1 - 7.0 * 40.0 / 30.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn functions_of_a_window() {
    for (text, value) in [
        ("avg_over_time", 9.0),
        ("min_over_time", 1.0),
        ("max_over_time", 32.0),
        ("count_over_time", 7.0),
        ("present_over_time", 1.0),
        ("stdvar_over_time", (64.0 + 64.0 + 49.0 + 25.0 + 1.0 + 49.0 + 529.0) / 7.0),
    ] {
        let expected = if text == "avg_over_time" { 64.0 / 7.0 } else { value };
        let expected =
            if text == "stdvar_over_time" { 1366.0 / 7.0 - (64.0_f64 / 7.0).powi(2) } else { expected };
        check(&format!("{text}(hits{{key=\"a\"}}[2m])"), 75, &[("{key=\"a\"}", expected)]);
    }
    check("last_over_time(hits{key=\"a\"}[2m])", 75, &[("{__name__=\"hits\", key=\"a\"}", 32.0)]);
    check("quantile_over_time(0.5, hits{key=\"a\"}[2m])", 75, &[("{key=\"a\"}", 4.0)]);
    check("quantile_over_time(0.75, hits{key=\"a\"}[2m])", 75, &[("{key=\"a\"}", 12.0)]);
    check("quantile_over_time(2, hits{key=\"a\"}[2m])", 75, &[("{key=\"a\"}", f64::INFINITY)]);
    check("absent_over_time(hits{key=\"c\"}[2m])", 75, &[("{key=\"c\"}", 1.0)]);
    check("absent_over_time(hits{key=\"a\"}[2m])", 75, &[]);
}

#[test]
fn aggregations_group_rows() {
    check("sum(hits)", 70, &[("{}", 42.0)]);
    check("avg by (key) (hits)", 70, &[("{key=\"a\"}", 32.0), ("{key=\"b\"}", 10.0)]);
    check("max without (key) (hits)", 70, &[("{}", 32.0)]);
    check("min(hits)", 70, &[("{}", 10.0)]);
    check("count by (nothing) ({__name__=~\"hits.*\"})", 70, &[("{}", 4.0)]);
    let (a, b) = ("{__name__=\"hits\", key=\"a\"}", "{__name__=\"hits\", key=\"b\"}");
    check("topk(1, hits)", 70, &[(a, 32.0)]);
    check("topk(5, hits)", 20, &[(b, 10.0), (a, 1.0)]);
    check("bottomk(1, hits)", 20, &[(a, 1.0)]);
    check("topk(0, hits)", 70, &[]);
    check("topk by (key) (1, hits)", 70, &[(a, 32.0), (b, 10.0)]);
}

#[test]
fn operators_match_rows_by_their_labels() {
    let (a, b) = ("{key=\"a\"}", "{key=\"b\"}");
    check("1 + 2 * 3 ^ 2", 70, &[("", 19.0)]);
    check("5 % 3 > bool 1", 70, &[("", 1.0)]);
    check("-hits", 70, &[(a, -32.0), (b, -10.0)]);
    check("hits / hits_total", 70, &[(a, 0.5), (b, 1.0 / 7.0)]);
    check("hits / 0 - hits / 0", 70, &[(a, f64::NAN), (b, f64::NAN)]);
    check("hits > 10", 70, &[("{__name__=\"hits\", key=\"a\"}", 32.0)]);
    check("10 < hits", 70, &[("{__name__=\"hits\", key=\"a\"}", 32.0)]);
    check("hits > bool 10", 70, &[(a, 1.0), (b, 0.0)]);
    check("hits_total > hits", 10, &[]);
    check("hits{key=\"a\"} / ignoring(key) hits_total{key=\"b\"}", 70, &[("{}", 32.0 / 70.0)]);
    check("hits / on() group_left() sum(hits)", 70, &[(a, 32.0 / 42.0), (b, 10.0 / 42.0)]);
    check("sum(hits) - on() group_right() hits", 70, &[(a, 10.0), (b, 32.0)]);
    check("sum by (key) (hits) == on(key) hits", 70, &[(a, 32.0), (b, 10.0)]);
    check("hits{key=\"a\"} * on() group_left(key) hits{key=\"b\"}", 70, &[(b, 320.0)]);
}

#[test]
fn a_range_query_has_a_column_for_each_row() {
    let instants = Instants { start: 5_000, step: 20_000, count: 3 };
    let Ok(Answer::Vector(rows)) = ask("hits{key=\"a\"} > 1", &two_counters(), instants) else {
        panic!("rows")
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].values, [None, None, Some(4.0)]);
    let Ok(Answer::Samples(samples)) = ask("hits{key=\"b\"}[20s]", &two_counters(), Instants::once(70_000))
    else {
        panic!("samples");
    };
    assert_eq!(samples[0].1, [(60_000, 10.0), (70_000, 10.0)]);
}
