//! `GET /v1/live`: a line a second.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use forebay::{
    Clock,
    time::{millis, secs},
};
use futures::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::sample::{Past, Sample, buffers, events, hosts};
use crate::{
    app::App,
    http::{Problem, ProblemBody, Query, Read, Shared},
};

/// The most who look on at once. Each holds a connection, of which there are few enough.
const MAX_VIEWERS: usize = 32;

/// Time between two lines.
const PAUSE: Duration = secs(1);

/// How long a sample is shown to further viewers: a little less than [`PAUSE`], so that each line of the first one is
/// new although its timer is not exact.
const FRESH: Duration = millis(900);

/// How many moments are kept for those who look on later, a second apart: what the page draws.
const KEPT: usize = 121;

/// What those see who look on.
#[derive(Debug)]
pub struct Live {
    started: String,
    /// The clock's monotonic time at the start.
    began: Duration,
    viewers: Arc<Semaphore>,
    /// The last sample. However many look on, the store is asked once a second: the others wait here for the answer.
    kept: tokio::sync::Mutex<Option<Sample>>,
    /// The last moments, oldest first. Held while one is added or all are copied, never across an await.
    history: Mutex<VecDeque<Past>>,
}

impl Live {
    /// For a server that starts now.
    pub fn new(clock: &Clock) -> Self {
        Self {
            started: clock.now().to_string(),
            began: clock.monotonic(),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            kept: tokio::sync::Mutex::new(None),
            history: Mutex::default(),
        }
    }

    /// Keeps this moment for those who look on later. To be called once a second.
    pub fn remember(&self, app: &App) {
        let moment = Past { elapsed: self.elapsed(app), events: events(app) };
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push_back(moment);
        if history.len() > KEPT {
            history.pop_front();
        }
    }

    /// What was kept before a sample. One that is shared may be older than the last moment.
    fn history(&self, sample: &Sample) -> Vec<Past> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().filter(|past| past.elapsed < sample.elapsed).cloned().collect()
    }

    fn elapsed(&self, app: &App) -> f64 {
        app.clock().monotonic().saturating_sub(self.began).as_secs_f64()
    }

    async fn sample(&self, app: &App) -> Sample {
        let mut kept = self.kept.lock().await;
        let elapsed = self.elapsed(app);
        if let Some(sample) = &*kept
            && elapsed - sample.elapsed < FRESH.as_secs_f64()
        {
            return sample.clone();
        }
        let sample = Sample {
            started: self.started.clone(),
            elapsed,
            buffers: buffers(app).await,
            events: events(app),
            hosts: hosts(app),
            declared: None,
            history: None,
        };
        *kept = Some(sample.clone());
        sample
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(live))
}

/// How much to look at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveQuery {
    /// End after so many lines; default: when the server stops.
    #[param(minimum = 1)]
    lines: Option<u64>,
}

/// Hits and buffers as they are, a line a second.
#[utoipa::path(
    get,
    path = "/v1/live",
    tag = "operation",
    params(LiveQuery),
    responses(
        (status = 200, description = "JSON lines until the server stops; the first says what is configured, and how the last two minutes were", body = Sample, content_type = "application/x-ndjson"),
        (status = "4XX", description = "It was not understood, or a token with the scope read is missing", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "32 look on already", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn live(
    _: Read,
    State(app): State<Shared>,
    Query(query): Query<LiveQuery>,
) -> Result<Response, Problem> {
    let Ok(permit) = app.live().viewers.clone().try_acquire_owned() else {
        let detail = format!("{MAX_VIEWERS} look on already: the most at once");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-viewers", detail);
        return Err(problem.retry_after(None));
    };
    let viewer = Viewer { app, left: query.lines, greeted: false, _permit: permit };
    let lines = stream::unfold(viewer, |mut viewer| async {
        let line = viewer.line().await?;
        Some((Ok::<_, Infallible>(line), viewer))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Somebody who looks on. Lines are made when the connection takes them: who reads slowly gets fewer, and nothing
/// gathers here.
struct Viewer {
    app: Shared,
    left: Option<u64>,
    greeted: bool,
    /// Given back when the connection ends.
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next line; `None` when there are no more.
    async fn line(&mut self) -> Option<String> {
        self.left = match self.left {
            Some(left) => Some(left.checked_sub(1)?),
            None => None,
        };
        let (app, is_first) = (&self.app, !self.greeted);
        let next = async {
            if !is_first {
                app.clock().sleep(PAUSE).await;
            }
            app.live().sample(app).await
        };
        let mut sample = tokio::select! {
            biased;
            () = app.stopping() => return None,
            sample = next => sample,
        };
        if is_first {
            sample.declared = Some(app.rules().declared.clone());
            sample.history = Some(app.live().history(&sample));
        }
        self.greeted = true;
        let mut line = serde_json::to_string(&sample).expect("a sample is plain data");
        line.push('\n');
        Some(line)
    }
}
