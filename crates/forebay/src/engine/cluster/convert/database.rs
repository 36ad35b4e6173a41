//! A database of a server, and the keys in it.

use super::super::Placement;
use crate::{
    engine::redis::{Home, Redis},
    error::{Error, ErrorKind, Result},
};

pub(super) type Key = Box<[u8]>;

/// The identity of a database: the run of its server, and its number.
pub(super) type Database = (Box<str>, u32);

/// The number of the host on which a placement looks for a key of independent hosts; `None`: each host has its own.
pub(super) fn home(placement: &Placement, engine: &Redis, key: &[u8]) -> Option<usize> {
    let router = placement.router();
    match engine.home(key) {
        Home::EveryHost => None,
        Home::Tag(tag) | Home::Buffer(tag) => Some(router.host_for_tag(tag)),
        Home::Key(key) => Some(router.host_for_key(key)),
    }
}

/// # Errors
/// If two of the hosts are one.
pub(super) fn distinct<'a>(hosts: impl Iterator<Item = (&'a str, &'a Database)>) -> Result<()> {
    let mut known: Vec<(&str, &Database)> = vec![];
    for (name, database) in hosts {
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == database) {
            return Err(refused(format!("{other:?} and {name:?} are one database: name each host once")));
        }
        known.push((name, database));
    }
    Ok(())
}

pub(super) fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, text.into())
}
