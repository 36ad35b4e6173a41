//! Charts of counts over time: SVG for browsers and files, characters for terminals.
//!
//! All input is safe to show: texts are escaped and cut, and a picture has a bounded size for any number of points and rows.
//!
//! A picture carries its numbers. Each `<rect>` of the group `columns` has the time at which its column begins (`data-at`)
//! and the value of each row (`data-values`, `-` for none), in the order of the groups `row`, which have the names. The lines
//! of the axis have their values (`data-value`), so that a height in the picture can be read back as well. The cells of a heat
//! map have `data-weekday` (1 is Monday), `data-hour`, `data-sum` and `data-seconds`, the counted time.

mod bars;
mod columns;
mod draw;
mod frame;
mod graph;
mod heat;
mod marks;
mod options;
mod paint;
mod replay;
mod spark;
mod terminal;
mod ticks;

pub use draw::draw;
pub use graph::{Graph, Merge, Number, Role, Row};
pub use options::{Kind, Options, Theme};
pub use replay::Timeline;
pub use spark::spark;
pub use terminal::{Line, Look, Piece, terminal};

#[cfg(test)]
mod tests;
