use std::time::Duration;

use forebay::{Timestamp, time::days};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use roxmltree::Node;

use super::picture::{START, counts, graph, has_class, number, read, svg};
use crate::chart::{Graph, Kind, Merge, Number, Options, Role, Row, Theme, draw};

const OVER_TIME: [Kind; 3] = [Kind::Bars, Kind::Stacked, Kind::Line];

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance + b.abs() * 1e-9
}

#[test]
fn heights_are_the_values_and_the_data_is_exact() {
    let rows = vec![Row::counts("a", [180, 0, 300, 7]), Row::counts("b", [20, 40, 0, 1])];
    for kind in OVER_TIME {
        read(&svg(rows.clone(), kind), |picture| {
            let data = picture.data();
            let pairs = [(180, 20), (0, 40), (300, 0), (7, 1)];
            let told: Vec<_> = pairs.map(|(a, b)| vec![Some(f64::from(a)), Some(f64::from(b))]).into();
            assert_eq!(data, told);
            for row in [0, 1] {
                let drawn: Vec<f64> = match kind {
                    Kind::Line => {
                        let group = picture.all("row")[row];
                        picture.line(group, 4).into_iter().map(|value| value.expect("a point")).collect()
                    }
                    _ => picture.bars(row, 4),
                };
                for (column, (drawn, told)) in drawn.into_iter().zip(&data).enumerate() {
                    let told = told[row].expect("a value");
                    // The smallest bar is one pixel.
                    let least = picture.value_at(99.0) - picture.value_at(100.0);
                    let told = if told > 0.0 && kind != Kind::Line { told.max(least) } else { told };
                    assert!(
                        near(drawn, told, picture.tolerance()),
                        "{kind:?} {row} {column}: {drawn} {told}"
                    );
                }
            }
        });
    }
}

/// A chart has ten rows, each with the period before and a moving average.
#[test]
fn the_lines_of_a_key_have_one_colour_however_many_keys_there_are() {
    let mut rows = vec![];
    for (role, factor) in [(Role::Main, 3), (Role::Previous, 2), (Role::Moving, 1)] {
        let row = |place: u64| Row { role, ..Row::counts(format!("k{place}"), [place * factor, 9]) };
        rows.extend((0..10).map(row));
    }
    read(&svg(rows, Kind::Line), |picture| {
        let strokes = |class: &str, role: &str| -> Vec<String> {
            let groups = picture.all(class).into_iter();
            let groups = groups.filter(|group| group.attribute("data-role") == Some(role));
            let lines = groups.filter_map(|group| group.first_element_child());
            lines.map(|line| line.attribute("stroke").expect("a colour").to_owned()).collect()
        };
        let main = strokes("row", "main");
        assert_eq!(main.len(), 10);
        assert_eq!(strokes("over", "previous"), main);
        assert_eq!(strokes("over", "moving"), main);
    });
}

#[test]
fn stacked_bars_stand_on_each_other_and_a_missing_value_is_no_hole() {
    let gap = Row { values: vec![Some(Number::Whole(5)), None], ..Row::counts("b", []) };
    let rows = vec![Row::counts("a", [10, 10]), gap, Row::counts("c", [1, 5])];
    read(&svg(rows, Kind::Stacked), |picture| {
        let edges = |row: usize, column: usize| {
            let group = picture.all("row")[row];
            let is_there = |node: &Node<'_, '_>| node.attribute("data-column") == Some(&column.to_string());
            let bar = group.children().filter(Node::is_element).find(is_there)?;
            Some((number(bar, "y"), number(bar, "y") + number(bar, "height")))
        };
        let bottoms = |row, column| edges(row, column).expect("a bar").1;
        let tops = |row, column| edges(row, column).expect("a bar").0;
        assert!(near(tops(0, 0), bottoms(1, 0), 0.02) && near(tops(1, 0), bottoms(2, 0), 0.02));
        assert!(edges(1, 1).is_none() && near(tops(0, 1), bottoms(2, 1), 0.02));
        assert!(near(picture.value_at(tops(2, 1)), 15.0, picture.tolerance()));
    });
}

