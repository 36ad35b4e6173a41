//! The socket: reads datagrams until it is told to stop.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::{Context, Result};
use forebay::{Timestamp, time::secs};
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

use super::{
    held::Held,
    kernel,
    line::Metric,
    refused::Refusals,
    target::Target,
    why::Why,
    writer::{INTERVAL, Shared},
};
use crate::{
    app::App,
    config::{Network, StatsdConfig},
    metrics::StatsdMetrics,
};

/// More than the largest datagram, so that none is cut.
const MAX_DATAGRAM: usize = 65_536;

/// The receive buffer that is asked for, in bytes. The system may allow less.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Datagrams that are read before other tasks get a turn.
const BURST: usize = 256;

/// Datagrams that are read at most at the stop, when senders go on.
const MAX_AT_STOP: usize = 100_000;

/// The time for the last write.
const LAST_WRITE: Duration = secs(5);

/// A socket that is open, and not read yet.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
}

/// A listener that is read. Dropping it does not stop it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Opens the socket of a configuration.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(config: &StatsdConfig) -> Result<Self> {
        let listen = config.listen;
        let open = async {
            let socket = UdpSocket::bind(listen).await?;
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
            let address = socket.local_addr()?;
            Ok::<_, io::Error>(Self { socket, address })
        };
        open.await.with_context(|| format!("statsd: listening on {listen}"))
    }

    /// Reads datagrams in the background, and counts them in the series of `app`.
    pub fn start(self, app: &Arc<App>, config: &StatsdConfig) -> Running {
        let Self { socket, address } = self;
        let metrics: StatsdMetrics = app.metrics.group(&[]);
        let shared = Shared {
            targets: Target::all(app, &config.metrics),
            pending: parking_lot::Mutex::new(Held::default()),
            refusals: Refusals::new(&app.metrics),
            gauge: metrics.pending.clone(),
            writing: AtomicUsize::new(0),
        };
        let reader = Reader { app: app.clone(), socket, allow: config.allow.clone(), metrics, shared };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { reader.run(stopped).await });
        Running { address, stop, task }
    }
}

impl Running {
    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads what has come, writes it, and stops. Counts that the store does not take within 5 s are lost.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "statsd: the listener failed");
        }
    }
}

/// Reads the socket.
struct Reader {
    app: Arc<App>,
    socket: UdpSocket,
    allow: Vec<Network>,
    metrics: StatsdMetrics,
    shared: Shared,
}

impl Reader {
    async fn run(&self, stopped: watch::Receiver<bool>) {
        let mut stop = stopped.clone();
        let read = async {
            tokio::select! {
                () = self.read() => {}
                () = self.watch_drops() => {}
                () = requested(&mut stop) => {}
            }
        };
        tokio::join!(read, self.write(stopped));
        let left = self.shared.left();
        if left > 0 {
            tracing::warn!(counts = left, "statsd: the store did not take the last counts: they are lost");
        }
    }

    /// Writes once a second, and a last time at the stop. A write that is under way then is not ended before its time.
    async fn write(&self, mut stopped: watch::Receiver<bool>) {
        let clock = &self.app.clock;
        loop {
            tokio::select! {
                () = clock.sleep(INTERVAL) => {}
                () = requested(&mut stopped) => {
                    let mut buffer = vec![0; MAX_DATAGRAM];
                    self.read_burst(&mut buffer, MAX_AT_STOP);
                    clock.timeout(LAST_WRITE, self.shared.write()).await;
                    return;
                }
            }
            let too_late = async {
                requested(&mut stopped).await;
                clock.sleep(LAST_WRITE).await;
            };
            tokio::select! {
                () = self.shared.write() => {}
                () = too_late => return,
            }
        }
    }

    async fn read(&self) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            if let Err(error) = self.socket.readable().await {
                tracing::warn!(%error, "statsd: waiting for a datagram failed");
                self.app.clock.sleep(INTERVAL).await;
            }
            self.read_burst(&mut buffer, BURST);
            tokio::task::yield_now().await;
        }
    }

    /// Reads the datagrams that have come, at most so many.
    fn read_burst(&self, buffer: &mut [u8], most: usize) {
        let now = self.app.bay.clock().now();
        for _ in 0..most {
            match self.socket.try_recv_from(buffer) {
                Ok((length, source)) => self.take(&buffer[..length], source, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An earlier answer of this socket was refused. There is none, but the next call tells.
                Err(error) => tracing::debug!(%error, "statsd: a datagram was not read"),
            }
        }
    }

    fn take(&self, datagram: &[u8], source: SocketAddr, now: Timestamp) {
        self.metrics.datagrams.increment(1);
        if !self.allow.iter().any(|network| network.contains(source.ip())) {
            self.shared.refusals.add(Why::Source, source.ip().to_string().as_bytes());
            return;
        }
        for line in datagram.split(|byte| *byte == b'\n') {
            match self.take_line(line, now) {
                Ok(true) => self.metrics.lines.increment(1),
                Ok(false) => {}
                Err(why) => self.shared.refusals.add(why, line),
            }
        }
    }

    /// Takes a line; `false` for an empty one.
    fn take_line(&self, line: &[u8], now: Timestamp) -> Result<bool, Why> {
        let Some(metric) = Metric::parse(line)? else { return Ok(false) };
        let (place, target, key) = Target::find(&self.shared.targets, &metric)?;
        self.shared.pending.lock().take_metric((place, &target.series), &key, &metric, now)?;
        Ok(true)
    }

    /// Counts what the system drops.
    async fn watch_drops(&self) {
        let Some(inode) = kernel::inode(&self.socket) else { return std::future::pending().await };
        let mut known = 0_u32;
        loop {
            if let Some(drops) = kernel::drops(inode).await {
                self.metrics.kernel_dropped.increment(u64::from(drops.wrapping_sub(known)));
                known = drops;
            }
            self.app.clock.sleep(5 * INTERVAL).await;
        }
    }
}

/// Waits until the listener is told to stop.
async fn requested(stop: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone.
    drop(stop.wait_for(|stopped| *stopped).await);
}
