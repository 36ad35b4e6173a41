//! The deadline of a step.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Result},
    key::Name,
    store::Store,
};

/// Runs a step of a limit under a deadline. An engine in this process needs none.
pub(crate) async fn in_time<T>(
    store: &Store,
    deadline: Duration,
    limit: &Name,
    step: impl Future<Output = Result<T>>,
) -> Result<T> {
    if store.engine().is_in_process() {
        return step.await;
    }
    store.clock().timeout(deadline, step).await.unwrap_or_else(|| {
        let text = format!("limit {limit}: no answer from the store within {deadline:?}");
        Err(Error::new(ErrorKind::Timeout, text))
    })
}
