//! The fate of a charge, of a part of a hit, and of several writes together.

use crate::error::{Result, Retry};

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

/// The outcome of several writes that are one to the caller, such as those to the partitions of a series. Where some were applied,
/// or may have been, a repetition of all counts twice.
pub(crate) fn one_for_all(outcomes: Vec<Result<()>>) -> Result<()> {
    let may_be_applied = |outcome: &Result<()>| match outcome {
        Ok(()) => true,
        Err(error) => error.retry() == Retry::Unknown,
    };
    let some = outcomes.iter().any(may_be_applied);
    match outcomes.into_iter().collect() {
        Err::<(), _>(error) if some => Err(error.with_retry(Retry::Unknown)),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    /// A repetition would count the others twice.
    #[test]
    fn writes_are_unknown_together_unless_none_is_applied() {
        let unsent = || Err(Error::new(ErrorKind::Unavailable, "no connection"));
        let doubtful = || Err(Error::new(ErrorKind::Ambiguous, "the answer was lost"));
        let retry = |outcomes: Vec<Result<()>>| one_for_all(outcomes).map_err(|error| error.retry());
        assert_eq!(retry(vec![Ok(()), Ok(())]), Ok(()));
        assert_eq!(retry(vec![unsent(), unsent()]), Err(Retry::Later));
        assert_eq!(retry(vec![unsent(), Ok(())]), Err(Retry::Unknown));
        assert_eq!(retry(vec![unsent(), doubtful()]), Err(Retry::Unknown));
    }
}
