//! Reading the configuration again while the server runs: on SIGHUP, and when the file changes.
//!
//! The file is watched by what is in it, once a second: editors and deployments replace files, and so do mounted
//! directories behind links, of which no time stamp and no notification tells reliably. It is taken once two looks have
//! found the same, so that a file that is being written is not taken for a short one.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use forebay::time::secs;
use metrics::{Counter, Gauge};

use crate::{
    app::App,
    cli,
    config::{Config, Mistakes, Options, Origin},
    metrics::Metrics,
    rules::Changes,
    shutdown::Hangup,
};

/// Between two looks at the file.
const LOOK: Duration = secs(1);

/// How reading the configuration again went so far.
pub struct Reloads {
    applied: Counter,
    refused: Counter,
    current: Gauge,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the last one was refused.
    mistakes: Option<Mistakes>,
    /// What the file says and takes a restart.
    restart: Vec<String>,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloads").field(&self.state).finish()
    }
}

impl Reloads {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let (applied, refused, current) = metrics.reloads();
        current.set(1.0);
        Self { applied, refused, current, state: Mutex::default() }
    }

    /// The file was taken.
    pub(crate) fn done(&self, changes: &Changes) {
        if !changes.made.is_empty() {
            self.applied.increment(1);
        }
        *self.state() = State { mistakes: None, restart: changes.restart.clone() };
        self.current.set(if changes.restart.is_empty() { 1.0 } else { 0.0 });
    }

    /// The file has mistakes, and what was before goes on.
    fn refused(&self, mistakes: Mistakes) {
        self.refused.increment(1);
        self.current.set(0.0);
        self.state().mistakes = Some(mistakes);
    }

    /// What an operator should know, as sentences.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let mistakes = state.mistakes.as_ref().map(|mistakes| {
            let mistakes = mistakes.to_string().replace('\n', "; ");
            format!("the configuration has mistakes, and the one before goes on: {mistakes}")
        });
        let restart = (!state.restart.is_empty()).then(|| takes_a_restart(&state.restart));
        mistakes.into_iter().chain(restart).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn takes_a_restart(what: &[String]) -> String {
    format!("the configuration was changed in what takes a restart: {}", what.join(", "))
}

/// Reads the configuration again whenever it changes and whenever it is asked to. Does not end.
pub async fn watch(app: Arc<App>, options: Options, origin: Origin, mut hangup: Hangup) {
    let clock = app.clock().clone();
    let mut file = match origin {
        Origin::File(path) => Some(Watched { path, seen: None, taken: None }),
        Origin::BuiltIn => None,
    };
    loop {
        let asked = tokio::select! {
            () = hangup.next() => true,
            () = clock.sleep(LOOK), if file.is_some() => false,
        };
        let changed = match &mut file {
            Some(file) => file.has_changed().await,
            None => false,
        };
        if asked {
            tracing::info!("SIGHUP: reading the configuration again");
        }
        if asked || changed {
            let options = options.clone();
            // A panic of the reader, or the end of the runtime: there is nothing to take.
            let Ok(read) = tokio::task::spawn_blocking(move || cli::check(&options)).await else { continue };
            take(&app, read, asked);
        }
    }
}

/// A file by its content.
#[derive(Debug)]
struct Watched {
    path: std::path::PathBuf,
    /// What the last look found.
    seen: Option<Vec<u8>>,
    /// What was taken last; `None`: whatever there was at the start, which may have changed before the first look.
    taken: Option<Vec<u8>>,
}

impl Watched {
    /// Whether there is something that was not taken yet, and is the same as a look before. A file that cannot be read is
    /// one that is being replaced.
    async fn has_changed(&mut self) -> bool {
        let path = self.path.clone();
        let read = move || std::fs::read(Path::new(&path));
        let Ok(Ok(found)) = tokio::task::spawn_blocking(read).await else { return false };
        if self.taken.as_ref() == Some(&found) {
            return false;
        }
        let is_settled = self.seen.as_ref() == Some(&found);
        self.seen = Some(found);
        if is_settled {
            self.taken.clone_from(&self.seen);
        }
        is_settled
    }
}

/// Takes what was read, and says what came of it. What is as it was is not worth a word unless somebody `asked`.
fn take(app: &App, read: Result<Config, Mistakes>, asked: bool) {
    let config = match read {
        Ok(config) => config,
        Err(mistakes) => {
            tracing::error!("the configuration has mistakes, and the one before goes on\n{mistakes}");
            return app.reloads().refused(mistakes);
        }
    };
    let changes = app.reload(&config);
    for change in &changes.made {
        tracing::info!("{change}");
    }
    if !changes.restart.is_empty() {
        tracing::warn!("{}", takes_a_restart(&changes.restart));
    }
    if asked && changes == Changes::default() {
        tracing::info!("the configuration is as it was");
    }
}
