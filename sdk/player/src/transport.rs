//! One attempt: from what the session asks to requests of `net`, and from what `net` says back to what the
//! session understands.
//!
//! Offsets are those of the object. Where the object is a part of a file, the part's start is added on the way
//! out and taken off on the way back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nearcast_core::{
    AttemptId, AttemptSpec, CertificateProblem as Problem, Failure, TransportEvent, Validators,
};
use nearcast_manifest::ByteRange;
use nearcast_net::{CertificateProblem, Headers, Net, NetError, NetEvent, Range, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock;
use crate::edges::core_protocol;

/// What an attempt says to the driver.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) attempt: AttemptId,
    pub(crate) what: What,
}

/// What happened to it.
#[derive(Debug)]
pub(crate) enum What {
    Event(TransportEvent),
    /// Body bytes, the first of them at `at` in the object.
    Body {
        at: u64,
        pieces: Vec<Bytes>,
    },
}

/// Notes on their way to the driver. One has up to 192 KiB, a slice that is nearly long enough and the largest piece
/// that `net` reads at once: at most 6 MiB wait, and mostly a third of it; then the sockets do.
pub(crate) const NOTES_MAX: usize = 32;

/// A slice of the body is told of when it is this long...
const SLICE_BYTES: usize = 64 << 10;
/// ...or this old, which is how long the core waits for it (`throughput/slices.rs`). First bytes decide races, and the first picture waits for what comes after: young bodies are told of more
/// often, each slice that is due lasts a quarter longer than the one before.
const SLICE_AGE_MIN: Duration = Duration::from_millis(10);
const SLICE_AGE_MAX: Duration = Duration::from_millis(100);

/// The part of a file that an attempt is to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Where the object lies in the file; `None` is all of it.
    object: Option<ByteRange>,
    /// First byte wanted, in the object.
    from: u64,
    /// Offset in the object after the last byte wanted, where there is a limit.
    to: Option<u64>,
}

impl Window {
    /// `None` when nothing of the object lies there.
    pub(crate) fn new(object: Option<ByteRange>, spec: &AttemptSpec) -> Option<Self> {
        let to = match (spec.to, object) {
            (Some(to), Some(range)) => Some(to.min(range.length())),
            (Some(to), None) => Some(to),
            (None, Some(range)) => Some(range.length()),
            (None, None) => None,
        };
        let window = Self {
            object,
            from: spec.from,
            to,
        };
        to.is_none_or(|to| spec.from < to).then_some(window)
    }

    const fn base(&self) -> u64 {
        match self.object {
            Some(range) => range.first,
            None => 0,
        }
    }

    /// Returns what to ask for; `None` is the whole file.
    pub(crate) fn range(&self) -> Option<Range> {
        if self.object.is_none() && self.from == 0 && self.to.is_none() {
            return None;
        }
        let base = self.base();
        Some(Range {
            first: base.saturating_add(self.from),
            last: self.to.map(|to| base.saturating_add(to).saturating_sub(1)),
        })
    }

    /// Size of the whole object.
    const fn total(&self, headers: &Headers) -> Option<u64> {
        match self.object {
            Some(range) => Some(range.length()),
            None => headers.total,
        }
    }
}

/// Carries an attempt out and tells what happens, to the end.
///
/// # Cancel safety
///
/// Dropping the future ends the request and frees its socket or stream.
pub(crate) async fn run(
    net: Net,
    attempt: AttemptId,
    request: Request,
    window: Window,
    notes: mpsc::Sender<Note>,
) {
    let mut attempt = Attempt {
        attempt,
        window,
        notes,
        slice: Slice::default(),
        slice_age: SLICE_AGE_MIN,
        cursor: None,
        connected: false,
    };
    let outcome = attempt.carry_out(&net, request).await;
    let event = match outcome {
        Ok(()) => TransportEvent::Complete,
        Err(Stop::Failed(failure)) => TransportEvent::Failed(failure),
        Err(Stop::Unheard) => return,
    };
    if attempt.tell_slice().await.is_ok() {
        // If nobody listens any more, nothing is left to say.
        attempt.tell(event).await.ok();
    }
}

struct Attempt {
    attempt: AttemptId,
    window: Window,
    notes: mpsc::Sender<Note>,
    slice: Slice,
    slice_age: Duration,
    cursor: Option<Cursor>,
    connected: bool,
}

/// Where the next body byte belongs.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// File bytes before the object that are still to come: the range was ignored.
    skip: u64,
    /// Offset in the object of the next byte after those.
    next: u64,
    /// The whole file comes although a part was asked for.
    whole_file: bool,
    /// Where the object ends, if known.
    total: Option<u64>,
}

/// Bytes not told of yet.
#[derive(Default)]
struct Slice {
    at: u64,
    pieces: Vec<Bytes>,
    bytes: usize,
    /// When it is to be told of at the latest.
    due: Option<Instant>,
}

