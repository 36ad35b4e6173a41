//! `GET /v1/live`: a line a second.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use forebay::time::secs;
use futures::stream;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{declared::Declared, live::LiveLine},
    app::Shared,
    http::{Problem, Query, Read},
    live::MAX_VIEWERS,
};

/// Time between two lines.
const PAUSE: Duration = secs(1);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(live))
}

/// The query of the stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LiveQuery {
    /// The number of lines; default: until the server stops.
    #[param(minimum = 1)]
    lines: Option<u64>,
}

/// Hits and buffers as they are, a line a second.
#[utoipa::path(
    get, path = "/v1/live", params(LiveQuery), security(("token" = ["read"])),
    responses(
        (status = 200, description = "JSON lines until the server stops; the first has the configuration and the last two minutes", body = LiveLine, content_type = "application/x-ndjson"),
        (status = 503, description = "32 viewers are connected already"),
    ),
)]
async fn live(Read(app): Read, Query(query): Query<LiveQuery>) -> Result<Response, Problem> {
    let Some(permit) = app.live.admit() else {
        let detail = format!("{MAX_VIEWERS} viewers are connected already, the most at once");
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

/// A connected viewer. A line is made when the connection can take it: a slow reader gets fewer lines, and nothing queues
/// here.
struct Viewer {
    app: Shared,
    left: Option<u64>,
    greeted: bool,
    /// Released when the connection ends.
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next line; `None` when there are no more.
    async fn line(&mut self) -> Option<String> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let (app, is_first) = (&self.app, !self.greeted);
        let next = async {
            if !is_first {
                app.clock.sleep(PAUSE).await;
            }
            app.sample().await
        };
        let mut sample = tokio::select! {
            biased;
            () = app.stopping() => return None,
            sample = next => sample,
        };
        if is_first {
            sample.declared = Some(Declared::from(&app.rules().config));
            sample.history = Some(app.live.history(&sample));
        }
        self.greeted = true;
        let mut line = serde_json::to_string(&sample).expect("a sample is plain data");
        line.push('\n');
        Some(line)
    }
}
