//! The body of an answer on its way out, and the log line that follows it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use nearcast_appliance::{
    BodyEnd, Disposition, Effect, Moment, ObjectName, Outcome, Slowed, Target,
};
use nearcast_link::Pacer;
use nearcast_units::{BitRate, ByteCount, Instant};
use tokio::io::AsyncReadExt;

use crate::access_log::{AccessEntry, End};
use crate::clock::millis;
use crate::connection::Control;
use crate::course::Course;
use crate::edge::Edge;
use crate::gate::Gate;
use crate::last_mile::Line;

/// Where bytes come from.
pub(crate) enum Source {
    /// A file at the right offset.
    File(tokio::fs::File),
    /// Text made for this answer.
    Text(Bytes),
    /// That many bytes that nobody reads.
    Filler,
}

/// A body that is sent as the link and the faults allow.
pub(crate) struct AnswerBody {
    source: Source,
    /// How much of it was taken.
    taken: u64,
    first: u64,
    length: u64,
    /// `None` for what is no part of a file: nothing goes wrong with that.
    course: Option<Course>,
    trickle: Option<Trickle>,
    /// A byte was made wrong.
    spoilt: bool,
    /// It has come to where it hangs.
    hangs: bool,
    path: String,
    client: String,
    /// The last link before its client, if that is shared with other edges.
    line: Option<Arc<Line>>,
    log: LogLine,
}

/// A rate for one body alone.
struct Trickle {
    rate: BitRate,
    pacer: Pacer,
}

/// What the transport is to do next.
pub(crate) enum Step {
    /// Send these; say so by [`AnswerBody::sent`].
    Data(Bytes),
    /// End the body, complete or not.
    End,
    /// Reset the connection (TCP) or the stream (QUIC).
    Reset,
}

/// One write at most: large enough to be cheap, small enough to share the link.
const CHUNK: u64 = 64 * 1024;

impl AnswerBody {
    pub(crate) fn new(
        source: Source,
        target: Target<'_>,
        course: Option<Course>,
        mut log: LogLine,
    ) -> Self {
        log.expected = target.length;
        let last_mile = log.edge.last_mile.as_ref();
        Self {
            line: last_mile.map(|mile| mile.line(target.client)),
            source,
            taken: 0,
            first: target.first,
            length: target.length,
            course,
            trickle: None,
            spoilt: false,
            hangs: false,
            path: target.path.to_owned(),
            client: target.client.to_owned(),
            log,
        }
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Waits until something may be sent.
    pub(crate) async fn next(&mut self) -> Step {
        let edge = Arc::clone(&self.log.edge);
        loop {
            self.follow();
            let end = self.fault().map_or(BodyEnd::Complete, |fault| fault.end);
            let limit = end.after().unwrap_or(self.length);
            if self.taken < limit {
                let want = self.until_slower().min(limit - self.taken).min(CHUNK);
                let pacer = self.trickle.as_mut().map(|trickle| &mut trickle.pacer);
                let line = self.line.as_deref();
                let allowed = tokio::select! {
                    // What was ordered before counts for every byte that leaves later.
                    biased;
                    () = outdated(self.course.as_mut()) => {
                        self.revise();
                        continue;
                    }
                    allowed = allowance(&edge.gate, line, want, pacer) => allowed,
                };
                return match self.take(allowed).await {
                    Ok(bytes) => Step::Data(bytes),
                    Err(error) => {
                        tracing::warn!(edge = %edge.id, path = %self.path, %error, "a file ended early");
                        self.log.end = Some(End::Failed);
                        Step::Reset
                    }
                };
            }
            match end {
                BodyEnd::Complete => return Step::End,
                BodyEnd::Reset { .. } => {
                    self.cut(End::Reset).await;
                    return Step::Reset;
                }
                BodyEnd::Truncate { .. } => {
                    self.cut(End::Truncated).await;
                    return Step::End;
                }
                BodyEnd::Hang { .. } => {
                    if !std::mem::replace(&mut self.hangs, true) {
                        self.takes_effect(Effect::Cut);
                    }
                    outdated(self.course.as_mut()).await;
                    self.revise();
                }
                // What follows is the link's affair.
                BodyEnd::Link { .. } => {
                    self.log.control.settle().await;
                    self.takes_effect(Effect::Cut);
                    if let Some(course) = &mut self.course {
                        course.fault.end = BodyEnd::Complete;
                    }
                }
            }
        }
    }

    /// It takes effect at once: who hears of its receipt must not be late. What was sent of the body arrives all the same.
    async fn cut(&mut self, end: End) {
        self.takes_effect(Effect::Cut);
        // A stream of QUIC ends in good order by itself; hyper closes a connection whose body ends early.
        let is_in_order = end == End::Truncated && self.log.control.is_quic();
        if self.taken > 0 && !is_in_order {
            self.log.control.settle().await;
        }
        self.log.end = Some(end);
    }

    /// How much may be sent before the body is held back.
    fn until_slower(&self) -> u64 {
        let after = self.fault().and_then(|fault| fault.slowed);
        after
            .map(|slowed| slowed.after.saturating_sub(self.taken))
            .filter(|left| *left > 0)
            .unwrap_or(u64::MAX)
    }

    fn fault(&self) -> Option<&Disposition> {
        self.course.as_ref().map(|course| &course.fault)
    }

    fn target(&self) -> Target<'_> {
        Target {
            path: &self.path,
            object: ObjectName::of_path(&self.path),
            client: &self.client,
            first: self.first,
            length: self.length,
        }
    }

