//! Addresses of clients in logs.

use std::net::{IpAddr, Ipv4Addr};

/// The address in `text`, without port and brackets. In a list that proxies wrote, the first address.
///
/// `None` if there is no address: a host name, `-`, `unknown`, `unix:`.
///
/// # Source
/// RFC 7239, section 6, for the forms of an address with a port; nginx and Apache for the lists.
pub(super) fn address(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    text.split(',').find_map(|part| one(part.trim_matches(' ')))
}

/// Returns whether `text` is an address, or a list with an address.
pub(super) fn is_address(text: &[u8]) -> bool {
    // Nearly all other texts begin with another character.
    text.first().is_some_and(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'[')) && address(text).is_some()
}

fn one(text: &str) -> Option<&str> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let is_rest = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return (is_rest && is_ip(address)).then_some(address);
    }
    if is_ip(text) {
        return Some(text);
    }
    let (address, port) = text.rsplit_once(':')?;
    // An IPv6 address with a port and without brackets is ambiguous, unless it has its full length.
    let is_whole = address.parse::<Ipv4Addr>().is_ok() || address.matches(':').count() == 7;
    (is_whole && is_port(port) && is_ip(address)).then_some(address)
}

/// An address, perhaps with the zone of a link-local address.
fn is_ip(text: &str) -> bool {
    text.split('%').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_each_form_that_servers_write() {
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51234", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("2001:db8:0:0:0:0:0:7:443", "2001:db8:0:0:0:0:0:7"),
            ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("203.0.113.7,10.0.0.1,", "203.0.113.7"),
            ("unknown, 203.0.113.7", "203.0.113.7"),
        ] {
            assert_eq!(address(text.as_bytes()), Some(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "unknown",
            "unix:",
            "host",
            "host.example.org",
            "host:443",
            "203.0.113",
            "203.0.113.7:x",
            "203.0.113.700",
            "[::1",
            "1431857103",
            "200",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        assert_eq!(address(b"203.0.113.\xff"), None);
    }
}
