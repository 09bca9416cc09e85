//! One try at an object on one edge, and what its times say about it.

use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use crate::edge::Edge;
use crate::input::{AttemptId, EdgeId, Protocol};
use crate::throughput::{Forecast, RecentRate};

/// A first byte that took longer than this took it for other reasons.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(300);

/// An attempt under way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) edge: EdgeId,
    pub(crate) role: Role,
    /// Whether it began beside another attempt for the same bytes.
    pub(crate) hedge: bool,
    pub(crate) from: u64,
    /// Offset after the last byte asked for; `None` is the end of the object.
    pub(crate) to: Option<u64>,
    /// Offset of the next byte to come.
    pub(crate) next: u64,
    pub(crate) started_at: Instant,
    /// When an edge that thinks for no time answers: a round trip after the connection is there. `None` where the driver
    /// cannot tell how long that takes.
    pub(crate) answers_at: Option<Instant>,
    /// What a round trip over its connection takes, where the driver can tell.
    pub(crate) rtt: Option<Duration>,
    pub(crate) first_byte_at: Option<Instant>,
    /// From the request to its answer: a round trip, and what the edge took for it.
    pub(crate) answered_in: Duration,
    pub(crate) bytes: ByteCount,
    /// Of these, bytes that another attempt had brought already.
    pub(crate) wasted: ByteCount,
    /// Of these, those that came before it was helped last.
    pub(crate) wasted_before_help: ByteCount,
    pub(crate) cold: bool,
    pub(crate) protocol: Option<Protocol>,
    /// Number of the grant whose token it carries.
    pub(crate) grant: u32,
    pub(crate) phase: Phase,
    pub(crate) recent: RecentRate,
    /// What the edge was thought to give when the attempt began.
    pub(crate) expected: Option<BitRate>,
    /// The same as a forecast.
    pub(crate) usual: Option<Forecast>,
    /// Help against silence was asked for, or not to be had, and is not asked for again before this time.
    silence_helped_until: Option<Instant>,
    /// The same for slowness, which must not hide that a slow attempt falls silent.
    slowness_helped_until: Option<Instant>,
    /// When it last brought as much as a body may fall to.
    well_at: Option<Instant>,
    /// When its silence was noticed first.
    pub(crate) noticed_at: Option<Instant>,
    /// What came in all, from whichever edge, before it began to help.
    pub(crate) before: Option<BitRate>,
    /// What it is to help against.
    pub(crate) helps_against: Option<Late>,
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// To bring the object.
    Primary,
    /// To bring it sooner than others that try the same.
    Racer,
    /// To bring the rest when another attempt is late.
    Helper,
    /// To measure the edge.
    Probe,
}

/// Without any other edge an attempt may be silent for this long: within 8 s something must happen.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// How far an attempt is; each phase carries when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting { since: Instant },
    Waiting { since: Instant },
    Body { last_byte_at: Instant },
}

/// What is wrong with an attempt that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    Connect,
    FirstByte,
    Paused,
    Trickle,
    /// Far less comes than was expected.
    Slow,
    /// Clearly less has come for a while.
    Fallen,
    Overdue,
}

impl Late {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Connect => "no connection within what this edge usually needs",
            Self::FirstByte => "no first byte within what this edge usually needs",
            Self::Paused => "the body paused for longer than this edge usually answers in",
            Self::Trickle => "so little comes that it is as good as nothing",
            Self::Slow => "far slower than this edge was before",
            Self::Fallen => "for a while clearly slower than this edge was before",
            Self::Overdue => "slower than expected, and it would come after playback needs it",
        }
    }

    /// Whether nothing comes at all, which is no question of the line's rate.
    pub(crate) const fn is_silence(self) -> bool {
        matches!(self, Self::Connect | Self::FirstByte | Self::Paused)
    }

    /// Whether waiting is of no use: silence, or next to it.
    pub(crate) const fn is_dead(self) -> bool {
        self.is_silence() || matches!(self, Self::Trickle)
    }
}

/// Between two requests for help for the same attempt.
const HELP_AGAIN: Duration = Duration::from_secs(2);
/// A body younger than this says nothing about the edge.
const SLOW_AFTER: Duration = Duration::from_millis(500);
/// Slower than this share of what was expected is suspicious.
const SLOW_SHARE: f64 = 0.4;
/// Slower than this share for so long is suspicious, too: it is no moment's weakness any more, and costs a rung.
const FALLEN_SHARE: f64 = 0.6;
const FALLEN_AFTER: Duration = Duration::from_millis(1_500);
/// Slower than this share of what was expected is a reason for help when time is short.
const DISAPPOINTS: f64 = 0.7;
/// Slower than this share of what was expected is as good as silence.
pub(crate) const TRICKLES: f64 = 0.05;
/// A body younger than this many round trips may be in slow start, and so may one whose newest slices come this much
/// faster than it did over twice as long.
const OPEN_AFTER: u32 = 6;
const NEWEST: Duration = Duration::from_millis(400);
const GROWS: f64 = 1.25;
/// It says nothing about the edge, unless less comes than the first flight (RFC 6928).
pub(crate) const FIRST_FLIGHT: ByteCount = ByteCount::new(14_600);
/// Less than this to go is not worth help.
const SLOW_REST: Duration = Duration::from_millis(700);
/// The same where it is not needed for twice as long.
const SOON: Duration = Duration::from_secs(1);

