//! What two bodies bring beside each other, measured over the same time.

use alloc::collections::VecDeque;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use crate::throughput::{Came, RECENT, RecentRate, TOLD_WITHIN, Told};

/// Since both bodies come.
#[derive(Clone, Debug)]
pub(super) struct Overlap {
    since: Instant,
    /// When the other one was asked.
    asked_at: Instant,
    /// Rate of all that came just before.
    before: f64,
    /// All from the slow one's edge, and until when all of that is known.
    slow: Stretch,
    slow_known_until: Instant,
    other: Stretch,
    /// Bytes of bodies from other edges.
    beside: u64,
}

/// Bytes from one edge, of one body or of several, from slice to slice.
#[derive(Clone, Debug, Default)]
struct Stretch {
    first: Option<(Instant, u64)>,
    last: Option<Instant>,
    bytes: u64,
    recent: RecentRate,
    /// The newest, each body's at its own times, and until when some were forgotten.
    came: VecDeque<Came>,
    forgotten: Option<Instant>,
}

/// What two bodies bring beside each other, in bit/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// All that came just before.
    pub(super) before: f64,
    /// The slow one's edge, since both come.
    pub(super) slow: f64,
    /// The same, the newest of it.
    pub(super) slow_newest: f64,
    /// The other one, the newest of it.
    pub(super) other: f64,
    /// Both over the same time, as late as both are known.
    pub(super) same_time: (f64, f64),
    /// Bodies from other edges.
    pub(super) beside: f64,
    /// Whether the other one may still be in slow start.
    pub(super) starts: bool,
}

/// The newest slices.
pub(super) const LATE: Duration = Duration::from_millis(180);
/// Slices nearer than this say more about scheduling.
const STEADY_MIN: Duration = Duration::from_millis(80);
/// More than a window holds of two bodies at 100 Mbit/s.
const CAME_MAX: usize = 256;
/// A body that has lasted for less than so many round trips may still be in slow start.
const SLOW_START: u32 = 6;

impl Overlap {
    /// The other body begins, which was asked for at `asked_at`; `before` is the rate of all that came until then, in bit/s.
    pub(super) fn begins(now: Instant, asked_at: Instant, before: f64) -> Self {
        Self {
            since: now,
            asked_at,
            before,
            slow: Stretch::default(),
            slow_known_until: now,
            other: Stretch::default(),
            beside: 0,
        }
    }

    pub(super) fn slow_came(&mut self, told: Told, bytes: u64) {
        self.slow.add(told, bytes);
        self.slow_known_until = told.known_until();
    }

    pub(super) fn other_came(&mut self, told: Told, bytes: u64) {
        self.other.add(told, bytes);
    }

    pub(super) const fn beside_came(&mut self, bytes: u64) {
        self.beside += bytes;
    }

    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.since(self.since)
    }

    pub(super) const fn other_bytes(&self) -> u64 {
        self.other.bytes
    }

    /// Whether the slow one's edge has brought enough to tell its rate.
    pub(super) fn is_steady(&self) -> bool {
        self.slow.steady().is_some()
    }

    /// Returns what both bring; `None` before anything comes from the other one.
    pub(super) fn rates(&self, now: Instant) -> Option<Rates> {
        let other = self.other.late(self.asked_at)?;
        // Over too soon for two slices of a slow body: it goes on as it was.
        let slow = self.slow.steady().unwrap_or(self.before);
        let beside = ByteCount::new(self.beside).rate_over(self.lasts(now));
        let round_trip = self.since.since(self.asked_at);
        Some(Rates {
            before: self.before,
            slow,
            slow_newest: self.slow_newest(now).unwrap_or(slow),
            other,
            same_time: self.same_time(now).unwrap_or((slow, other)),
            beside: beside.map_or(0.0, BitRate::as_f64),
            starts: self.other.lasts() < round_trip * SLOW_START,
        })
    }

    /// Rate of the newest that is known of the slow one's edge; `None` where that is too short to tell.
    fn slow_newest(&self, now: Instant) -> Option<f64> {
        self.slow.rate_in(None, self.slow_until(now))
    }

    /// Rates of both over the same time, which ends with a slice of the other one, before which all is known of the slow one;
    /// `None` where that is too short to tell.
    fn same_time(&self, now: Instant) -> Option<(f64, f64)> {
        let until = self.other.last_by(self.slow_until(now))?;
        let since = self.slow.first?.0.max(self.other.first?.0);
        let rate = |one: &Stretch| one.rate_in(Some(since), until);
        Some((rate(&self.slow)?, rate(&self.other)?))
    }

    /// Until when all that came from the slow one's edge is known.
    fn slow_until(&self, now: Instant) -> Instant {
        self.slow_known_until.max(now - TOLD_WITHIN)
    }
}

impl Stretch {
    fn add(&mut self, told: Told, bytes: u64) {
        let now = told.now;
        self.bytes += bytes;
        self.first.get_or_insert((now, self.bytes));
        self.last = Some(now);
        self.recent.progress(now, bytes);
        self.came.push_back(Came::of(told, bytes));
        let is_old = |one: &Came| now.since(one.to) > RECENT;
        while self.came.len() > CAME_MAX || self.came.front().is_some_and(is_old) {
            self.forgotten = self.came.pop_front().map(|one| one.to);
        }
    }

    /// Returns when the last slice ended that had ended by then.
    fn last_by(&self, then: Instant) -> Option<Instant> {
        let mut ends = self.came.iter().rev().map(|one| one.to);
        ends.find(|end| *end <= then)
    }

    /// Rate from the first slice to the last; `None` where they are too near to tell.
    fn steady(&self) -> Option<f64> {
        let ((first, before), last) = (self.first?, self.last?);
        let span = last.since(first);
        let rate = ByteCount::new(self.bytes - before).rate_over(span);
        rate.filter(|_| span >= STEADY_MIN).map(BitRate::as_f64)
    }

    /// Rate of what came in the 180 ms until then, or since then where that is later.
    fn rate_in(&self, since: Option<Instant>, until: Instant) -> Option<f64> {
        let from = since.max(Some(self.first?.0))?.max(until - LATE);
        if self.forgotten.is_some_and(|until| from < until) {
            return None;
        }
        let span = until.since(from);
        let came = self.came.iter();
        let bytes = came.map(|one| one.until(until) - one.until(from)).sum();
        let rate = ByteCount::rate_over(bytes, span);
        rate.filter(|_| span >= STEADY_MIN).map(BitRate::as_f64)
    }

    /// Rate of the newest slices, past the slowest of slow start; where there are too few, at least this much, from the
    /// request on.
    fn late(&self, asked_at: Instant) -> Option<f64> {
        let last = self.last?;
        if self.steady().is_some() {
            return Some(self.recent.rate_over(last, LATE)?.as_f64());
        }
        let whole = ByteCount::new(self.bytes).rate_over(last.since(asked_at));
        whole.map(BitRate::as_f64)
    }

    /// From the first slice to the last.
    fn lasts(&self) -> Duration {
        let first = self.first.map(|(first, _)| first);
        let span = first.and_then(|first| Some(self.last?.since(first)));
        span.unwrap_or_default()
    }
}
