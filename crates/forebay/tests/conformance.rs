//! The suite of the seam, on every engine.

use forebay::{Forebay, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for case in conformance::cases() {
        (case.run)(bay.clone()).await;
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
