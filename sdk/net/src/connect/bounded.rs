//! HTTP/3 streams that hold no more in memory than an honest server needs.
//!
//! h3 keeps every frame but DATA until all of it is there, however long it says that it is, and flow control
//! opens again with every read. So frames are looked at beneath h3: a stream whose frames other than DATA are
//! longer than any honest answer's costs the server its connection. h3 gets one frame's bytes at a time, so
//! that it never has more of a body than it is asked for.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{
    Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};

use super::HEADER_BYTES_MAX;

/// What an answer may bring beside its DATA: its head, as many trailers, early hints, and frames that nobody
/// knows.
const ANSWER_MAX: u64 = 4 * HEADER_BYTES_MAX as u64;
/// What another stream may bring in the life of its connection. The settings are the longest of it, with less
/// than 100 bytes.
const CONTROL_MAX: u64 = 16 * 1024;
/// Streams of the server's own at once: three are usual (RFC 9114 §6.2), and some that nobody knows.
pub(super) const CONTROL_STREAMS_MAX: u32 = 8;

const REASON: &str = "more frames than any answer needs";

/// A connection, or what opens its streams.
#[derive(Clone)]
pub(crate) struct Bounded<T> {
    inner: T,
    quic: quinn::Connection,
}

/// A stream of a [`Bounded`] connection.
pub(crate) struct BoundedStream<S> {
    inner: S,
    quic: quinn::Connection,
    /// Read, and not looked at yet.
    unread: Bytes,
    frames: Frames,
    reading: bool,
}

impl Bounded<h3_quinn::Connection> {
    pub(super) fn new(quic: &quinn::Connection) -> Self {
        Self {
            inner: h3_quinn::Connection::new(quic.clone()),
            quic: quic.clone(),
        }
    }
}

impl<T> Bounded<T> {
    fn stream<S>(&self, inner: S, frames: Frames) -> BoundedStream<S> {
        BoundedStream {
            inner,
            quic: self.quic.clone(),
            unread: Bytes::new(),
            frames,
            reading: false,
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
        let stream = ready!(Connection::<Bytes>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(self.stream(stream, Frames::control())))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.inner.poll_accept_bidi(cx))?;
        Poll::Ready(Ok(self.stream(stream, Frames::answer())))
    }

    fn opener(&self) -> Self::OpenStreams {
        Bounded {
            inner: Connection::<Bytes>::opener(&self.inner),
            quic: self.quic.clone(),
        }
    }
}

