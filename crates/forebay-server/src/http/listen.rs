//! Accepts connections, bounds them, and ends them.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    http::{HeaderValue, Request, header},
    response::Response,
};
use forebay::{
    Clock,
    time::{millis, secs},
};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    bounds::Bounds,
    connections::{Connections, Tracker},
    stream::Stream,
    upload::Upload,
};
use crate::metrics::Closed;

/// The time limit for the head of a request, and for an idle connection.
const HEADER_TIME: Duration = secs(30);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// The bytes that are read from a connection before a handler reads them. More than the head.
const READ_BUFFER: usize = 64 * 1024;

/// The socket's send buffer in bytes (Linux doubles it, for its own overhead). A write makes progress when a third of it is
/// read: a peer that reads about 4 kB a second makes progress in time.
const SEND_BUFFER: u32 = 64 * 1024;

/// The most connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// The number of headers of a request.
const MAX_HEADERS: usize = 64;

/// The pause after a failed accept, which is mostly due to a lack of file descriptors.
const ACCEPT_PAUSE: Duration = millis(50);

/// Listens on `address`.
///
/// # Errors
/// If the system refuses. For a port in use, the message suggests a free one.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match open(address) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let hint = free_port_after(address)
                .map_or(String::new(), |free| format!("; {free} is free: --listen {free}"));
            Err(anyhow::anyhow!("listening on {address}: the port is in use{hint}"))
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("listening on {address}"))),
    }
}

/// Like `TcpListener::bind`, with a bounded send buffer, which accepted connections inherit: the system accepts that much of
/// a response whether the peer reads it or not.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn free_port_after(address: SocketAddr) -> Option<SocketAddr> {
    let ports = address.port().checked_add(1)?..=address.port().saturating_add(20);
    ports.map(|port| SocketAddr::new(address.ip(), port)).find(|free| open(*free).is_ok())
}

/// Accepts connections and answers their requests.
#[derive(Debug)]
pub struct Acceptor {
    /// Listens on an address, see [`bind`].
    pub listener: TcpListener,
    /// The clock of the deadlines.
    pub clock: Clock,
    /// The bounds on connections and bodies.
    pub bounds: Bounds,
    /// The counters of closed connections.
    pub closed: Closed,
}

impl Acceptor {
    /// Serves until `stop` is done. Then running requests may end, for at most `grace`.
    ///
    /// Returns the number of connections that were still open after that.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>, grace: Duration) -> usize {
        let Self { listener, clock, bounds, closed } = self;
        let connections = Connections::new(&clock, bounds, closed);
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&listener, &connections) => accepted,
            };
            let (tcp, permit) = accepted;
            // Small responses are sent at once, not after the peer's acknowledgement.
            let _ = tcp.set_nodelay(true);
            let registration = connections.add();
            let connection = graceful.watch(connection(tcp, registration.tracker.clone(), router.clone()));
            tokio::spawn(async move {
                tokio::select! {
                    ended = connection => {
                        if let Err(error) = ended {
                            tracing::debug!(%error, "connection ended");
                        }
                    }
                    () = registration.evicted() => {}
                }
                drop((registration, permit));
            });
        }
        drop(listener);
        if clock.timeout(grace, graceful.shutdown()).await.is_some() {
            return 0;
        }
        connections.count()
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection, and room for it. It is accepted first, so that no connection is closed in vain.
async fn accept(listener: &TcpListener, connections: &Connections) -> (TcpStream, Permit) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return (tcp, connections.slot().await),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                connections.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    tcp: TcpStream,
    tracker: Tracker,
    router: Router,
) -> impl GracefulConnection<Error = hyper::Error> {
    let stream = TokioIo::new(Stream::new(tcp, tracker.clone()));
    let requests = service_fn(move |request| answer(router.clone(), tracker.clone(), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(READ_BUFFER)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, requests)
}

/// Answers a request, and decides before the response's head whether the connection is kept.
async fn answer(
    router: Router,
    tracker: Tracker,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    tracker.request_began();
    let (parts, body) = request.into_parts();
    let asks_first = parts.headers.contains_key(header::EXPECT);
    let upload = (!body.is_end_stream()).then(|| Upload::new(body, asks_first, tracker.clone()));
    let body = upload.clone().map_or_else(Body::empty, Body::new);
    let mut response = TowerToHyperService::new(router).call(Request::from_parts(parts, body)).await?;
    if let Some(upload) = upload
        && !upload.is_over().await
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        tracker.set_lingering();
    }
    if response.body().size_hint().exact().is_none() {
        tracker.set_streaming(true);
        let streamed = Streamed(tracker.clone());
        let pass = move |frame| {
            streamed.0.set_streaming(true);
            frame
        };
        response = response.map(|body| Body::new(body.map_frame(pass)));
    }
    tracker.request_ended();
    Ok(response)
}

/// A streamed response, which ends when this is dropped.
struct Streamed(Tracker);

impl Drop for Streamed {
    fn drop(&mut self) {
        self.0.set_streaming(false);
    }
}
