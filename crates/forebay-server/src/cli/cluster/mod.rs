//! `forebay cluster`: the hosts of the store.

mod command;
mod convert;
mod hosts;
mod inspect;

pub(super) use command::{Args, run};
