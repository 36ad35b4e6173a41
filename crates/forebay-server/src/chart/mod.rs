//! Pictures of counts over time: SVG for browsers and files, one line of blocks for terminals.
//!
//! Everything that a caller can choose is safe to show: titles are escaped and cut, and a picture has a
//! bounded size however many points it is made of.

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

/// How a chart looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Light or dark.
    pub theme: Theme,
    /// The zone of the labels, and of the days that coarse bars begin with.
    pub zone: TimeZone,
    /// Width in pixels, 320 to 4096; what is outside is moved inside.
    pub width: u32,
    /// Height in pixels, 200 to 4096; what is outside is moved inside.
    pub height: u32,
}

impl Default for Options {
    /// Light, UTC, 960 × 360.
    fn default() -> Self {
        Self { theme: Theme::Light, zone: TimeZone::UTC, width: 960, height: 360 }
    }
}

/// The colours of a chart. Bars keep apart for the colour-blind: blue and orange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Dark on white.
    #[default]
    Light,
    /// Light on nearly black.
    Dark,
}
