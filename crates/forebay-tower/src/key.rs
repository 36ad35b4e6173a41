//! The key of a request.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use http::{HeaderName, request::Parts};

/// A rule that finds the key of a request. Clones are cheap.
///
/// Requests without a key share the key `-`, so that a caller cannot avoid a limit by leaving it out.
///
/// # Examples
/// ```
/// use forebay_tower::Key;
/// let by_customer = Key::header("x-api-key");
/// let by_method = Key::by(|request| Some(request.method.to_string()));
/// ```
#[derive(Clone)]
pub struct Key(Arc<Find>);

type Find = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// Addresses with a common prefix, such as `10.0.0.0/8`.
///
/// # Examples
/// ```
/// use forebay_tower::{Key, Network};
/// let proxies: Network = "10.0.0.0/8".parse()?;
/// // The address of the connection, unless it is a proxy of ours.
/// let by_client = Key::ip(|request| request.extensions.get::<std::net::IpAddr>().copied(), [proxies]);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Key {
    /// The value of a header, such as an API key.
    ///
    /// # Panics
    /// If `name` is not the name of a header in lower case. It is a constant of the program.
    pub fn header(name: &'static str) -> Self {
        let name = HeaderName::from_static(name);
        Self::by(move |parts| Some(parts.headers.get(&name)?.to_str().ok()?.to_owned()))
    }

    /// The path, as it was asked for.
    pub fn path() -> Self {
        Self::by(|parts| Some(parts.uri.path().to_owned()))
    }

    /// One key for all requests.
    pub fn all() -> Self {
        Self::by(|_| Some("*".to_owned()))
    }

    /// The address of the peer, which `peer` finds. If that is a `trusted` proxy, the last address in `X-Forwarded-For` that is
    /// not one. The addresses before it may be forged.
    pub fn ip(
        peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
        trusted: impl Into<Vec<Network>>,
    ) -> Self {
        let trusted = trusted.into();
        Self::by(move |parts| {
            let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
            let mut address = peer(parts)?.to_canonical();
            let forwarded = parts.headers.get_all("x-forwarded-for").iter().rev();
            let mut forwarded =
                forwarded.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',')).map(str::trim);
            while is_trusted(&address) {
                // A trusted proxy without a forwarded address is the client itself.
                let Some(before) = forwarded.next().and_then(|text| text.parse::<IpAddr>().ok()) else {
                    break;
                };
                address = before.to_canonical();
            }
            Some(address.to_string())
        })
    }

    /// The address of the peer from axum, which must serve with
    /// `into_make_service_with_connect_info::<SocketAddr>()`; see [`ip`](Self::ip).
    #[cfg(feature = "axum")]
    pub fn connect_info(trusted: impl Into<Vec<Network>>) -> Self {
        use axum::extract::ConnectInfo;
        let peer = |parts: &Parts| {
            let ConnectInfo(address) = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>()?;
            Some(address.ip())
        };
        Self::ip(peer, trusted)
    }

    /// The key that `find` returns: 1 to 512 bytes.
    pub fn by(find: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(crate) fn of(&self, parts: &Parts) -> String {
        (self.0)(parts).filter(|key| !key.is_empty()).unwrap_or_else(|| "-".to_owned())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, all: u8| {
            let free = u32::from(all - self.bits.min(all));
            one.checked_shr(free).unwrap_or(0) == other.checked_shr(free).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same(u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = forebay::Error;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) if it is neither.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let read = || {
            let address: IpAddr = address.parse().ok()?;
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(all), |bits| bits.parse().ok())?;
            (bits <= all).then_some(Self { address, bits })
        };
        read().ok_or_else(|| {
            let text = format!("network {text:?}: an address is accepted, or one such as 10.0.0.0/8");
            forebay::Error::new(forebay::ErrorKind::Invalid, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/a/b?c=d");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_key_is_found_where_it_was_said_to_be() {
        let request = parts(&[("x-api-key", "42")]);
        assert_eq!(Key::header("x-api-key").of(&request), "42");
        assert_eq!(Key::header("x-other").of(&request), "-");
        assert_eq!(Key::path().of(&request), "/a/b");
        assert_eq!(Key::all().of(&request), "*");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let key = |peer: &'static str, forwarded: &[(&'static str, &str)]| {
            let trusted: Vec<Network> = ["10.0.0.0/8", "::1"].map(|text| text.parse().expect("one")).into();
            Key::ip(move |_| peer.parse().ok(), trusted).of(&parts(forwarded))
        };
        let chain = [("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "10.0.0.9")];
        assert_eq!(key("10.1.2.3", &chain), "2.2.2.2", "the last one that is no proxy of ours");
        assert_eq!(key("::1", &chain), "2.2.2.2");
        assert_eq!(key("::ffff:10.1.2.3", &chain), "2.2.2.2", "the same address, written otherwise");
        assert_eq!(key("3.3.3.3", &chain), "3.3.3.3", "a stranger may write what he likes");
        assert_eq!(key("10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(key("10.1.2.3", &[("x-forwarded-for", "nobody")]), "10.1.2.3");
        assert_eq!(key("nobody", &chain), "-");
    }

    #[test]
    fn networks_are_read() {
        for text in ["10.0.0.0/33", "10.0.0/8", "", "::/129", "1.1.1.1/x"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().expect("one");
        assert!(
            all.contains("255.1.2.3".parse().expect("one")) && !all.contains("::1".parse().expect("one"))
        );
    }
}
