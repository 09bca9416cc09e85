//! The body of an answer: its pieces, its length, its end.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep};

use crate::classify;
use crate::connect::RequestStream;
use crate::error::{NetError, Phase};
use crate::exchange::Lease;
use crate::request::Pieces;

/// What is handed over at once at most (the last piece may exceed it). Handing over costs the same for one
/// piece as for many, and HTTP/3 brings them by the packet.
const HANDED_OVER: usize = 64 * 1024;

/// An answer whose body is still to come.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) lease: Lease,
    body: Body,
    received: u64,
    /// How it ended, while pieces from before the end are handed over.
    end: Option<Result<(), NetError>>,
    silence: Silence,
}

/// Dropped before its end, either resets its stream. For HTTP/3 that is quinn's doing: h3's own
/// `stop_sending` panics while a read is pending (h3-quinn 0.0.10).
pub(crate) enum Body {
    Hyper(hyper::body::Incoming),
    Http3(Box<RequestStream>),
}

impl Reply {
    /// Takes over an answer whose beginning has come. Nothing may come of its body for as long as `limit`.
    pub(crate) fn new(
        head: http::response::Parts,
        body: Body,
        lease: Lease,
        limit: Duration,
    ) -> Self {
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            lease,
            body,
            received: 0,
            end: None,
            silence: Silence::new(limit),
        }
    }

    /// Returns how many bytes of the body have come.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Returns all of the body that is there, waiting for some; `None` at its end.
    pub(crate) async fn next_pieces(
        &mut self,
        expected: Option<u64>,
    ) -> Result<Option<Pieces>, NetError> {
        self.silence.begin();
        std::future::poll_fn(|cx| self.poll_pieces(cx, expected)).await
    }

    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        expected: Option<u64>,
    ) -> Poll<Result<Option<Pieces>, NetError>> {
        let mut pieces = Pieces::default();
        while self.end.is_none() && pieces.len() < HANDED_OVER {
            match self.poll_piece(cx, expected) {
                Poll::Ready(Ok(Some(piece))) => pieces.push(piece),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
                Poll::Pending => break,
            }
        }
        if !pieces.is_empty() {
            return Poll::Ready(Ok(Some(pieces)));
        }
        if let Some(end) = self.end.clone() {
            return Poll::Ready(end.map(|()| None));
        }
        ready!(self.silence.poll_over(cx));
        Poll::Ready(Err(NetError::Stalled {
            phase: Phase::Body,
            received: self.received,
        }))
    }

    /// Returns the next piece, `None` at the end. Checks the length.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        expected: Option<u64>,
    ) -> Poll<Result<Option<Bytes>, NetError>> {
        let received = self.received;
        let Some(bytes) = ready!(self.poll_read(cx, expected))? else {
            return Poll::Ready(match expected {
                Some(expected) if received < expected => {
                    Err(NetError::Truncated { expected, received })
                }
                Some(_) | None => Ok(None),
            });
        };
        self.received = received.saturating_add(bytes.len() as u64);
        if expected.is_some_and(|expected| self.received > expected) {
            return Poll::Ready(Err(NetError::Protocol {
                detail: "the body is longer than announced".to_owned(),
            }));
        }
        Poll::Ready(Ok(Some(bytes)))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        expected: Option<u64>,
    ) -> Poll<Result<Option<Bytes>, NetError>> {
        let peer = self.lease.connection.peer;
        let received = self.received;
        let missing = expected.filter(|expected| received < *expected);
        let cut_short = |error| match (error, missing) {
            (NetError::ClosedEarly { .. }, Some(expected)) => {
                NetError::Truncated { expected, received }
            }
            (error, _) => error,
        };
        Poll::Ready(match &mut self.body {
            Body::Hyper(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => break Ok(None),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            break Ok(Some(bytes));
                        }
                    }
                    Some(Err(error)) => {
                        if let (true, Some(expected)) =
                            (classify::is_h2_stream_breach(&error), missing)
                        {
                            break Err(NetError::Truncated { expected, received });
                        }
                        break Err(cut_short(classify::from_hyper(&error, peer, received)));
                    }
                }
            },
            Body::Http3(body) => match ready!(body.poll_recv_data(cx)) {
                Ok(Some(mut bytes)) => Ok(Some(bytes.copy_to_bytes(bytes.remaining()))),
                Ok(None) => Ok(None),
                Err(error) => {
                    let closed = self.lease.connection.alive.quic_closed();
                    let error = classify::from_h3(&error, closed.as_ref(), peer, received);
                    Err(cut_short(error))
                }
            },
        })
    }
}

/// Waits for the end of patience. One timer for a whole body: it is set again only when it goes off, not for
/// every piece that comes in time.
struct Silence {
    limit: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: Instant::now(),
            timer: Box::pin(sleep(limit)),
        }
    }

    /// Waiting begins now.
    fn begin(&mut self) {
        self.since = Instant::now();
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let over = self.since + self.limit;
            if Instant::now() >= over {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_counts_from_the_last_wait() {
        let limit = Duration::from_secs(10);
        let mut silence = Silence::new(limit);
        for _ in 0..5 {
            silence.begin();
            tokio::time::advance(limit * 9 / 10).await;
        }
        silence.begin();
        let begun = Instant::now();
        std::future::poll_fn(|cx| silence.poll_over(cx)).await;
        assert_eq!(begun.elapsed(), limit);
    }
}
