//! Queries that have no answer, and why.

use super::*;

#[test]
fn unsupported_parts_are_named_with_those_that_are_supported() {
    for (text, told) in [
        ("histogram_quantile(0.9, hits)", "the function histogram_quantile"),
        ("irate(hits_total[1m])", "the function irate"),
        ("quantile(0.9, hits)", "the aggregation quantile"),
        ("hits and hits", "the operator and"),
        ("rate(hits_total[1m])[1h:5m]", "subqueries"),
        ("max_over_time(rate(hits_total[1m])[1h:])", "subqueries"),
        ("hits @ 1000", "the modifier @"),
        ("\"text\"", "strings"),
        ("{key=\"a\" or key=\"b\"}", "or between the conditions"),
    ] {
        let Err(Fault::BadData(found)) = parse(text) else { panic!("{text} is accepted") };
        assert!(found.starts_with(told) && found.contains("supported are selectors"), "{text}: {found}");
    }
}

#[test]
fn mistakes_are_refused() {
    let long = format!("{}1", "1+".repeat(3_000));
    for text in [
        "",
        "  ",
        "hits{",
        "rate(hits)",
        "sum(1)",
        "topk(hits)",
        "hits[5m] + 1",
        "1 > 2",
        "{}",
        "{key=~\".*\"}",
        "-hits[5m]",
        &long,
    ] {
        assert!(matches!(parse(text), Err(Fault::BadData(_))), "{text}: {:?}", parse(text));
    }
    for text in ["hits[5m]", "hits offset 5m", "1", "rate(hits[5m])"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
    assert_eq!(parse_selector("{__name__=~\".+\", key!=\"a\"}").map(|matchers| matchers.len()), Ok(2));
}

#[test]
fn spans_that_are_no_duration_are_refused_without_a_panic() {
    for span in [
        "1e300",
        "-1",
        "inf",
        "NaN",
        "0x10",
        "1e9999",
        "99999999999",
        "5000000000s1m",
        "-5m",
        "5m-",
        "9999999999y",
        "5m:-1",
    ] {
        for text in [
            format!("hits[{span}]"),
            format!("rate(hits[{span}:1m])"),
            format!("rate(hits[{span}] offset 1m)"),
        ] {
            assert!(matches!(parse(&text), Err(Fault::BadData(_))), "{text}: {:?}", parse(&text));
        }
        if !span.starts_with('-') && !span.starts_with("5m") {
            let text = format!("hits offset {span}");
            assert!(matches!(parse(&text), Err(Fault::BadData(_))), "{text}: {:?}", parse(&text));
        }
        assert_eq!(super::super::parse_span(span).filter(|_| !span.starts_with("5m")), None, "{span}");
    }
    for text in [
        "hits[300]",
        "hits [ 5m ]",
        "hits offset\t-1.5",
        "offsets offset 1h30m",
        "hits{key=\"[1e300] offset -\"}",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    for text in [
        format!("1+{}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        format!("{}hits", "-".repeat(4_000)),
        format!("1{}", "+1".repeat(2_000)),
        format!("1{}", "^1".repeat(2_000)),
        format!("{}hits{}", "sum(".repeat(800), ")".repeat(800)),
    ] {
        assert!(matches!(parse(&text), Err(Fault::BadData(_))), "{}", &text[..20]);
    }
    let keys: Vec<String> = (0..5_000).map(|number| format!("key-{number}")).collect();
    assert!(
        parse(&format!("hits{{key=~\"{}\"}}", keys.join("|"))).is_ok(),
        "long texts in quotation marks are accepted"
    );
}

#[test]
fn rows_that_cannot_be_told_apart_are_refused() {
    let all = streams(&[
        ("a_total", "k", &[1.0, 2.0]),
        ("b_total", "k", &[1.0, 2.0]),
        ("b_total", "l", &[1.0, 2.0]),
    ]);
    for (text, told) in [
        ("rate({__name__=~\"._total\"}[1m])", "same labelset"),
        ("-{__name__=~\"._total\"}", "same labelset"),
        ("a_total + on() b_total", "right side"),
        ("b_total + on() a_total", "group_left or group_right"),
        ("b_total + on() group_right() b_total", "left side"),
        ("b_total * on() group_left(key) a_total", "must be unique"),
    ] {
        let found = ask(text, &all, Instants::once(25_000));
        assert!(matches!(&found, Err(Fault::Execution(why)) if why.contains(told)), "{text}: {found:?}");
    }
}

#[test]
fn too_much_is_refused_before_it_is_computed() {
    let all = streams(&[("hits", "k", &[1.0; 1_000])]);
    let many: Vec<Stream> = (0..1_000).flat_map(|_| all.clone()).collect();
    let instants = Instants { start: 0, step: 1_000, count: 11_000 };
    let found = ask("sum_over_time(hits[1h])", &many, instants);
    assert!(matches!(&found, Err(Fault::Execution(why)) if why.contains("values")), "{found:?}");
    let many = &many[..200];
    let found = ask("sum_over_time(hits[3h])", many, instants);
    assert!(matches!(&found, Err(Fault::Execution(why)) if why.contains("samples")), "{found:?}");
}
