//! An engine whose calls fail on command, for tests of what a caller does then.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use super::embedded::Embedded;
use crate::error::{Error, ErrorKind, Result};

/// How a call fails.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, Retry, fault::{Fault, Faults}};
/// let faults = Faults::new();
/// let bay = Forebay::options().faults(faults.clone()).open("memory:").await?;
/// faults.next("series_add", [Some(Fault::AnswerLost)]);
/// let error = bay.series("hits")?.add("user:42", 1).await.unwrap_err();
/// assert_eq!(error.retry(), Retry::Unknown); // it was counted, and the answer was lost
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The store does nothing, and says so.
    Refused,
    /// The store does it, and the answer is lost.
    AnswerLost,
    /// The store does nothing, and nothing comes back, ever.
    Unreachable,
}

/// The planned faults, shared with the stores opened with them. Clones share them.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, fault::{Fault, Faults}};
/// let faults = Faults::new();
/// let bay = Forebay::options().faults(faults.clone()).open("memory:").await?;
/// faults.always(Some(Fault::Refused));
/// assert!(bay.series("hits")?.add("user:42", 1).await.is_err());
/// faults.always(None);
/// assert_eq!(faults.calls("series_add"), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The faults of the next calls, by step.
    pub(super) next: HashMap<&'static str, VecDeque<Option<Fault>>>,
    /// The fault of all other calls.
    always: Option<Fault>,
    /// The number of calls, by step.
    pub(super) calls: HashMap<&'static str, u64>,
}

impl Faults {
    /// A plan in which nothing fails.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call fail from now on; `None`: none fails.
    pub fn always(&self, fault: Option<Fault>) {
        self.plan().always = fault;
    }

    fn meet(&self, step: &'static str) -> Option<Fault> {
        let mut plan = self.plan();
        *plan.calls.entry(step).or_default() += 1;
        plan.next.get_mut(step).and_then(VecDeque::pop_front).unwrap_or(plan.always)
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock()
    }
}

/// The embedded engine behind faults.
#[derive(Debug)]
pub(crate) struct FaultEngine {
    pub inner: Arc<Embedded>,
    pub faults: Faults,
}

impl FaultEngine {
    /// Runs a step, unless a fault is planned for its name.
    pub(crate) async fn run<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.faults.meet(name) {
            None => step.await,
            Some(Fault::Refused) => {
                Err(Error::new(ErrorKind::Unavailable, format!("{name}: refused by the test")))
            }
            Some(Fault::AnswerLost) => {
                step.await?;
                Err(Error::new(ErrorKind::Ambiguous, format!("{name}: answer lost by the test")))
            }
            Some(Fault::Unreachable) => pending().await,
        }
    }
}
