//! Budgets that a process spends without asking the store, for limits with `Mode::Leased`.

mod budget;
mod limiter;

pub(crate) use limiter::{LocalLimiter, LocalLimiters};