/// Grafana and uPlot have drawn lines over gaps, and single points not at all.
#[test]
fn a_gap_interrupts_a_line_and_a_lone_point_is_a_dot() {
    let values = [Some(1), Some(2), None, Some(3), None, Some(0), Some(5)];
    let values = values.map(|value| value.map(Number::Whole)).to_vec();
    let row = Row { values, ..Row::counts("a", []) };
    read(&svg(vec![row], Kind::Line), |picture| {
        let group = picture.all("row")[0];
        assert_eq!(group.descendants().filter(|node| node.has_tag_name("path")).count(), 2);
        let dots: Vec<_> = group.descendants().filter(|node| node.has_tag_name("circle")).collect();
        assert_eq!((dots.len(), dots[0].attribute("data-column")), (1, Some("3")));
        let line = picture.line(group, 7);
        assert_eq!(
            line.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, false, true, false, true, true]
        );
    });
    read(&svg(counts(&[7]), Kind::Line), |picture| {
        assert_eq!(picture.line(picture.all("row")[0], 1)[0].map(f64::round), Some(7.0));
    });
}

/// The newest bucket is still being filled: it must not look like a fall.
#[test]
fn what_is_counted_in_part_is_drawn_as_such() {
    let mut graph = graph(counts(&[10, 12, 11, 3]));
    graph.counted = START..START.plus(Duration::from_secs(33));
    for kind in OVER_TIME {
        let svg = draw(graph.clone(), &Options { kind, ..Options::default() });
        read(&svg, |picture| {
            let parts = picture.all("partial");
            let column = if kind == Kind::Line { "2" } else { "3" };
            assert_eq!((parts.len(), parts[0].attribute("data-column")), (1, Some(column)), "{svg}");
            assert_eq!(svg.matches("data-partial").count(), 1);
            assert!(svg.contains("counted in part"));
        });
    }
}

#[test]
fn one_hit_among_millions_is_seen() {
    read(&svg(counts(&[1, 1_000_000]), Kind::Bars), |picture| {
        let bars: Vec<_> = picture.all("row")[0].children().filter(Node::is_element).collect();
        assert_eq!((bars.len(), number(bars[0], "height")), (2, 1.0));
    });
}

/// Graphite and others lose peaks or sums where points are narrower than a pixel.
#[test]
fn many_points_make_a_small_picture_with_the_same_sum() {
    let mut values = vec![1_u64; 100_000];
    values[54_321] = 1_000_000;
    for kind in OVER_TIME {
        let graph = graph(counts(&values));
        let svg = draw(graph, &Options { kind, width: 800, ..Options::default() });
        assert!(svg.contains(">1,099,999<") && svg.contains("hits per 3h"), "{kind:?}");
        assert!(svg.len() < 100_000, "{} bytes", svg.len());
        read(&svg, |picture| {
            let data = picture.data();
            let sum: f64 = data.iter().flatten().flatten().sum();
            let most = data.iter().flatten().flatten().fold(0.0_f64, |a, &b| a.max(b));
            assert!((sum - 1_099_999.0).abs() < 0.5 && most > 1_000_000.0 && data.len() <= 268);
        });
    }
}

#[test]
fn an_empty_chart_says_that_nothing_was_counted() {
    for kind in OVER_TIME {
        for values in [&[][..], &[0], &[0; 9]] {
            let svg = svg(counts(values), kind);
            assert!(svg.contains("nothing was counted") && !svg.contains("NaN"), "{svg}");
        }
        assert!(!svg(counts(&[1]), kind).contains("nothing was counted"));
    }
}

#[test]
fn a_name_cannot_break_out_of_its_text() {
    let hostile = "</text><script>alert(\"1\")</script>&\0\u{1b}\u{202e}rtl ו \n]]>--><!--";
    for kind in Kind::ALL.map(|(_, kind)| kind) {
        let mut graph = graph(vec![Row::counts(hostile, [1]), Row::counts("漢".repeat(512), [2])]);
        graph.title = hostile.to_owned();
        graph.unit = hostile.to_owned();
        let svg = draw(graph, &Options { kind, theme: Theme::Auto, ..Options::default() });
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}') && !svg.contains('\u{1b}'), "{svg}");
        read(&svg, |picture| {
            let root = picture.document.root_element();
            assert_eq!(root.attribute("role"), Some("img"));
            let names =
                root.children().filter(Node::is_element).map(|node| node.tag_name().name().to_owned());
            assert_eq!(names.take(2).collect::<Vec<_>>(), ["title", "desc"]);
            let title = root.children().find(|node| node.has_tag_name("title")).and_then(|node| node.text());
            assert!(title.is_some_and(|title| title.starts_with("</text><script>alert(\"1\")</script>&")));
            let foreign = ["script", "image", "a", "foreignObject", "use"];
            assert!(!picture.document.descendants().any(|node| foreign.contains(&node.tag_name().name())));
            let handlers = picture.document.descendants().flat_map(|node| node.attributes());
            assert!(!handlers.into_iter().any(|attribute| attribute.name().starts_with("on")));
        });
        if kind != Kind::Heatmap {
            assert!(svg.contains("漢…"));
        }
    }
}

