//! A TCP proxy that injects the faults of networks.

use std::{
    io::{self, ErrorKind},
    mem,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
        mpsc as blocking,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{ports::free_port, wait::async_pause};

/// The fault that a [`Proxy`] injects.
///
/// An *exchange* begins with the first byte from the client after one from the server: for a client that waits
/// for its answers, one request or one pipeline. Greetings and logins are exchanges, too; so let the client
/// connect before counting. Exchanges count over all connections from [`Proxy::set`] on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// None.
    #[default]
    Pass,
    /// New connections are refused; open ones go on.
    Refuse,
    /// Once, after `after` exchanges: the next request is not forwarded, and its connection is closed. The server
    /// certainly does nothing.
    DropRequest {
        /// Exchanges that pass before.
        after: u64,
    },
    /// Once, after `after` exchanges: the next request is forwarded, and its connection is closed when the reply begins. The
    /// server has certainly carried it out, if the client sends whole requests.
    DropReply {
        /// Exchanges that pass before.
        after: u64,
    },
    /// Every reply is delayed by this time.
    Delay(Duration),
    /// Nothing passes, not even the end of a connection. Nothing is lost either: it is delivered afterwards.
    BlackHole,
}

/// A TCP proxy in front of a server on this machine; closes its connections when dropped.
///
/// It has a thread of its own, so that it works while the test's runtime is blocked or its clock is paused.
///
/// ```
/// use forebay_testkit::{Fault, Proxy, Redis};
///
/// # if forebay_testkit::without("redis") { return; }
/// let redis = Redis::shared();
/// let proxy = Proxy::new(redis.port());
/// let url = redis.url_through(&proxy);
/// // ... connect the client under test to `url` ...
/// proxy.set(Fault::DropReply { after: 0 });
/// ```
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    /// `None` once dropping has begun.
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy to 127.0.0.1:`target` without faults.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn new(target: u16) -> Self {
        let shared = Arc::new(Shared { target: AtomicU16::new(target), ..Shared::default() });
        let (orders, inbox) = mpsc::unbounded_channel();
        let (listening, port) = blocking::sync_channel(1);
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime starts").block_on(run(shared, inbox, &listening));
            }
        });
        let port = port.recv().expect("the proxy listens");
        Self { port, shared, orders: Some(orders), thread: Some(thread) }
    }

    /// The port on 127.0.0.1 on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the fault for all connections, open ones included.
    ///
    /// # Panics
    /// If the proxy's thread has panicked.
    pub fn set(&self, fault: Fault) {
        self.order(Some(fault));
    }

    /// Closes every connection, at both ends, and returns when they are closed. It accepts new ones.
    ///
    /// # Panics
    /// If the proxy's thread has panicked.
    pub fn cut(&self) {
        self.order(None);
    }

    /// Forwards new connections to 127.0.0.1:`target`, as after a fail-over, and closes the open ones.
    ///
    /// # Panics
    /// If the proxy's thread has panicked.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
        self.cut();
    }

    /// Spoils a text on connections that are made from now on, in both directions: its last byte becomes `?`. So the client
    /// does not find it in what the server says, and the server does not find it in what the client's scripts look for.
    ///
    /// # Panics
    /// If the text is empty.
    pub fn spoil(&self, text: &'static str) {
        assert!(!text.is_empty(), "a text to spoil");
        *self.shared.spoilt.lock().expect("nobody panics with the lock") = Some(text);
    }

    /// The current fault. A fault that happens once is [`Fault::Pass`] afterwards.
    pub fn fault(&self) -> Fault {
        *self.shared.fault.borrow()
    }

    /// The number of connections accepted since it started.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of exchanges since it started, lost ones included: the cost of a call in round trips.
    pub fn exchanges(&self) -> u64 {
        self.shared.exchanges.load(Ordering::SeqCst)
    }

    fn order(&self, fault: Option<Fault>) {
        let (done, finished) = blocking::sync_channel(1);
        let orders = self.orders.as_ref().expect("only dropping closes the channel");
        orders.send(Order { fault, done }).expect("the proxy's thread lives as long as its handle");
        finished.recv().expect("the proxy's thread answers");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // The test has already seen the panic.
            let _ = thread.join();
        }
    }
}

/// An order to the proxy's thread.
#[derive(Debug)]
struct Order {
    /// The fault to set; `None`: close all connections.
    fault: Option<Fault>,
    /// Answered when the order is carried out.
    done: blocking::SyncSender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A port of this machine. After a change, the connections have to be cut.
    target: AtomicU16,
    fault: watch::Sender<Fault>,
    /// Locked to copy and to replace.
    spoilt: Mutex<Option<&'static str>>,
    connections: AtomicU64,
    exchanges: AtomicU64,
}

impl Shared {
    /// Counts an exchange and returns the fault that happens to it. That ends a fault that happens once.
    fn begin_exchange(&self) -> Fault {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        let mut met = Fault::Pass;
        // The change happens under the channel's lock, so that two connections cannot be the same exchange.
        self.fault.send_if_modified(|fault| {
            match fault {
                Fault::DropRequest { after: 0 } | Fault::DropReply { after: 0 } => met = mem::take(fault),
                Fault::DropRequest { after } | Fault::DropReply { after } => *after -= 1,
                _ => return false,
            }
            true
        });
        met
    }

