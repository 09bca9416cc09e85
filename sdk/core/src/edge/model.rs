//! One edge as this session has come to know it: what it takes until the first byte, how fast it delivers, how sure that
//! is, and what went wrong. The backend's order and what the line is known to carry are the prior, what was measured
//! makes the posterior ([`Belief`]); what was measured long ago counts for less and less.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Rng};

use super::belief::Belief;
use super::breaker::{BreakerConfig, BreakerState, EdgeBreaker};
use super::faults::Faults;
use super::recall::EdgePrior;
use crate::input::{EdgeOffer, Protocol};
use crate::memory::{EdgeMemory, Usual};
use crate::throughput::{Forecast, RECENT, RateEstimate, RecentRate, Spans, Told};

/// One edge as this session has come to know it.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) rank: u32,
    /// Whether the newest grant names it.
    pub(crate) offered: bool,
    /// What it is taken for before it was measured.
    pub(super) prior: EdgePrior,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) bytes: ByteCount,
    pub(crate) failures: u64,
    /// When it was last measured, by a transfer or a probe.
    pub(crate) measured_at: Option<Instant>,
    /// When it last gave all that it was asked for.
    pub(crate) served_at: Option<Instant>,
    /// How often it was left for another without being forced to, when that was last, and how often in a row it has been
    /// measured clearly better since.
    pub(super) left: u32,
    pub(super) left_at: Option<Instant>,
    /// Whether it was found slow by comparison.
    pub(super) slow: bool,
    /// Until then it need not be asked whether it is faster than the one in use: it was asked.
    pub(super) asked_until: Instant,
    /// Whether it has been in use.
    pub(super) used: bool,
    pub(super) better: u32,
    /// When it last failed or became slow while it was in use, and how often before it did so too soon after the time
    /// before.
    fell_at: Option<Instant>,
    relapses: u32,
    breaker: EdgeBreaker,
    faults: Faults,
    connect: Spans,
    /// The shortest round trip that a connection to it told.
    round_trip: Option<Duration>,
    /// The highest rate that the beginning of a body had.
    first_rate: Option<BitRate>,
    ttfb: Spans,
    rate: RateEstimate,
    /// What all bodies from it brought lately.
    recent: RecentRate,
    /// Until when its rate describes the line; then it fades.
    fresh_until: Instant,
    active: u32,
    /// Objects that it does not have, those found out last at the end.
    lacks: VecDeque<ObjectKey>,
}

/// What was measured within this time still describes the line.
const FRESH: Duration = Duration::from_secs(15);
/// After so long there is still time to measure an edge again before it is not.
const FADES: Duration = Duration::from_secs(7);
/// From then on it counts half after this long.
const HALF_LIFE_S: f64 = 20.0;
/// What an edge is taken to need until the first byte before it was asked, and how much more by each place further down
/// in the backend's order.
const USUAL_TTFB: Duration = Duration::from_millis(60);
const RANK_TTFB: Duration = Duration::from_millis(10);
/// Places in the backend's order that still make a difference.
const RANKS: u32 = 100;
/// How far times to first byte lie from that, and how far one of them from the edge's typical one, as deviations of the
/// logarithm; more than so many tell nothing new.
pub(super) const TTFB_DOUBT: f64 = 0.5;
const TTFB_NOISE: f64 = 0.3;
const TTFB_COUNTS: u32 = 8;
/// What the line is taken to carry before anything was measured.
pub(super) const USUAL_RATE: BitRate = BitRate::from_kbps(2_000);
/// How far edges lie from what the line carries, as a deviation of the logarithm.
pub(super) const RATE_DOUBT: f64 = 0.6;
/// Precision of a rate that was measured for very long. A second of transfer has a twelfth of it: a deviation of 0.3.
const RATE_SURE: f64 = 150.0;
/// An edge that fell is kept out of use for so long: it is not to swing, and one that failed is to be in use again within 60 s of its recovery.
/// The last 20 s of these are for a measurement, and for the segment that a change waits for.
const FELL: Duration = Duration::from_secs(40);
/// One that falls again within this time relapses, and is kept out of use for as long; doubled by each relapse.
const RELAPSE: Duration = Duration::from_secs(600);
/// Several edges answering 404 for thousands of objects must not grow without bound.
const LACKS_MAX: usize = 1024;

