//! Callers that read or send slowly or not at all. They cost little, and other callers do not wait for them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use forebay::{Clock, ManualClock, Timestamp, time::secs};
use forebay_server::{
    http::{
        bounds::Bounds,
        listen::{Acceptor, bind},
    },
    metrics::Closed,
};
use forebay_testkit::wait_until;
use futures::StreamExt as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::{Notify, oneshot},
};

use crate::support::{Client, PATIENCE, Server};

const BIG: usize = 8 << 20;

/// A server with bounds. It answers `/big`, `/wait` after a signal, and `/count` with the length of the body.
struct Bounded {
    address: SocketAddr,
    go_on: Arc<Notify>,
    /// The number of body bytes that have arrived.
    counted: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<std::thread::JoinHandle<usize>>,
}

impl Bounded {
    fn start(clock: &Clock, bounds: Bounds) -> Self {
        let (go_on, counted) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (stop, stopped) = oneshot::channel();
        let (send, address) = std::sync::mpsc::channel();
        let router = router(go_on.clone(), counted.clone());
        let clock = clock.clone();
        let served = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
                send.send(listener.local_addr().expect("an address")).expect("the test waits");
                let stop = async {
                    let _ = stopped.await;
                };
                Acceptor { listener, clock, bounds, closed: Closed::default() }
                    .serve(router, stop, secs(10))
                    .await
            })
        });
        let address = address.recv_timeout(PATIENCE).expect("a server");
        Self { address, go_on, counted, stop: Some(stop), served: Some(served) }
    }

    fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// A caller with small buffers, which accepts little data unless it reads.
    async fn small_caller(&self, request: &str) -> tokio::net::TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 * 1024).expect("an option");
        let mut stream = socket.connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream
    }
}

fn router(go_on: Arc<Notify>, counted: Arc<AtomicUsize>) -> Router {
    let big = Bytes::from(vec![b'x'; BIG]);
    let wait = move || {
        let go_on = go_on.clone();
        async move { go_on.notified().await }
    };
    let count = move |body: Body| {
        let counted = counted.clone();
        async move {
            let mut parts = body.into_data_stream();
            while let Some(part) = parts.next().await {
                counted.fetch_add(part.map_err(|error| error.to_string())?.len(), Ordering::Relaxed);
            }
            Ok::<_, String>(counted.load(Ordering::Relaxed).to_string())
        }
    };
    let nothing = || futures::stream::pending::<Result<&str, std::io::Error>>();
    Router::new()
        .route("/big", get(async move || big))
        .route("/small", get(async || "small"))
        .route("/wait", get(wait))
        .route("/count", post(count))
        .route("/stream", get(async move || Body::from_stream(nothing())))
}

impl Drop for Bounded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            let ended = served.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

