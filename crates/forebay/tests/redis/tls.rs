//! TLS: certificates are checked, and each mistake is told with what to write.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use forebay::{ErrorKind, Forebay};
use forebay_testkit::{Certificates, Pair, Redis};

use crate::{open, refused, text_of, without_tls};

struct World {
    ca: Certificates,
    server: Redis,
}

fn world(names: &[&str]) -> World {
    let ca = Certificates::new();
    let pair = ca.issue("server", names);
    World { server: Redis::builder().tls(&ca, &pair).start(), ca }
}

/// Parameters that trust this CA.
fn trusting(ca: &Certificates) -> String {
    format!("ca={}", ca.file().display())
}

fn client(Pair { certificate, key }: &Pair) -> String {
    format!("cert={}&key={}", certificate.display(), key.display())
}

#[tokio::test]
async fn a_server_is_reached_by_name_and_by_address() {
    if without_tls() {
        return;
    }
    let World { ca, server } = world(&["localhost", "127.0.0.1"]);
    for host in ["localhost", "127.0.0.1"] {
        for protocol in ["resp2", "resp3"] {
            let parameters = format!("{}&protocol={protocol}", trusting(&ca));
            let bay = open(&server.tls_url(host, &parameters)).await.expect("opens");
            bay.ping().await.expect("answers");
            assert_eq!(bay.cluster().hosts()[0].name.to_string(), format!("{host}:{}/0", server.tls_port()));
        }
    }
    // Another name for the certificate than for the connection.
    let World { ca, server } = world(&["redis.internal"]);
    let parameters = format!("{}&server-name=redis.internal", trusting(&ca));
    open(&server.tls_url("127.0.0.1", &parameters)).await.expect("opens");
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_told() {
    if without_tls() {
        return;
    }
    let World { ca, server } = world(&["redis.internal", "10.0.0.7"]);
    let text = refused(&server.tls_url("localhost", &trusting(&ca))).await;
    assert!(text.contains("is for redis.internal, 10.0.0.7, not for localhost"), "{text}");
    assert!(text.contains("server-name="), "{text}");
    let text = refused(&server.tls_url("127.0.0.1", &trusting(&ca))).await;
    assert!(text.contains("not for 127.0.0.1"), "{text}");

    let other = Certificates::new();
    let text = refused(&server.tls_url("localhost", &trusting(&other))).await;
    assert!(text.contains("not issued by a CA in") && text.contains("ca=FILE"), "{text}");
    let text = refused(&server.tls_url("localhost", "")).await;
    assert!(text.contains("a CA that this machine trusts") && text.contains("ca=FILE"), "{text}");

    let expired = ca.issue_expired("expired", &["localhost"]);
    let server = Redis::builder().tls(&ca, &expired).start();
    let url = server.tls_url("localhost", &trusting(&ca));
    let error = open(&url).await.expect_err("expired");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(text_of(&error).contains("has expired: renew it"), "{error}");
}

#[tokio::test]
async fn a_server_may_demand_a_certificate() {
    if without_tls() {
        return;
    }
    let ca = Certificates::new();
    let pair = ca.issue("server", &["localhost"]);
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let builder = Redis::builder().tls(&ca, &pair).option("tls-protocols", versions);
        let server = builder.option("tls-auth-clients", "yes").start();
        let text = refused(&server.tls_url("localhost", &trusting(&ca))).await;
        assert!(text.contains("demands a client certificate: write cert=FILE and key=FILE"), "{text}");

        let good = client(&ca.issue("client", &["app"]));
        let url = server.tls_url("localhost", &format!("{}&{good}", trusting(&ca)));
        open(&url).await.expect("opens").ping().await.expect("answers");

        let foreign = client(&Certificates::new().issue("client", &["app"]));
        // Its files are gone by now.
        let text = refused(&server.tls_url("localhost", &format!("{}&{foreign}", trusting(&ca)))).await;
        assert!(text.contains("cannot read"), "{text}");
        let others = Certificates::new();
        let foreign = client(&others.issue("client", &["app"]));
        let text = refused(&server.tls_url("localhost", &format!("{}&{foreign}", trusting(&ca)))).await;
        assert!(text.contains("refuses the client certificate"), "{text}");
    }
}

