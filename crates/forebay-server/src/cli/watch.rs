//! `forebay series --watch`: asks again and again, and shows the newest answer.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use forebay::Clock;

use super::{
    runtime::interrupted,
    terminal::{Screen, complain},
};
use crate::{
    chart::{Line, Look, Piece},
    text::chain,
};

/// The shortest time between two requests.
pub(super) const LEAST: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is wrong, and will be.
    Wrong(anyhow::Error),
    /// The server is away, or is in trouble.
    Outage(anyhow::Error),
}

impl Failure {
    /// The error.
    pub(super) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Wrong(error) | Self::Outage(error) => error,
        }
    }
}

/// Shows what `ask` gives every `pause`, until a signal such as Ctrl-C or until nobody reads the output. An outage is told, and the last answer
/// stays.
///
/// # Errors
/// If the request is wrong.
pub(super) async fn watch(
    pause: Duration,
    colours: bool,
    mut ask: impl AsyncFnMut() -> Result<Vec<Line>, Failure>,
) -> Result<ExitCode> {
    let clock = Clock::system();
    let mut screen = Screen::new(colours);
    let mut last: Vec<Line> = vec![];
    let mut stop = std::pin::pin!(interrupted());
    loop {
        let answer = tokio::select! {
            answer = ask() => answer,
            _ = &mut stop => break,
        };
        let shown = match answer {
            Ok(lines) => {
                last = lines;
                screen.show(&last)
            }
            Err(Failure::Wrong(error)) => return Err(error),
            Err(Failure::Outage(error)) => {
                let words = format!("{}: {}", clock.now(), chain(&*error));
                if screen.is_redrawn() {
                    let told = vec![vec![Piece { text: format!("{words}; trying again"), look: Look::Bold }]];
                    screen.show(&[told, last.clone()].concat())
                } else {
                    complain(&format!("{words}; trying again"));
                    Ok(())
                }
            }
        };
        // Nobody reads any more.
        if shown.is_err() {
            break;
        }
        tokio::select! {
            () = clock.sleep(pause) => {}
            _ = &mut stop => break,
        }
    }
    screen.leave();
    Ok(ExitCode::SUCCESS)
}
