//! Limits in front of a real gRPC server, asked by a real client.

use forebay::{Forebay, Limit};
use forebay_tower::{Key, LimitLayer};
use tokio::net::TcpListener;
use tonic::{
    Code,
    metadata::MetadataValue,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn a_denied_call_is_told_so_as_grpc_tells_it() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let calls = bay.limit(Limit::per_day("calls", 2)).expect("valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .layer(LimitLayer::new(&bay, calls, Key::header("x-api-key")))
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(async move { server.await.expect("serves") });

    let channel = Endpoint::try_from(format!("http://{address}")).expect("a URL").connect().await;
    let mut client = HealthClient::new(channel.expect("connects"));
    let mut check = async |key: &'static str| {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-api-key", MetadataValue::from_static(key));
        client.check(request).await
    };
    for left in ["1", "0"] {
        let answer = check("42").await.expect("served");
        assert_eq!(
            answer.metadata().get("x-ratelimit-remaining").map(MetadataValue::as_bytes),
            Some(left.as_bytes())
        );
    }
    let denied = check("42").await.expect_err("denied");
    assert_eq!((denied.code(), denied.message()), (Code::ResourceExhausted, "rate limit exceeded"));
    assert!(denied.metadata().get("retry-after").is_some(), "{denied:?}");
    check("43").await.expect("others have their own");
}