impl Attempt {
    pub(crate) fn new(
        id: AttemptId,
        edge: EdgeId,
        role: Role,
        from: u64,
        to: Option<u64>,
        now: Instant,
        expected: Option<BitRate>,
    ) -> Self {
        Self {
            id,
            edge,
            role,
            hedge: matches!(role, Role::Helper | Role::Racer),
            from,
            to,
            next: from,
            started_at: now,
            answers_at: None,
            rtt: None,
            first_byte_at: None,
            answered_in: Duration::ZERO,
            bytes: ByteCount::ZERO,
            wasted: ByteCount::ZERO,
            wasted_before_help: ByteCount::ZERO,
            cold: false,
            grant: 0,
            protocol: None,
            phase: Phase::Connecting { since: now },
            recent: RecentRate::default(),
            expected,
            usual: None,
            silence_helped_until: None,
            slowness_helped_until: None,
            well_at: None,
            noticed_at: None,
            before: None,
            helps_against: None,
        }
    }

    /// Returns when the phase is late, by what the edge usually needs.
    pub(crate) fn due(&self, edge: &Edge) -> Instant {
        let due = match self.phase {
            Phase::Connecting { since } => since + edge.connect_deadline(),
            Phase::Waiting { since } => since + edge.ttfb_deadline(),
            Phase::Body { last_byte_at } => last_byte_at + edge.pause_deadline(),
        };
        self.silence_helped_until
            .map_or(due, |until| due.max(until))
    }

    /// Returns what is late at `now`, if anything is; `total` is the object's size, `spare` the time until
    /// playback needs it.
    pub(crate) fn late(
        &self,
        now: Instant,
        edge: &Edge,
        total: Option<u64>,
        spare: Duration,
    ) -> Option<Late> {
        if now >= self.due(edge) {
            return Some(match self.phase {
                Phase::Connecting { .. } => Late::Connect,
                Phase::Waiting { .. } => Late::FirstByte,
                Phase::Body { .. } => Late::Paused,
            });
        }
        let rate = self.recent.rate(now);
        let rest = total.map(|total| ByteCount::new(total.saturating_sub(self.next)));
        let needs = rate.zip(rest).and_then(|(rate, rest)| rate.time_for(rest));
        let needs = needs.unwrap_or(Duration::MAX);
        // What is left comes about as soon as help would.
        let nearly_there = needs <= SLOW_REST;
        // It comes long before it is needed: of little, much would come twice.
        let soon_there = needs <= SOON && needs * 2 < spare;
        let left_alone = self.silence_helped_until.is_some_and(|until| now < until);
        if !nearly_there && !soon_there && !left_alone && self.trickles(now, edge) {
            return Some(Late::Trickle);
        }
        if rate.is_none()
            || rest.is_none()
            || !self.is_open(now)
            || nearly_there
            || self.slowness_helped_until.is_some_and(|until| now < until)
        {
            return None;
        }
        let share = self.share_of_expected(now, edge);
        if share.is_some_and(|share| share < SLOW_SHARE) {
            return Some(Late::Slow);
        }
        if self.has_fallen(now, edge) {
            return Some(Late::Fallen);
        }
        // An edge that gives what it always gave is not at fault when the rung was too high for it.
        let disappoints = share.is_none_or(|share| share < DISAPPOINTS);
        (needs > spare && disappoints).then_some(Late::Overdue)
    }

    /// Whether far less comes than was expected, and nobody has looked into it yet.
    pub(crate) fn is_slow_unexplained(&self, now: Instant, edge: &Edge) -> bool {
        self.slowness_helped_until.is_none()
            && self
                .share_of_expected(now, edge)
                .is_some_and(|share| share < SLOW_SHARE)
    }

    /// Whether clearly less than expected has come for a while.
    fn has_fallen(&self, now: Instant, edge: &Edge) -> bool {
        let well_at = self.well_at.or(self.first_byte_at);
        well_at.is_some_and(|at| now.since(at) >= FALLEN_AFTER)
            && self
                .share_of_expected(now, edge)
                .is_some_and(|share| share < FALLEN_SHARE)
    }

