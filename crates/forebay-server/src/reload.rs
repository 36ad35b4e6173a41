//! Reading the configuration again while the server runs: on SIGHUP, and when the file changes.
//!
//! The file is watched by what is in it, once a second: editors and deployments replace files, and so do mounted
//! directories behind links, of which no time stamp and no notification tells reliably. It is taken once two looks have
//! found the same, so that a file that is being written is not taken for a short one; what is taken is what they found.
//! A file that declares nothing, where the running configuration does, is refused all the same: it is one that
//! somebody has begun to write.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use forebay::{
    Clock, Timestamp,
    time::{millis, secs},
};
use metrics::{Counter, Gauge};

use crate::{
    app::App,
    cli,
    config::{Config, Mistakes, Options, Origin, read_file},
    metrics::Metrics,
    rules::Changes,
    shutdown::Hangup,
};

/// Between two looks at the file.
const LOOK: Duration = secs(1);

/// Between two looks where somebody asked for it: long enough for a program that writes the file in one go.
const MOMENT: Duration = millis(200);

/// So many looks at a file that changes between each two of them.
const LOOKS: u32 = 50;

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
    /// What the last one that changed something changed, and when.
    last: Option<(Timestamp, Vec<String>)>,
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
    pub(crate) fn done(&self, changes: &Changes, now: Timestamp) {
        let mut state = self.state();
        if !changes.made.is_empty() {
            self.applied.increment(1);
            state.last = Some((now, changes.made.clone()));
        }
        (state.mistakes, state.restart) = (None, changes.restart.clone());
        drop(state);
        self.current.set(if changes.restart.is_empty() { 1.0 } else { 0.0 });
    }

    /// The file has mistakes, and what was before goes on.
    fn refused(&self, mistakes: Mistakes) {
        self.refused.increment(1);
        self.current.set(0.0);
        self.state().mistakes = Some(mistakes);
    }

    /// What the last one that changed something changed, such as `limit hits: removed`, and when.
    pub(crate) fn last(&self) -> Option<(Timestamp, Vec<String>)> {
        self.state().last.clone()
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
        if asked {
            tracing::info!("SIGHUP: reading the configuration again");
        }
        let found = match &mut file {
            Some(file) if asked => Some(Some(file.settled(&clock).await)),
            Some(file) => file.changed().await.map(Some),
            None => Some(None),
        };
        let Some(found) = found else { continue };
        let (options, path) = (options.clone(), file.as_ref().map(|file| file.path.clone()));
        let read = move || match (found, path) {
            (Some(Ok(text)), Some(path)) => cli::check_text(&options, Origin::File(path), &text),
            (Some(Err(wrong)), Some(path)) => Err(Mistakes::of(&path.display().to_string(), wrong)),
            _ => cli::check(&options),
        };
        // A panic of the reader, or the end of the runtime: there is nothing to take.
        let Ok(read) = tokio::task::spawn_blocking(read).await else { continue };
        take(&app, read, asked);
    }
}

/// The text of a file, or what is wrong with it.
type Found = Result<String, String>;

/// A file by its content.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What the last look found.
    seen: Option<Look>,
    /// What was taken last; `None`: whatever there was at the start, which may have changed before the first look.
    taken: Option<Found>,
}

/// What a look at a file found. Two that are the same have nothing written in between.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    found: Found,
    modified: Option<SystemTime>,
}

impl Watched {
    /// What the file has, if that was not taken yet and is the same as a look before.
    async fn changed(&mut self) -> Option<Found> {
        let look = self.look().await;
        if self.taken.as_ref() == Some(&look.found) {
            self.seen = Some(look);
            return None;
        }
        let is_settled = self.seen.as_ref() == Some(&look);
        self.seen = Some(look.clone());
        is_settled.then(|| self.take(look.found))
    }

    /// What the file has, once it has not changed for a moment.
    async fn settled(&mut self, clock: &Clock) -> Found {
        let mut before = self.look().await;
        for _ in 0..LOOKS {
            clock.sleep(MOMENT).await;
            let look = self.look().await;
            if look == before {
                return self.take(look.found);
            }
            before = look;
        }
        Err("does not stop changing".to_owned())
    }

    fn take(&mut self, found: Found) -> Found {
        self.taken = Some(found.clone());
        found
    }

    async fn look(&self) -> Look {
        let path = self.path.clone();
        let look = move || {
            let modified = std::fs::metadata(&path).and_then(|found| found.modified()).ok();
            Look { found: read_file(&path), modified }
        };
        let failed = |_| Look { found: Err("cannot be read now".to_owned()), modified: None };
        tokio::task::spawn_blocking(look).await.unwrap_or_else(failed)
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
    if config.declares_nothing() && !app.declares_nothing() {
        let wrong = "declares no limit, series, buffer or event, and the running configuration does: taken for a file that \
                     is half written; restart the server if it is meant";
        let mistakes = Mistakes::of(&config.origin.to_string(), wrong);
        tracing::error!("the one before goes on: {mistakes}");
        return app.reloads().refused(mistakes);
    }
    let changes = app.reload(&config);
    for change in &changes.made {
        if change.ends_with("removed") {
            tracing::warn!("{change}");
        } else {
            tracing::info!("{change}");
        }
    }
    if !changes.restart.is_empty() {
        tracing::warn!("{}", takes_a_restart(&changes.restart));
    }
    if asked && changes == Changes::default() {
        tracing::info!("the configuration is as it was");
    }
}
