//! Charts of counts over time: SVG for browsers and files, one line of blocks for terminals.
//!
//! All input is safe to show: titles are escaped and cut, and a picture has a bounded size for any number of points.

mod bars;
mod draw;
mod replay;
mod series;
mod spark;
mod ticks;

pub use replay::Timeline;
pub use series::{Points, series};
pub use spark::spark;

use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::ToSchema;

/// The options of a chart.
#[derive(Clone, Debug)]
pub struct Options {
    /// Light or dark.
    pub theme: Theme,
    /// The time zone of the labels, and of the days at which coarse bars begin.
    pub zone: TimeZone,
    /// Width in pixels, clamped to 320 to 4096.
    pub width: u32,
    /// Height in pixels, clamped to 200 to 4096.
    pub height: u32,
}

impl Default for Options {
    /// Light, UTC, 960 × 360.
    fn default() -> Self {
        Self { theme: Theme::Light, zone: TimeZone::UTC, width: 960, height: 360 }
    }
}

/// The colours of a chart. The bars are blue and orange, which colour-blind readers can tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Dark on white.
    #[default]
    Light,
    /// Light on nearly black.
    Dark,
}
