//! `forebay lock`.

mod args;
mod boot;
mod child;
mod command;
pub(super) mod gate;
pub(super) mod guard;
mod held;
mod operate;
mod place;
mod run;
mod server;
mod signals;
mod tree;
mod watchdog;

pub(super) use args::Args;
pub(super) use command::run;
