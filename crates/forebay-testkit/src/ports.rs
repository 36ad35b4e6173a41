//! Free loopback ports that stay free while their server is down.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

use crate::unique::random;

/// Below what Linux hands out to outgoing connections (32768 and up): one of those could otherwise take the port
/// between a server's end and its restart.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Ports given out by this process, so that two tests that start at the same moment do not get the same.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on 127.0.0.1 that nobody listens on, and that this process has not given out before.
///
/// Another process may take it before the server does; the server then fails to start and is given another.
pub(crate) fn free_port() -> u16 {
    loop {
        let offset = u16::try_from(random() % u64::from(COUNT)).expect("a remainder below COUNT fits");
        let port = FIRST + offset;
        let fresh = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if fresh && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
