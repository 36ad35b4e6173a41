//! The byte stream of a connection: closes it if the peer does not read, refuses HTTP/2, and drains it at the end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    bounds::{LINGER, MAX_LINGER},
    connections::{Sleep, Tracker},
};

/// The bytes of one read. Hyper doubles its buffer when a read fills it: a caller that sends fast and reads no responses must
/// not fill it.
const READ_AT_ONCE: usize = 16 * 1024;

/// The preface of a client that speaks HTTP/2 without an upgrade.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// The response to such a client, in HTTP/1.1: the client's log shows the text.
const NO_HTTP2: &str = "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 153\r\n\r\n\
    {\"type\":\"urn:forebay:problem:http-version\",\"title\":\"Http version\",\"status\":505,\
    \"detail\":\"HTTP/2 is not served: speak HTTP/1.1, or let a proxy translate\"}";

/// A TCP stream that is closed if its peer does not read.
pub(super) struct Stream {
    tcp: TcpStream,
    tracker: Tracker,
    /// The timeout of a blocked write.
    stall: Option<Sleep>,
    /// The bytes of [`HTTP2`] that the peer has sent; `None` after anything else.
    preface: Option<usize>,
    linger: Linger,
}

/// The progress of the connection's end.
enum Linger {
    No,
    /// The stream is shut down for writing; the bytes that may still be read, and the timeout.
    Reading(usize, Sleep),
    Done,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, tracker: Tracker) -> Self {
        Self { tcp, tracker, stall: None, preface: Some(0), linger: Linger::No }
    }

    /// Fails a write that has made no progress for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            self.tracker.on_write();
            return written;
        }
        self.tracker.on_blocked();
        let connections = &self.tracker.connections;
        let stall = self.stall.get_or_insert_with(|| connections.sleep(connections.bounds.stall));
        ready!(stall.as_mut().poll(context));
        connections.count_stalled();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read the response")))
    }

    /// Reads at most [`READ_AT_ONCE`] bytes.
    fn read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = into.remaining().min(READ_AT_ONCE);
        let mut part = ReadBuf::new(into.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut part))?;
        let read = part.filled().len();
        into.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Returns whether the next bytes complete the preface of HTTP/2, which may arrive in parts.
    fn completes_preface(&mut self, bytes: &[u8]) -> bool {
        let Some(seen) = self.preface else { return false };
        let missing = &HTTP2[seen..];
        let length = missing.len().min(bytes.len());
        let goes_on = bytes[..length] == missing[..length];
        self.preface = (goes_on && length < missing.len()).then_some(seen + length);
        goes_on && length == missing.len()
    }

    /// Discards what the peer sends until the peer closes the connection.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Linger::Reading(left, until) = &mut self.linger else { return Poll::Ready(()) };
        let mut thrown = [0; READ_AT_ONCE];
        while *left > 0 {
            let mut part = ReadBuf::new(&mut thrown);
            match Pin::new(&mut self.tcp).poll_read(context, &mut part) {
                Poll::Ready(Ok(())) if !part.filled().is_empty() => {
                    *left = left.saturating_sub(part.filled().len());
                    self.tracker.on_read();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    // If no body is left unread, the received bytes are enough: the peer gets no reset.
                    if !self.tracker.is_lingering() {
                        return Poll::Ready(());
                    }
                    return until.as_mut().poll(context);
                }
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(self.read(context, into))?;
        if into.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        self.tracker.on_read();
        if self.completes_preface(&into.filled()[before..]) {
            // It fits into the send buffer, which is empty. Hyper sees a closed connection.
            let _ = self.tcp.try_write(NO_HTTP2.as_bytes());
            into.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, bytes);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Linger::No = self.linger {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(context))?;
            self.linger = Linger::Reading(MAX_LINGER, self.tracker.connections.sleep(LINGER));
        }
        ready!(self.linger(context));
        self.linger = Linger::Done;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::NO_HTTP2;

    #[test]
    fn the_refusal_of_http_2_is_as_long_as_it_says() {
        let (head, body) = NO_HTTP2.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
