//! Dead letters: rows that the table refused. They can be listed, counted and replayed.

use super::handle::BufferHandle;
use crate::{
    error::{Result, out_of_range},
    sink::{DeadLetter, Replayed},
};

/// One transaction replays at most this many dead letters: few, so that the rows it locks are soon free again.
const REPLAY_BATCH: u32 = 500;

/// One call lists at most this many dead letters.
const MAX_LISTED: u32 = 1_000;

/// Which dead letters to replay.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::{Buffer, Forebay, buffer::DeadLetters, sink::MemorySink};
/// # let bay = Forebay::open("memory:").await?;
/// # let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// # let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
/// assert!(projects.replay_dead(DeadLetters::All).await?.applied.is_empty());
/// projects.replay_dead(DeadLetters::Ids(vec![17, 18])).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetters {
    /// All of the buffer.
    All,
    /// Those with these ids.
    Ids(Vec<u64>),
}

impl BufferHandle {
    /// Lists the dead letters with an id above `after` (0: from the first), by id, at most `limit` (1 to 1 000). For the next
    /// page, pass the last id as `after`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Buffer, Forebay, buffer::DeadLetters, sink::MemorySink};
    /// let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
    /// for hits in [i64::MAX, 1] {
    ///     projects.row("42").add("hits", hits).await?;
    ///     projects.flush().await?;
    /// }
    /// let letters = projects.dead_letters(0, 100).await?;
    /// assert!(letters[0].reason.contains("would leave 64 bits"));
    ///
    /// projects.row("42").add("hits", -1).await?; // corrects the row
    /// projects.flush().await?;
    /// assert_eq!(projects.replay_dead(DeadLetters::All).await?.applied, [letters[0].id]);
    /// assert_eq!(*projects.value(["42".into()]).await?, [Some(i64::MAX.into())]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another `limit`;
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) without a sink;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the sink keeps no dead letters; and when the database
    /// does not answer.
    pub async fn dead_letters(&self, after: u64, limit: u32) -> Result<Vec<DeadLetter>> {
        if !(1..=MAX_LISTED).contains(&limit) {
            return Err(out_of_range(format!("limit {limit}: 1 to {MAX_LISTED} dead letters")));
        }
        let letters = self.sink()?.dead_letters(&self.0.schema, after, limit).await;
        letters.map_err(self.sink_failed("listing its dead letters"))
    }

    /// Counts the dead letters of all processes.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    pub async fn dead_count(&self) -> Result<u64> {
        let count = self.sink()?.count_dead(&self.0.schema).await;
        count.map_err(self.sink_failed("counting its dead letters"))
    }

    /// Merges dead letters into their rows, and removes those that were merged.
    ///
    /// Each one counts once, also when several processes replay at the same time, or when one dies and another starts over. A
    /// dead letter that is refused again stays, with its new reason.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters), and [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the
    /// buffer is paused. Those replayed before the error stay replayed; call it again for the rest.
    ///
    /// # Cancellation
    /// Some dead letters may have been replayed, each completely or not at all.
    ///
    /// # Cost
    /// One transaction per 500 dead letters.
    pub async fn replay_dead(&self, which: DeadLetters) -> Result<Replayed> {
        self.check_not_paused("replay its dead letters").await?;
        let mut replayed = Replayed::default();
        match which {
            DeadLetters::Ids(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                for some in ids.chunks(REPLAY_BATCH as usize) {
                    self.replay_some(some, &mut replayed).await?;
                }
            }
            DeadLetters::All => {
                let mut after = 0;
                loop {
                    let letters = self.dead_letters(after, REPLAY_BATCH).await?;
                    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
                    let Some(last) = ids.last() else { break };
                    after = *last;
                    self.replay_some(&ids, &mut replayed).await?;
                }
            }
        }
        let (applied, refused) = (replayed.applied.len(), replayed.refused.len());
        tracing::info!(buffer = %self.0.schema.name, applied, refused, "dead letters were replayed");
        Ok(replayed)
    }

    async fn replay_some(&self, ids: &[u64], replayed: &mut Replayed) -> Result<()> {
        let some = self.sink()?.replay_dead(&self.0.schema, ids).await;
        let some = some.map_err(self.sink_failed("replaying its dead letters"))?;
        replayed.applied.extend(some.applied);
        replayed.refused.extend(some.refused);
        Ok(())
    }
}
