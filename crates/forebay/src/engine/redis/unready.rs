//! Steps that are being written: each moves to the file of its primitive, and this one goes with the last.

use uuid::Uuid;

use super::Redis;
use crate::{
    engine::step::{Point, SeriesPart, Span},
    error::{Error, ErrorKind, Result},
    time::Timestamp,
};

fn unready<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "this step is not available on a Redis host yet"))
}

#[expect(clippy::unused_async, clippy::unused_self, reason = "not written yet")]
impl Redis {
    pub(crate) async fn series_add(&self, _: &SeriesPart, _: Vec<Point>, _: Timestamp) -> Result<()> {
        unready()
    }

    pub(crate) async fn series_read(&self, _: &SeriesPart, _: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        unready()
    }

    pub(crate) async fn series_delete(&self, _: &SeriesPart, _: &str, _: Timestamp) -> Result<()> {
        unready()
    }
}
