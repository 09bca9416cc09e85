//! Two edges at the same time: is the edge slow, or the line?
//!
//! Where the line is the bottleneck, two bodies get as much together as one got alone, and share it more or less evenly.
//! Where an edge is, a body from another one gets what the slow one leaves, which is most of the line.

use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use crate::input::{AttemptId, EdgeId};
use crate::throughput::{Forecast, RecentRate, TOLD_WITHIN, Told};

/// A slow body and another edge's beside it.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// The attempt whose body is slow, and its edge.
    pub(crate) slow: (AttemptId, EdgeId),
    /// The attempt beside it, and its edge.
    pub(crate) other: (AttemptId, EdgeId),
    /// What the edge gave before.
    pub(crate) usual: Option<Forecast>,
    pub(crate) held_to: HeldTo,
    /// All that came before the other body began: others share the line with the slow one.
    alone: RecentRate,
    overlap: Option<Overlap>,
    ended: bool,
}

/// What a slow body is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldTo {
    /// What its edge gave before: it has become slow.
    Usual(BitRate),
    /// What playback could use: it may have been slow from the beginning. The line is known to carry so much.
    Wanted { rate: BitRate, line: BitRate },
}

impl HeldTo {
    pub(crate) const fn rate(self) -> BitRate {
        match self {
            Self::Usual(rate) | Self::Wanted { rate, .. } => rate,
        }
    }

    /// The same as an input of a decision.
    pub(crate) fn input(self) -> (&'static str, f64) {
        let name = match self {
            Self::Usual(_) => "usual_bps",
            Self::Wanted { .. } => "wanted_bps",
        };
        (name, self.rate().as_f64())
    }
}

/// Since both bodies come.
#[derive(Clone, Debug)]
struct Overlap {
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

/// Bytes of one body from slice to slice.
#[derive(Clone, Debug, Default)]
struct Stretch {
    first: Option<(Instant, u64)>,
    last: Option<Instant>,
    bytes: u64,
    recent: RecentRate,
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The edge whose body is slow.
    Edge,
    /// The line: another edge only took away from the slow body.
    Line,
    /// The line had room, but the other edge is no faster.
    Both,
    /// One of the two ended too soon to tell, or the slow one is as fast as ever again.
    Nobody,
}

/// What a comparison showed, with the rates in bit/s that it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) blame: Blame,
    pub(crate) before: f64,
    pub(crate) slow: f64,
    pub(crate) other: f64,
}

/// The slow body's rate before the other's begins is taken over so long: less would be noise, more would reach back to
/// the time when it was not slow.
pub(crate) const BEFORE: Duration = Duration::from_millis(350);
/// After so long both have shown what they can.
const LONG_ENOUGH: Duration = Duration::from_millis(1_500);
/// The other edge must be this much faster to be called better.
const FASTER: f64 = 1.5;
/// And this much where its body still gets faster.
const FASTER_YET: f64 = 1.2;
/// Both together must carry this much more than the slow body did alone to show that the line had room; and this much
/// where the other edge's body may still get faster.
const ROOM: f64 = 1.2;
pub(super) const MUCH_ROOM: f64 = 1.35;
/// A body that has lasted for less than so many round trips may still be in slow start; where it brings less than this share
/// of the slow one, it has shown nothing: a queue makes round trips long, too (seen at 0.41 behind packet links, where the line had fallen;
/// `bench edges` is the same with it and without).
const SLOW_START: u32 = 6;
const STARTS: f64 = 0.7;
/// The newest slices.
const LATE: Duration = Duration::from_millis(180);
/// It need not go on to its end where the other body is this much faster than the slow one, or after these.
const CLEAR: f64 = 3.0;
const ENOUGH: u64 = 48 << 10;
const EDGE_TOLD_AFTER: Duration = Duration::from_millis(300);
const LINE_TOLD_AFTER: Duration = Duration::from_millis(500);
/// A body that brings this share of what it is held to is slow no more.
const CAME_BACK: f64 = 0.7;

impl Comparison {
    pub(crate) const fn new(
        slow: (AttemptId, EdgeId),
        other: (AttemptId, EdgeId),
        (usual, held_to): (Option<Forecast>, HeldTo),
        alone: RecentRate,
    ) -> Self {
        Self {
            slow,
            other,
            usual,
            held_to,
            alone,
            overlap: None,
            ended: false,
        }
    }