#[test]
fn themes_differ_in_colour_only_and_auto_follows_the_reader() {
    for kind in Kind::ALL.map(|(_, kind)| kind) {
        let of = |theme| draw(graph(counts(&[1, 2])), &Options { kind, theme, ..Options::default() });
        let shape = |svg: &str| {
            svg.split('#').map(|part| part.chars().skip(6).collect::<String>()).collect::<Vec<_>>()
        };
        let (light, dark, auto) = (of(Theme::Light), of(Theme::Dark), of(Theme::Auto));
        assert_eq!(shape(&light), shape(&dark));
        assert_ne!(light, dark);
        assert!(!light.contains("<style") && auto.contains("@media (prefers-color-scheme:dark)"));
        // The style has a colour for each class that is drawn.
        read(&auto, |picture| {
            let style = picture.document.descendants().find(|node| node.has_tag_name("style"));
            let style = style.and_then(|node| node.text()).expect("a style").to_owned();
            for node in picture.document.descendants() {
                let is_coloured = node.attribute("fill").is_some_and(|fill| fill.starts_with('#'))
                    || node.has_attribute("stroke");
                let classes = node.attribute("class").unwrap_or_default();
                let has_rule = classes.split(' ').any(|class| style.contains(&format!(".{class}{{")));
                assert!(!is_coloured || has_rule, "{node:?} {classes:?}");
            }
        });
        assert_eq!(auto, of(Theme::Auto), "the same picture each time");
    }
}

#[test]
fn an_earlier_period_is_a_ghost_and_a_moving_average_a_line() {
    let rows = || {
        let previous = Row { role: Role::Previous, ..Row::counts("a, previous period", [4, 5, 6]) };
        let moving = [None, Some(2.5), Some(3.5)].map(|value| value.map(Number::Real)).to_vec();
        let name = "a, moving average".to_owned();
        let moving = Row { name, role: Role::Moving, merge: Merge::Mean, values: moving };
        [counts(&[2, 3, 4]), vec![previous, moving]].concat()
    };
    for kind in OVER_TIME {
        read(&svg(rows(), kind), |picture| {
            let over = picture.all("over");
            let role = |node: &Node<'_, '_>| node.attribute("data-role").map(str::to_owned);
            assert_eq!(over.iter().filter_map(role).collect::<Vec<_>>(), ["previous", "moving"]);
            let ghost = picture.line(over[0], 3).into_iter().map(|value| value.map(f64::round));
            assert_eq!(ghost.collect::<Vec<_>>(), [Some(4.0), Some(5.0), Some(6.0)]);
            assert_eq!(picture.line(over[1], 3)[0], None);
            assert!(over[0].descendants().any(|node| node.has_attribute("stroke-dasharray")));
            assert_eq!(picture.data()[1], [Some(3.0), Some(5.0), Some(2.5)]);
        });
    }
    // Over a stack the ghost is that of all rows together.
    let two = [rows(), rows()].concat();
    read(&svg(two, Kind::Stacked), |picture| {
        let ghost = picture.line(picture.all("over")[0], 3)[2].map(f64::round);
        assert_eq!(ghost, Some(12.0));
    });
}

#[test]
fn differences_below_zero_hang_from_it() {
    let values = [180_i64, -180, 300].map(|n| Some(n.into())).to_vec();
    let row = Row { values, ..Row::counts("a", []) };
    read(&svg(vec![row], Kind::Bars), |picture| {
        let bars = picture.all("row")[0].children().filter(Node::is_element).collect::<Vec<_>>();
        let below = (number(bars[1], "y"), number(bars[1], "height"));
        assert!(near(picture.value_at(below.0), 0.0, picture.tolerance()));
        assert!(near(picture.value_at(below.0 + below.1), -180.0, picture.tolerance()));
    });
}

/// A day of 23 hours is narrower than the others.
#[test]
fn points_of_the_calendar_are_as_wide_as_they_are_long() {
    let starts = [1_774_652_400, 1_774_738_800, 1_774_821_600].map(Timestamp::from_secs);
    let end = Timestamp::from_secs(1_774_908_000);
    let graph = Graph {
        starts: starts.to_vec(),
        end,
        step: None,
        unit: "hits per day".to_owned(),
        counted: starts[0]..end,
        ..graph(counts(&[24, 23, 24]))
    };
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let svg = draw(graph, &Options { zone, ..Options::default() });
    read(&svg, |picture| {
        let columns = picture.all("columns")[0].children().filter(Node::is_element);
        let widths: Vec<f64> = columns.map(|column| number(column, "width")).collect();
        assert!(
            near(widths[1] / widths[0], 23.0 / 24.0, 1e-3) && near(widths[0], widths[2], 0.02),
            "{widths:?}"
        );
        assert!(
            svg.contains("hits per day") && svg.contains("29 Mar 2026 00:00 – 30 Mar 2026 00:00 CEST"),
            "{svg}"
        );
    });
}

