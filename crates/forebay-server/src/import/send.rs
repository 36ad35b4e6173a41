//! Sends batches to a server, each under its own key, until it is known what became of them.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use forebay::{Clock, time::millis, time::secs};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    point::Reason,
    reader::{Batch, Position, RefusedLine},
};
use crate::{
    api::batch::LineAnswer,
    client::{Answer, Client, escaped},
};

/// The pauses between attempts: doubled each time.
const FIRST_PAUSE: Duration = millis(100);
const MAX_PAUSE: Duration = secs(2);

/// Sends batches of an import.
pub(crate) struct Sender {
    connect: Box<dyn Fn() -> Result<Client> + Send + Sync>,
    /// Connections without a request. It is never locked across an await.
    idle: Mutex<Vec<Client>>,
    path: String,
    /// A text that makes the keys differ from those of another import of the same file.
    id: Option<String>,
    /// The time for which a batch is tried again.
    patience: Duration,
    clock: Clock,
}

/// The outcome of a batch.
#[derive(Debug)]
pub(crate) struct Sent {
    pub batch: Batch,
    /// Records that were counted, now or before, and the sum of their amounts.
    pub records: u64,
    pub sum: u64,
    /// The server had counted the batch before.
    pub is_repeated: bool,
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Answered {
    results: Vec<LineAnswer>,
}

/// The next step after an answer.
enum Next {
    Done(Vec<LineAnswer>),
    /// The same request completes it, after a pause.
    Again(String),
}

impl Sender {
    /// Sends to `series` over connections that `connect` opens.
    pub(crate) fn new(
        connect: impl Fn() -> Result<Client> + Send + Sync + 'static,
        series: &str,
        id: Option<String>,
        patience: Duration,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            idle: Mutex::default(),
            path: format!("/v1/series/{}", escaped(series)),
            id,
            patience,
            clock: Clock::system(),
        }
    }

    /// Sends a batch, and sorts its records into counted and refused ones. Repeats a request whose outcome is not known, which
    /// its key makes safe.
    ///
    /// # Errors
    /// If the server refuses the whole batch, or there is no outcome for so long.
    pub(crate) async fn send(&self, mut batch: Batch) -> Result<Sent> {
        if batch.sent.is_empty() {
            return Ok(Sent { batch, records: 0, sum: 0, is_repeated: false });
        }
        let key = self.key(&batch.start, &batch.end);
        let begun = self.clock.monotonic();
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.request(&batch.body, &key).await {
                Ok(answer) => {
                    let is_repeated = answer.is_replayed;
                    match next(answer)? {
                        Next::Done(results) => {
                            let (records, sum) = settle(&mut batch, results)?;
                            return Ok(Sent { batch, records, sum, is_repeated });
                        }
                        Next::Again(why) => anyhow!(why),
                    }
                }
                Err(error) => error,
            };
            if self.clock.monotonic().saturating_sub(begun) >= self.patience {
                let span = crate::text::Span(self.patience);
                return Err(
                    why.context(format!("lines from {}: not imported within {span}", batch.start.lines + 1))
                );
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// The key of a batch: equal for the same text, however it was split before.
    fn key(&self, start: &Position, end: &Position) -> String {
        let id = self.id.as_ref().map_or(String::new(), |id| format!("-{id}"));
        format!("import-{}-{}-{}{id}", end.digest, start.bytes, end.bytes)
    }

    async fn request(&self, body: &[u8], key: &str) -> Result<Answer> {
        let idle = self.idle.lock().pop();
        let mut client = idle.map_or_else(&self.connect, Ok)?;
        let answer = client.post_lines_once(&self.path, body.to_vec(), key).await?;
        self.idle.lock().push(client);
        Ok(answer)
    }
}

/// Reads whether a batch is complete.
fn next(answer: Answer) -> Result<Next> {
    match answer.status {
        202 | 207 => {
            let Answered { results } = serde_json::from_value(answer.body)?;
            let open = results.iter().find_map(|result| match result {
                LineAnswer::Error(error) if error.retry.as_ref().is_some_and(|retry| *retry != "never") => {
                    Some(error.error.clone())
                }
                _ => None,
            });
            Ok(open.map_or(Next::Done(results), Next::Again))
        }
        408 | 409 | 429 | 500 | 503 => {
            let refusal = answer.expect(&[]).err();
            Ok(Next::Again(refusal.map_or(String::new(), |refusal| refusal.to_string())))
        }
        422 if answer.body["type"] == "urn:forebay:problem:key-reused" => Err(anyhow!(
            "the same part of this file was imported with other options in the last 24 hours; --import-id makes it another import"
        )),
        _ => {
            let body = answer.expect(&[])?;
            Err(anyhow!("the server answered, but not as Forebay does: {body}"))
        }
    }
}

/// Moves the refused records of a batch to the others that are refused; returns the number and the sum of those that count.
fn settle(batch: &mut Batch, results: Vec<LineAnswer>) -> Result<(u64, u64)> {
    let points: usize = batch.sent.iter().map(|line| line.points).sum();
    ensure!(results.len() == points, "the server answered without a result for each line");
    let mut results = results.into_iter();
    let (mut records, mut sum) = (0, 0_u64);
    for line in std::mem::take(&mut batch.sent) {
        let errors = results.by_ref().take(line.points).filter_map(|result| match result {
            LineAnswer::Outcome(_) => None,
            LineAnswer::Error(error) => Some(error),
        });
        let Some(error) = errors.last() else {
            records += 1;
            sum = sum.saturating_add(line.n);
            continue;
        };
        let reason = if error.retry.is_some() { Reason::Unknown } else { Reason::of(&error.error) };
        batch.refused.push(RefusedLine { line: line.line, reason, detail: error.error, text: line.text });
    }
    batch.refused.sort_by_key(|refused| refused.line);
    Ok((records, sum))
}
