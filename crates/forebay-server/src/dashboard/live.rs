//! `GET /v1/live`: a line a second.

use std::{convert::Infallible, sync::Arc, time::Duration};

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
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declared::Declared,
    sample::{Sample, events_and_buffers},
};
use crate::{
    app::App,
    config::Config,
    http::{Problem, ProblemBody, Query, Read, Shared},
};

/// The most who look on at once. Each holds a connection, of which there are few enough.
const MAX_VIEWERS: usize = 32;

/// Time between two lines.
const PAUSE: Duration = secs(1);

/// How long a sample is shown to further viewers: a little less than [`PAUSE`], so that each line of the first one is
/// new although its timer is not exact.
const FRESH: Duration = millis(900);

/// What those see who look on.
#[derive(Debug)]
pub struct Live {
    declared: Declared,
    started: String,
    /// The clock's monotonic time at the start.
    began: Duration,
    viewers: Arc<Semaphore>,
    /// The last sample. However many look on, the store is asked once a second: the others wait here for the answer.
    kept: Mutex<Option<Sample>>,
}

impl Live {
    /// For a server that starts now.
    pub fn new(config: &Config, clock: &Clock) -> Self {
        Self {
            declared: Declared::from(config),
            started: clock.now().to_string(),
            began: clock.monotonic(),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            kept: Mutex::new(None),
        }
    }

    async fn sample(&self, app: &App) -> Sample {
        let mut kept = self.kept.lock().await;
        let elapsed = app.clock().monotonic().saturating_sub(self.began).as_secs_f64();
        if let Some(sample) = &*kept
            && elapsed - sample.elapsed < FRESH.as_secs_f64()
        {
            return sample.clone();
        }
        let (events, buffers) = events_and_buffers(app).await;
        let sample = Sample { started: self.started.clone(), elapsed, events, buffers, declared: None };
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
        (status = 200, description = "JSON lines until the server stops; the first says what is configured", body = Sample, content_type = "application/x-ndjson"),
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
        sample.declared = is_first.then(|| app.live().declared.clone());
        self.greeted = true;
        let mut line = serde_json::to_string(&sample).expect("a sample is plain data");
        line.push('\n');
        Some(line)
    }
}