async fn wait_for_sleepers(hand: &ManualClock, count: usize) {
    let wait = async {
        while hand.sleepers() != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the server waits for its peers");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up_and_one_that_reads_slowly_is_not() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let server = Bounded::start(&Clock::from(hand.clone()), Bounds::default());
    let mut slow = server.small_caller(&request("/big")).await;
    let mut received = 0;
    // The server waits for this peer for more than a minute in all, because it makes progress every ten seconds.
    let mut part = vec![0; 512 * 1024];
    for _ in 0..8 {
        wait_for_sleepers(&hand, 1).await;
        hand.advance(secs(9));
        received += slow.read_exact(&mut part).await.expect("the connection goes on");
    }
    // This client reads nothing from now on.
    let mut stalled = server.small_caller(&request("/big")).await;
    wait_for_sleepers(&hand, 2).await;
    hand.advance(secs(9));
    received += slow.read_exact(&mut part).await.expect("the connection goes on");
    wait_for_sleepers(&hand, 2).await;
    hand.advance(secs(1));
    wait_for_sleepers(&hand, 1).await;
    let mut rest = vec![];
    let got = stalled.read_to_end(&mut rest).await;
    assert!(got.is_err() || rest.len() < BIG, "the stalled one got everything");
    while received < BIG {
        received += slow.read(&mut part).await.expect("the connection goes on");
    }
}

#[test]
fn stalled_connections_make_room_and_those_that_are_served_stay() {
    let bounds = Bounds { connections: 200, patience: Duration::from_millis(20), ..Bounds::default() };
    let server = Bounded::start(&Clock::system(), bounds);
    let connect = |bytes: &str| {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_nonblocking(true).expect("an option");
        let _ = stream.write(bytes.as_bytes());
        stream
    };
    let mut waiting = server.client().keep_alive();
    waiting.send(request("/wait"));
    let mut streaming = server.client().keep_alive();
    streaming.send(request("/stream"));
    assert_eq!(streaming.answer().expect("a head").status, 200);
    // Half of the connections pipeline requests and read no answer. A quarter send half a head. The others send nothing.
    let flood = request("/big").repeat(50);
    let stalled: Vec<TcpStream> = (0..400)
        .map(|n| {
            connect(match n % 4 {
                0 | 1 => &flood,
                2 => "GET /small HTTP/1.1\r\nHost: loc",
                _ => "",
            })
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(
            server
                .client()
                .raw(request("/small").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
                .body,
            "small"
        );
    }
    server.go_on.notify_one();
    assert_eq!(waiting.answer().expect("an answer").status, 200, "it was at work, and stays");
    assert!(!streaming.is_answered_within(Duration::from_millis(1)), "it was served, and stays");
    drop(stalled);
    drop(streaming);
}

#[test]
fn idle_connections_make_room_last() {
    let bounds = Bounds { connections: 3, patience: Duration::from_millis(20), ..Bounds::default() };
    let server = Bounded::start(&Clock::system(), bounds);
    let mut idle = server.client().keep_alive();
    idle.send(request("/small"));
    assert_eq!(idle.answer().expect("an answer").body, "small");
    let half = server.client().keep_alive();
    let other = server.client().keep_alive();
    let close = request("/small").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(server.client().raw(close.as_bytes()).body, "small");
    }
    idle.send(request("/small"));
    assert_eq!(idle.answer().expect("the idle one stayed").body, "small");
    drop((half, other));
    let all: Vec<_> = (0..3)
        .map(|_| {
            let mut idle = server.client().keep_alive();
            idle.send(request("/small"));
            assert_eq!(idle.answer().expect("an answer").body, "small");
            idle
        })
        .collect();
    assert_eq!(server.client().raw(close.as_bytes()).body, "small");
    drop(all);
}

#[test]
fn pipelined_requests_are_all_answered_when_their_caller_reads_at_last() {
    let server = Server::example();
    let client = server.client();
    let mut stream = client.connect();
    let mut writer = stream.try_clone().expect("the same connection");
    let requests = "DELETE /v1/limits/hits?key=a HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5_000);
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let written =
        std::thread::spawn(move || writer.write_all((requests + last).as_bytes()).expect("all taken"));
    let mut answers = String::new();
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.read_to_string(&mut answers).expect("answers");
    written.join().expect("a writer");
    assert_eq!(answers.matches("HTTP/1.1 204").count(), 5_000);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1);
}

/// Sends the beginning of a body.
fn upload(client: &Client, length: usize, sent: usize) -> crate::support::Connection {
    let mut connection = client.keep_alive();
    let head = "POST /v1/limits/hits/refund HTTP/1.1\r\nHost: localhost\r\n";
    connection.send(format!("{head}Content-Length: {length}\r\n\r\n{}", " ".repeat(sent)));
    connection
}

#[test]
fn stalled_bodies_hold_little_together_and_others_get_through() {
    let bounds = Bounds { bodies: 1 << 20, patience: Duration::from_millis(20), ..Bounds::default() };
    let server = Server::bounded(Clock::system(), bounds, |example| example);
    let client = server.client();
    let mut stalled: Vec<_> = (0..300).map(|_| upload(&client, 1 << 20, 100_000)).collect();
    // Small bodies do not count against this room.
    for _ in 0..20 {
        client.post("/v1/events/hit", r#"{"key":"a"}"#).expect(202);
    }
    let large = format!(r#"{{"key":"b"{}}}"#, " ".repeat(500_000));
    wait_until("a large one to find room", || client.post("/v1/limits/hits/refund", &large).status == 200);
    // Each body declares 1 MiB: there is room for one at a time.
    let most = 1;
    wait_until("the others to be closed, or refused", || {
        let open = stalled
            .iter_mut()
            .filter_map(|one| (!one.is_answered_within(Duration::from_millis(1))).then_some(()));
        open.count() <= most
    });
    let closed = client.get("/metrics").body;
    let line =
        closed.lines().find(|line| line.starts_with("forebay_http_connections_closed_total{why=\"bodies\"}"));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(count > Some(0), "{line:?}");
    drop(stalled);
    client.post("/v1/limits/hits/refund", &large).expect(200);
}

#[test]
fn a_body_that_comes_on_is_waited_for() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bounds = Bounds { body_progress: 1_000, ..Bounds::default() };
    let server = Bounded::start(&Clock::from(hand.clone()), bounds);
    let mut steady = server.client().keep_alive();
    let head = "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    let arrived = || server.counted.load(Ordering::Relaxed);
    steady.send(format!("{head}9900\r\n\r\n"));
    // At least one part arrives in any ten seconds.
    for part in 1..=9 {
        steady.send(" ".repeat(1_100));
        wait_until("the part to arrive", || arrived() == part * 1_100);
        hand.advance(secs(5));
    }
    assert_eq!(steady.answer().expect("an answer").body, "9900");
    // This body comes as steadily, but takes too long in total.
    steady.send(format!("{head}990000\r\n\r\n"));
    let is_answered = (10..100).any(|part| {
        steady.send(" ".repeat(1_100));
        let mut is_answered = false;
        wait_until("the part to arrive, or an answer", || {
            is_answered = steady.is_answered_within(Duration::from_millis(1));
            is_answered || arrived() == part * 1_100
        });
        hand.advance(secs(5));
        is_answered
    });
    assert!(is_answered);
    let answer = steady.answer().expect("an answer");
    assert!(answer.body.contains("all of it in 1m"), "{}", answer.body);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bounds = Bounds { body_progress: 1_000, ..Bounds::default() };
    let server = Server::bounded(Clock::from(hand.clone()), bounds, |example| example);
    let client = server.client();
    let mut stalled = upload(&client, 5_000, 500);
    let mut trickle = upload(&client, 5_000, 0);
    wait_until("the server to wait for both", || hand.sleepers() == 2);
    for _ in 0..9 {
        trickle.send(" ".repeat(100));
        hand.advance(secs(1));
    }
    hand.advance(secs(1));
    for slow in [&mut stalled, &mut trickle] {
        let answer = slow.answer().expect("an answer");
        assert!(answer.problem(408).contains("at least 1000 bytes in 10s"), "{}", answer.body);
        assert_eq!(answer.header("connection"), Some("close"));
    }
}