    /// Waits until data may pass; returns the fault at that time.
    async fn passage(&self) -> Fault {
        let mut faults = self.fault.subscribe();
        // `self` holds the sender, so this ends only when data may pass.
        faults.wait_for(|fault| *fault != Fault::BlackHole).await.map_or(Fault::Pass, |fault| *fault)
    }
}

/// Accepts connections and orders until the handle is dropped.
async fn run(
    shared: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    listening: &blocking::SyncSender<u16>,
) {
    let (port, first) = bind().await;
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    let _ = listening.send(port);
    loop {
        tokio::select! {
            order = inbox.recv() => {
                let Some(Order { fault, done }) = order else { return };
                match fault {
                    None => connections.shutdown().await,
                    Some(Fault::Refuse) => listener = None,
                    Some(_) if listener.is_none() => {
                        listener = Some(listen(port).await.expect("nobody else took the proxy's port"));
                    }
                    Some(_) => {}
                }
                if let Some(fault) = fault {
                    shared.fault.send_replace(fault);
                }
                let _ = done.send(());
            }
            client = accept(listener.as_ref()) => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                // A connection that fails is closed at both ends. Nobody reads the error.
                connections.spawn(async move { drop(serve(client, &shared).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn bind() -> (u16, TcpListener) {
    loop {
        let port = free_port();
        if let Ok(listener) = listen(port).await {
            return (port, listener);
        }
    }
}

async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Accepts the next connection; never returns without a listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // The client may disconnect before it is accepted.
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}

/// The state that both directions of a connection share.
#[derive(Debug)]
struct Exchange {
    /// True if the next byte from the client begins an exchange.
    over: AtomicBool,
    loses_reply: AtomicBool,
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.target.load(Ordering::SeqCst))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let spoilt = *shared.spoilt.lock().expect("nobody panics with the lock");
    let exchange = Exchange { over: AtomicBool::new(true), loses_reply: AtomicBool::new(false) };
    // The first error ends both directions.
    let lost = tokio::try_join!(
        requests((from_client, to_server), shared, &exchange, Spoiler::new(spoilt)),
        replies((from_server, to_client), shared, &exchange, Spoiler::new(spoilt)),
    );
    match lost {
        Err(Ending::ReplyLost(mut server)) => {
            // The client's end is closed by now. Reading the server to its end makes it carry out the requests that it has
            // received.
            tokio::io::copy(&mut server, &mut tokio::io::sink()).await?;
            Ok(())
        }
        Err(Ending::Failed(error)) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Spoils a text in one direction of a connection, also where it comes in pieces.
#[derive(Debug)]
struct Spoiler {
    text: &'static [u8],
    /// How many bytes of the text came last.
    matched: usize,
}

impl Spoiler {
    fn new(text: Option<&'static str>) -> Self {
        Self { text: text.unwrap_or_default().as_bytes(), matched: 0 }
    }

    fn spoil(&mut self, bytes: &mut [u8]) {
        let Some((last, before)) = self.text.split_last() else { return };
        for byte in bytes {
            let is_last = self.matched == before.len() && byte == last;
            self.matched = if !is_last && before.get(self.matched) == Some(byte) {
                self.matched + 1
            } else {
                // Right for a text whose first byte comes once in it.
                usize::from(before.first() == Some(byte))
            };
            if is_last {
                (*byte, self.matched) = (b'?', 0);
            }
        }
    }
}

/// The reason why a connection ends before its ends close it.
enum Ending {
    ReplyLost(OwnedReadHalf),
    Failed(io::Error),
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

async fn requests(
    (mut client, mut server): (OwnedReadHalf, OwnedWriteHalf),
    shared: &Shared,
    exchange: &Exchange,
    mut spoiler: Spoiler,
) -> Result<(), Ending> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        shared.passage().await;
        if length == 0 {
            return Ok(server.shutdown().await?);
        }
        if exchange.over.swap(false, Ordering::SeqCst) {
            match shared.begin_exchange() {
                Fault::DropRequest { .. } => {
                    return Err(io::Error::from(ErrorKind::ConnectionAborted).into());
                }
                Fault::DropReply { .. } => exchange.loses_reply.store(true, Ordering::SeqCst),
                _ => {}
            }
        }
        spoiler.spoil(&mut buffer[..length]);
        server.write_all(&buffer[..length]).await?;
    }
}

async fn replies(
    (mut server, mut client): (OwnedReadHalf, OwnedWriteHalf),
    shared: &Shared,
    exchange: &Exchange,
    mut spoiler: Spoiler,
) -> Result<(), Ending> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = server.read(&mut buffer).await?;
        let fault = shared.passage().await;
        if length == 0 {
            return Ok(client.shutdown().await?);
        }
        if exchange.loses_reply.load(Ordering::SeqCst) {
            return Err(Ending::ReplyLost(server));
        }
        let begins = !exchange.over.swap(true, Ordering::SeqCst);
        if let (true, Fault::Delay(span)) = (begins, fault) {
            async_pause(span).await;
        }
        spoiler.spoil(&mut buffer[..length]);
        client.write_all(&buffer[..length]).await?;
    }
}
