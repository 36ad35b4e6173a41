//! The talk's slides, function by function, as the examples spell them.

use forebay::{Forebay, cluster::Fate};
use forebay_testkit::{Redis, unique_prefix, without};

#[path = "../examples/slides/buffer.rs"]
mod buffer;
#[path = "../examples/slides/cluster.rs"]
mod cluster;
#[path = "../examples/slides/limit.rs"]
mod limit;
#[path = "../examples/slides/lock.rs"]
mod lock;
#[path = "../examples/slides/series.rs"]
mod series;

async fn all_slides(bay: Forebay) {
    let rows = buffer::run(&bay, "projects").await.expect("answers");
    assert_eq!(rows, [("42".to_owned(), 3), ("7".to_owned(), 1)]);

    let answers = limit::run(&bay, "hits").await.expect("answers");
    assert_eq!(answers[..20], ["200 OK"; 20]);
    assert_eq!(answers[20..], ["429 Too Many Requests"; 5]);

    let fences = lock::run(&bay, "crazy").await.expect("answers");
    assert_eq!(fences.len(), 5, "the four who waited at once, and the one after them");
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");

    let answers = cluster::run(&bay, &unique_prefix()).await.expect("answers");
    assert_eq!(answers[..2].iter().flatten().collect::<Vec<_>>(), [&Some(3), &Some(10)]);
    assert_eq!(answers[2].as_ref().expect_err("no number").fate(), Fate::Unreadable);
    assert_eq!(*answers[3].as_ref().expect("answers"), None);

    assert_eq!(series::run(&bay, "hits").await.expect("answers"), 3);
}

#[tokio::test]
async fn in_memory() {
    all_slides(Forebay::open("memory:").await.expect("opens")).await;
}

async fn on(url: &str) {
    all_slides(Forebay::options().prefix(unique_prefix()).open(url).await.expect("opens")).await;
}

#[tokio::test]
async fn on_redis() {
    if !without("redis") {
        on(&Redis::shared().url()).await;
    }
}

#[tokio::test]
async fn on_three_hosts() {
    if !without("redis") {
        let port = Redis::shared().port();
        on(&format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3")).await;
    }
}
