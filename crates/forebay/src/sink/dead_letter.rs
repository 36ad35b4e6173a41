//! Rows that a table refused.

use uuid::Uuid;

use crate::{error::Result, model::Row, time::Timestamp};

/// A row that a table refused. It is kept beside the table until somebody resolves the reason and replays it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// # let _flusher = projects.flush_to(forebay::sink::MemorySink::new()).prepare().await?;
/// for letter in projects.dead_letters(0, 100).await? {
///     println!("{}: refused at {}: {}", letter.id, letter.at, letter.reason);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its id, from 1. A larger id came later, but two transactions at the same time may show theirs in either order.
    pub id: u64,
    /// The batch that contained it.
    pub batch: Uuid,
    /// When it was first refused.
    pub at: Timestamp,
    /// Why it was last refused.
    pub reason: String,
    /// The row to merge. An error that quotes the letter, if that does not fit the buffer's definition any more.
    pub row: Result<Row>,
}

/// The result of a replay of dead letters. A requested letter that is in neither list does not exist: somebody has
/// replayed it before.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// # let _flusher = projects.flush_to(forebay::sink::MemorySink::new()).prepare().await?;
/// let replayed = projects.replay_dead(forebay::buffer::DeadLetters::All).await?;
/// assert!(replayed.applied.is_empty() && replayed.refused.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The letters whose values are in the table now. They are deleted.
    pub applied: Vec<u64>,
    /// The letters that were refused again, and why. They stay, with this as their reason.
    pub refused: Vec<(u64, String)>,
}
