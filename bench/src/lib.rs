//! Shared by Forebay's own and its comparing benchmarks: cells, load and the table.

mod load;
mod report;

pub use self::{
    load::{Cell, Load, Run, one, together},
    report::{Report, show},
};
