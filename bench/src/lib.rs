//! Shared by Forebay's own and its comparing benchmarks: options, cells, load and the table.

mod load;
mod measure;
mod report;

pub use self::{
    load::{Cell, Load, median_us, per_second, takes, together},
    measure::Options,
};
