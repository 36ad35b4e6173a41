//! `forebay cluster`: the hosts of the store.

mod command;
mod inspect;

pub(super) use command::{Args, run};
