//! The answers of partitions on several hosts, some of which may be down.

use crate::{
    engine::Engine,
    error::{Error, Result},
};

/// The answers of the partitions that answered.
pub(super) struct Answers<T> {
    pub found: Vec<T>,
    /// A host did not answer, and others did.
    pub partial: bool,
}

impl<T> Answers<T> {
    /// The answers of partitions, after the question for all of them.
    ///
    /// # Errors
    /// On one host the first error. On several an error that is no outage, or the last one if no partition answered.
    pub(super) fn of(engine: &Engine, known: Result<()>, each: Vec<Result<T>>) -> Result<Self> {
        let (mut found, mut failure) = (vec![], None);
        let mut fail = |error: Error| {
            if !engine.has_hosts() || !error.is_outage() {
                return Err(error);
            }
            failure = Some(error);
            Ok(())
        };
        if let Err(error) = known {
            fail(error)?;
        }
        for answer in each {
            match answer {
                Ok(answer) => found.push(answer),
                Err(error) => fail(error)?,
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            failure => Ok(Self { found, partial: failure.is_some() }),
        }
    }
}
