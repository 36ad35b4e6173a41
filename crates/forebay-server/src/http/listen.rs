//! Connections: accepting them, bounding them, and letting them end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use forebay::{
    Clock,
    time::{millis, secs},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// The most connections at once. Beyond it callers wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;

/// How long the head of a request may take, and how long an idle connection is kept.
const HEADER_TIME: Duration = secs(30);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;

/// What is read of a connection before somebody takes it, in bytes. Larger than the head, for the sake of bodies.
const READ_BUFFER: usize = 128 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long to pause when no connection can be accepted, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = millis(50);

/// Listens on `address`.
///
/// # Errors
/// As the system says; a busy port is answered with a free one that could be taken instead.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let hint = free_port_after(address)
                .await
                .map_or(String::new(), |free| format!("; {free} is free: --listen {free}"));
            Err(anyhow::anyhow!("listening on {address}: the port is in use{hint}"))
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("listening on {address}"))),
    }
}

async fn free_port_after(address: SocketAddr) -> Option<SocketAddr> {
    for port in address.port().checked_add(1)?..=address.port().saturating_add(20) {
        let candidate = SocketAddr::new(address.ip(), port);
        if TcpListener::bind(candidate).await.is_ok() {
            return Some(candidate);
        }
    }
    None
}

/// Serves until `stop` is done; then lets requests that are under way end, for at most `grace`.
///
/// Returns how many connections were still open after that.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    clock: Clock,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> usize {
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &open, &clock) => accepted,
        };
        let (stream, permit) = accepted;
        // Small answers at once, rather than after the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        let connection = connections.watch(connection(stream, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if clock.timeout(grace, connections.shutdown()).await.is_some() {
        return 0;
    }
    MAX_CONNECTIONS - open.available_permits()
}

type Permit = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, open: &Arc<Semaphore>, clock: &Clock) -> (TcpStream, Permit) {
    let permit = open.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(READ_BUFFER)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