    /// So much of another edge's body shows whether it is faster than a slow one: its window has opened far enough by then, for which
    /// twice as much is sent as is on its way in the end (slow start, RFC 5681, section 3.1), and it was looked at once more.
    pub(crate) fn shows_after(slow: BitRate, others_round_trip: Duration) -> ByteCount {
        slow.scaled(FASTER).bytes_in(others_round_trip * 2 + LATE)
    }

    /// The other edge's body begins, which was asked for at `asked_at`.
    pub(crate) fn body_begins(&mut self, now: Instant, id: AttemptId, asked_at: Instant) {
        if id == self.other.0 && self.overlap.is_none() {
            // Until its last slice: what has come since is not known.
            let last = self.alone.last_at().unwrap_or(now);
            let before = self.alone.rate_over(last, BEFORE);
            let known = match self.held_to {
                HeldTo::Usual(_) => None,
                HeldTo::Wanted { line, .. } => Some(line),
            };
            let before = before.max(known);
            self.overlap = Some(Overlap {
                since: now,
                asked_at,
                before: before.map_or(0.0, BitRate::as_f64),
                slow: Stretch::default(),
                slow_known_until: now,
                other: Stretch::default(),
                beside: 0,
            });
        }
    }

    /// Bytes of some body came.
    pub(crate) fn progress(&mut self, told: Told, (id, edge): (AttemptId, EdgeId), bytes: u64) {
        if self.ended {
            return;
        }
        let now = told.now;
        match &mut self.overlap {
            Some(overlap) if id == self.other.0 => overlap.other.add(now, bytes),
            // Sound shares with the picture what their edge gives.
            Some(overlap) if edge == self.slow.1 => {
                overlap.slow.add(now, bytes);
                overlap.slow_known_until = told.known_until();
            }
            Some(overlap) => overlap.beside += bytes,
            None if id == self.other.0 => {}
            None => self.alone.progress(now, bytes),
        }
    }

    pub(crate) fn ended(&mut self, id: AttemptId) {
        self.ended |= id == self.slow.0 || id == self.other.0;
    }

    /// Returns what it showed, once it can be told.
    pub(crate) fn finding(&self, now: Instant) -> Option<Finding> {
        let Some(overlap) = &self.overlap else {
            return self.ended.then_some(Finding::NOTHING);
        };
        let lasts = now.since(overlap.since);
        let over = self.ended || lasts >= LONG_ENOUGH;
        let Some(rates) = overlap.rates(now) else {
            return over.then_some(Finding::NOTHING);
        };
        // Too little of the other body tells nothing.
        if self.ended && overlap.other.bytes < ENOUGH / 2 {
            return Some(Finding::NOTHING);
        }
        let Rates {
            before,
            slow,
            other,
            ..
        } = rates;
        let blame = rates.blame(self.held_to);
        let steady = overlap.slow.steady().is_some();
        let seen = overlap.other.bytes >= ENOUGH;
        let told = match blame {
            Blame::Edge if other > before * CLEAR => seen,
            Blame::Edge => steady && lasts >= EDGE_TOLD_AFTER && other > slow * FASTER,
            Blame::Line => steady && lasts >= LINE_TOLD_AFTER && seen,
            Blame::Both | Blame::Nobody => false,
        };
        (over || told).then_some(Finding {
            blame,
            before,
            slow,
            other,
        })
    }
}

/// What two bodies bring beside each other, in bit/s.
#[derive(Clone, Copy, Debug)]
struct Rates {
    /// All that came just before.
    before: f64,
    /// The slow one's edge, since both come.
    slow: f64,
    /// The same, the newest of it.
    slow_newest: f64,
    /// The other one, the newest of it.
    other: f64,
    /// Both over the same time, as late as both are known.
    same_time: (f64, f64),
    /// Bodies from other edges.
    beside: f64,
    /// Whether the other one may still be in slow start.
    starts: bool,
}

