//! Connections: accepting them, bounding them, and letting them end.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, time::Duration};

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
    body::{Frame, Incoming},
    server::conn::http1,
    service::Service as _,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    bounds::Bounds,
    peers::{Link, Member, Peers},
    stream::Stream,
    upload::Upload,
};
use crate::metrics::Closed;

/// How long the head of a request may take, and how long an idle connection is kept.
const HEADER_TIME: Duration = secs(30);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// What is read of a connection before somebody takes it, in bytes. Larger than the head.
const READ_BUFFER: usize = 64 * 1024;

/// What the system keeps of answers that a peer has not taken yet, in bytes (Linux keeps twice as much, with its own
/// overhead). It moves on when a third of that is taken: a peer that takes some 4 kB a second makes progress in time.
const SEND_BUFFER: u32 = 64 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long to pause when no connection can be accepted, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = millis(50);

/// Listens on `address`.
///
/// # Errors
/// As the system says; a busy port is answered with a free one that could be taken instead.
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

/// As `TcpListener::bind`, with a bounded send buffer, which accepted connections have from it: the system takes so much of
/// an answer whether the peer reads it or not.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn free_port_after(address: SocketAddr) -> Option<SocketAddr> {
    for port in address.port().checked_add(1)?..=address.port().saturating_add(20) {
        let candidate = SocketAddr::new(address.ip(), port);
        if open(candidate).is_ok() {
            return Some(candidate);
        }
    }
    None
}

/// Accepts connections and answers their requests.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    clock: Clock,
    bounds: Bounds,
    closed: Closed,
}

impl Acceptor {
    /// With the default [`Bounds`], and counters that nobody reads.
    pub fn new(listener: TcpListener, clock: &Clock) -> Self {
        let (bounds, closed) = (Bounds::default(), Closed::default());
        Self { listener, clock: clock.clone(), bounds, closed }
    }

    /// How much callers may hold.
    #[must_use]
    pub fn bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Where connections are counted that were given up.
    #[must_use]
    pub fn metrics(self, closed: Closed) -> Self {
        Self { closed, ..self }
    }

    /// Serves until `stop` is done; then lets requests that are under way end, for at most `grace`.
    ///
    /// Returns how many connections were still open after that.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>, grace: Duration) -> usize {
        let Self { listener, clock, bounds, closed } = self;
        let peers = Peers::new(&clock, bounds, closed);
        let connections = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = accept(&listener, &peers) => accepted,
            };
            let (tcp, permit) = accepted;
            // Small answers at once, rather than after the peer's acknowledgement.
            let _ = tcp.set_nodelay(true);
            let member = peers.add();
            let connection = connections.watch(connection(tcp, &member, router.clone()));
            tokio::spawn(async move {
                tokio::select! {
                    ended = connection => {
                        if let Err(error) = ended {
                            tracing::debug!(%error, "connection ended");
                        }
                    }
                    () = member.evicted() => {}
                }
                drop((member, permit));
            });
        }
        drop(listener);
        if clock.timeout(grace, connections.shutdown()).await.is_some() {
            return 0;
        }
        peers.count()
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection, and room for it. It is accepted first: nobody goes for one that does not come.
async fn accept(listener: &TcpListener, peers: &Peers) -> (TcpStream, Permit) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return (tcp, peers.slot().await),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                peers.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    tcp: TcpStream,
    member: &Member,
    router: Router,
) -> http1::Connection<TokioIo<Stream>, Requests> {
    let stream = TokioIo::new(Stream::new(tcp, member.link()));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(READ_BUFFER)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, Requests { router, link: member.link() })
}

/// The requests of a connection.
#[derive(Debug)]
struct Requests {
    router: Router,
    link: Link,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(answer(self.router.clone(), self.link.clone(), request))
    }
}

/// Has a request answered, and settles what becomes of its connection before the head of the answer is sent.
async fn answer(router: Router, link: Link, request: Request<Incoming>) -> Result<Response, Infallible> {
    link.begins();
    let (parts, body) = request.into_parts();
    let asks_first = parts.headers.contains_key(header::EXPECT);
    let upload = (!body.is_end_stream()).then(|| Upload::new(body, asks_first, link.clone()));
    let body = upload.clone().map_or_else(Body::empty, Body::new);
    let mut response = TowerToHyperService::new(router).call(Request::from_parts(parts, body)).await?;
    if let Some(upload) = upload
        && !upload.is_over().await
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        link.lingers();
    }
    if response.body().size_hint().exact().is_none() {
        link.streams(true);
        let streamed = Streamed { link: link.clone() };
        response = response.map(|body| Body::new(body.map_frame(move |frame| streamed.passes(frame))));
    }
    link.ends();
    Ok(response)
}

/// An answer that comes about while it is written. Dropped, it is over.
struct Streamed {
    link: Link,
}

impl Streamed {
    fn passes<T>(&self, frame: Frame<T>) -> Frame<T> {
        self.link.streams(true);
        frame
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.link.streams(false);
    }
}
