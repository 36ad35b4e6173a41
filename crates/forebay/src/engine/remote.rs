//! What is asked of servers, as boxed futures.
//!
//! A future is compiled in each crate that awaits it, together with all futures in it. A box ends that at the functions here
//! and those of the steps (`seam.rs`), which are not generic: what is behind them is compiled once, in this crate. It costs
//! an allocation for a round trip. A decision in this process and a take that shares a round trip do without.

use std::time::Duration;

use super::{cluster::Cluster, redis::Redis, step::SeriesPart};
use crate::{
    error::Result,
    model::{Command, Failure, Reply},
    sink::BoxFuture,
    time::Timestamp,
};

/// An engine with servers.
pub(super) struct Remote<'a, E>(pub &'a E);

impl<'a> Remote<'a, Redis> {
    pub(super) fn series_now(self, part: &'a SeriesPart) -> BoxFuture<'a, Timestamp> {
        Box::pin(self.0.series_now(part))
    }

    pub(super) fn kv(
        self,
        commands: &'a [&'a Command],
        within: Duration,
    ) -> BoxFuture<'a, Vec<Result<Reply, Failure>>> {
        Box::pin(self.0.kv(commands, within))
    }

    pub(super) fn renew_login(self) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.renew_login())
    }

    pub(super) fn close(self) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.close())
    }
}

impl<'a> Remote<'a, Cluster> {
    pub(super) fn series_now(self, part: &'a SeriesPart) -> BoxFuture<'a, Timestamp> {
        Box::pin(self.0.series_now(part))
    }

    pub(super) fn series_may_wait(self, part: &'a SeriesPart) -> BoxFuture<'a, bool> {
        Box::pin(self.0.series_may_wait(part))
    }

    pub(super) fn kv(
        self,
        host: &'a str,
        commands: &'a [&'a Command],
        within: Duration,
    ) -> BoxFuture<'a, Vec<Result<Reply, Failure>>> {
        Box::pin(self.0.kv(host, commands, within))
    }

    pub(super) fn renew_login(self) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.renew_login())
    }

    pub(super) fn close(self) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.close())
    }
}
