//! A batch, and the result of applying it.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    model::{Row, Schema},
    time::Timestamp,
};

/// A frozen generation of a buffer's partition. It is applied as a whole, once.
///
/// # Examples
/// ```
/// use forebay::{Buffer, buffer::{Row, RowKey}, sink::Batch};
/// use uuid::Uuid;
///
/// let schema = Buffer::new("projects").key("id").sum("hits").build()?;
/// let row = |id: &str| Ok::<_, forebay::Error>(Row::empty(&schema, RowKey::new(&schema, &[id.into()])?));
/// let batch = Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![row("b")?, row("a")?]);
/// assert_eq!(batch.rows[0].key.as_str(), "a"); // rows are sorted by key
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The generation's id. The generation got it with its first write, and it is never used again.
    pub id: Uuid,
    /// The buffer.
    pub schema: Arc<Schema>,
    /// The partition. It is only information for readers of the ledger.
    pub partition: u16,
    /// The rows, one for each key. They are sorted by key, so that all batches take row locks in one order.
    pub rows: Vec<Row>,
    /// The time of the generation's last write, by the store's clock; each write moves it forward. `None` if the store does
    /// not report it: an embedded store never writes to a generation that a sink may have, and older versions did not record
    /// the time.
    pub last_write: Option<Timestamp>,
}

impl Batch {
    /// Creates a batch; sorts the rows.
    pub fn new(id: Uuid, schema: Arc<Schema>, partition: u16, mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Self { id, schema, partition, rows, last_write: None }
    }

    /// Sets the time of the generation's last write.
    #[must_use]
    pub fn last_written(mut self, at: Option<Timestamp>) -> Self {
        self.last_write = at;
        self
    }
}

/// The result of applying a batch.
///
/// # Examples
/// ```
/// use forebay::sink::Applied;
/// assert!(matches!(Applied::now(3, 0), Applied::Now { rows: 3, dead: 0, .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// The rows are committed now.
    #[non_exhaustive]
    Now {
        /// How many rows reached the table.
        rows: u64,
        /// How many rows became dead letters, in the same transaction.
        dead: u64,
    },
    /// The ledger already had the batch: an earlier attempt committed it, and this one changed nothing.
    Before,
    /// The ledger has the batch's id with an earlier [last write](Batch::last_write): the generation holds writes that are
    /// in no commit. Nothing was changed. The flusher parks the generation, and the store keeps it.
    #[non_exhaustive]
    WrittenSince {
        /// The last write that the commit held.
        committed: Timestamp,
    },
}

impl Applied {
    /// `rows` rows reached the table, and `dead` became dead letters.
    pub fn now(rows: u64, dead: u64) -> Self {
        Self::Now { rows, dead }
    }

    /// The result for a batch whose id the ledger has, with `committed` as the time of the last write; `None` if the ledger
    /// did not record it.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Buffer, Timestamp, sink::{Applied, Batch}};
    /// use uuid::Uuid;
    ///
    /// let schema = Buffer::new("projects").key("id").sum("hits").build()?;
    /// let [noon, later] = [1_767_268_800, 1_767_268_801].map(Timestamp::from_secs);
    /// let batch = Batch::new(Uuid::now_v7(), schema, 0, vec![]).last_written(Some(later));
    /// assert_eq!(Applied::again(&batch, Some(later)), Applied::Before);
    /// assert!(matches!(Applied::again(&batch, Some(noon)), Applied::WrittenSince { committed, .. } if committed == noon));
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn again(batch: &Batch, committed: Option<Timestamp>) -> Self {
        match committed {
            Some(committed) if batch.last_write > Some(committed) => Self::WrittenSince { committed },
            _ => Self::Before,
        }
    }
}
