//! The fate of a charge, or of a part of a hit.

/// Whether a part of a hit was applied.
///
/// # Examples
/// ```
/// use forebay::event::Applied;
/// assert_eq!(Applied::Unknown.as_str(), "unknown");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// Nobody knows.
    Unknown,
}

impl Applied {
    /// The word for this in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}