impl Edge {
    pub(super) fn new(offer: &EdgeOffer, rests: BreakerConfig, prior: EdgePrior) -> Self {
        Self {
            name: offer.name.clone(),
            rank: offer.rank,
            offered: true,
            prior,
            protocol: None,
            bytes: ByteCount::ZERO,
            failures: 0,
            measured_at: None,
            served_at: None,
            left: 0,
            left_at: None,
            slow: false,
            asked_until: Instant::ZERO,
            used: false,
            better: 0,
            fell_at: None,
            relapses: 0,
            breaker: EdgeBreaker::new(rests),
            faults: Faults::default(),
            connect: Spans::default(),
            round_trip: None,
            first_rate: None,
            ttfb: Spans::default(),
            rate: RateEstimate::default(),
            recent: RecentRate::default(),
            fresh_until: Instant::ZERO,
            active: 0,
            lacks: VecDeque::new(),
        }
    }

    /// Another grant names it: what was learnt stays, but files may have been added since.
    pub(super) fn offered_again(&mut self, offer: &EdgeOffer, rests: BreakerConfig) {
        self.rank = offer.rank;
        self.offered = true;
        self.lacks.clear();
        self.breaker.set_config(rests);
    }

    pub(super) fn failed(
        &mut self,
        now: Instant,
        rest_min: Duration,
        kind: &'static str,
        rng: &mut Rng,
    ) {
        self.failures += 1;
        self.better = 0;
        // Several transfers that end by one event are one failure.
        if self.state(now) != BreakerState::Open {
            self.faults.add(now, kind);
        }
        self.breaker.handle_failure(now, rest_min, rng);
    }

    /// It failed or became slow while it was in use.
    pub(super) fn fell(&mut self, now: Instant) {
        let trusted = self
            .fell_at
            .map(|at| at + relapse_counts(self.relapses + 1));
        self.relapses = match trusted {
            Some(trusted) if now < trusted => self.relapses + 1,
            Some(_) | None => 0,
        };
        self.fell_at = Some(now);
    }

    /// Whether it fell so lately that others are preferred: for longer each time that it fell soon after it had been gone
    /// back to.
    fn is_distrusted(&self, now: Instant) -> bool {
        self.fell_at
            .is_some_and(|at| now.since(at) < relapse_counts(self.relapses))
    }

    /// Whether it is kept out of use, was clearly better than the edge in use when it was measured last, and soon nobody knows that any more.
    pub(super) fn fades(&self, now: Instant) -> bool {
        let measured_at = self.measured_at.filter(|_| self.better > 0);
        let is_old = measured_at.is_some_and(|at| now.since(at) >= FADES);
        is_old && self.state(now) == BreakerState::Closed && self.is_distrusted(now)
    }

    /// Whether others are preferred: it may be back, or fell lately.
    pub(crate) fn is_on_trial(&self, now: Instant) -> bool {
        self.state(now) == BreakerState::HalfOpen || self.is_distrusted(now)
    }

    pub(super) fn shorten_rest(&mut self, latest: Instant) {
        self.breaker.shorten_rest(latest);
    }

    /// What was learnt belonged to another network.
    pub(super) fn forget(&mut self) {
        self.breaker.handle_served();
        self.faults = Faults::default();
        self.connect.clear();
        (self.round_trip, self.first_rate) = (None, None);
        self.ttfb.clear();
        self.rate = RateEstimate::default();
        self.recent = RecentRate::default();
        self.fresh_until = Instant::ZERO;
        self.measured_at = None;
        (self.left, self.left_at, self.better) = (0, None, 0);
        (self.slow, self.used) = (false, false);
        self.asked_until = Instant::ZERO;
        (self.fell_at, self.relapses) = (None, 0);
    }

