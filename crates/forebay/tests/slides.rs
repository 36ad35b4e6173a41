//! The talk's slides, function by function, as the examples spell them.

use forebay::Forebay;

#[path = "../examples/slides/buffer.rs"]
mod buffer;
#[path = "../examples/slides/limit.rs"]
mod limit;
#[path = "../examples/slides/series.rs"]
mod series;

async fn all_slides(bay: Forebay) {
    let rows = buffer::run(&bay, "projects").await.expect("answers");
    assert_eq!(rows, [("42".to_owned(), 3), ("7".to_owned(), 1)]);

    let answers = limit::run(&bay, "hits").await.expect("answers");
    assert_eq!(answers[..20], ["200 OK"; 20]);
    assert_eq!(answers[20..], ["429 Too Many Requests"; 5]);

    assert_eq!(series::run(&bay, "hits").await.expect("answers"), 3);
}

#[tokio::test]
async fn in_memory() {
    all_slides(Forebay::open("memory:").await.expect("opens")).await;
}
