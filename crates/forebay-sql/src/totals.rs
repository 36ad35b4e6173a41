//! Totals of a table.

/// The number of rows of a buffer's table, and the sums of its columns.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use forebay::{Buffer, Forebay};
/// use forebay_sql::Sqlite;
///
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
/// let database = Sqlite::open(":memory:").await?;
/// let _flusher = projects.flush_to(database.clone()).prepare().await?;
/// assert_eq!(database.totals(projects.schema()).await?.sums, [Some(0), None]);
///
/// for id in ["41", "42", "42"] {
///     projects.row(id).add("hits", 2).await?;
/// }
/// projects.flush().await?;
/// let totals = database.totals(projects.schema()).await?;
/// assert_eq!((totals.rows, totals.sums), (2, vec![Some(6), None]));
/// # Ok(()) }
/// # #[cfg(not(feature = "sqlite"))] fn main() {}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of all rows, also of those that no buffer wrote.
    pub rows: u64,
    /// For each value column of the buffer, in order: the sum over all rows if the column merges by sum, else `None`.
    pub sums: Vec<Option<i64>>,
}
