//! The body of an answer: its pieces, its length, its end.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::classify;
use crate::connect::RequestStream;
use crate::error::{NetError, Phase};
use crate::exchange::Lease;

/// An answer whose body is still to come.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) received: u64,
    pub(crate) lease: Lease,
}

/// Dropped before its end, either resets its stream. For HTTP/3 that is quinn's doing: h3's own
/// `stop_sending` panics while a read is pending (h3-quinn 0.0.10).
pub(crate) enum Body {
    Hyper(hyper::body::Incoming),
    Http3(Box<RequestStream>),
}

impl Reply {
    /// Returns the next piece of the body, `None` at its end. Pieces are not empty.
    pub(crate) async fn next_piece(
        &mut self,
        expected: Option<u64>,
        limit: Duration,
    ) -> Result<Option<Bytes>, NetError> {
        loop {
            let received = self.received;
            let piece =
                timeout(limit, self.read(expected))
                    .await
                    .map_err(|_| NetError::Stalled {
                        phase: Phase::Body,
                        received,
                    })??;
            let Some(bytes) = piece else {
                return match expected {
                    Some(expected) if received < expected => {
                        Err(NetError::Truncated { expected, received })
                    }
                    Some(_) | None => Ok(None),
                };
            };
            self.received = received.saturating_add(bytes.len() as u64);
            if expected.is_some_and(|expected| self.received > expected) {
                return Err(NetError::Protocol {
                    detail: "the body is longer than announced".to_owned(),
                });
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    async fn read(&mut self, expected: Option<u64>) -> Result<Option<Bytes>, NetError> {
        let peer = self.lease.connection.peer;
        let received = self.received;
        let missing = expected.filter(|expected| received < *expected);
        let cut_short = |error| match (error, missing) {
            (NetError::ClosedEarly { .. }, Some(expected)) => {
                NetError::Truncated { expected, received }
            }
            (error, _) => error,
        };
        match &mut self.body {
            Body::Hyper(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Some(bytes));
                        }
                    }
                    Some(Err(error)) => {
                        if let (true, Some(expected)) =
                            (classify::is_h2_stream_breach(&error), missing)
                        {
                            return Err(NetError::Truncated { expected, received });
                        }
                        return Err(cut_short(classify::from_hyper(&error, peer, received)));
                    }
                }
            },
            Body::Http3(body) => match body.recv_data().await {
                Ok(Some(mut bytes)) => Ok(Some(bytes.copy_to_bytes(bytes.remaining()))),
                Ok(None) => Ok(None),
                Err(error) => {
                    let closed = self.lease.connection.alive.quic_closed();
                    let error = classify::from_h3(&error, closed.as_ref(), peer, received);
                    Err(cut_short(error))
                }
            },
        }
    }
}
