//! What Forebay's own and its comparing benchmarks have in common: cells, load and the table.

mod load;
mod report;

pub use self::{
    load::{Cell, Load, Run, one, together},
    report::{Report, show},
};
