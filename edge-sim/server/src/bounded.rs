//! QUIC streams that bring so much and no more.
//!
//! h3 keeps a frame in memory until all of it is there, however long it says that it is, and flow control opens
//! again with every read. So what a stream may bring in its whole life is bounded beneath h3: a client that
//! sends more has no good in mind, or needs none of its connection.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{
    Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};

/// What a request may bring: head and body. A head with token and CMCD has one or two kilobytes.
pub(crate) const REQUEST_MAX: u64 = 64 * 1024;
/// What a control stream may bring while its connection lives: thousands of priorities.
const CONTROL_MAX: u64 = 256 * 1024;

/// A connection, or what opens its streams.
pub(crate) struct Bounded<T> {
    inner: T,
    quic: quinn::Connection,
}

/// A stream of a [`Bounded`] connection.
pub(crate) struct BoundedStream<S> {
    inner: S,
    quic: quinn::Connection,
    left: u64,
    reading: bool,
    /// The peer is to stop, with this code: what it still sends is nobody's.
    stopped: Option<u64>,
}

impl Bounded<h3_quinn::Connection> {
    pub(crate) fn new(quic: &quinn::Connection) -> Self {
        Self {
            inner: h3_quinn::Connection::new(quic.clone()),
            quic: quic.clone(),
        }
    }
}

impl<T> Bounded<T> {
    fn stream<S>(&self, inner: S, left: u64) -> BoundedStream<S> {
        BoundedStream {
            inner,
            quic: self.quic.clone(),
            left,
            reading: false,
            stopped: None,
        }
    }
}

impl Connection<Bytes> for Bounded<h3_quinn::Connection> {
    type RecvStream = BoundedStream<h3_quinn::RecvStream>;
    type OpenStreams = Bounded<h3_quinn::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let stream = std::task::ready!(Connection::<Bytes>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(self.stream(stream, CONTROL_MAX)))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let stream = std::task::ready!(self.inner.poll_accept_bidi(cx))?;
        Poll::Ready(Ok(self.stream(stream, REQUEST_MAX)))
    }

    fn opener(&self) -> Self::OpenStreams {
        Bounded {
            inner: Connection::<Bytes>::opener(&self.inner),
            quic: self.quic.clone(),
        }
    }
}

impl<T: OpenStreams<Bytes>> OpenStreams<Bytes> for Bounded<T> {
    type BidiStream = BoundedStream<T::BidiStream>;
    type SendStream = BoundedStream<T::SendStream>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let stream = std::task::ready!(self.inner.poll_open_bidi(cx))?;
        Poll::Ready(Ok(self.stream(stream, REQUEST_MAX)))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        let stream = std::task::ready!(self.inner.poll_open_send(cx))?;
        Poll::Ready(Ok(self.stream(stream, 0)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl<S: RecvStream> RecvStream for BoundedStream<S> {
    type Buf = S::Buf;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        if let (Some(error_code), false) = (self.stopped, self.reading) {
            // Not an end of the stream: h3 would miss the rest of the frame and close the connection.
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
        }
        let polled = self.inner.poll_data(cx);
        self.reading = polled.is_pending();
        let data = std::task::ready!(polled)?;
        if let Some(error_code) = self.stopped {
            self.inner.stop_sending(error_code);
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
        }
        let count = data.as_ref().map_or(0, Buf::remaining);
        let left = u64::try_from(count).ok();
        let Some(left) = left.and_then(|count| self.left.checked_sub(count)) else {
            let code = u32::try_from(Code::H3_EXCESSIVE_LOAD.value()).unwrap_or(u32::MAX);
            self.quic.close(code.into(), REASON.as_bytes());
            let connection_error = ConnectionErrorIncoming::InternalError(REASON.to_owned());
            return Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error,
            }));
        };
        self.left = left;
        Poll::Ready(Ok(data))
    }

    /// h3-quinn 0.0.10 panics while a read is under way, and h3 may leave one behind with every piece of data: then
    /// the peer is stopped when that read ends.
    fn stop_sending(&mut self, error_code: u64) {
        self.stopped = Some(error_code);
        if !self.reading {
            self.inner.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

const REASON: &str = "a stream has brought too much";

impl<S: SendStream<Bytes>> SendStream<Bytes> for BoundedStream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}