impl Rates {
    fn blame(&self, held_to: HeldTo) -> Blame {
        if self.slow > held_to.rate().as_f64() * CAME_BACK {
            return Blame::Nobody;
        }
        if self.slow + self.other + self.beside <= self.before * ROOM {
            return Blame::Line;
        }
        if self.other_is_faster() {
            return Blame::Edge;
        }
        if !self.other_may_get_faster() {
            return Blame::Both;
        }
        match held_to {
            _ if self.line_gets_more() => Blame::Nobody,
            HeldTo::Usual(_) => Blame::Edge,
            HeldTo::Wanted { .. } if self.other > self.slow * FASTER_YET => Blame::Edge,
            // That the line has room does not say that anybody is faster.
            HeldTo::Wanted { .. } => Blame::Nobody,
        }
    }

    /// Of what a line has just got more, the one that was told of later has had more: so it must be faster at the same time, too.
    fn other_is_faster(&self) -> bool {
        let (slow, other) = self.same_time;
        self.other > self.slow * FASTER && other > slow * FASTER
    }

    fn other_may_get_faster(&self) -> bool {
        let (slow, other) = self.same_time;
        let together = (slow + other).min(self.slow + self.other + self.beside);
        self.starts
            && self.other.min(other) > self.slow * STARTS
            && together > self.before * MUCH_ROOM
    }

    /// Whether the slow one brings more than it did alone, or than at first beside the other: its edge does not hold it back.
    fn line_gets_more(&self) -> bool {
        self.slow_newest > self.slow.min(self.before) * ROOM
    }
}

impl Finding {
    /// What both brought together.
    pub(crate) fn together(&self) -> BitRate {
        BitRate::from_bps(1).scaled(self.slow + self.other)
    }

    const NOTHING: Self = Self {
        blame: Blame::Nobody,
        before: 0.0,
        slow: 0.0,
        other: 0.0,
    };
}

