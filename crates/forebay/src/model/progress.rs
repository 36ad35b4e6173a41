//! How far slots have moved.

/// How far hosts have come that join or leave: see [`Inspection::reshard`](crate::cluster::Inspection::reshard).
///
/// # Examples
/// ```
/// use forebay::cluster::Progress;
/// let progress = Progress::default();
/// assert_eq!(progress.slots_moved, progress.slots);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The slots that move in all.
    pub slots: u64,
    /// The slots that have their next host.
    pub slots_moved: u64,
    /// The keys that were copied.
    pub keys_moved: u64,
    /// The bytes of these keys and their values, as they travelled.
    pub bytes_moved: u64,
    /// Partitions of buffers, such as `hits.3`, whose rows did not get into the database in time. Their slots stay.
    pub undrained: Vec<Box<str>>,
}
