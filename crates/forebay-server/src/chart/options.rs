//! The options of a chart.

use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::ToSchema;

/// The options of a chart.
#[derive(Clone, Debug)]
pub struct Options {
    /// The marks that stand for the values.
    pub kind: Kind,
    /// The colours.
    pub theme: Theme,
    /// The time zone of the labels and of the hours of a heat map, and of the days at which coarse columns begin.
    pub zone: TimeZone,
    /// Width in pixels, clamped to 320 to 4096.
    pub width: u32,
    /// Height in pixels, clamped to 200 to 4096.
    pub height: u32,
}

impl Default for Options {
    /// Light bars, UTC, 960 × 360.
    fn default() -> Self {
        Self { kind: Kind::Bars, theme: Theme::Light, zone: TimeZone::UTC, width: 960, height: 360 }
    }
}

/// The marks that stand for values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A bar for each value, those of several rows side by side.
    #[default]
    Bars,
    /// The bars of several rows on top of each other.
    Stacked,
    /// A line for each row.
    Line,
    /// The average of each hour of the day on each day of the week, of all rows together.
    Heatmap,
}

impl Kind {
    /// All kinds with their names.
    pub const ALL: [(&str, Self); 4] =
        [("bars", Self::Bars), ("stacked", Self::Stacked), ("line", Self::Line), ("heatmap", Self::Heatmap)];

    /// The name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// The colours of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Dark on white.
    #[default]
    Light,
    /// Light on nearly black.
    Dark,
    /// As the reader's system prefers. Viewers that do not know preferences show the light one.
    Auto,
}

impl Theme {
    /// All themes with their names.
    pub const ALL: [(&str, Self); 3] = [("light", Self::Light), ("dark", Self::Dark), ("auto", Self::Auto)];
}
