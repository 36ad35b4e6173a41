//! Watches the configuration file and SIGHUP.
//!
//! The file is compared by its content, once a second: editors and deployments replace files, as do directories mounted
//! behind links, and neither time stamps nor notifications report all of that. A new content is taken once two looks in a
//! row have found it, so that a file that is still being written is not taken for a short one. A file that declares nothing,
//! while the running configuration declares something, is refused: it is probably half written.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use forebay::{
    Clock,
    time::{millis, secs},
};

use super::status::needs_restart;
use crate::{
    app::App,
    config::{self, Config, Mistakes, Options, Origin, read_file},
    rules::Changes,
    shutdown::Hangup,
    text::chain,
};

/// The interval between two looks at the file.
const INTERVAL: Duration = secs(1);

/// The interval between two looks after SIGHUP: long enough for a program that writes the file in one go.
const HANGUP_INTERVAL: Duration = millis(200);

/// The most looks after SIGHUP that may each find another content.
const MAX_LOOKS: u32 = 50;

/// Reloads the configuration when its file changes and on SIGHUP. Does not end.
pub async fn watch(app: Arc<App>, options: Options, origin: Origin, mut hangup: Hangup) {
    let clock = app.clock.clone();
    let mut file = match origin {
        Origin::File(path) => Some(Watched { path, seen: None, taken: None }),
        Origin::BuiltIn => None,
    };
    loop {
        let asked = tokio::select! {
            () = hangup.next() => true,
            () = clock.sleep(INTERVAL), if file.is_some() => false,
        };
        if asked {
            tracing::info!("SIGHUP: reading the configuration again");
            if let Err(error) = app.bay.renew_login().await {
                tracing::warn!("SIGHUP: the login to the store was not renewed: {}", chain(&error));
            }
        }
        let found = match &mut file {
            Some(file) if asked => Some((file.read_settled(&clock).await, file.path.clone())),
            Some(file) => match file.read_changed().await {
                Some(found) => Some((found, file.path.clone())),
                None => continue,
            },
            None => None,
        };
        let options = options.clone();
        let read = move || match found {
            Some((Ok(text), path)) => {
                config::load_text(&options, &config::process_variable, Origin::File(path), &text)
            }
            Some((Err(wrong), path)) => Err(Mistakes::of(&path.display().to_string(), wrong)),
            None => config::load(&options, &config::process_variable),
        };
        // The reader panicked, or the runtime ends.
        let Ok(read) = tokio::task::spawn_blocking(read).await else { continue };
        take(&app, read, asked);
    }
}

/// The text of a file, or why it cannot be read.
type Found = Result<String, String>;

/// A file that is compared by its content.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// The last look.
    seen: Option<Look>,
    /// The content that was taken last; `None`: that of the start, which may have changed before the first look.
    taken: Option<Found>,
}

/// The content of a file at one moment. If two are equal, nothing was written in between.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    found: Found,
    modified: Option<SystemTime>,
}

impl Watched {
    /// The content, if it is new and equal to the look before.
    async fn read_changed(&mut self) -> Option<Found> {
        let look = self.look().await;
        if self.taken.as_ref() == Some(&look.found) {
            self.seen = Some(look);
            return None;
        }
        let is_settled = self.seen.as_ref() == Some(&look);
        self.seen = Some(look.clone());
        is_settled.then(|| self.take(look.found))
    }

    /// The content, once two looks in a row are equal.
    async fn read_settled(&mut self, clock: &Clock) -> Found {
        let mut before = self.look().await;
        for _ in 0..MAX_LOOKS {
            clock.sleep(HANGUP_INTERVAL).await;
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

/// Applies a configuration and logs the result. An unchanged file is logged only on SIGHUP.
fn take(app: &App, read: Result<Config, Mistakes>, on_hangup: bool) {
    let config = match read {
        Ok(config) => config,
        Err(mistakes) => {
            tracing::error!("invalid configuration; keeping the previous one\n{mistakes}");
            return app.reload_status.record_refused(mistakes);
        }
    };
    if config.declares_nothing() && !app.rules().config.declares_nothing() {
        let wrong = "declares no limit, series, buffer or event, and the running configuration does: it is probably half \
                     written; restart the server if it is meant";
        let mistakes = Mistakes::of(&config.origin.to_string(), wrong);
        tracing::error!("invalid configuration; keeping the previous one: {mistakes}");
        return app.reload_status.record_refused(mistakes);
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
        tracing::warn!("{}", needs_restart(&changes.restart));
    }
    if on_hangup && changes == Changes::default() {
        tracing::info!("the configuration has not changed");
    }
}
