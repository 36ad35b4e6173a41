//! `forebay limit`.

mod args;
mod command;
mod operate;

pub(super) use args::Args;
pub(super) use command::run;
