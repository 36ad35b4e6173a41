//! Random calls against a model.

use forebay::{Forebay, conformance};

use crate::Store;

#[tokio::test]
async fn random_steps_are_answered_as_the_model_says() {
    for seed in 0..40 {
        let store = Store::open().await;
        conformance::locks_follow_the_model(&store.bay, Some(&store.hand), seed, 1_000).await;
    }
}

#[tokio::test]
async fn random_steps_in_real_time_are_answered_as_the_model_says() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for seed in 0..8 {
        conformance::locks_follow_the_model(&bay, None, seed, 500).await;
    }
}
