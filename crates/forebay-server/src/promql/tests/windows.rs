//! Windows of any samples, against the same rules over a list of times and values.

use proptest::prelude::*;

use super::*;

/// The rule of Prometheus 3, written down once more over a list.
fn increase(samples: &[(i64, f64)], from: i64, to: i64) -> Option<f64> {
    let inside: Vec<(f64, f64)> = samples
        .iter()
        .filter(|(time, _)| *time > from && *time <= to)
        .map(|(time, value)| (*time as f64, *value))
        .collect();
    let (&(first, start), &(last, end)) = (inside.first()?, inside.last()?);
    if inside.len() < 2 {
        return None;
    }
    let mut increase = end - start;
    for pair in inside.windows(2) {
        if pair[1].1 < pair[0].1 {
            increase += pair[0].1;
        }
    }
    let average = (last - first) / (inside.len() - 1) as f64;
    let (mut before, mut after) = (first - from as f64, to as f64 - last);
    if before >= average * 1.1 {
        before = average / 2.0;
    }
    if increase > 0.0 {
        before = before.min((last - first) * start / increase);
    }
    if after >= average * 1.1 {
        after = average / 2.0;
    }
    Some(increase * (last - first + before + after) / (last - first))
}

fn value(text: &str, all: &[Stream], instant: i64) -> Option<f64> {
    match ask(text, all, Instants::once(instant)) {
        Ok(Answer::Vector(rows)) => rows.first().and_then(|row| row.values[0]),
        other => panic!("{text}: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_window_has_the_value_of_its_list(
        counts in prop::collection::vec(0_u16..50, 1..60),
        resets in any::<bool>(),
        range in 1_i64..400,
        instant in 0_i64..700_000,
    ) {
        let values: Vec<f64> = if resets {
            counts.iter().map(|count| f64::from(*count)).collect()
        } else {
            counts.iter().scan(0.0, |total, count| { *total += f64::from(*count); Some(*total) }).collect()
        };
        let all = streams(&[("m", "k", &values)]);
        let timed = |(place, value): (usize, &f64)| (all[0].samples.time(place), *value);
        let list: Vec<(i64, f64)> = values.iter().enumerate().map(timed).collect();
        let from = instant - range * 1_000;
        let expected = increase(&list, from, instant);
        let found = value(&format!("increase(m[{range}s])"), &all, instant);
        let near = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
            (found, expected) => found == expected,
        };
        prop_assert!(near(found, expected), "{found:?} {expected:?}");
        let rate = value(&format!("rate(m[{range}s])"), &all, instant);
        prop_assert!(near(rate.map(|rate| rate * range as f64), expected), "{rate:?} {expected:?}");

        let inside = list.iter().filter(|(time, _)| *time > from && *time <= instant).map(|(_, value)| *value);
        let sum = inside.clone().reduce(|sum, value| sum + value);
        prop_assert_eq!(value(&format!("sum_over_time(m[{range}s])"), &all, instant), sum);
        prop_assert_eq!(value(&format!("last_over_time(m[{range}s])"), &all, instant), inside.clone().next_back());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_{}()\\[\\]\"=~!<>+*/^%0-9:., -]{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_span_is_read_or_refused(span in "[-+]?[0-9.einfNa]{1,12}[ywdhms]{0,2}", form in 0_usize..4) {
        let forms = [format!("hits[{span}]"), format!("hits offset {span}"), format!("hits @ {span}"), span.clone()];
        let _ = parse(&forms[form]);
        let _ = super::super::parse_span(&span);
    }
}
