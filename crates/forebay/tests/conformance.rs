//! The suite of the seam, on every engine.

use forebay::{Forebay, conformance};
use forebay_testkit::{Redis, RedisCluster, unique_prefix, without};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for case in conformance::cases() {
        (case.run)(bay.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("store.redb");
    for sync in ["", "?sync=1s"] {
        let url = format!("embedded:{}{sync}", path.display());
        let bay = Forebay::open(&url).await.expect("opens");
        for case in conformance::cases() {
            (case.run)(bay.clone()).await;
        }
        bay.close().await.expect("closes");
    }
}

#[tokio::test]
async fn memory_and_a_file_agree_on_random_steps() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let url = format!("embedded:{}", directory.path().join("store.redb").display());
    for seed in 0..4 {
        let (one, two) =
            (Forebay::open("memory:").await.expect("opens"), Forebay::open(&url).await.expect("opens"));
        conformance::differential(&one, &two, seed, 300).await;
        two.close().await.expect("closes");
    }
}

#[tokio::test]
async fn two_engines_in_memory_agree_on_random_steps() {
    for seed in 0..8 {
        let (one, two) =
            (Forebay::open("memory:").await.expect("opens"), Forebay::open("memory:").await.expect("opens"));
        conformance::differential(&one, &two, seed, 500).await;
    }
}

/// One Redis, and three databases of it as three hosts. `None` where Redis was left out.
async fn on_redis() -> Option<[Forebay; 2]> {
    if without("redis") {
        return None;
    }
    let server = Redis::shared();
    let open =
        async |url: String| Forebay::options().prefix(unique_prefix()).open(&url).await.expect("opens");
    let port = server.port();
    let list = format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3");
    Some([open(server.url()).await, open(list).await])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_redis_and_three() {
    for bay in on_redis().await.into_iter().flatten() {
        for case in conformance::cases() {
            (case.run)(bay.clone()).await;
        }
    }
}

#[tokio::test]
async fn memory_and_redis_agree_on_random_steps() {
    for bay in on_redis().await.into_iter().flatten() {
        for seed in 0..4 {
            let memory = Forebay::open("memory:").await.expect("opens");
            conformance::differential(&memory, &bay, seed, 300).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    let bay = Forebay::options().prefix(unique_prefix()).open(&cluster.url()).await.expect("opens");
    for case in conformance::cases() {
        (case.run)(bay.clone()).await;
    }
    for seed in 0..4 {
        let memory = Forebay::open("memory:").await.expect("opens");
        conformance::differential(&memory, &bay, seed, 300).await;
    }
    for seed in 0..4 {
        conformance::locks_follow_the_model(&bay, None, seed, 100).await;
    }
}