/// Why an attempt ends before its time.
enum Stop {
    Failed(Failure),
    /// The driver has gone.
    Unheard,
}

impl Attempt {
    async fn carry_out(&mut self, net: &Net, mut request: Request) -> Result<(), Stop> {
        request.range = self.window.range();
        let (_handle, mut events) = net.start(request);
        let mut first = true;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = due(self.slice.due) => {
                    self.slice_age = SLICE_AGE_MAX.min(self.slice_age * 5 / 4);
                    self.tell_slice().await?;
                    continue;
                }
            };
            match event {
                Some(NetEvent::Resolved { .. }) => self.tell(TransportEvent::Resolved).await?,
                Some(NetEvent::Connected {
                    cold,
                    protocol,
                    rtt,
                    ..
                }) => {
                    self.connected = true;
                    let protocol = core_protocol(protocol);
                    self.tell(TransportEvent::Connected {
                        cold,
                        protocol,
                        rtt,
                    })
                    .await?;
                }
                Some(NetEvent::RequestSent) => self.tell(TransportEvent::RequestSent).await?,
                Some(NetEvent::Headers(headers)) => self.headers(&headers).await?,
                Some(NetEvent::Body(pieces)) => {
                    for piece in pieces {
                        self.take(piece)?;
                        // The first byte is told of at once: it ends the wait that the session measures.
                        let enough = if first { 1 } else { SLICE_BYTES };
                        if self.slice.bytes >= enough {
                            first = false;
                            self.tell_slice().await?;
                        }
                    }
                    if self.has_more_than_enough() {
                        return Ok(());
                    }
                }
                Some(NetEvent::Ended(Ok(()))) => return self.ended(),
                Some(NetEvent::Ended(Err(error))) => {
                    return Err(Stop::Failed(failure(&error, self.connected)));
                }
                None => return Err(Stop::Failed(Failure::Internal)),
            }
        }
    }

    async fn headers(&mut self, headers: &Headers) -> Result<(), Stop> {
        let Headers {
            status,
            retry_after,
            ..
        } = *headers;
        let Window { from, .. } = self.window;
        let (from, cursor) = match status {
            206 => (
                from,
                Cursor {
                    skip: 0,
                    next: from,
                    whole_file: false,
                    total: self.window.total(headers),
                },
            ),
            200 => {
                let total = self.window.total(headers);
                (
                    0,
                    Cursor {
                        skip: self.window.base(),
                        next: 0,
                        whole_file: true,
                        total,
                    },
                )
            }
            _ => {
                let validators = Validators::default();
                self.tell(TransportEvent::Headers {
                    status,
                    from,
                    validators,
                    retry_after,
                })
                .await?;
                return Err(Stop::Failed(Failure::Http {
                    status,
                    retry_after,
                }));
            }
        };
        self.cursor = Some(cursor);
        let validators = Validators {
            total: cursor.total,
            // The digest is the whole file's.
            digest: headers
                .repr_digest_sha256
                .filter(|_| self.window.object.is_none())
                .map(|hash| STANDARD.encode(hash)),
        };
        self.tell(TransportEvent::Headers {
            status,
            from,
            validators,
            retry_after,
        })
        .await
    }

    /// Keeps what belongs to the object and is wanted.
    fn take(&mut self, mut piece: Bytes) -> Result<(), Stop> {
        let Some(cursor) = &mut self.cursor else {
            return Err(Stop::Failed(Failure::Protocol));
        };
        let skipped =
            usize::try_from(cursor.skip).map_or(piece.len(), |skip| skip.min(piece.len()));
        cursor.skip -= skipped as u64;
        piece = piece.slice(skipped..);
        if let Some(to) = self.window.to {
            let room = to.saturating_sub(cursor.next);
            piece.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        if piece.is_empty() {
            return Ok(());
        }
        if self.slice.pieces.is_empty() {
            self.slice.at = cursor.next;
            self.slice.due = Some(clock::after(self.slice_age));
        }
        cursor.next += piece.len() as u64;
        self.slice.bytes += piece.len();
        self.slice.pieces.push(piece);
        Ok(())
    }

    /// Whether everything wanted is there and the rest of the file still comes.
    fn has_more_than_enough(&self) -> bool {
        let (Some(cursor), Some(to)) = (self.cursor, self.window.to) else {
            return false;
        };
        cursor.whole_file
            && cursor.next >= to
            && cursor
                .total
                .is_none_or(|total| to < total || self.window.object.is_some())
    }

    fn ended(&self) -> Result<(), Stop> {
        let Some(cursor) = self.cursor else {
            return Err(Stop::Failed(Failure::Protocol));
        };
        let end = match (self.window.to, cursor.total) {
            // A window beyond the end of the object is cut off there.
            (Some(to), Some(total)) => Some(to.min(total)),
            (to, total) => to.or(total),
        };
        match end {
            Some(end) if cursor.next < end => Err(Stop::Failed(Failure::Truncated)),
            Some(_) | None => Ok(()),
        }
    }

    async fn tell(&mut self, event: TransportEvent) -> Result<(), Stop> {
        self.send(What::Event(event)).await
    }

    async fn tell_slice(&mut self) -> Result<(), Stop> {
        if self.slice.pieces.is_empty() {
            return Ok(());
        }
        let Slice { at, pieces, .. } = std::mem::take(&mut self.slice);
        self.send(What::Body { at, pieces }).await
    }

    async fn send(&self, what: What) -> Result<(), Stop> {
        self.notes
            .send(Note {
                attempt: self.attempt,
                what,
            })
            .await
            .map_err(|_| Stop::Unheard)
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What `net` says happened, in the session's words.
fn failure(error: &NetError, connected: bool) -> Failure {
    match error {
        NetError::DnsFailed { .. } | NetError::DnsTimeout { .. } => Failure::Dns,
        NetError::ConnectRefused { .. } => Failure::Refused,
        NetError::ConnectTimeout { .. } => Failure::ConnectTimeout,
        NetError::QuicTimeout { .. } if connected => Failure::Stalled,
        NetError::QuicTimeout { .. } => Failure::ConnectTimeout,
        NetError::Unreachable { .. } => Failure::Unreachable,
        NetError::TlsCertificate { problem, .. } => Failure::TlsCertificate(match problem {
            CertificateProblem::UnknownIssuer => Problem::UnknownIssuer,
            CertificateProblem::WrongName => Problem::WrongName,
            CertificateProblem::Expired => Problem::Expired,
            CertificateProblem::NotYetValid => Problem::NotYetValid,
            CertificateProblem::Revoked => Problem::Revoked,
            CertificateProblem::Other => Problem::Other,
        }),
        NetError::TlsHandshake { .. } => Failure::TlsHandshake,
        NetError::Reset { .. } => Failure::Reset,
        NetError::ClosedEarly { received: 0, .. } => Failure::Reset,
        NetError::ClosedEarly { .. } | NetError::Truncated { .. } => Failure::Truncated,
        NetError::Stalled { .. } => Failure::Stalled,
        NetError::Protocol { .. }
        | NetError::ContentEncoding { .. }
        | NetError::RedirectRefused { .. }
        | NetError::Unsupported { .. } => Failure::Protocol,
        NetError::WrongRange { .. } => Failure::WrongRange,
        NetError::RedirectLoop { .. } => Failure::RedirectLoop,
        NetError::Proxy { .. } => Failure::Proxy,
        NetError::InvalidRequest { .. } | NetError::Local { .. } | NetError::Cancelled => {
            Failure::Internal
        }
    }
}

#[cfg(test)]
mod tests {
    use nearcast_core::{EdgeId, FetchId};
    use nearcast_protocol::manifest::ObjectKey;

    use super::*;

    fn spec(from: u64, to: Option<u64>) -> AttemptSpec {
        AttemptSpec {
            attempt: AttemptId(1),
            fetch: FetchId(1),
            object: ObjectKey::Manifest,
            edge: EdgeId(0),
            from,
            to,
            probe: false,
        }
    }

    fn asked(object: Option<(u64, u64)>, from: u64, to: Option<u64>) -> Option<String> {
        let object = object.and_then(|(first, length)| ByteRange::from_length(first, length));
        Window::new(object, &spec(from, to))
            .unwrap()
            .range()
            .map(|range| range.to_string())
    }

    #[test]
    fn a_whole_file_is_asked_for_without_a_range_and_the_rest_of_it_with_one() {
        assert_eq!(asked(None, 0, None), None);
        assert_eq!(asked(None, 7, None).as_deref(), Some("bytes=7-"));
        assert_eq!(asked(None, 0, Some(10)).as_deref(), Some("bytes=0-9"));
    }

    #[test]
    fn a_part_of_a_file_is_asked_for_by_its_place_in_the_file() {
        assert_eq!(
            asked(Some((1000, 50)), 0, None).as_deref(),
            Some("bytes=1000-1049")
        );
        assert_eq!(
            asked(Some((1000, 50)), 20, None).as_deref(),
            Some("bytes=1020-1049")
        );
        assert_eq!(
            asked(Some((1000, 50)), 20, Some(30)).as_deref(),
            Some("bytes=1020-1029")
        );
        assert_eq!(
            asked(Some((1000, 50)), 0, Some(9999)).as_deref(),
            Some("bytes=1000-1049")
        );
        assert_eq!(
            Window::new(ByteRange::from_length(0, 5), &spec(5, None)),
            None
        );
    }
}
