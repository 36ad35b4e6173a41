//! The body of a request: bounded in memory and time, and drained if the handler does not read it.
//!
//! A handler may answer without reading the body, as for an unknown name. The connection can be kept for the next request
//! only if the rest is read. If that is too much, the response says `Connection: close`.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    body::{BodyError, MAX_BODY},
    bounds::{EVICT_INTERVAL, FREE, MAX_ATTEMPTS, MAX_DRAINED},
    connections::{Connections, Resource, Sleep, Tracker},
};
use crate::text::Span;

type Room = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A body that is being received. Clones share it: the handler reads it, and afterwards the connection reads the rest.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<State>>);

struct State {
    body: Incoming,
    tracker: Tracker,
    /// The caller waits for `100 Continue` before it sends the body.
    asks_first: bool,
    received: u64,
    has_ended: bool,
    has_failed: bool,
    /// The memory that it needs beyond the free bytes: its announced length, or that of the largest body. It is taken at once:
    /// if each body had a part and waited for more, none would be read to its end.
    needs: u32,
    /// Its part of the memory that all bodies share.
    held: Option<OwnedSemaphorePermit>,
    /// A frame that has arrived and waits for memory.
    waiting: Option<(Bytes, Room)>,
    progress: Progress,
}

/// The transfer rate of a body.
#[derive(Default)]
struct Progress {
    /// The timer of the current interval. It runs while the handler waits for the body.
    stall: Option<Sleep>,
    /// The bytes received before the interval.
    before: u64,
    stalls: u32,
}

impl Upload {
    /// The body of a request; `asks_first` if the caller waits for `100 Continue`.
    pub(super) fn new(body: Incoming, asks_first: bool, tracker: Tracker) -> Self {
        let length =
            body.size_hint().exact().map_or(MAX_BODY, |length| usize::try_from(length).unwrap_or(MAX_BODY));
        let needs = u32::try_from(length.min(MAX_BODY).saturating_sub(FREE)).expect("at most a mebibyte");
        Self(Arc::new(Mutex::new(State {
            has_ended: body.is_end_stream(),
            body,
            tracker,
            asks_first,
            received: 0,
            has_failed: false,
            needs,
            held: None,
            waiting: None,
            progress: Progress::default(),
        })))
    }

    /// Reads the rest of the body, if it is short. Returns whether the connection can be kept, because the body has ended.
    pub(super) async fn is_over(&self) -> bool {
        let (clock, drain) = {
            let state = self.0.lock();
            if state.has_ended || state.has_failed || state.asks_first {
                return state.has_ended;
            }
            if state.body.size_hint().lower() > MAX_DRAINED {
                return false;
            }
            let connections = &state.tracker.connections;
            (connections.clock.clone(), connections.bounds.drain)
        };
        let mut left = MAX_DRAINED;
        let rest = std::future::poll_fn(|context| self.0.lock().poll_rest(context, &mut left));
        clock.timeout(drain, rest).await.unwrap_or(false)
    }
}

impl State {
    /// The next frame, as the caller sends it.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.has_ended || self.has_failed {
            return Poll::Ready(None);
        }
        let part = Pin::new(&mut self.body).poll_frame(context);
        self.tracker.set_awaits_body(part.is_pending());
        match ready!(part) {
            Some(Ok(frame)) => {
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.has_ended = self.body.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.has_failed = true;
                Poll::Ready(Some(Err(BodyError::Broken(error.to_string()))))
            }
            None => {
                self.has_ended = true;
                Poll::Ready(None)
            }
        }
    }

    /// The next frame for a handler, if the body is fast enough and there is memory for it.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some((_, room)) = &mut self.waiting {
            let room = ready!(room.as_mut().poll(context));
            let (data, _) = self.waiting.take().expect("it is there");
            let Some(room) = room else {
                return Poll::Ready(Some(Err(self.fail(BodyError::NoRoom))));
            };
            self.held = Some(room);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        loop {
            match self.poll_part(context) {
                Poll::Ready(Some(Ok(frame))) => return self.admit(frame, context),
                Poll::Ready(answer) => return Poll::Ready(answer),
                Poll::Pending => ready!(self.poll_stall(context)),
            }
            if self.is_too_slow() {
                let bounds = &self.tracker.connections.bounds;
                let (least, span) = (bounds.body_progress, Span(bounds.stall));
                let most = Span(bounds.stall * bounds.body_stalls);
                let accepted = format!("at least {least} bytes in {span}, and all of it in {most}");
                return Poll::Ready(Some(Err(self.fail(BodyError::Slow(accepted)))));
            }
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.has_failed = true;
        self.tracker.set_awaits_body(false);
        error
    }

    /// Completes at the end of the current interval.
    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let connections = &self.tracker.connections;
        let stall = self.progress.stall.get_or_insert_with(|| connections.sleep(connections.bounds.stall));
        ready!(stall.as_mut().poll(context));
        self.progress.stall = None;
        Poll::Ready(())
    }

    fn is_too_slow(&mut self) -> bool {
        let bounds = &self.tracker.connections.bounds;
        let progress = self.received - self.progress.before;
        self.progress.before = self.received;
        self.progress.stalls += 1;
        progress < bounds.body_progress || self.progress.stalls >= bounds.body_stalls
    }

    /// The frame, once there is memory for the whole body.
    fn admit(
        &mut self,
        frame: Frame<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Ok(data) = frame.into_data() else { return self.poll_frame(context) };
        if self.held.is_some() || self.received <= FREE as u64 {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let connections = &self.tracker.connections;
        if let Ok(room) = connections.bodies.clone().try_acquire_many_owned(self.needs) {
            self.held = Some(room);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.waiting = Some((data, Box::pin(room(connections.clone(), self.needs))));
        self.poll_frame(context)
    }

    /// Discards the rest; returns whether the body has ended.
    fn poll_rest(&mut self, context: &mut Context<'_>, left: &mut u64) -> Poll<bool> {
        loop {
            let Some(part) = ready!(self.poll_part(context)) else { return Poll::Ready(self.has_ended) };
            let length =
                part.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(self.has_ended),
            }
        }
    }
}

/// Waits for memory for a number of bytes. While there is none, closes connections with stalled bodies.
async fn room(connections: Arc<Connections>, bytes: u32) -> Option<OwnedSemaphorePermit> {
    let mut room = pin!(connections.bodies.clone().acquire_many_owned(bytes));
    for _ in 0..MAX_ATTEMPTS {
        connections.evict(Resource::Bodies);
        if let Some(room) = connections.clock.timeout(EVICT_INTERVAL, room.as_mut()).await {
            return room.ok();
        }
    }
    None
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.lock().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.has_ended && state.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
