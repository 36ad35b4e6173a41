//! Charts in characters.

use console::measure_text_width;
use jiff::tz::TimeZone;

use super::picture::{START, counts, graph};
use crate::chart::{Graph, Kind, Look, Options, Row, terminal};

fn lines(graph: Graph, kind: Kind, width: usize) -> Vec<String> {
    let lines = terminal(graph, &Options { kind, zone: TimeZone::UTC, ..Options::default() }, width);
    lines.into_iter().map(|line| line.into_iter().map(|piece| piece.text).collect()).collect()
}

#[test]
fn bars_have_labels_and_stand_over_their_times() {
    let graph = graph(counts(&[0, 5, 10, 1]));
    let shown = lines(graph, Kind::Bars, 60);
    assert_eq!(
        shown.join("\n"),
        "\
hits of a
hits per 10s, 1 Jan 2026 00:00:00 – 00:00:40 UTC
a  sum 16
10 ┤            █████       
   ┤            █████       
   ┤            █████       
   ┤            █████       
   ┤            █████       
   ┤      █████ █████       
   ┤      █████ █████       
   ┤      █████ █████       
   ┤      █████ █████       
 0 ┤      █████ █████ █████ 
    1 Jan"
    );
}

#[test]
fn several_rows_have_the_same_scale_and_fit_in_any_width() {
    let rows = || vec![Row::counts("a", [1, 100, 3]), Row::counts("b漢字".repeat(40), [50, 0, 0])];
    for width in [20, 33, 80, 200] {
        let shown = lines(graph(rows()), Kind::Bars, width);
        assert_eq!(shown.iter().filter(|line| line.starts_with("100 ┤")).count(), 2);
        assert!(shown.iter().all(|line| measure_text_width(line.trim_end()) <= width), "{width}: {shown:#?}");
    }
}

#[test]
fn many_points_share_columns_and_one_hit_is_seen() {
    let mut values = vec![0; 10_000];
    values[5_000] = 1;
    values[9_999] = 100_000;
    let shown = lines(graph(counts(&values)), Kind::Bars, 80);
    let lowest = shown.iter().find(|line| line.trim_start().starts_with("0 ┤")).expect("a line");
    assert!(lowest.contains('▁') && lowest.contains('█'), "{lowest}");
    assert!(shown.iter().all(|line| measure_text_width(line.trim_end()) <= 80), "{shown:#?}");
}

#[test]
fn the_bar_that_is_still_filled_looks_different() {
    let mut graph = graph(counts(&[5, 5]));
    graph.counted.end = START.plus(forebay::time::secs(13));
    let lines = terminal(graph, &Options::default(), 80);
    assert!(lines.iter().flatten().any(|piece| piece.look == Look::Partial(0)));
}

#[test]
fn nothing_is_shown_as_nothing() {
    assert!(lines(graph(counts(&[])), Kind::Bars, 80).contains(&"nothing was counted".to_owned()));
    let zeros = lines(graph(counts(&[0, 0])), Kind::Bars, 80);
    assert!(!zeros.concat().contains('█') && zeros.iter().any(|line| line.starts_with("1 ┤")), "{zeros:#?}");
}

#[test]
fn a_heat_map_has_a_line_for_each_day() {
    let mut map = graph(counts(&[4; 24]));
    map.step = Some(forebay::time::hours(1));
    map.starts = (0..24).map(|hour| START.plus(forebay::time::hours(1) * hour)).collect();
    map.end = START.plus(forebay::time::days(1));
    map.rows[0].values[3] = Some(0_u64.into());
    let shown = lines(map, Kind::Heatmap, 80);
    // 1 January 2026 is a Thursday.
    assert_eq!(shown[5], format!("Thu {}··{}", "█".repeat(6), "█".repeat(40)));
    assert_eq!(shown[2].trim_end(), "Mon");
    let hostile = Graph { title: "\u{1b}[31m\u{202e}".to_owned(), ..graph(counts(&[1])) };
    assert_eq!(lines(hostile, Kind::Heatmap, 30)[0], r"\u{1b}[31m\u{202e}");
}
