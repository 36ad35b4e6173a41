//! Steps that are being written: each moves to the file of its primitive, and this one goes with the last.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::Redis;
use crate::{
    buffer::{Row, RowKey},
    engine::{
        bell::{Bell, Bells},
        step::{
            BufferPart, BufferStats, Claim, Claimed, Frozen, Generation, LockState, PendingRow, Point,
            Rotate, SeriesPart, Span,
        },
    },
    error::{Error, ErrorKind, Result},
    time::Timestamp,
};

fn unready<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "this step is not available on a Redis host yet"))
}

#[expect(clippy::unused_async, clippy::unused_self, reason = "not written yet")]
impl Redis {
    pub(crate) async fn buffer_add(&self, _: &BufferPart, _: Vec<Row>) -> Result<Vec<Result<()>>> {
        unready()
    }

    pub(crate) async fn buffer_rotate(&self, _: &BufferPart, _: Rotate, _: u64) -> Result<Option<Uuid>> {
        unready()
    }

    pub(crate) async fn buffer_frozen(&self, _: &BufferPart) -> Result<Vec<Frozen>> {
        unready()
    }

    pub(crate) async fn buffer_read(&self, _: &BufferPart, _: Uuid) -> Result<Option<Generation>> {
        unready()
    }

    pub(crate) async fn buffer_ack(&self, _: &BufferPart, _: Uuid) -> Result<()> {
        unready()
    }

    pub(crate) async fn buffer_pending(&self, _: &BufferPart, _: &RowKey) -> Result<Vec<PendingRow>> {
        unready()
    }

    pub(crate) async fn buffer_stats(&self, _: &BufferPart) -> Result<BufferStats> {
        unready()
    }

    pub(crate) async fn series_add(&self, _: &SeriesPart, _: Vec<Point>, _: Timestamp) -> Result<()> {
        unready()
    }

    pub(crate) async fn series_read(&self, _: &SeriesPart, _: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        unready()
    }

    pub(crate) async fn series_delete(&self, _: &SeriesPart, _: &str, _: Timestamp) -> Result<()> {
        unready()
    }

    pub(crate) async fn lock_claim(&self, _: Claim<'_>) -> Result<Claimed> {
        unready()
    }

    pub(crate) async fn lock_renew(&self, _: &str, _: Uuid) -> Result<Option<Duration>> {
        unready()
    }

    pub(crate) async fn lock_release(&self, _: &str, _: Uuid) -> Result<bool> {
        unready()
    }

    pub(crate) async fn lock_state(&self, _: &str) -> Result<LockState> {
        unready()
    }

    pub(crate) async fn lock_force_release(&self, _: &str) -> Result<bool> {
        unready()
    }

    pub(crate) fn lock_bell(&self, owner: Uuid) -> Bell {
        Arc::new(Bells::default()).hang(owner)
    }
}
