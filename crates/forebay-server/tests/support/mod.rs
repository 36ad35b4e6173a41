//! A server on a port of its own, and a client that speaks HTTP to it.
//!
//! The server runs in this process, so a test that is killed leaves nothing behind. The client sends the test's bytes
//! unchecked and reads the answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use forebay::Clock;
use forebay_server::{
    app::App,
    config::{EXAMPLE, Options, load},
    http::{
        bounds::Bounds,
        listen::{Acceptor, bind},
    },
    router::router,
    statsd::{Listener, Running as Statsd},
};
use tokio::sync::oneshot;

/// After this time a test fails rather than hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running server, its directory and its address.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    config: PathBuf,
    /// The clock and the bounds for callers.
    callers: (Clock, Bounds),
    /// The clock of the store.
    store_clock: Clock,
    running: Option<Running>,
}

struct Running {
    address: SocketAddr,
    statsd: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Runs the built-in example.
    pub(crate) fn example() -> Self {
        Self::with(|example| example)
    }

    /// Runs the built-in example after `change`.
    pub(crate) fn with(change: impl FnOnce(String) -> String) -> Self {
        Self::bounded(Clock::system(), Bounds::default(), change)
    }

    /// Like [`with`](Self::with), with another clock for the store.
    pub(crate) fn on(store_clock: Clock, change: impl FnOnce(String) -> String) -> Self {
        Self::open((Clock::system(), Bounds::default()), store_clock, change)
    }

    /// Like [`with`](Self::with), with other bounds for callers, by another clock.
    pub(crate) fn bounded(clock: Clock, bounds: Bounds, change: impl FnOnce(String) -> String) -> Self {
        Self::open((clock, bounds), Clock::system(), change)
    }

    fn open(callers: (Clock, Bounds), store_clock: Clock, change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database = format!("sqlite:{}", dir.path().join("forebay.db").display());
        let config = EXAMPLE
            .replace("listen = \"127.0.0.1:7070\"", "listen = \"127.0.0.1:0\"")
            .replace(
                "embedded:forebay.redb\"",
                &format!("embedded:{}\"", dir.path().join("forebay.redb").display()),
            )
            .replace("sqlite:forebay.db\"", &format!("{database}\""));
        let file = dir.path().join("forebay.toml");
        std::fs::write(&file, change(config)).expect("a file");
        let mut server = Self { dir, config: file, callers, store_clock, running: None };
        server.start();
        server
    }

    /// Starts it on the existing files.
    pub(crate) fn start(&mut self) {
        let options = Options { config: Some(self.config.clone()), ..Options::default() };
        let config = load(&options, &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let (ready, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let ((clock, bounds), store_clock) = (self.callers.clone(), self.store_clock.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = bind(config.listen).expect("a port");
                let app = std::sync::Arc::new(App::open_on(&config, store_clock).await.expect("an app"));
                let flushing = app.start_flushing(&config.buffers).await.expect("tables");
                let upkeep = tokio::spawn(app.clone().keep_up());
                let statsd = match &config.statsd {
                    Some(statsd) => Some(Listener::bind(statsd).await.expect("a port").start(&app, statsd)),
                    None => None,
                };
                let addresses =
                    (listener.local_addr().expect("an address"), statsd.as_ref().map(Statsd::address));
                ready.send(addresses).expect("the test waits");
                let stop = async {
                    let _ = stopped.await;
                    app.stop_waiting();
                };
                let acceptor = Acceptor { listener, clock, bounds, closed: app.metrics.closed() };
                acceptor.serve(router(app.clone()), stop, Duration::from_secs(10)).await;
                if let Some(statsd) = statsd {
                    statsd.stop().await;
                }
                upkeep.abort();
                for flushing in flushing {
                    flushing.stop().await.expect("a last flush");
                }
                app.close().await.expect("a store that closes");
            });
        });
        let (address, statsd) = address.recv_timeout(PATIENCE).expect("a server that starts");
        self.running = Some(Running { address, statsd, stop, thread });
    }

    /// Stops it. Stopping flushes the pending rows.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            let ended = running.thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }

    /// The address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("a running server").address
    }

    /// The address on which it listens for statsd.
    pub(crate) fn statsd(&self) -> SocketAddr {
        self.running.as_ref().and_then(|running| running.statsd).expect("a listener")
    }

    /// A client without a token.
    pub(crate) fn client(&self) -> Client {
        Client::of(self.address())
    }

    /// The store's file.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("forebay.redb")
    }

    /// The database's file.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("forebay.db")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends requests to a server, one connection per request.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Client {
    /// A client of the server at an address.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self { address, headers: vec![] }
    }

    /// The same client with one more header.
    pub(crate) fn header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.into(), value.into()));
        client
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, b"")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, b"")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", path, body.as_ref())
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let host = ("Host".to_owned(), self.address.to_string());
        let names_host = self.headers.iter().any(|(name, _)| name == "Host");
        let headers = self.headers.iter().chain((!names_host).then_some(&host));
        let headers: String = headers.flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}");
        self.raw(&[head.as_bytes(), b"\r\n", body].concat())
    }

    /// Opens a connection for the test's own use.
    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("a connection")
    }

    /// Sends bytes and reads to the end of the connection. Errors are ignored.
    pub(crate) fn raw_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // A server may answer and close before it has read everything. Its answer can still be read.
        let _ = stream.write_all(bytes);
        let mut answer = vec![];
        stream.read_to_end(&mut answer).expect("an answer");
        answer
    }

    /// A connection on which several requests are sent.
    pub(crate) fn keep_alive(&self) -> Connection {
        let stream = self.connect();
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Connection(BufReader::new(stream))
    }

    /// Sends these bytes and reads to the end of the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        let answer = String::from_utf8(self.raw_bytes(bytes)).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer { status: status.expect("a status"), head: head.to_lowercase(), body: body.to_owned() }
    }
}

/// A connection on which several requests are sent.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends these bytes, as a packet of their own.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.get_mut().write_all(bytes.as_ref());
    }

    /// Returns whether an answer begins, or the connection ends, within `span`.
    pub(crate) fn is_answered_within(&mut self, span: Duration) -> bool {
        self.0.get_ref().set_read_timeout(Some(span)).expect("a timeout");
        let late =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        let answered = !self.0.fill_buf().is_err_and(|error| late(&error));
        self.0.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        answered
    }

    /// The next answer; `None` if the connection ends before it.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(self.0.read_line(&mut head), Ok(1..)) {
                return None;
            }
        }
        let status = head.split(' ').nth(1)?.parse().expect("a status");
        let mut answer = Answer { status, head: head.to_lowercase(), body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        answer.body = String::from_utf8(body).expect("text");
        Some(answer)
    }

    /// Returns whether the connection has ended.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.0.fill_buf().map_or(true, <[u8]>::is_empty)
    }
}

impl Answer {
    /// A header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks the status and returns the body.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.body);
        if self.body.is_empty() { serde_json::Value::Null } else { self.json() }
    }

    /// Checks that this is a well-formed problem of that status, and returns its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let body = self.json();
        assert_eq!(body["status"], status, "{body}");
        assert!(body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:forebay:problem:")), "{body}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
        body["detail"].as_str().expect("a detail").to_owned()
    }
}