    fn takes_effect(&self, effect: Effect) {
        if let Some(course) = &self.course {
            course.takes_effect(&self.log.edge, self.target(), effect);
        }
    }

    /// Takes the orders that came meanwhile.
    fn revise(&mut self) {
        let target = Target {
            path: &self.path,
            object: ObjectName::of_path(&self.path),
            client: &self.client,
            first: self.first,
            length: self.length,
        };
        if let Some(course) = &mut self.course {
            course.revise(&self.log.edge, target, self.taken);
            // A body that is corrupt, or hangs, for another time says so once more.
            self.spoilt &= course.fault.spoilt.is_some();
            self.hangs &=
                matches!(course.fault.end, BodyEnd::Hang { after } if after <= self.taken);
        }
    }

    /// Trickles as the faults say now.
    fn follow(&mut self) {
        let slowed = self.fault().and_then(|fault| fault.slowed);
        let slowed = slowed.filter(|slowed| self.taken >= slowed.after);
        let rate = slowed.map(|Slowed { rate, .. }| rate);
        if rate == self.trickle.as_ref().map(|trickle| trickle.rate) || self.taken == self.length {
            return;
        }
        let now = self.log.edge.clock.now();
        self.trickle = rate.map(|rate| Trickle {
            rate,
            pacer: Pacer::new(now, Some(rate)),
        });
        if rate.is_some() {
            self.takes_effect(Effect::Slowed { at: self.taken });
        }
    }

    /// Bytes are handed to the transport.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.log.entry.bytes += bytes;
        self.log.control.hands_on(bytes);
        self.log.last_at = self.log.edge.clock.now();
        self.log.edge.counters().bytes += bytes;
        self.log
            .edge
            .with(|appliance, now| appliance.handle_bytes(now, ByteCount::new(bytes)));
    }

    /// Whether the transport is still taking what was counted last: an answer cut off now is not complete.
    pub(crate) const fn hands_over(&mut self, now: bool) {
        self.log.hands_over = now;
    }

    async fn take(&mut self, count: u64) -> std::io::Result<Bytes> {
        let size = usize::try_from(count).unwrap_or(usize::MAX);
        let bytes = match &mut self.source {
            Source::File(file) => {
                let mut buffer = BytesMut::zeroed(size);
                file.read_exact(&mut buffer).await?;
                buffer.freeze()
            }
            Source::Text(text) => text.split_to(size.min(text.len())),
            Source::Filler => Bytes::from(vec![0x4e; size]),
        };
        let from = self.taken;
        self.taken += count;
        let Some(wrong) = self.fault().and_then(|fault| fault.spoilt) else {
            return Ok(bytes);
        };
        let mut spoilt = BytesMut::from(&bytes[..]);
        let length = self.length.saturating_sub(wrong.after);
        for (index, byte) in (from..).zip(spoilt.iter_mut()) {
            let Some(place) = index.checked_sub(wrong.after) else {
                continue;
            };
            if let Some(other) = wrong.how.spoils(*byte, place, length) {
                *byte = other;
                if !self.spoilt {
                    self.spoilt = true;
                    self.takes_effect(Effect::Spoilt { at: index });
                }
            }
        }
        Ok(spoilt.freeze())
    }

    /// Turns it into a body for hyper. A reset tears the whole connection down and never returns.
    pub(crate) fn into_frames(
        self,
    ) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> + Send
    {
        let hand_over = self.log.control.watch();
        futures_util::stream::unfold((self, hand_over), |(mut body, hand_over)| async move {
            hand_over.is_over();
            match body.next().await {
                Step::Data(bytes) => {
                    body.sent(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                    hand_over.begins(body.log.last_at);
                    Some((Ok(Frame::data(bytes)), (body, hand_over)))
                }
                Step::End => None,
                Step::Reset => {
                    body.log.control.request_reset();
                    std::future::pending().await
                }
            }
        })
    }
}

