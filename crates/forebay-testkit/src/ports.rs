//! Free loopback ports that stay free while their server is down.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
};

use parking_lot::Mutex;

use crate::unique::random;

/// The first port. All are below those that Linux gives to outgoing connections (32768 and up). One of those could otherwise
/// take the port between a server's end and its restart.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;

/// Ports given out by this process, so that two tests that start at the same moment do not get the same.
static ALLOCATED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a free port on 127.0.0.1 that this process has not given out before.
///
/// Another process may take it before the server does. The server then fails to start and gets another port.
pub(crate) fn free_port() -> u16 {
    loop {
        let offset = u16::try_from(random() % u64::from(PORTS)).expect("a remainder below PORTS fits");
        let port = FIRST_PORT + offset;
        let fresh = ALLOCATED.lock().insert(port);
        if fresh && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
