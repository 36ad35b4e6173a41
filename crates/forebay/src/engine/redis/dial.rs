//! Opens the socket of a connection.

use std::{collections::VecDeque, fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream, lookup_host},
};

use super::tls::{self, Fault, Tls};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// How long one address of a name may keep the next one waiting.
const NEXT_ADDRESS: Duration = millis(250);

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = secs(2);

/// How long a peer may take to show which protocol it speaks.
const LOOK_TIMEOUT: Duration = millis(500);

/// After this time without an acknowledgement the kernel ends a connection: otherwise it goes on for a quarter of an hour.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MS: u32 = 5_000;

/// The address of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(Box<str>, u16),
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A TCP or Unix socket, perhaps with TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// Opens the socket. `name` is for messages.
///
/// # Errors
/// [`ErrorKind::Configuration`] where TLS, or its absence, does not fit the server, else [`ErrorKind::Unavailable`].
pub(super) async fn dial(
    name: &str,
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    clock: &Clock,
) -> Result<Box<dyn Socket>> {
    let unavailable = |cause: io::Error| failed(name, ErrorKind::Unavailable, cause);
    let (host, port) = match endpoint {
        Endpoint::Tcp(host, port) => (host, *port),
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(unavailable)?)),
    };
    let stream = tcp(host, port, clock).await.map_err(unavailable)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let fault = match clock.timeout(TLS_TIMEOUT, tls.over(host, stream)).await.transpose()? {
        Some(Ok(stream)) => return Ok(Box::new(stream)),
        Some(Err(cause)) => tls.explain(host, &cause),
        None => Fault::Other(format!("no answer within {TLS_TIMEOUT:?}")),
    };
    match fault {
        Fault::Certificate(text) => Err(failed(name, ErrorKind::Configuration, text)),
        Fault::Other(text) if !speaks_plain_text(host, port, clock).await => {
            Err(failed(name, ErrorKind::Unavailable, format_args!("TLS handshake: {text}")))
        }
        _ => {
            let text = "the server speaks plain text on this port: write its TLS port, or a URL without TLS";
            Err(failed(name, ErrorKind::Configuration, text))
        }
    }
}

fn failed(name: &str, kind: ErrorKind, why: impl fmt::Display) -> Error {
    Error::new(kind, format!("redis {name}: cannot connect: {why}"))
}

/// Connects to the first address of the host that answers. The name is resolved each time.
async fn tcp(host: &str, port: u16, clock: &Clock) -> io::Result<TcpStream> {
    #[cfg(test)]
    let known = NAMES.lock().get(host).copied();
    #[cfg(test)]
    if let Some(address) = known {
        return open(address).await;
    }
    first_of(lookup_host((host, port)).await?.collect(), clock).await
}

/// Names that only tests resolve, and the addresses of all their ports.
#[cfg(test)]
pub(super) static NAMES: parking_lot::Mutex<std::collections::BTreeMap<String, SocketAddr>> =
    parking_lot::Mutex::new(std::collections::BTreeMap::new());

/// Tries the addresses one after the other; one that does not answer soon does not stop the next.
async fn first_of(mut addresses: VecDeque<SocketAddr>, clock: &Clock) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(addresses.pop_front().map(open));
        let attempt = if addresses.is_empty() {
            attempts.next().await
        } else {
            clock.timeout(NEXT_ADDRESS, attempts.next()).await.flatten()
        };
        match attempt {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(cause)) => last = cause,
            None => {}
        }
        if addresses.is_empty() && attempts.is_empty() {
            return Err(last);
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Two pipelines are in flight: with Nagle's algorithm the second would wait for the first one's
    // acknowledgement.
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS)?;
    Ok(stream)
}

/// Whether a server answers `PING` in plain text. Nothing secret is sent.
async fn speaks_plain_text(host: &str, port: u16, clock: &Clock) -> bool {
    let look = async {
        let mut stream = tcp(host, port, clock).await.ok()?;
        stream.write_all(b"PING\r\n").await.ok()?;
        stream.read_u8().await.ok()
    };
    matches!(clock.timeout(LOOK_TIMEOUT, look).await.flatten(), Some(b'+' | b'-'))
}

/// Whether a server that gave no answer in plain text speaks TLS.
pub(super) async fn speaks_tls(endpoint: &Endpoint, clock: &Clock) -> bool {
    let Endpoint::Tcp(host, port) = endpoint else { return false };
    let look = async { Some(tls::is_spoken(tcp(host, *port, clock).await.ok()?).await) };
    clock.timeout(LOOK_TIMEOUT, look).await.flatten() == Some(true)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_or_is_silent_does_not_stop_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let there = listener.local_addr().expect("bound");
        // Nobody listens at the first, and the second is for documentation only.
        let away = ["127.0.0.1:1", "192.0.2.1:6379"].map(|address| address.parse().expect("an address"));
        let clock = Clock::system();
        let stream = first_of(away.into_iter().chain([there]).collect(), &clock).await.expect("connects");
        assert_eq!(stream.peer_addr().expect("connected"), there);
        let refused = first_of(away[..1].iter().copied().collect(), &clock).await.expect_err("nobody");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(first_of(VecDeque::new(), &clock).await.is_err());
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).expect("asked"), USER_TIMEOUT_MS);
    }

    #[test]
    fn an_endpoint_reads_as_in_a_url() {
        let endpoint = |host: &str| Endpoint::Tcp(host.into(), 6_379).to_string();
        assert_eq!([endpoint("h"), endpoint("::1")], ["h:6379", "[::1]:6379"]);
    }
}