impl Overlap {
    /// Returns what both bring; `None` before anything comes from the other one.
    fn rates(&self, now: Instant) -> Option<Rates> {
        let other = self.other.late(self.asked_at)?;
        // Over too soon for two slices of a slow body: it goes on as it was.
        let slow = self.slow.steady().unwrap_or(self.before);
        let beside = ByteCount::new(self.beside).rate_over(now.since(self.since));
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
        let until = self.other.recent.last_by(self.slow_until(now))?;
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
    fn add(&mut self, now: Instant, bytes: u64) {
        self.bytes += bytes;
        self.first.get_or_insert((now, self.bytes));
        self.last = Some(now);
        self.recent.progress(now, bytes);
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
        let rate = self.recent.rate_between(from, until)?;
        (until.since(from) >= STEADY_MIN).then_some(rate.as_f64())
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

/// Slices nearer than this say more about scheduling.
const STEADY_MIN: Duration = Duration::from_millis(80);

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: (AttemptId, EdgeId) = (AttemptId(1), EdgeId(0));
    const OTHER: (AttemptId, EdgeId) = (AttemptId(2), EdgeId(1));
    const THIRD: (AttemptId, EdgeId) = (AttemptId(3), EdgeId(2));

    fn came(comparison: &mut Comparison, now: Instant, who: (AttemptId, EdgeId), bytes: u64) {
        comparison.progress(Told::alone(now, now), who, bytes);
    }

    /// A body of `before` kB/s that gets `slow` while another gets `other` for half a second; usual are 1,000.
    fn shown(before: u64, slow: u64, other: u64) -> Blame {
        shown_after(40, (before, slow, other))
    }

    /// The same where the other one has begun so many milliseconds after it was asked.
    fn shown_after(round_trip: u64, rates: (u64, u64, u64)) -> Blame {
        let usual = HeldTo::Usual(BitRate::from_kbps(8_000));
        shown_beside(usual, round_trip, rates)
    }

    fn shown_beside(
        held_to: HeldTo,
        round_trip: u64,
        (before, slow, other): (u64, u64, u64),
    ) -> Blame {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let held_to = (None, held_to);
        let mut comparison = Comparison::new(SLOW, OTHER, held_to, RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, before * 100);
        }
        comparison.body_begins(ms(1_010), OTHER.0, ms(1_010 - round_trip));
        for n in 0..=5 {
            came(&mut comparison, ms(1_010 + n * 100), OTHER, other * 100);
            came(&mut comparison, ms(1_060 + n * 100), SLOW, slow * 100);
        }
        comparison.ended(OTHER.0);
        comparison.finding(ms(1_600)).unwrap().blame
    }

    #[test]
    fn who_may_still_get_faster_has_shown_something() {
        // In slow start, as it is after so long a round trip.
        assert_eq!(shown_after(300, (200, 220, 250)), Blame::Edge);
        assert_eq!(shown_after(40, (200, 220, 250)), Blame::Both);
        // A queue makes round trips long, too, and then next to nothing comes.
        assert_eq!(shown_after(300, (200, 220, 150)), Blame::Both);
        // Who brings more beside another than alone is not kept down by its edge: the line has got more.
        assert_eq!(shown_after(300, (200, 300, 250)), Blame::Nobody);
    }

    #[test]
    fn who_is_ahead_and_still_gets_faster_is_better_than_an_edge_that_was_always_slow() {
        let (rate, line) = (BitRate::from_kbps(8_000), BitRate::from_kbps(1_600));
        let shown = |round_trip, other| {
            shown_beside(HeldTo::Wanted { rate, line }, round_trip, (200, 200, other))
        };
        assert_eq!(shown(300, 250), Blame::Edge);
        // As fast so far: that tells nothing yet.
        assert_eq!(shown(300, 220), Blame::Nobody);
        // All that it has.
        assert_eq!(shown(40, 250), Blame::Both);
    }

    #[test]
    fn a_far_edge_shows_what_it_has_after_more() {
        let slow = BitRate::from_kbps(3_000);
        let bytes = |ms| Comparison::shows_after(slow, Duration::from_millis(ms)).get();
        assert_eq!((bytes(0), bytes(100)), (101_250, 213_750));
    }

    #[test]
    fn who_is_slow_shows_in_what_two_bodies_get_together() {
        let cases = [
            // They share what one had alone: evenly, or as TCP shares with one that is nearer.
            (200, 100, 100, Blame::Line),
            (200, 60, 140, Blame::Line),
            // The slow one goes on as it was, and the other gets much more.
            (200, 200, 800, Blame::Edge),
            (200, 180, 400, Blame::Edge),
            // Nothing is taken away, and yet nothing is won.
            (200, 200, 200, Blame::Both),
            (200, 200, 100, Blame::Both),
            // It is back.
            (200, 900, 900, Blame::Nobody),
        ];
        for (before, slow, other, blame) in cases {
            assert_eq!(shown(before, slow, other), blame, "{before} {slow} {other}");
        }
    }

    #[test]
    fn what_a_third_body_took_of_the_line_before_is_no_room_for_another() {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
        let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, 10_000);
            came(&mut comparison, ms(n * 100), THIRD, 10_000);
        }
        // It has ended, and the other takes its place; its round trip is long.
        comparison.body_begins(ms(1_010), OTHER.0, ms(910));
        for n in 0..=5 {
            came(&mut comparison, ms(1_010 + n * 100), OTHER, 10_000);
            came(&mut comparison, ms(1_060 + n * 100), SLOW, 10_000);
        }
        assert_eq!(comparison.finding(ms(1_600)).unwrap().blame, Blame::Line);
    }

    /// What comes to each of two bodies from then until then, in milliseconds, of a line that carries 200 kB/s until `rises`, and
    /// `times` as much after that.
    fn half_of_line(from: u64, to: u64, rises: u64, times: u64) -> u64 {
        let (before, after) = (
            to.min(rises) - from.min(rises),
            to.max(rises) - from.max(rises),
        );
        100 * (before + after * times)
    }

    /// Two bodies share a line that gets more, and are told of at their own times; asked for a finding whenever one was.
    fn shown_by_line_that_rises(
        (round_trip, held_to): (u64, HeldTo),
        (rises, times): (u64, u64),
    ) -> Blame {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let mut comparison = Comparison::new(SLOW, OTHER, (None, held_to), RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, 20_000);
        }
        comparison.body_begins(ms(1_010), OTHER.0, ms(1_010 - round_trip));
        let bytes = |until: u64| half_of_line(until - 100, until, rises, times);
        for n in 0..=4 {
            for (at, who) in [(1_090 + n * 100, SLOW), (1_110 + n * 100, OTHER)] {
                came(&mut comparison, ms(at), who, bytes(at));
                let found = comparison.finding(ms(at)).map(|found| found.blame);
                let what = (round_trip, held_to, rises, times);
                assert_ne!(found, Some(Blame::Edge), "after {at} ms: {what:?}");
            }
        }
        // Its last slice, when that of the slow one is still to come.
        came(
            &mut comparison,
            ms(1_580),
            OTHER,
            half_of_line(1_510, 1_580, rises, times),
        );
        comparison.ended(OTHER.0);
        comparison.finding(ms(1_580)).unwrap().blame
    }

    #[test]
    fn a_line_that_gets_more_meanwhile_gives_it_to_both() {
        let (rate, line) = (BitRate::from_kbps(80_000), BitRate::from_kbps(1_600));
        for rises in (1_010..1_600).step_by(10) {
            // Twice as much is what one who is slow by itself leaves to the other.
            for times in [3, 7] {
                for round_trip in [40, 100, 300] {
                    for held_to in [HeldTo::Usual(rate), HeldTo::Wanted { rate, line }] {
                        let found = shown_by_line_that_rises((round_trip, held_to), (rises, times));
                        let what = (round_trip, held_to, rises, times);
                        assert_ne!(found, Blame::Edge, "{what:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn sound_that_is_told_of_alone_does_not_make_its_edge_slower() {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let usual = (None, HeldTo::Usual(BitRate::from_kbps(80_000)));
        let sound = (AttemptId(4), SLOW.1);
        let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, 20_000);
        }
        comparison.body_begins(ms(1_010), OTHER.0, ms(970));
        for n in 1..=6 {
            let at = 1_010 + n * 100;
            let bytes = half_of_line(at - 100, at, 1_310, 3);
            came(&mut comparison, ms(at), SLOW, bytes);
            came(&mut comparison, ms(at), OTHER, bytes);
            let told = Told {
                since: ms(at),
                now: ms(at + 90),
                all_until: ms(at),
            };
            comparison.progress(told, sound, 1_000);
            assert_eq!(comparison.finding(ms(at + 90)), None, "after {at} ms");
        }
    }

    #[test]
    fn sound_and_picture_share_what_their_edge_gives() {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let (rate, line) = (BitRate::from_kbps(8_000), BitRate::from_kbps(160));
        let wanted = (None, HeldTo::Wanted { rate, line });
        let sound = (AttemptId(4), SLOW.1);
        let mut comparison = Comparison::new(SLOW, OTHER, wanted, RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, 10_000);
            came(&mut comparison, ms(n * 100), sound, 10_000);
        }
        comparison.body_begins(ms(1_010), OTHER.0, ms(970));
        for n in 0..=5 {
            came(&mut comparison, ms(1_010 + n * 100), OTHER, 20_000);
            came(&mut comparison, ms(1_060 + n * 100), SLOW, 10_000);
            came(&mut comparison, ms(1_060 + n * 100), sound, 10_000);
        }
        comparison.ended(OTHER.0);
        assert_eq!(comparison.finding(ms(1_600)).unwrap().blame, Blame::Both);
    }

    #[test]
    fn too_little_of_the_other_body_tells_nothing() {
        let ms = |n: u64| Instant::ZERO + Duration::from_millis(n);
        let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
        let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
        for n in 0..=10 {
            came(&mut comparison, ms(n * 100), SLOW, 10_000);
        }
        comparison.body_begins(ms(1_010), OTHER.0, ms(970));
        came(&mut comparison, ms(1_020), OTHER, 9_000);
        assert_eq!(comparison.finding(ms(1_020)), None);
        comparison.ended(SLOW.0);
        assert_eq!(comparison.finding(ms(1_020)), Some(Finding::NOTHING));
    }

    #[test]
    fn what_ends_before_both_have_come_tells_nothing() {
        let usual = (None, HeldTo::Usual(BitRate::from_kbps(8_000)));
        let mut comparison = Comparison::new(SLOW, OTHER, usual, RecentRate::default());
        comparison.ended(THIRD.0);
        assert_eq!(comparison.finding(Instant::ZERO), None);
        comparison.ended(SLOW.0);
        let finding = comparison.finding(Instant::ZERO).unwrap();
        assert_eq!(finding.blame, Blame::Nobody);
    }
}
