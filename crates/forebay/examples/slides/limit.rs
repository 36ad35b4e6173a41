//! Slide "Rate limiting": 20 hits a minute.
//!
//! The slide sent INCR and EXPIRE as two commands and built the key from the caller's clock. A crash between the two left a
//! counter for ever, and callers with different clocks counted in different minutes. Here one step decides by the store's
//! clock, and says when to try again.
//!
//! `cargo run --example slide-limit`, with `FOREBAY_STORE` for another store than `memory:`.

use forebay::{Decision, Forebay, Limit, Result, limit::LimitHandle};

async fn process_hit(hits: &LimitHandle, project_id: &str) -> Result<Decision> {
    hits.take(project_id).await
}

async fn request(hits: &LimitHandle, project_id: &str) -> Result<&'static str> {
    match process_hit(hits, project_id).await? {
        Decision::Allow { .. } => Ok("200 OK"),
        Decision::Deny { .. } => Ok("429 Too Many Requests"),
    }
}

/// Sends 25 requests for one project and returns the answers.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn run(bay: &Forebay, name: &str) -> Result<Vec<&'static str>> {
    // An hour instead of the slide's minute, so that no run of the example crosses the end of a window.
    let hits = bay.limit(Limit::per_hour(name, 20))?;
    let mut answers = vec![];
    for _ in 0..25 {
        answers.push(request(&hits, "42").await?);
    }
    Ok(answers)
}

#[allow(dead_code, clippy::print_stdout, reason = "prints as an example does; the tests call `run` instead")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::var("FOREBAY_STORE").unwrap_or_else(|_| "memory:".into());
    for (number, answer) in (1..).zip(run(&Forebay::open(&store).await?, "hits").await?) {
        println!("request {number}: {answer}");
    }
    Ok(())
}