#[tokio::test]
async fn plain_text_and_tls_on_the_wrong_port_are_told() {
    if without_tls() {
        return;
    }
    let World { ca, server } = world(&["localhost"]);
    // A greeting is random: the server answers some as lines, and waits for the end of others.
    for _ in 0..4 {
        let url = server.tls_url_at("localhost", server.port(), &trusting(&ca));
        let text = refused(&url).await;
        assert!(text.contains("speaks plain text on this port"), "{text}");
    }
    let text = refused(&format!("redis://localhost:{}/0", server.tls_port())).await;
    assert!(text.contains("speaks TLS on this port: write rediss:"), "{text}");
}

/// What a client says first on each of its connections to a server that understands nothing.
fn first_bytes(listener: &TcpListener, connections: usize) -> Vec<u8> {
    let first = |_| {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut byte = [0];
        client.read_exact(&mut byte).expect("it speaks first");
        let _ = client.write_all(b"-ERR unknown\r\n");
        byte[0]
    };
    (0..connections).map(first).collect()
}

/// A login in plain text would be read by whoever answers.
#[tokio::test(flavor = "multi_thread")]
async fn where_tls_does_not_come_about_nothing_is_said_in_plain_text() {
    /// The first byte of a TLS handshake.
    const HANDSHAKE: u8 = 22;
    let ca = Certificates::new();
    for (scheme, end) in
        [("rediss", "/0?"), ("rediss+sentinel", "/m?sentinel-password=x&"), ("rediss+cluster", "?")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = tokio::task::spawn_blocking(move || first_bytes(&listener, 3));
        let url = format!("{scheme}://:s3cret@127.0.0.1:{port}{end}{}", trusting(&ca));
        // Each attempt makes a connection or more.
        for _ in 0..3 {
            let text = refused(&url).await;
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(heard.await.expect("three connections"), [HANDSHAKE; 3], "{scheme}");
    }
}

#[tokio::test]
async fn mistakes_in_the_url_are_found_without_a_server() {
    let ca = Certificates::new();
    let pair = ca.issue("client", &["app"]);
    let file = ca.file().display().to_string();
    let (certificate, key) = (pair.certificate.display().to_string(), pair.key.display().to_string());
    for (url, said) in [
        ("rediss://h?ca=/nowhere/ca.pem".to_owned(), "cannot read /nowhere/ca.pem"),
        (format!("rediss://h?ca={key}"), "has no certificate in PEM"),
        (format!("rediss://h?ca={file}&cert={certificate}"), "cert=FILE and key=FILE"),
        (format!("rediss://h?ca={file}&cert={certificate}&key={certificate}"), "has no private key in PEM"),
        (format!("rediss://h?ca={file}&cert={file}&key={key}"), "do not fit"),
        (format!("redis://h?ca={file}"), "the parameter ca is for TLS: write rediss:"),
        (format!("redis+sentinel://h/m?ca={file}"), "the parameter ca is for TLS"),
        ("rediss://h/#insecure".to_owned(), "TLS always checks"),
        ("rediss://h?server-name=a_b/c".to_owned(), "is no name or address for a certificate"),
        ("rediss://h?insecure=1".to_owned(), "unknown parameter \"insecure\""),
        ("redis://a,rediss://b".to_owned(), "share its scheme"),
    ] {
        let error = Forebay::check_url(&url).expect_err(&url);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(said), "{url}: {error}");
    }
    Forebay::check_url(&format!("rediss://a,b/1?ca={file}&cert={certificate}&key={key}")).expect("good");
}
