//! Redis as it is deployed: TLS, logins that change, names and networks, Sentinel.

#![expect(clippy::print_stdout, reason = "long runs of the fail-over tests print what they measured")]

mod failover;
mod login;
mod lost;
mod network;
mod sentinel;
#[path = "../cluster/shared.rs"]
mod shared;
mod tls;
mod untold;
#[path = "../cluster/waited.rs"]
mod waited;

use forebay::{Error, Forebay};
use forebay_testkit::{unique_prefix, without};

/// Whether the run is without a Redis, or with one that was built without TLS.
fn without_tls() -> bool {
    without("redis") || without("tls")
}

/// Opens a store for one test.
async fn open(url: &str) -> Result<Forebay, Error> {
    Forebay::options().prefix(unique_prefix()).open(url).await
}

/// An error and its causes, as they are logged.
fn text_of(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner} {inner:?}");
        cause = inner.source();
    }
    text
}

/// The text of the error with which a store cannot be opened.
async fn refused(url: &str) -> String {
    let error = open(url).await.expect_err("it does not fit");
    text_of(&error)
}
