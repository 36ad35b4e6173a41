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

/// The distance from the port of a Redis Cluster's node to the port on which it talks to the other nodes.
pub(crate) const BUS: u16 = 10_000;

/// Returns a free port on 127.0.0.1 that this process has not given out before.
///
/// Another process may take it before the server does. The server then fails to start and gets another port.
pub(crate) fn free_port() -> u16 {
    free(PORTS, &[0])
}

/// Like [`free_port`], for the node of a Redis Cluster: the port of its bus is free, too.
pub(crate) fn free_port_with_bus() -> u16 {
    free(PORTS - BUS, &[0, BUS])
}

/// Returns one of the first `ports` that is free with those at each distance, and allocates them all.
fn free(ports: u16, distances: &[u16]) -> u16 {
    loop {
        let offset = u16::try_from(random() % u64::from(ports)).expect("a remainder below PORTS fits");
        let port = FIRST_PORT + offset;
        let is_free = |distance: &u16| {
            let fresh = ALLOCATED.lock().insert(port + distance);
            fresh && TcpListener::bind((Ipv4Addr::LOCALHOST, port + distance)).is_ok()
        };
        if distances.iter().all(is_free) {
            return port;
        }
    }
}