    /// A connection is there after so long; `rtt` is what a round trip over it takes, where the driver can tell.
    pub(crate) fn connected(
        &mut self,
        took: Duration,
        rtt: Option<Duration>,
        cold: bool,
        protocol: Protocol,
    ) {
        self.protocol = Some(protocol);
        if cold {
            self.connect.add(rtt.map_or(took, |rtt| took.max(rtt)));
        }
        let known = self.round_trip.into_iter().chain(rtt);
        self.round_trip = known.min();
    }

    /// What a round trip to it takes; `None` before a connection told.
    pub(crate) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The beginning of a body had this rate.
    pub(crate) fn gave_at_first(&mut self, rate: BitRate) {
        self.first_rate = self.first_rate.max(Some(rate));
    }

    pub(crate) const fn first_rate(&self) -> Option<BitRate> {
        self.first_rate
    }

    pub(crate) fn answered(&mut self, now: Instant, ttfb: Duration) {
        self.ttfb.add(ttfb);
        self.measured_at = Some(now);
    }

    pub(crate) fn body_begins(&mut self, now: Instant) {
        if self.active == 0 && now > self.fresh_until {
            self.rate.fade(self.keeps(now));
            self.fresh_until = now;
        }
        self.active += 1;
    }

    pub(crate) fn body_progress(&mut self, told: Told, bytes: ByteCount) {
        self.bytes += bytes;
        self.measured_at = Some(told.now);
        self.recent.progress(told.now, bytes.get());
        if self.rate.progress(told, bytes) {
            self.fresh_until = told.now + FRESH;
        }
    }

    /// What it brought in all over so long, but no longer than the last moments; falls while nothing comes.
    pub(crate) fn brought_over(&self, now: Instant, span: Duration) -> Option<BitRate> {
        self.recent.rate_over(now, span.min(RECENT))
    }

    pub(crate) fn body_ends(&mut self, now: Instant) {
        self.active = self.active.saturating_sub(1);
        if self.active == 0 && self.rate.idle() {
            self.fresh_until = now + FRESH;
        }
    }

    /// Rate that was measured.
    pub(crate) fn rate(&self) -> Option<BitRate> {
        self.rate.rate()
    }

