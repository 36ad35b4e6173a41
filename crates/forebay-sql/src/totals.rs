//! What a table holds as a whole.

/// How many rows a buffer's table has, and what its columns come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// All rows, also those that no buffer wrote.
    pub rows: u64,
    /// For each value column of the buffer, in order: the sum over all rows if the column merges by sum, else `None`.
    pub sums: Vec<Option<i64>>,
}
