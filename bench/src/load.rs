//! Cells, and their load.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use forebay::{Clock, limit::LimitHandle};

/// The callers, the duration, and the servers of a cell.
#[derive(Clone, Debug)]
pub struct Load {
    /// The URL of a Redis that no other program uses.
    pub redis: String,
    /// A directory that is removed afterwards.
    pub scratch: PathBuf,
    /// Calls under way at once.
    pub callers: usize,
    /// The seconds for which a cell runs.
    pub seconds: f64,
}

/// The unit of cells where more is better. In all other units less is better.
pub(crate) const PER_SECOND: &str = "1/s";

/// A unit of measurement: one subject, or several call by call in turn.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Cell {
    /// The name of the measurement. Cells with the same name are compared; the first one is Forebay's.
    pub name: &'static str,
    /// The systems that the values belong to.
    pub subjects: &'static [&'static str],
    pub(crate) unit: &'static str,
    /// Measures a value for each subject.
    pub(crate) run: Box<dyn Fn(Load) -> Run>,
}

type Run = Pin<Box<dyn Future<Output = Result<Vec<f64>>>>>;

impl Cell {
    /// A cell of several subjects.
    pub fn new<F: Future<Output = Result<Vec<f64>>> + 'static>(
        name: &'static str,
        subjects: &'static [&'static str],
        unit: &'static str,
        run: impl Fn(Load) -> F + 'static,
    ) -> Self {
        Self { name, subjects, unit, run: Box::new(move |load| Box::pin(run(load))) }
    }
}

/// The median of some times, at least one, in microseconds.
pub fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// A cell of one subject, in calls per second.
pub fn per_second<F: Future<Output = Result<f64>> + 'static>(
    name: &'static str,
    subject: &'static [&'static str; 1],
    run: impl Fn(Load) -> F + 'static,
) -> Cell {
    Cell::new(name, subject, PER_SECOND, move |load| {
        let run = run(load);
        async { Ok(vec![run.await?]) }
    })
}

/// Takes per second of a limit that admits all of them.
pub async fn takes(load: &Load, keys: usize, limit: LimitHandle) -> Result<f64> {
    together(load, keys, limit, |limit, key| async move { Ok(limit.take(key).await?.is_allowed()) }).await
}

/// Up to this many keys each caller has by itself. To count the references to a shared one would cost more than some calls do.
const FEW: usize = 64;

/// Calls per second of `callers` tasks that each wait for their own answer before they call again. Each has a handle of its
/// own, as a connection or a request has.
pub async fn together<H, F>(
    load: &Load,
    keys: usize,
    handle: H,
    call: impl Fn(Arc<H>, Arc<str>) -> F + Copy + Send + 'static,
) -> Result<f64>
where
    H: Clone + Send + Sync + 'static,
    F: Future<Output = Result<bool>> + Send + 'static,
{
    let keys: Arc<[Arc<str>]> = (0..keys).map(|key| Arc::from(format!("user:{key}"))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Clock::system();
    let start = clock.monotonic();
    let callers: Vec<_> = (0..load.callers)
        .map(|caller| {
            let (stop, handle) = (stop.clone(), Arc::new(handle.clone()));
            let keys = match keys.len() {
                ..=FEW => keys.iter().map(|key| Arc::from(&**key)).collect(),
                _ => keys.clone(),
            };
            tokio::spawn(async move {
                // A stride shares no factor with a number of keys that is a power of ten, so that every caller visits all keys.
                // With one stride for all, callers that once wait for the same key would ask for the same keys from then on.
                let (stride, mut at, mut done) = (7_917 + 10 * caller, caller * 7_919, 0u64);
                while !stop.load(Ordering::Relaxed) {
                    at += stride;
                    anyhow::ensure!(
                        call(handle.clone(), keys[at % keys.len()].clone()).await?,
                        "a call was denied"
                    );
                    done += 1;
                    // An engine in this process never waits, and a task that never waits starves the timer.
                    if done % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(done)
            })
        })
        .collect();
    clock.sleep(Duration::from_secs_f64(load.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for caller in callers {
        done += caller.await??;
    }
    Ok(done as f64 / clock.monotonic().saturating_sub(start).as_secs_f64())
}
