//! Where a row goes while the host of its partition is down: a partition of the same buffer on another host.
//!
//! That is right because every merge is independent of the order, so that two partitions may have the same row. Only a row that
//! certainly was not sent goes elsewhere. One whose answer was lost may have been merged, and is not merged twice.

use super::handle::BufferHandle;
use crate::{
    engine::{
        elsewhere::on_other_hosts,
        step::{BufferPart, Place},
    },
    error::Result,
    model::RowKey,
    once::RequestItem,
};

impl BufferHandle {
    /// Whether rows may go to another partition than their own.
    pub(super) fn has_alternatives(&self) -> bool {
        self.0.schema.partitions > 1 && self.0.store.engine().has_hosts()
    }

    /// The partitions for a row whose own host is down, in their order: of each other host the one that the row prefers. None if
    /// all partitions of the buffer are on one host.
    pub(super) fn alternatives(&self, row: &RowKey) -> Vec<u16> {
        if !self.has_alternatives() {
            return vec![];
        }
        let schema = &self.0.schema;
        let host = |index: &u16| self.0.store.engine().place_of(Place::Buffer(&self.part(*index))).0;
        let home = host(&schema.partition_of(row));
        let found = on_other_hosts(home, schema.other_partitions(row), host);
        found.into_iter().map(|(index, _)| index).collect()
    }

    /// The partition for a row of a request that is carried out once: the first whose host was not down when the request began.
    /// Its record says so, so that every attempt looks for the row's token in the same place.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if keys are placed otherwise since then.
    pub(crate) fn part_once(&self, item: &RequestItem, row: &RowKey) -> Result<BufferPart> {
        let home = self.part_of(row);
        if !self.has_alternatives() || !item.was_down(&home)? {
            return Ok(home);
        }
        for index in self.alternatives(row) {
            let part = self.part(index);
            if !item.was_down(&part)? {
                return Ok(part);
            }
        }
        Ok(home)
    }
}
