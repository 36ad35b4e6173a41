//! The chart of one series.

use std::time::Duration;

use forebay::Timestamp;

use super::{Options, bars::Bars, draw};

/// Counts at regular times, zero where nothing was counted.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// The time at which the first point begins.
    pub start: Timestamp,
    /// The length of a point.
    pub step: Duration,
    /// The count of each point.
    pub values: &'a [u64],
}

/// Draws a series as an SVG picture, with a bar for each point, or for several if there are too many.
///
/// `title` may be any text, such as a key from a client.
///
/// ```
/// use forebay::{Timestamp, time::secs};
/// use forebay_server::chart::{Options, Points, series};
/// let points = Points { start: Timestamp::from_secs(1_767_225_600), step: secs(10), values: &[3, 0, 5] };
/// let svg = series("hits of <42>", points, &Options::default());
/// assert!(svg.starts_with("<svg") && svg.contains("hits of &lt;42&gt;"));
/// ```
///
/// # Cost
/// Linear in the points; the picture has at most one bar for every three pixels.
pub fn series(title: &str, points: Points<'_>, options: &Options) -> String {
    let Points { start, step, values } = points;
    let at = |place: usize| start.plus(step.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX)));
    let span = start..at(values.len());
    let counted = values.iter().enumerate().map(|(place, &n)| (at(place), [n]));
    let bars = Bars::new(counted, &span, step, draw::most_bars(options), draw::offset(start, &options.zone));
    draw::svg(title, ["hits"], &bars, &span, options)
}

#[cfg(test)]
mod tests {
    use forebay::time::{days, secs};
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::chart::Theme;

    fn chart(title: &str, step: Duration, values: &[u64]) -> String {
        let points = Points { start: Timestamp::from_secs(1_767_225_600), step, values };
        series(title, points, &Options::default())
    }

    /// The rectangles of a colour: place, size.
    fn blocks(svg: &str, colour: &str) -> Vec<[i32; 4]> {
        let number = |line: &str, name: &str| {
            let from = line.split_once(&format!(" {name}=\"")).expect("an attribute").1;
            from.split_once('"').expect("its end").0.parse().expect("a number")
        };
        let lines = svg.lines().filter(|line| line.starts_with("<rect") && line.contains(colour));
        lines.map(|line| ["x", "y", "width", "height"].map(|name| number(line, name))).collect()
    }

    const BLUE: &str = "#3B82C4";

    #[test]
    fn bars_stand_on_zero_and_are_as_high_as_their_counts() {
        let svg = chart("hits", secs(10), &[0, 5, 10, 1]);
        let bars = &blocks(&svg, BLUE)[1..];
        assert_eq!(bars.len(), 3, "the legend has one block, and zero has none");
        let bottom = bars[0][1] + bars[0][3];
        assert!(bars.iter().all(|bar| bar[1] + bar[3] == bottom));
        assert_eq!(bars[1][3], bars[0][3] * 2);
        assert!(bars.windows(2).all(|pair| pair[0][0] + pair[0][2] <= pair[1][0]), "none covers another");
    }

    #[test]
    fn one_hit_among_millions_is_seen() {
        let bars = blocks(&chart("hits", secs(10), &[1, 1_000_000]), BLUE);
        assert_eq!(bars[1][3], 1);
    }

    #[test]
    fn many_points_make_a_small_picture_with_the_same_sum() {
        let svg = chart("hits", secs(10), &vec![1; 100_000]);
        assert!(svg.contains("100,000 hits") && svg.contains("hits per 1h"), "{svg}");
        assert!(svg.len() < 60_000, "{} bytes", svg.len());
    }

    #[test]
    fn an_empty_chart_says_that_nothing_was_counted() {
        for values in [&[][..], &[0], &[0; 9]] {
            assert!(chart("hits", secs(10), values).contains("nothing was counted"));
        }
        assert!(!chart("hits", secs(10), &[1]).contains("nothing was counted"));
    }

    #[test]
    fn a_title_cannot_break_out_of_its_text() {
        let svg = chart("</text><script>alert(\"1\")</script>&\0\u{1b}", secs(10), &[1]);
        assert!(
            svg.contains(
                "&lt;/text&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}"
            ),
            "{svg}"
        );
        assert!(!svg.contains("<script"));
        assert!(chart(&"漢".repeat(512), secs(10), &[1]).contains("漢…"));
    }

    #[test]
    fn dark_differs_in_colour_only() {
        let points = Points { start: Timestamp::UNIX_EPOCH, step: days(1), values: &[1, 2] };
        let light = series("hits", points, &Options::default());
        let dark = series("hits", points, &Options { theme: Theme::Dark, ..Options::default() });
        let shape =
            |svg: &str| svg.split('#').map(|part| part.chars().skip(6).collect()).collect::<Vec<String>>();
        assert_eq!(shape(&light), shape(&dark));
        assert_ne!(light, dark);
    }

    proptest! {
        #[test]
        fn any_input_makes_a_picture(
            title in ".*",
            start: i64,
            step: Duration,
            values in prop::collection::vec(any::<u64>(), 0..50),
            (width, height) in any::<(u32, u32)>(),
        ) {
            let options = Options { width, height, zone: TimeZone::UTC, theme: Theme::Dark };
            let svg = series(&title, Points { start: Timestamp::from_micros(start), step, values: &values }, &options);
            prop_assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
            prop_assert!(svg.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        }
    }
}
