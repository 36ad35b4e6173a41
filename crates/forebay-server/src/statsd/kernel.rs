//! The datagrams that the system dropped before they were read.
//!
//! `/proc/net/udp` has a line for each socket, found by its inode, with the number of drops in the last column.

use std::{fs::read_link, os::fd::AsRawFd};

use tokio::net::UdpSocket;

/// The inode of a socket; `None` where the system has no `/proc`.
pub(super) fn inode(socket: &UdpSocket) -> Option<u64> {
    let link = read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The drops of a socket since it was opened, modulo 2^32.
pub(super) async fn drops(inode: u64) -> Option<u32> {
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        let found = tokio::fs::read_to_string(table).await.ok().and_then(|text| find(&text, inode));
        if found.is_some() {
            return found;
        }
    }
    None
}

fn find(table: &str, inode: u64) -> Option<u32> {
    let inode = inode.to_string();
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        // Times and sizes that belong together have a colon between them, and are one column.
        (columns.nth(9)? == inode).then(|| columns.last()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drops_are_those_of_the_socket() {
        let head = "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops";
        let line = |uid: u32, inode: u32, drops: u32| {
            let addresses = "  123: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000";
            format!("{addresses}  {uid}        0 {inode} 2 0000000000000000 {drops}")
        };
        let table = &format!("   {head}\n{}\n{}\n", line(0, 4_711, 17), line(4_711, 4_712, u32::MAX));
        assert_eq!(
            (find(table, 4_711), find(table, 4_712), find(table, 17)),
            (Some(17), Some(u32::MAX), None)
        );
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).await.expect("a port");
            let (inode, full) = (inode(&socket).expect("an inode"), 2_000);
            assert_eq!(drops(inode).await, Some(0), "{address}");
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4_096).expect("an option");
            let sender = UdpSocket::bind(address).await.expect("a port");
            for _ in 0..full {
                sender.send_to(b"a:1|c", socket.local_addr().expect("an address")).await.expect("loopback");
            }
            let (mut read, mut buffer) = (0, [0; 16]);
            while socket.try_recv(&mut buffer).is_ok() {
                read += 1;
            }
            assert_eq!(drops(inode).await, Some(full - read), "{address}: {read} were read");
            assert!(read < full / 2);
        }
    }
}