impl<T: OpenStreams<Bytes>> OpenStreams<Bytes> for Bounded<T>
where
    T::BidiStream: RecvStream<Buf = Bytes>,
{
    type BidiStream = BoundedStream<T::BidiStream>;
    type SendStream = T::SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let stream = ready!(self.inner.poll_open_bidi(cx))?;
        Poll::Ready(Ok(self.stream(stream, Frames::answer())))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.inner.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl<S: RecvStream<Buf = Bytes>> RecvStream for BoundedStream<S> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.frames.next(&mut self.unread) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) => {}
                Err(TooMuch) => return Poll::Ready(Err(self.refuse())),
            }
            let polled = self.inner.poll_data(cx);
            self.reading = polled.is_pending();
            match ready!(polled)? {
                Some(bytes) => self.unread = bytes,
                None => return Poll::Ready(self.frames.end()),
            }
        }
    }

    /// h3-quinn 0.0.10 panics while a read is under way. Then the peer is told when the stream is dropped.
    fn stop_sending(&mut self, error_code: u64) {
        if !self.reading {
            self.inner.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<S> BoundedStream<S> {
    fn refuse(&self) -> StreamErrorIncoming {
        let code = u32::try_from(Code::H3_EXCESSIVE_LOAD.value()).unwrap_or(u32::MAX);
        self.quic.close(code.into(), REASON.as_bytes());
        StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: ConnectionErrorIncoming::InternalError(REASON.to_owned()),
        }
    }
}

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

/// The stream brings more than it may.
#[derive(Debug, PartialEq, Eq)]
struct TooMuch;

/// Divides what a stream brings into what h3 is to get at once, and counts what is not DATA.
struct Frames {
    /// What may still come.
    left: u64,
    place: Place,
}

enum Place {
    /// In a frame that is handed over when it is whole; of DATA, its type and length only.
    Frame(BytesMut),
    /// In the payload of a DATA frame, of which so much is missing.
    Data(u64),
    /// Not in frames, or in some that h3 reads for itself.
    Unframed,
}

impl Frames {
    fn answer() -> Self {
        Self {
            left: ANSWER_MAX,
            place: Place::Frame(BytesMut::new()),
        }
    }

    fn control() -> Self {
        Self {
            left: CONTROL_MAX,
            place: Place::Unframed,
        }
    }

    /// Takes the next piece for h3 out of `unread`, if there is one.
    fn next(&mut self, unread: &mut Bytes) -> Result<Option<Bytes>, TooMuch> {
        while !unread.is_empty() {
            match &mut self.place {
                Place::Unframed => {
                    // A copy, because the rest of a packet is not to be held for a few bytes of it.
                    let piece = Bytes::copy_from_slice(&std::mem::take(unread));
                    self.spend(piece.len() as u64)?;
                    return Ok(Some(piece));
                }
                Place::Data(missing) => {
                    let piece = unread.split_to(at_most(unread, *missing));
                    *missing -= piece.len() as u64;
                    if *missing == 0 {
                        self.place = Place::Frame(BytesMut::new());
                    }
                    return Ok(Some(piece));
                }
                Place::Frame(frame) => {
                    let Some(head) = FrameHead::read(frame) else {
                        frame.extend_from_slice(&unread.split_to(1));
                        if let Some(head) = FrameHead::read(frame)
                            && let Some(data) = self.begin(head)?
                        {
                            return Ok(Some(data));
                        }
                        continue;
                    };
                    let missing = head.whole().saturating_sub(frame.len() as u64);
                    frame.extend_from_slice(&unread.split_to(at_most(unread, missing)));
                    if frame.len() as u64 >= head.whole() {
                        return Ok(Some(frame.split().freeze()));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Decides on a frame by its type and length. Returns what h3 is to get at once.
    fn begin(&mut self, head: FrameHead) -> Result<Option<Bytes>, TooMuch> {
        const DATA: u64 = 0;
        if head.kind != DATA || head.payload == 0 {
            self.spend(head.whole())?;
        }
        let Place::Frame(frame) = &mut self.place else {
            return Ok(None);
        };
        match head.payload {
            // h3 takes an empty one for the end of the body.
            0 if head.kind == DATA => frame.clear(),
            0 => return Ok(Some(frame.split().freeze())),
            payload if head.kind == DATA => {
                let frame = frame.split().freeze();
                self.place = Place::Data(payload);
                return Ok(Some(frame));
            }
            _ => {}
        }
        Ok(None)
    }

    fn spend(&mut self, count: u64) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(count).ok_or(TooMuch)?;
        Ok(())
    }

    /// Says what h3 is to get at the end of the stream: what was held back, then the end. In the midst of a DATA
    /// frame that is an error, which h3 0.0.8 does not notice.
    fn end(&mut self) -> Result<Option<Bytes>, StreamErrorIncoming> {
        match &mut self.place {
            Place::Frame(frame) if !frame.is_empty() => Ok(Some(frame.split().freeze())),
            Place::Frame(_) | Place::Unframed => Ok(None),
            Place::Data(_) => Err(StreamErrorIncoming::Unknown(
                "the stream ends within a frame".into(),
            )),
        }
    }
}

fn at_most(bytes: &Bytes, count: u64) -> usize {
    usize::try_from(count).map_or(bytes.len(), |count| count.min(bytes.len()))
}

/// What a frame begins with (RFC 9114 §7.1).
struct FrameHead {
    kind: u64,
    payload: u64,
    bytes: u64,
}

impl FrameHead {
    fn read(frame: &[u8]) -> Option<Self> {
        let (kind, rest) = variable_length(frame)?;
        let (payload, rest) = variable_length(rest)?;
        Some(Self {
            kind,
            payload,
            bytes: (frame.len() - rest.len()) as u64,
        })
    }

    const fn whole(&self) -> u64 {
        self.bytes.saturating_add(self.payload)
    }
}

/// Reads an integer and returns it with what follows (RFC 9000 §16).
fn variable_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1_usize << (bytes.first()? >> 6);
    let (integer, rest) = bytes.split_at_checked(length)?;
    let whole = integer
        .iter()
        .fold(0, |whole, byte| whole << 8 | u64::from(*byte));
    Some((whole & (u64::MAX >> (66 - 8 * length)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands `bytes` over in parts of `step` and returns the pieces that come out.
    fn pieces(frames: &mut Frames, bytes: &[u8], step: usize) -> Result<Vec<Bytes>, TooMuch> {
        let mut pieces = Vec::new();
        for part in bytes.chunks(step) {
            let mut unread = Bytes::copy_from_slice(part);
            while let Some(piece) = frames.next(&mut unread)? {
                assert!(!piece.is_empty());
                pieces.push(piece);
            }
            assert!(unread.is_empty());
        }
        Ok(pieces)
    }

    #[test]
    fn frames_come_one_at_a_time_and_empty_data_not_at_all() {
        let stream =
            b"\x01\x02hh\x00\x03abc\x00\x00\x40\x00\x40\x00\x00\x40\x05defgh\x21\x00\x01\x01t";
        let whole: [&[u8]; 8] = [
            b"\x01\x02hh",
            b"\x00\x03",
            b"abc",
            b"\x00\x40\x05",
            b"defgh",
            b"\x21\x00",
            b"\x01\x01t",
            b"",
        ];
        for step in 1..=stream.len() {
            let mut frames = Frames::answer();
            let pieces = pieces(&mut frames, stream, step).unwrap();
            assert_eq!(pieces.concat(), whole.concat(), "in parts of {step}");
            if step == stream.len() {
                assert_eq!(pieces, whole[..7]);
            }
            assert_eq!(frames.end().unwrap(), None);
        }
    }

    #[test]
    fn what_is_not_data_is_bounded_however_it_comes() {
        const LARGE: &[u8] = b"\xc0\x00\x01\x00\x00\x00\x00\x00"; // 2^40
        let begin = |kind: &[u8]| [kind, LARGE].concat();
        for kind in [&b"\x01"[..], b"\x04", b"\x21"] {
            let refused = pieces(&mut Frames::answer(), &begin(kind), 1);
            assert_eq!(refused, Err(TooMuch), "at its announcement");
        }
        let data = [&begin(b"\x00")[..], &[7; 1 << 20]].concat();
        let mut frames = Frames::answer();
        assert_eq!(pieces(&mut frames, &data, 1400).unwrap().len(), 750);
        frames.end().unwrap_err();

        let allowed = usize::try_from(ANSWER_MAX).unwrap() / 2;
        for frame in [&b"\x00\x00"[..], b"\x21\x00"] {
            let mut frames = Frames::answer();
            pieces(&mut frames, &frame.repeat(allowed), 1400).unwrap();
            assert_eq!(pieces(&mut frames, frame, 1400), Err(TooMuch));
        }
        let control = vec![0; usize::try_from(CONTROL_MAX).unwrap()];
        let mut frames = Frames::control();
        pieces(&mut frames, &control, 1400).unwrap();
        assert_eq!(pieces(&mut frames, b"\x00", 1400), Err(TooMuch));
    }

    #[test]
    fn the_end_hands_over_what_was_held_back() {
        for begun in [&b"\x01"[..], b"\x00\x40", b"\x01\x05head"] {
            let mut frames = Frames::answer();
            assert_eq!(pieces(&mut frames, begun, 1).unwrap(), [""; 0]);
            assert_eq!(frames.end().unwrap().as_deref(), Some(begun));
            assert_eq!(frames.end().unwrap(), None);
        }
    }

    #[test]
    fn integers_are_read_as_in_the_standard() {
        // RFC 9000 §A.1.
        for (bytes, value) in [
            (
                &b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c"[..],
                151_288_809_941_952_652,
            ),
            (b"\x9d\x7f\x3e\x7d", 494_878_333),
            (b"\x7b\xbd", 15_293),
            (b"\x25", 37),
        ] {
            let rest = [bytes, b"rest"].concat();
            assert_eq!(variable_length(&rest), Some((value, &b"rest"[..])));
            assert_eq!(variable_length(&bytes[..bytes.len() - 1]), None);
        }
    }
}