/// Waits until some of `want` bytes may be sent, over all links.
async fn allowance(
    gate: &Gate,
    line: Option<&Line>,
    want: u64,
    private: Option<&mut Pacer>,
) -> u64 {
    match line {
        Some(line) => line.allowance(gate, want, private).await,
        None => gate.allowance(want, private).await,
    }
}

async fn outdated(course: Option<&mut Course>) {
    match course {
        Some(course) => course.outdated().await,
        None => std::future::pending().await,
    }
}

/// Writes the log line of one request when it is dropped, so that none is missing.
pub(crate) struct LogLine {
    edge: Arc<Edge>,
    control: Arc<Control>,
    pub(crate) entry: AccessEntry,
    protocol: &'static str,
    /// How often the appliance had died before.
    kills: u64,
    began: Instant,
    /// When the last bytes were handed over.
    last_at: Instant,
    expected: u64,
    hands_over: bool,
    end: Option<End>,
}

impl LogLine {
    pub(crate) fn new(
        edge: Arc<Edge>,
        control: Arc<Control>,
        protocol: &'static str,
        request: &http::request::Parts,
    ) -> Self {
        let Moment { at, unix_ms } = edge.now();
        control.begins();
        let entry = AccessEntry {
            unix_ms,
            at_ms: millis(at.since(Instant::ZERO)),
            appliance: edge.id.clone(),
            protocol: protocol.to_owned(),
            method: request.method.as_str().to_owned(),
            path: request.uri.path().to_owned(),
            first: None,
            last: None,
            status: None,
            bytes: 0,
            duration_ms: 0.0,
            end: End::Cancelled,
            cmcd: None,
            playback_id: None,
        };
        Self {
            kills: edge.gate.view().kills,
            edge,
            control,
            entry,
            protocol,
            began: at,
            last_at: at,
            expected: 0,
            hands_over: false,
            end: None,
        }
    }

    fn how_it_ended(&self) -> End {
        if let Some(end) = self.end {
            return end;
        }
        let all = self.entry.bytes == self.expected && !self.hands_over;
        if self.entry.status.is_some() && all {
            return End::Complete;
        }
        if !self.edge.gate.view().spares(self.kills) {
            return End::Killed;
        }
        if self.control.is_reset() {
            return End::Reset;
        }
        if self.edge.shutdown.is_cancelled() {
            return End::Shutdown;
        }
        End::Cancelled
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let end = self.how_it_ended();
        let until = match end {
            End::Complete => self.last_at,
            End::Cancelled
            | End::Reset
            | End::Truncated
            | End::Killed
            | End::Shutdown
            | End::Failed => self.edge.clock.now(),
        };
        self.entry.end = end;
        self.entry.duration_ms = millis(until.since(self.began));
        let status = self.entry.status.unwrap_or(0);
        let outcome = match end {
            End::Reset | End::Truncated | End::Killed | End::Failed => Outcome::Failed,
            End::Complete | End::Cancelled | End::Shutdown if status >= 500 => Outcome::Failed,
            End::Complete | End::Cancelled | End::Shutdown => Outcome::Good,
        };
        self.edge
            .count(self.protocol, status, name_of(end), outcome);
        self.edge.log.add(self.entry.clone());
        self.control.ends();
    }
}

const fn name_of(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Cancelled => "cancelled",
        End::Reset => "reset",
        End::Truncated => "truncated",
        End::Killed => "killed",
        End::Shutdown => "shutdown",
        End::Failed => "failed",
    }
}
