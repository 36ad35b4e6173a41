//! Rows that the table refused: to look at, and to try again.

use super::handle::{BufferHandle, sink_error};
use crate::{
    error::{Error, ErrorKind, Result, out_of_range},
    sink::{DeadLetter, Replayed},
};

/// How many letters one transaction replays: few enough that the rows it locks are soon free again.
const REPLAY_BATCH: u32 = 500;

/// How many letters one call lists.
const MAX_LISTED: u32 = 1_000;

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetters {
    /// Whatever there is.
    All,
    /// Those with these ids.
    Ids(Vec<u64>),
}

impl BufferHandle {
    /// Lists the dead letters with an id above `after` (0: from the first), in the order of their ids, at most `limit` of
    /// them, 1 to 1 000. The id of the last is the `after` of the next page.
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
    /// projects.row("42").add("hits", -1).await?; // somebody mends it
    /// projects.flush().await?;
    /// assert_eq!(projects.replay_dead(DeadLetters::All).await?.applied, [letters[0].id]);
    /// assert_eq!(*projects.value(["42".into()]).await?, [Some(i64::MAX.into())]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] for another `limit`; [`ErrorKind::Configuration`] without a sink;
    /// [`ErrorKind::Unsupported`] if the sink keeps none; and when the database does not answer.
    pub async fn dead_letters(&self, after: u64, limit: u32) -> Result<Vec<DeadLetter>> {
        if !(1..=MAX_LISTED).contains(&limit) {
            return Err(out_of_range(format!("limit {limit}: 1 to {MAX_LISTED} dead letters")));
        }
        let letters = self.sink()?.dead_letters(&self.0.schema, after, limit).await;
        letters.map_err(|error| self.about_the_dead("listing", sink_error(error)))
    }

    /// How many dead letters there are, whoever put them there.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    pub async fn dead_count(&self) -> Result<u64> {
        let count = self.sink()?.count_dead(&self.0.schema).await;
        count.map_err(|error| self.about_the_dead("counting", sink_error(error)))
    }

    /// Merges dead letters into their rows, and removes those that went in. Each counts once, also when several replay
    /// at once, or when one dies and another begins again. One that is refused again stays, with its new reason.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters), and [`ErrorKind::Unavailable`] while the buffer is paused. What was replayed so
    /// far stays so; call it again for the rest.
    ///
    /// # Cancellation
    /// Some letters may have been replayed; none was by half.
    ///
    /// # Cost
    /// One transaction per 500 letters.
    pub async fn replay_dead(&self, which: DeadLetters) -> Result<Replayed> {
        self.check_running("replay its dead letters").await?;
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
                    let ids: Vec<u64> = self
                        .dead_letters(after, REPLAY_BATCH)
                        .await?
                        .iter()
                        .map(|letter| letter.id)
                        .collect();
                    let Some(last) = ids.last() else { break };
                    after = *last;
                    self.replay_some(&ids, &mut replayed).await?;
                }
            }
        }
        let (buffer, applied, refused) =
            (&self.0.schema.name, replayed.applied.len(), replayed.refused.len());
        tracing::info!(%buffer, applied, refused, "dead letters were replayed");
        Ok(replayed)
    }

    async fn replay_some(&self, ids: &[u64], replayed: &mut Replayed) -> Result<()> {
        let some = self.sink()?.replay_dead(&self.0.schema, ids).await;
        let some = some.map_err(|error| self.about_the_dead("replaying", sink_error(error)))?;
        replayed.applied.extend(some.applied);
        replayed.refused.extend(some.refused);
        Ok(())
    }

    fn about_the_dead(&self, doing: &str, error: Error) -> Error {
        error.in_context(format_args!("buffer {}: {doing} its dead letters", self.0.schema.name))
    }

    /// Whether the flushing goes on; a pause keeps hands off the table.
    pub(super) async fn check_running(&self, to: &str) -> Result<()> {
        if self.is_paused().await? {
            let text = format!("buffer {} is paused: resume it to {to}", self.0.schema.name);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(())
    }
}
