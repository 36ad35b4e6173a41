//! A request's body, from its first byte to its last, whether anybody wants it or not.
//!
//! A handler may answer without having read it: whoever the caller is, what is asked for is not there. The connection can
//! be kept for the next request only if the rest is read; where that is too much, the answer says `Connection: close`.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    body::{BodyError, MAX_BODY},
    bounds::{FREE, LOOK, MAX_DRAINED, ROOM_LOOKS},
    peers::{Link, Peers, Want},
};
use crate::text::Span;

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;
type Room = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A body on its way. Clones share it; the handler reads it, and what watches the connection reads the rest.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<State>>);

struct State {
    body: Incoming,
    link: Link,
    /// The caller sends it only when it is told to.
    asks_first: bool,
    received: u64,
    has_ended: bool,
    has_failed: bool,
    /// How much room it needs beyond the free bytes: as much as it says, or as much as a body may have. All at once: if each
    /// had a part and waited for more, none would be read to its end.
    needs: u32,
    /// What it holds of the room that all bodies share.
    held: Option<OwnedSemaphorePermit>,
    /// A part that has arrived and waits for room.
    waiting: Option<(Bytes, Room)>,
    pace: Pace,
}

/// How fast a body comes.
#[derive(Default)]
struct Pace {
    /// Runs from when the body was first waited for, again and again.
    stall: Option<Sleep>,
    /// How much there was when it began.
    before: u64,
    stalls: u32,
}

impl Upload {
    /// The body of a request, which `asks_first` whether to send it.
    pub(super) fn new(body: Incoming, asks_first: bool, link: Link) -> Self {
        let (received, pace) = (0, Pace::default());
        let length =
            body.size_hint().exact().map_or(MAX_BODY, |length| usize::try_from(length).unwrap_or(MAX_BODY));
        let needs = u32::try_from(length.min(MAX_BODY).saturating_sub(FREE)).expect("at most a mebibyte");
        let (has_ended, has_failed, held, waiting) = (body.is_end_stream(), false, None, None);
        Self(Arc::new(Mutex::new(State {
            body,
            link,
            asks_first,
            received,
            has_ended,
            has_failed,
            needs,
            held,
            waiting,
            pace,
        })))
    }

    /// Whether the connection can be kept: the whole body was read, or the rest is, which is little and comes soon.
    pub(super) async fn is_over(&self) -> bool {
        let (clock, drain) = {
            let state = self.state();
            if state.has_ended || state.has_failed || state.asks_first {
                return state.has_ended;
            }
            if state.body.size_hint().lower() > MAX_DRAINED {
                return false;
            }
            let peers = &state.link.peers;
            (peers.clock.clone(), peers.bounds.drain)
        };
        let mut left = MAX_DRAINED;
        let rest = std::future::poll_fn(|context| self.state().poll_rest(context, &mut left));
        clock.timeout(drain, rest).await.unwrap_or(false)
    }

    /// Held for one poll: by the handler, and after it has answered by what watches the connection.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next part, as the caller sends it.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.has_ended || self.has_failed {
            return Poll::Ready(None);
        }
        let part = Pin::new(&mut self.body).poll_frame(context);
        self.link.awaits_body(part.is_pending());
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

    /// The next part for a handler: at the least pace, and if there is room for it.
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
                let bounds = &self.link.peers.bounds;
                let (least, span) = (bounds.body_progress, Span(bounds.stall));
                let most = Span(bounds.stall * bounds.body_stalls);
                let accepted = format!("at least {least} bytes in {span}, and all of it in {most}");
                return Poll::Ready(Some(Err(self.fail(BodyError::Slow(accepted)))));
            }
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.has_failed = true;
        self.link.awaits_body(false);
        error
    }

    /// Ends when the time for some progress is over.
    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let peers = &self.link.peers;
        let stall = self.pace.stall.get_or_insert_with(|| {
            let (clock, span) = (peers.clock.clone(), peers.bounds.stall);
            Box::pin(async move { clock.sleep(span).await })
        });
        ready!(stall.as_mut().poll(context));
        self.pace.stall = None;
        Poll::Ready(())
    }

    fn is_too_slow(&mut self) -> bool {
        let bounds = &self.link.peers.bounds;
        let progress = self.received - self.pace.before;
        self.pace.before = self.received;
        self.pace.stalls += 1;
        progress < bounds.body_progress || self.pace.stalls >= bounds.body_stalls
    }

    /// A part, once there is room for the whole body.
    fn admit(
        &mut self,
        frame: Frame<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Ok(data) = frame.into_data() else { return self.poll_frame(context) };
        if self.held.is_some() || self.received <= FREE as u64 {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let peers = &self.link.peers;
        if let Ok(room) = peers.bodies.clone().try_acquire_many_owned(self.needs) {
            self.held = Some(room);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.waiting = Some((data, Box::pin(room(peers.clone(), self.needs))));
        self.poll_frame(context)
    }

    /// Reads on, and tells whether that was all.
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

/// Room for so many bytes. While there is none, stalled bodies go.
async fn room(peers: Arc<Peers>, bytes: u32) -> Option<OwnedSemaphorePermit> {
    let mut room = pin!(peers.bodies.clone().acquire_many_owned(bytes));
    for _ in 0..ROOM_LOOKS {
        peers.evict(Want::Body);
        if let Some(room) = peers.clock.timeout(LOOK, room.as_mut()).await {
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
        self.state().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.has_ended && state.waiting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.state().body.size_hint()
    }
}