    /// Whether its rate was measured so lately that it describes the line.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    pub(super) const fn fresh_until(&self) -> Instant {
        self.fresh_until
    }

    /// The share of its weight that old knowledge has left.
    fn keeps(&self, now: Instant) -> f64 {
        libm::exp2(-now.since(self.fresh_until).as_secs_f64() / HALF_LIFE_S)
    }

    /// How precisely its rate is known.
    fn rate_precision(&self, now: Instant) -> f64 {
        self.rate.weight() * self.keeps(now) * RATE_SURE
    }

    /// It was found slow by comparison: what it gave before says nothing any more.
    pub(super) fn slowed(&mut self, now: Instant, rate: BitRate) {
        self.rate = RateEstimate::default();
        self.rate.sample(rate, SLOWED_FOR);
        self.fresh_until = now;
        self.slow = true;
        self.better = 0;
    }

    /// The line is not what it was: neither is what was measured over it.
    pub(super) fn line_slowed(&mut self, now: Instant) {
        if self.is_fresh(now) {
            self.fresh_until = now;
        }
        self.rate.fade(LINE_KEEPS);
    }

    /// What it gave over the last while of transfer.
    pub(crate) fn usual_rate(&self) -> Option<BitRate> {
        self.rate.usual()
    }

    /// What is expected of it by itself; `None` before it was measured.
    pub(super) fn own_forecast(&self) -> Option<Forecast> {
        self.rate.forecast(self.ttfb(50).unwrap_or(USUAL_TTFB))
    }

    /// What is expected of it where the line is known to carry `line`; `None` before it was measured.
    pub(super) fn forecast(&self, now: Instant, line: &Forecast) -> Option<Forecast> {
        let precision = self.rate_precision(now);
        let share = precision / (precision + 1.0 / (RATE_DOUBT * RATE_DOUBT));
        Some(self.own_forecast()?.leaning(share, line))
    }

    /// For how many seconds its rate was measured.
    pub(super) fn measured_s(&self) -> f64 {
        self.rate.measured_s()
    }

    /// Whether what it is expected to take is what is remembered.
    pub(crate) fn is_recalled(&self) -> bool {
        self.prior.is_recalled() && self.measured_at.is_none()
    }

    /// Whether it answered, over this network.
    pub(super) fn gave(&self) -> bool {
        self.ttfb.count() > 0
    }

    /// Whether it failed and never answered, over this network.
    pub(super) fn only_failed(&self) -> bool {
        !self.faults.is_empty() && !self.gave()
    }

    /// What this session found of it. What was measured for long counts as a whole session; it does not fade with its age here,
    /// since that is nothing beside the age of a memory.
    pub(super) fn found(&self) -> EdgeMemory {
        let counts = |precision: f64, doubt: f64| precision / (precision + 1.0 / (doubt * doubt));
        let times = self.ttfb.count().clamp(1, TTFB_COUNTS);
        let times = f64::from(times) / (TTFB_NOISE * TTFB_NOISE);
        // Times to first byte hold what waits in queues, too: who is in use would look farther than who is not.
        let round_trip = self.round_trip.or_else(|| self.ttfb(10));
        let round_trip = round_trip
            .map(|span| Usual::found(span.as_secs_f64() * 1e3, counts(times, TTFB_DOUBT)));
        let measured = self.rate.weight() * RATE_SURE;
        let rate = self.rate.typical_bps();
        let rate = rate.map(|bps| Usual::found(bps, counts(measured, RATE_DOUBT)));
        EdgeMemory::found(round_trip.unwrap_or_default(), rate.unwrap_or_default())
    }

    /// A segment came from it, all of it.
    pub(crate) fn transferred(&mut self) {
        self.rate.transferred();
    }

    pub(crate) fn ttfb(&self, percent: usize) -> Option<Duration> {
        self.ttfb.quantile(percent)
    }

    pub(crate) fn served(&mut self, now: Instant) {
        self.served_at = Some(now);
        self.breaker.handle_served();
    }

    /// What it rests for was not its fault.
    pub(crate) const fn acquitted(&mut self) {
        self.breaker.handle_served();
    }

    /// Whether it said that it does not have the object.
    pub(crate) fn is_without(&self, object: ObjectKey) -> bool {
        self.lacks.contains(&object)
    }

    pub(crate) fn lacks(&mut self, object: ObjectKey) {
        if !self.lacks.contains(&object) {
            if self.lacks.len() == LACKS_MAX {
                self.lacks.pop_front();
            }
            self.lacks.push_back(object);
        }
    }

    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    /// Returns when its rest is over; `None` when it does not rest.
    pub(crate) const fn rested_at(&self) -> Option<Instant> {
        self.breaker.rested_at()
    }

    /// How long to wait for a connection before helping.
    pub(crate) fn connect_deadline(&self) -> Duration {
        // Three times the usual and a retransmission's worth; a first connection includes TLS and up to
        // 300 ms of HTTP/3 that may be blocked.
        self.connect
            .quantile(95)
            .map_or(Duration::from_millis(900), |usual| {
                usual * 3 + Duration::from_millis(200)
            })
            .clamp(Duration::from_millis(500), Duration::from_millis(1_200))
    }

    /// How long to wait for the first byte after the request before helping.
    pub(crate) fn ttfb_deadline(&self) -> Duration {
        self.ttfb
            .quantile(95)
            .map_or(Duration::from_millis(900), |usual| {
                usual * 3 + Duration::from_millis(200)
            })
            .clamp(Duration::from_millis(400), Duration::from_millis(1_000))
    }

    /// How long a body may pause before it is helped.
    pub(crate) fn pause_deadline(&self) -> Duration {
        self.ttfb
            .quantile(50)
            .map_or(Duration::from_millis(700), |usual| {
                usual * 3 + Duration::from_millis(350)
            })
            .clamp(Duration::from_millis(450), Duration::from_millis(1_000))
    }

    /// What it is taken to need until the first byte before it was asked.
    pub(crate) fn usual_ttfb(&self) -> Duration {
        self.prior
            .ttfb(USUAL_TTFB + RANK_TTFB * self.rank.min(RANKS))
    }

    /// What is believed of its time to first byte, in seconds.
    fn ttfb_belief(&self, now: Instant) -> Belief {
        let prior = Belief::prior(self.usual_ttfb().as_secs_f64(), TTFB_DOUBT);
        let (Some(seen), Some(at)) = (self.ttfb(50), self.measured_at) else {
            return prior;
        };
        let age_s = (now.since(at)).saturating_sub(FRESH).as_secs_f64();
        let count = f64::from(self.ttfb.count().min(TTFB_COUNTS));
        let precision = count * libm::exp2(-age_s / HALF_LIFE_S) / (TTFB_NOISE * TTFB_NOISE);
        prior.seeing(seen.as_secs_f64(), precision)
    }

    /// The time until the first byte that is expected of it.
    pub(crate) fn expected_ttfb(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.ttfb_belief(now).typical())
    }

    /// What is believed of its rate, in bit/s, where the line is known to carry `line`. What was measured long ago is held
    /// down by that: the line may have become slower since.
    fn rate_belief(&self, now: Instant, line: Option<BitRate>) -> Belief {
        let typical = line.unwrap_or(self.prior.line).as_f64() * self.prior.share;
        let prior = Belief::prior(typical, RATE_DOUBT);
        let own = match (self.rate(), line) {
            (Some(own), Some(line)) if !self.is_fresh(now) => own.min(line),
            (Some(own), _) => own,
            (None, _) => return prior,
        };
        prior.seeing(own.as_f64().max(1.0), self.rate_precision(now))
    }

    /// The rate that is expected of it.
    pub(super) fn expected_rate(&self, now: Instant, line: Option<BitRate>) -> BitRate {
        BitRate::from_bps(1).scaled(self.rate_belief(now, line).typical())
    }

    /// Expected time until `size` bytes are here.
    pub(super) fn expected(
        &self,
        now: Instant,
        size: ByteCount,
        line: Option<BitRate>,
    ) -> Duration {
        let (ttfb, rate) = (self.ttfb_belief(now), self.rate_belief(now, line));
        self.needs(now, size, ttfb.typical(), rate.typical())
    }

    /// How soon `size` bytes may as well be here: as likely as it is believed.
    pub(super) fn drawn(
        &self,
        now: Instant,
        size: ByteCount,
        line: Option<BitRate>,
        rng: &mut Rng,
    ) -> Duration {
        let (ttfb, rate) = (self.ttfb_belief(now), self.rate_belief(now, line));
        self.needs(now, size, ttfb.draw(rng), rate.draw(rng))
    }

    fn needs(&self, now: Instant, size: ByteCount, ttfb_s: f64, bps: f64) -> Duration {
        let body = BitRate::from_bps(1).scaled(bps).time_for(size);
        let ttfb = Duration::from_secs_f64(ttfb_s.min(NEEDS_MAX.as_secs_f64()));
        (ttfb + body.unwrap_or(NEEDS_MAX)).min(NEEDS_MAX) + self.faults.cost(now)
    }
}

/// How long an edge that fell is distrusted after so many relapses.
fn relapse_counts(nth: u32) -> Duration {
    match nth.checked_sub(1) {
        None => FELL,
        Some(doubled) => RELAPSE.saturating_mul(1 << doubled.min(8)),
    }
}

/// Longer than this is never.
const NEEDS_MAX: Duration = Duration::from_secs(600);
/// What showed that an edge is slow counts like so long a transfer.
const SLOWED_FOR: Duration = Duration::from_secs(3);
/// What stays of older knowledge when the line turns out to be slow.
const LINE_KEEPS: f64 = 0.3;