#[test]
fn many_keys_have_a_legend_of_bounded_height_and_all_of_them_are_in_the_data() {
    let rows =
        |n: usize| (0..n).map(|n| Row::counts(format!("customer {n} {}", "x".repeat(40)), [1, 2])).collect();
    for (count, drawn) in [(10, 10), (1_000, 10)] {
        let svg = svg(rows(count), Kind::Stacked);
        read(&svg, |picture| {
            assert_eq!(picture.all("row").len(), drawn);
            let sum: f64 = picture.data()[1].iter().flatten().sum();
            assert!(near(sum, 2.0 * count as f64, 0.1));
            let lowest = picture.all("values")[0].descendants().filter(|node| has_class(*node, "grid"));
            let top = lowest.map(|line| number(line, "y")).fold(f64::MAX, f64::min);
            assert!(top < 140.0, "{top}");
        });
        assert_eq!(svg.contains(">991 others<"), count == 1_000);
    }
}

proptest! {
    #[test]
    fn any_input_makes_a_picture(
        title in ".*",
        name in ".*",
        start: i64,
        step: Duration,
        values in prop::collection::vec(any::<u64>(), 0..50),
        reals in prop::collection::vec(prop::option::of(prop::num::f64::ANY), 50),
        (width, height) in any::<(u32, u32)>(),
        kind in prop::sample::select(Kind::ALL.map(|(_, kind)| kind).to_vec()),
        is_regular: bool,
    ) {
        let options = Options { kind, width, height, zone: TimeZone::UTC, theme: Theme::Dark };
        let start = Timestamp::from_micros(start);
        let at = |place: usize| start.plus(step.saturating_mul(u32::try_from(place).unwrap_or(0)));
        let reals = reals.into_iter().take(values.len()).map(|value| value.map(Number::Real)).collect();
        let graph = Graph {
            title,
            unit: "{}".to_owned(),
            starts: (0..values.len()).map(at).collect(),
            end: at(values.len()),
            step: is_regular.then_some(step),
            counted: start..start.plus(days(1)),
            rows: vec![
                Row::counts(name.clone(), values),
                Row { name, role: Role::Main, merge: Merge::Mean, values: reals },
            ],
        };
        let terminal = crate::chart::terminal(graph.clone(), &options, usize::try_from(width % 200).unwrap_or(0));
        prop_assert!(terminal.iter().flatten().all(|piece| !piece.text.contains(char::is_control)));
        let svg = draw(graph, &options);
        read(&svg, |_| {});
        prop_assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
        let places = svg.split(" data-values=").map(|part| part.split_once("><title>").map_or(part, |(_, rest)| rest));
        let places: String = places.map(|part| part.split_once("</title>").map_or(part, |(_, rest)| rest)).collect();
        prop_assert!(!places.contains("\"NaN") && !places.contains("inf\""), "{places}");
    }

    #[test]
    fn any_counts_can_be_read_back(
        rows in prop::collection::vec(prop::collection::vec(any::<u64>(), 6), 1..5),
        shift in 0..64_u32,
        kind in prop::sample::select(OVER_TIME.to_vec()),
    ) {
        let small: Vec<Vec<u64>> = rows.iter().map(|row| row.iter().map(|n| n >> shift).collect()).collect();
        let rows = small.iter().enumerate().map(|(n, row)| Row::counts(n.to_string(), row.iter().copied())).collect();
        read(&svg(rows, kind), |picture| {
            let data = picture.data();
            let least = picture.value_at(99.0) - picture.value_at(100.0);
            for (row, counts) in small.iter().enumerate() {
                let drawn: Vec<f64> = match kind {
                    Kind::Line => picture.line(picture.all("row")[row], 6).into_iter().flatten().collect(),
                    _ => picture.bars(row, 6),
                };
                for (column, &count) in counts.iter().enumerate() {
                    assert_eq!(data[column][row], Some(count as f64));
                    let is_raised = kind != Kind::Line && count > 0 && (count as f64) < least;
                    let told = if is_raised { least } else { count as f64 };
                    assert!(near(drawn[column], told, picture.tolerance()), "{kind:?} {} {told}", drawn[column]);
                }
            }
        });
    }
}
