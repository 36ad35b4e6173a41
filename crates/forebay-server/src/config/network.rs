//! Addresses to listen on, and networks of addresses: `10.0.0.0/8`, or one address.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use crate::text::quoted;

/// Reads an address to listen on; `port` is for the message.
pub(super) fn read_address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    address.as_deref().unwrap_or(text).parse().map_err(|_| {
        let found = quoted(text);
        format!(
            "{found} is no address to listen on, such as 127.0.0.1:{port}, [::1]:{port} or localhost:{port}"
        )
    })
}

/// The addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address of it.
    first: IpAddr,
    /// The bits that all of its addresses share.
    bits: u8,
}

impl Network {
    /// The addresses of this machine alone.
    pub const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

    /// Returns whether an address is in it. An IPv4 address that is written as one of IPv6 is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                shares(u128::from(first.to_bits()) << 96, u128::from(address.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => shares(first.to_bits(), address.to_bits(), self.bits),
            _ => false,
        }
    }
}

/// Whether the first `bits` bits are the same.
fn shares(left: u128, right: u128, bits: u8) -> bool {
    (left ^ right).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is no network, such as 10.0.0.0/8, 192.0.2.7 or fd00::/8", quoted(text));
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|c| c.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => {
                Some(bits).filter(is_number).and_then(|bits| bits.parse().ok()).ok_or_else(wrong)?
            }
        };
        if bits > most {
            return Err(wrong());
        }
        let host = match first {
            IpAddr::V4(first) => first.to_bits().checked_shl(bits.into()).unwrap_or(0) != 0,
            IpAddr::V6(first) => first.to_bits().checked_shl(bits.into()).unwrap_or(0) != 0,
        };
        if host {
            return Err(format!("{}: the address has bits beyond the first {bits}", quoted(text)));
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:128.0.0.1"),
            ("::1", "::1", "127.0.0.1"),
            ("fd00::/8", "fdff::7", "fe00::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let read: Network = network.parse().expect(network);
            let contains = |address: &str| read.contains(address.parse().expect("an address"));
            assert!(contains(inside) && !contains(outside), "{network}");
        }
        for text in
            ["", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "::/129", "localhost"]
        {
            assert!(text.parse::<Network>().expect_err(text).contains("is no network"), "{text}");
        }
        for text in ["10.0.0.1/8", "fd00::1/8"] {
            assert!(text.parse::<Network>().expect_err(text).contains("bits beyond the first 8"), "{text}");
        }
    }
}