    /// Takes in bytes of its body.
    pub(super) fn progress(&mut self, now: Instant, bytes: u64) {
        self.first_byte_at = self.first_byte_at.or(Some(now));
        self.phase = Phase::Body { last_byte_at: now };
        self.noticed_at = None;
        self.recent.progress(now, bytes);
    }

    /// Notes whether as much comes as a body may fall to; told after each of its bytes.
    pub(crate) fn note_well(&mut self, now: Instant, edge: &Edge) {
        if self
            .share_of_expected(now, edge)
            .is_none_or(|share| share >= FALLEN_SHARE)
        {
            self.well_at = Some(now);
        }
    }

    /// What comes from its edge while it comes: its own bytes, and those of bodies beside it.
    pub(crate) fn brought(&self, now: Instant, edge: &Edge) -> Option<BitRate> {
        let lasts = now.since(self.first_byte_at?);
        self.recent.rate(now).max(edge.brought_over(now, lasts))
    }

    /// What is expected is all that the edge gives.
    fn share_of_expected(&self, now: Instant, edge: &Edge) -> Option<f64> {
        let rate = self.brought(now, edge)?.as_f64();
        Some(rate / self.expected?.as_f64().max(1.0))
    }

    /// Whether so little has come for as long as a body may pause that waiting is of no use.
    pub(crate) fn trickles(&self, now: Instant, edge: &Edge) -> bool {
        let span = edge.pause_deadline();
        let lasts = self.first_byte_at.map(|first| now.since(first));
        let (Some(lasts), Some(rate), Some(expected)) =
            (lasts, self.recent.rate_over(now, span), self.expected)
        else {
            return false;
        };
        let starting = !self.is_open(now) && rate.bytes_in(span) >= FIRST_FLIGHT;
        lasts >= span && !starting && rate.as_f64() < expected.as_f64() * TRICKLES
    }

    /// Whether the body is out of slow start, by its age, and gets no faster.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        let open_after = SLOW_AFTER.max(self.round_trip() * OPEN_AFTER);
        let lasts = self.first_byte_at.map(|first| now.since(first));
        let rate = |span| self.recent.rate_over(now, span).map(BitRate::as_f64);
        let grows = rate(NEWEST) > rate(NEWEST * 2).map(|rate| rate * GROWS);
        lasts.is_some_and(|lasts| lasts >= open_after) && !grows
    }

    /// What a round trip takes, at most.
    pub(super) fn round_trip(&self) -> Duration {
        self.rtt.unwrap_or(self.answered_in).min(ROUND_TRIP_MAX)
    }

    /// Help against this was asked for, or is not to be had.
    pub(crate) fn helped(&mut self, now: Instant, late: Late) {
        let until = Some(now + HELP_AGAIN);
        if late.is_dead() {
            self.silence_helped_until = until;
            self.noticed_at = self.noticed_at.or(Some(now));
        } else {
            self.slowness_helped_until = until;
        }
    }

    /// Help came to nothing and may be asked for again at once.
    pub(crate) const fn ask_again(&mut self) {
        self.silence_helped_until = None;
        self.slowness_helped_until = None;
    }

    /// Whether nothing has come for longer than the edge usually needs, whatever was done about it.
    pub(crate) fn silent(&self, now: Instant, edge: &Edge) -> bool {
        match self.phase {
            Phase::Connecting { since } => now.since(since) >= edge.connect_deadline(),
            Phase::Waiting { since } => now.since(since) >= edge.ttfb_deadline(),
            Phase::Body { last_byte_at } => now.since(last_byte_at) >= edge.pause_deadline(),
        }
    }

    /// Returns since when nothing was heard from the edge.
    pub(crate) const fn quiet_since(&self) -> Instant {
        match self.phase {
            Phase::Connecting { since } | Phase::Waiting { since } => since,
            Phase::Body { last_byte_at } => last_byte_at,
        }
    }

    /// Returns when nobody waits for it any longer, helped or not.
    pub(crate) fn patience_ends(&self) -> Instant {
        self.quiet_since() + SILENT_MAX
    }

    /// Returns when the body could have begun at the earliest; where a slow connection let it be expected later than it began, then.
    pub(crate) fn body_due_at(&self) -> Instant {
        let began = self.answers_at.into_iter().chain(self.first_byte_at);
        began.min().unwrap_or(self.started_at)
    }

    /// Returns the last byte's time, or the start when none came: what failovers count from.
    pub(crate) const fn last_byte_at(&self) -> Instant {
        match self.phase {
            Phase::Body { last_byte_at } if self.first_byte_at.is_some() => last_byte_at,
            Phase::Body { .. } | Phase::Connecting { .. } | Phase::Waiting { .. } => {
                self.started_at
            }
        }
    }
}
