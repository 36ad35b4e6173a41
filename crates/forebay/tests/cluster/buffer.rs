//! A buffer over several hosts.

use forebay::{Buffer, cluster::Health, sink::MemorySink, time::millis};
use forebay_testkit::{eventually, unique_prefix, without};

use crate::hosts::{health, open, three};

/// A flush must not stop at the first dead host, which would leave the rows of the others in the store, nor wait for it.
#[tokio::test]
async fn a_dead_host_does_not_keep_the_rows_of_the_others() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits")).expect("valid");
    let sink = MemorySink::new();
    let flusher = buffer.flush_to(sink.clone()).every(millis(10));
    let rows = || sink.rows(buffer.schema()).len();
    for id in 0..60 {
        buffer.row(format!("{id}")).add("hits", 1).await.expect("buffered");
    }
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    let error = buffer.flush().await.expect_err("not all of it");
    assert!(error.to_string().contains("\"b\""), "{error}");
    let flushed = rows();
    assert!((1..60).contains(&flushed), "{flushed} rows");

    // The flusher goes on at the same rate for the hosts that answer.
    let flushing = flusher.spawn();
    let mut written = 0;
    for id in 100..160 {
        written += usize::from(buffer.row(format!("{id}")).add("hits", 1).await.is_ok());
    }
    assert_eq!(written, 60, "those of the dead host go to others");
    eventually("the rows of the others", async || rows() == flushed + written).await;
    servers[1].restart();
    eventually("the host to be found again", async || health(&bay) == [Health::Up; 3]).await;
    flushing.stop().await.expect("a last flush");
}
