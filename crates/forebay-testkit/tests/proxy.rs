//! The faults, injected into a hand-written Redis client.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use forebay_testkit::{Fault, Proxy, Redis, Reply, unique_prefix, wait_until, without};

/// A client's connection: it sends a line and receives a line.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens")))
    }

    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it is sent");
    }

    /// `None` when the connection is closed.
    fn receive(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn call(&mut self, line: &str) -> Option<String> {
        self.send(line);
        self.receive()
    }
}

#[test]
fn passing_changes_nothing_and_counts_round_trips() {
    if without("redis") {
        return;
    }
    let redis = Redis::shared();
    let proxy = Proxy::new(redis.port());
    let (key, mut client) = (unique_prefix(), Client::connect(&proxy));
    assert_eq!(client.call(&format!("INCR {key}")), Some(":1".to_owned()));
    assert_eq!(client.call(&format!("INCR {key}\r\nINCR {key}")), Some(":2".to_owned()));
    assert_eq!(client.receive(), Some(":3".to_owned()));
    assert_eq!((proxy.connections(), proxy.exchanges()), (1, 2));
}

#[test]
fn a_lost_reply_is_of_a_command_that_was_done() {
    if without("redis") {
        return;
    }
    let redis = Redis::shared();
    let proxy = Proxy::new(redis.port());
    let (key, mut client) = (unique_prefix(), Client::connect(&proxy));
    let incr = format!("INCR {key}");
    proxy.set(Fault::DropReply { after: 1 });
    assert_eq!(client.call(&incr), Some(":1".to_owned()));
    assert_eq!(client.call(&incr), None);
    assert_eq!(redis.command(["GET", &key]), Reply::text("2"));
    assert_eq!(proxy.fault(), Fault::Pass, "it happens once");
    assert_eq!(Client::connect(&proxy).call(&incr), Some(":3".to_owned()));
}

#[test]
fn a_lost_request_is_of_a_command_that_was_not_done() {
    if without("redis") {
        return;
    }
    let redis = Redis::shared();
    let proxy = Proxy::new(redis.port());
    let (key, mut client) = (unique_prefix(), Client::connect(&proxy));
    let incr = format!("INCR {key}");
    proxy.set(Fault::DropRequest { after: 1 });
    assert_eq!(client.call(&incr), Some(":1".to_owned()));
    assert_eq!(client.call(&incr), None);
    assert_eq!(redis.command(["GET", &key]), Reply::text("1"));
    assert_eq!(Client::connect(&proxy).call(&incr), Some(":2".to_owned()));
}

#[test]
fn a_cut_closes_open_connections_and_accepts_new_ones() {
    if without("redis") {
        return;
    }
    let proxy = Proxy::new(Redis::shared().port());
    let mut clients = [Client::connect(&proxy), Client::connect(&proxy)];
    for client in &mut clients {
        assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    }
    proxy.cut();
    for client in &mut clients {
        assert_eq!(client.receive(), None);
    }
    assert_eq!(Client::connect(&proxy).call("PING"), Some("+PONG".to_owned()));
}

#[test]
fn refusing_spares_the_connections_that_are_there() {
    if without("redis") {
        return;
    }
    let proxy = Proxy::new(Redis::shared().port());
    let mut client = Client::connect(&proxy);
    assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    proxy.set(Fault::Refuse);
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    proxy.set(Fault::Pass);
    assert_eq!(Client::connect(&proxy).call("PING"), Some("+PONG".to_owned()));
}

#[test]
fn a_black_hole_delivers_its_data_afterwards() {
    if without("redis") {
        return;
    }
    let redis = Redis::shared();
    let proxy = Proxy::new(redis.port());
    let (key, mut client) = (unique_prefix(), Client::connect(&proxy));
    assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    proxy.set(Fault::BlackHole);
    client.send(&format!("INCR {key}"));
    let mut newcomer = Client::connect(&proxy);
    newcomer.send("PING");
    wait_until("the newcomer to be accepted", || proxy.connections() == 2);
    assert_eq!(redis.command(["GET", &key]), Reply::Nil);
    proxy.set(Fault::Pass);
    assert_eq!(client.receive(), Some(":1".to_owned()));
    assert_eq!(newcomer.receive(), Some("+PONG".to_owned()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a lower bound of real time: the proxy delays in nothing else")]
fn a_delayed_reply_does_not_come_sooner() {
    if without("redis") {
        return;
    }
    let delay = Duration::from_millis(50);
    let proxy = Proxy::new(Redis::shared().port());
    let mut client = Client::connect(&proxy);
    proxy.set(Fault::Delay(delay));
    let sent = Instant::now();
    assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    assert!(sent.elapsed() >= delay);
}

#[test]
fn a_server_that_is_down_ends_the_connection() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let proxy = Proxy::new(redis.port());
    let mut client = Client::connect(&proxy);
    assert_eq!(client.call("PING"), Some("+PONG".to_owned()));
    redis.kill();
    assert_eq!(client.receive(), None);
    assert_eq!(Client::connect(&proxy).receive(), None);
    redis.restart();
    assert_eq!(Client::connect(&proxy).call("PING"), Some("+PONG".to_owned()));
}

#[test]
fn nothing_listens_after_drop() {
    if without("redis") {
        return;
    }
    let proxy = Proxy::new(Redis::shared().port());
    let (port, mut client) = (proxy.port(), Client::connect(&proxy));
    drop(proxy);
    assert_eq!(client.receive(), None);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
