//! Heat maps.

use forebay::{
    Timestamp,
    time::{hours, mins},
};
use jiff::tz::TimeZone;

use super::picture::{counts, graph, number, read};
use crate::chart::{
    Graph, Kind, Options, draw,
    heat::{Cell, level, week},
};

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a zone")
}

/// One count in each quarter of an hour of a span.
fn quarters(from: &str, to: &str) -> Graph {
    let (from, to): (Timestamp, Timestamp) = (from.parse().expect("a time"), to.parse().expect("a time"));
    let points = u32::try_from(to.since(from).as_secs() / 900).expect("few");
    Graph {
        starts: (0..points).map(|point| from.plus(mins(15) * point)).collect(),
        end: to,
        step: Some(mins(15)),
        counted: from..to,
        ..graph(counts(&vec![1; points as usize]))
    }
}

fn cell(graph: &Graph, name: &str, day: usize, hour: usize) -> Cell {
    week(graph, &zone(name))[day][hour]
}

#[test]
fn hours_are_those_of_the_zone_also_where_they_are_half_an_hour_off() {
    // Monday, 5 January 2026, 00:00 to 01:00 in India.
    let graph = quarters("2026-01-04T18:30:00Z", "2026-01-04T19:30:00Z");
    let all = week(&graph, &zone("Asia/Kolkata"));
    assert_eq!(all[0][0].average(), Some(4.0));
    assert_eq!(all.iter().flatten().filter(|cell| cell.sum.is_some()).count(), 1);
    assert_eq!(cell(&graph, "UTC", 6, 18).counted, mins(30));
}

/// A day of 25 hours has the third hour twice, one of 23 has none. Neither is busier or quieter than the others for that.
#[test]
fn days_on_which_clocks_change_weigh_by_their_hours() {
    let autumn = quarters("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    let twice = cell(&autumn, "Europe/Berlin", 6, 2);
    assert_eq!((twice.counted, twice.average()), (hours(2), Some(4.0)));
    let spring = quarters("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    let all = week(&spring, &zone("Europe/Berlin"));
    assert_eq!((all[6][2].sum, all[6][2].average()), (None, None));
    assert_eq!(all.iter().flatten().filter_map(Cell::average).collect::<Vec<_>>(), [4.0; 23]);
    let year = quarters("2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z");
    let all = week(&year, &zone("Europe/Berlin"));
    let counted: u64 = all.iter().flatten().map(|cell| cell.counted.as_secs()).sum();
    assert_eq!(counted, 365 * 86_400);
    assert!(all.iter().flatten().all(|cell| cell.average() == Some(4.0)));
}

#[test]
fn the_picture_has_a_cell_for_each_hour_with_its_sum() {
    // Nine days: Mondays and Tuesdays are there twice.
    let mut graph = quarters("2026-01-05T00:00:00Z", "2026-01-14T00:00:00Z");
    graph.rows[0].values[4] = Some(1_000_u64.into());
    graph.counted.end = "2026-01-13T12:30:00Z".parse().expect("a time");
    let svg = draw(graph.clone(), &Options { kind: Kind::Heatmap, ..Options::default() });
    read(&svg, |picture| {
        let cells: Vec<_> = picture.all("cells")[0].children().filter(roxmltree::Node::is_element).collect();
        assert_eq!(cells.len(), 168);
        let of = |day: f64, hour: f64| {
            let is_it = |cell: &&roxmltree::Node<'_, '_>| {
                (number(**cell, "data-weekday"), number(**cell, "data-hour")) == (day, hour)
            };
            *cells.iter().find(is_it).expect("a cell")
        };
        let told = |day, hour| {
            ["data-sum", "data-seconds"]
                .map(|name| of(day, hour).attribute(name).expect("a number").to_owned())
        };
        assert_eq!(told(1.0, 1.0), ["1007", "7200"]);
        assert_eq!(told(7.0, 1.0), ["4", "3600"]);
        assert_eq!(told(2.0, 12.0)[1], "5400");
        let class = |day, hour| of(day, hour).attribute("class").map(str::to_owned);
        assert_eq!((class(1.0, 1.0).as_deref(), class(7.0, 1.0).as_deref()), (Some("h6"), Some("h1")));
        let (monday, tuesday) = (of(1.0, 0.0), of(2.0, 0.0));
        assert!(number(monday, "y") < number(tuesday, "y"));
        assert!(number(of(1.0, 0.0), "x") < number(of(1.0, 1.0), "x"));
    });
    graph.rows[0].values.truncate(4);
    graph.starts.truncate(4);
    graph.end = graph.counted.start.plus(hours(1));
    let svg = draw(graph, &Options { kind: Kind::Heatmap, ..Options::default() });
    assert_eq!(svg.matches("not counted").count(), 167, "an hour without a point is not one of zero");
}

#[test]
fn only_nothing_has_the_lowest_colour() {
    assert_eq!([0.0, 0.001, 0.5, 1.0].map(|average| level(average, 1.0)), [0, 1, 3, 6]);
    assert_eq!(level(0.0, 0.0), 0);
}
