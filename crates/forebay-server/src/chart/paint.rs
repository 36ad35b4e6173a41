//! Elements of SVG, colours, and the approximate size of text.

use std::fmt::Write as _;

use svg::node::{
    Node, Text as Content,
    element::{Element, Rectangle},
};

use super::{Theme, graph::MAX_ROWS};
use crate::text::turns_direction;

/// The colours of a theme.
pub(super) struct Palette {
    pub ground: &'static str,
    pub text: &'static str,
    pub faint: &'static str,
    pub grid: &'static str,
    pub axis: &'static str,
    /// Of the rows. Neighbours differ in lightness, for readers that do not see colours.
    pub rows: [&'static str; MAX_ROWS],
    /// Of the heat map, from nothing to the most.
    pub heat: [&'static str; LEVELS],
}

/// The colours of a heat map.
pub(super) const LEVELS: usize = 7;

pub(super) const LIGHT: Palette = Palette {
    ground: "#ffffff",
    text: "#1f2937",
    faint: "#5b6675",
    grid: "#e8ebef",
    axis: "#9ca3af",
    rows: [
        "#3b82c4", "#e8743b", "#2e9e6b", "#a259c4", "#b98a00", "#d6408b", "#1a9aa8", "#8c6d5a", "#6b7280",
        "#c2334d",
    ],
    heat: ["#f1f4f8", "#d3e5f5", "#a9cdec", "#74afdf", "#448ecb", "#2268a8", "#0e4378"],
};

pub(super) const DARK: Palette = Palette {
    ground: "#11161d",
    text: "#e2e8f0",
    faint: "#9fabbb",
    grid: "#262e39",
    axis: "#546070",
    rows: [
        "#58a4e8", "#ff9457", "#4fc994", "#c58be6", "#e0b93c", "#f57db5", "#4fc7d4", "#c0a08c", "#a3adbb",
        "#f0697f",
    ],
    heat: ["#1b232d", "#17324d", "#1b4a75", "#25659f", "#3c86c8", "#6fb0ea", "#b5dafb"],
};

impl Palette {
    /// The colours that are drawn. [`Theme::Auto`] has those of the other theme in a style.
    pub(super) const fn of(theme: Theme) -> &'static Self {
        match theme {
            Theme::Light | Theme::Auto => &LIGHT,
            Theme::Dark => &DARK,
        }
    }

    /// The colours as a style, by the classes of the elements.
    fn style(&self) -> String {
        let mut style = String::new();
        let mut rule = |class: &str, name: &str, colour: &str| {
            let _ = write!(style, ".{class}{{{name}:{colour}}}");
        };
        for (class, colour) in [
            ("ground", self.ground),
            ("text", self.text),
            ("faint", self.faint),
            ("grid", self.grid),
            ("axis", self.axis),
        ] {
            rule(class, "fill", colour);
        }
        for (row, colour) in self.rows.iter().enumerate() {
            rule(&format!("c{row}"), "fill", colour);
            rule(&format!("s{row}"), "stroke", colour);
        }
        for (level, colour) in self.heat.iter().enumerate() {
            rule(&format!("h{level}"), "fill", colour);
        }
        style
    }
}

/// The style of a picture that follows the reader's preference.
pub(super) fn dark_style() -> Element {
    let style = format!("@media (prefers-color-scheme:dark){{{}}}", DARK.style());
    containing("style", &style)
}

/// An element with text.
pub(super) fn containing(name: &str, text: &str) -> Element {
    let mut element = Element::new(name);
    element.append(Content::new(printable(text)));
    element
}

/// A rectangle. Lines are rectangles too, because strokes between pixels are blurred.
pub(super) fn block(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new().set("x", px(x)).set("y", px(y)).set("width", px(width)).set("height", px(height))
}

/// A text, centred on `y`.
pub(super) fn text(text: &str, face: Face<'_>, x: f64, y: f64) -> Element {
    let mut element = containing("text", text);
    element.assign("x", px(x));
    // Capitals are centred. Not all viewers know `dominant-baseline`.
    element.assign("y", px(y + face.size * 0.36));
    element.assign("class", face.class);
    element.assign("fill", face.colour);
    element.assign("font-size", px(face.size));
    if face.bold {
        element.assign("font-weight", "bold");
    }
    if face.anchor != "start" {
        element.assign("text-anchor", face.anchor);
    }
    element
}

/// The style of a text.
#[derive(Clone, Copy)]
pub(super) struct Face<'a> {
    pub size: f64,
    pub class: &'a str,
    pub colour: &'a str,
    pub anchor: &'a str,
    pub bold: bool,
}

impl<'a> Face<'a> {
    pub(super) const fn text(size: f64, palette: &'a Palette) -> Self {
        Self { size, class: "text", colour: palette.text, anchor: "start", bold: false }
    }

    pub(super) const fn faint(size: f64, palette: &'a Palette, anchor: &'a str) -> Self {
        Self { size, class: "faint", colour: palette.faint, anchor, bold: false }
    }
}

/// Pixels with at most two decimals: enough to read a value off its place.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The approximate width of a text. The viewer's font is not known.
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// The approximate width of a character, in font sizes.
fn em(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | ' ' | '.' | ',' | ':' | '|' => 0.34,
        'm' | 'w' | 'M' | 'W' | '@' => 0.9,
        'A'..='Z' => 0.7,
        // From Hangul on letters are mostly square.
        '\u{1100}'.. => 1.05,
        _ => 0.6,
    }
}

/// Cuts a text to a width.
pub(super) fn fit(text: &str, width: f64, size: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut room = width / size - 1.0;
    let kept = text.chars().take_while(|&c| {
        room -= em(c);
        room > 0.0
    });
    kept.chain(['…']).collect()
}

/// Replaces characters that XML cannot contain, and those that turn the direction of the text after them.
pub(super) fn printable(text: &str) -> String {
    let is_unfit = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') || turns_direction(c);
    text.chars().map(|c| if is_unfit(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_palettes_have_distinct_colours() {
        for palette in [&LIGHT, &DARK] {
            let mut all = [&palette.rows[..], &palette.heat[..]].concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), MAX_ROWS + LEVELS);
        }
    }

    #[test]
    fn pixels_are_short() {
        assert_eq!([0.0, -0.001, 12.5, 1.0 / 3.0, 4096.0].map(px), ["0", "0", "12.5", "0.33", "4096"]);
    }
}
