//! One edge as this session has come to know it.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount, Instant, Rng};

use super::breaker::{BreakerConfig, BreakerState, EdgeBreaker};
use crate::input::{EdgeOffer, Protocol};
use crate::throughput::{Forecast, RateEstimate, Spans};

/// One edge as this session has come to know it.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) rank: u32,
    /// Whether the newest grant names it.
    pub(crate) offered: bool,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) bytes: ByteCount,
    pub(crate) failures: u64,
    /// When it was last measured, by a transfer or a probe.
    pub(crate) measured_at: Option<Instant>,
    /// When it last gave all that it was asked for.
    pub(crate) served_at: Option<Instant>,
    breaker: EdgeBreaker,
    connect: Spans,
    ttfb: Spans,
    rate: RateEstimate,
    active: u32,
    /// Objects that it does not have, those found out last at the end.
    lacks: VecDeque<ObjectKey>,
}

/// What was measured within this time still describes the line.
pub(super) const FRESH: Duration = Duration::from_secs(15);
/// What an edge is taken to need until the first byte before it was asked.
const USUAL_TTFB: Duration = Duration::from_millis(60);
/// Several edges answering 404 for thousands of objects must not grow without bound.
const LACKS_MAX: usize = 1024;

impl Edge {
    pub(super) fn new(offer: &EdgeOffer, rests: BreakerConfig) -> Self {
        Self {
            name: offer.name.clone(),
            rank: offer.rank,
            offered: true,
            protocol: None,
            bytes: ByteCount::ZERO,
            failures: 0,
            measured_at: None,
            served_at: None,
            breaker: EdgeBreaker::new(rests),
            connect: Spans::default(),
            ttfb: Spans::default(),
            rate: RateEstimate::default(),
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

    pub(super) fn failed(&mut self, now: Instant, rest_min: Duration, rng: &mut Rng) {
        self.failures += 1;
        self.breaker.handle_failure(now, rest_min, rng);
    }

    pub(super) fn shorten_rest(&mut self, latest: Instant) {
        self.breaker.shorten_rest(latest);
    }

    /// What was learnt belonged to another network.
    pub(super) fn forget(&mut self) {
        self.breaker.handle_served();
        self.connect.clear();
        self.ttfb.clear();
        self.rate = RateEstimate::default();
        self.measured_at = None;
    }

    pub(crate) fn connected(&mut self, took: Duration, cold: bool, protocol: Protocol) {
        self.protocol = Some(protocol);
        if cold {
            self.connect.add(took);
        }
    }

    pub(crate) fn answered(&mut self, now: Instant, ttfb: Duration) {
        self.ttfb.add(ttfb);
        self.measured_at = Some(now);
    }

    pub(crate) fn body_begins(&mut self) {
        self.active += 1;
    }

    pub(crate) fn body_progress(&mut self, now: Instant, bytes: ByteCount) {
        self.bytes += bytes;
        self.measured_at = Some(now);
        self.rate.progress(now, bytes);
    }

    pub(crate) fn body_ends(&mut self, now: Instant) {
        self.active = self.active.saturating_sub(1);
        if self.active == 0 {
            self.rate.idle(now);
        }
    }

    pub(crate) fn rate(&self) -> Option<BitRate> {
        self.rate.rate()
    }

    /// What is expected of it; `None` before it was measured.
    pub(crate) fn forecast(&self) -> Option<Forecast> {
        self.rate.forecast(self.ttfb(50).unwrap_or(USUAL_TTFB))
    }

    /// A segment came from it, all of it.
    pub(crate) fn transferred(&mut self) {
        self.rate.transferred();
    }

    /// How soon it answers: a first byte, or where there was none yet, a connection.
    pub(crate) fn answers_in(&self) -> Option<Duration> {
        self.ttfb(50).or_else(|| self.connect.quantile(50))
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

    /// Expected time until `size` bytes are here; `line` stands in for a rate never measured, and holds
    /// down one measured long ago: the line may have become slower since.
    pub(super) fn expected(
        &self,
        now: Instant,
        size: ByteCount,
        line: Option<BitRate>,
    ) -> Duration {
        let fresh = self.measured_at.is_some_and(|at| now.since(at) < FRESH);
        let rate = match (self.rate(), line) {
            (Some(own), Some(line)) if !fresh => own.min(line),
            (Some(own), _) => own,
            (None, Some(line)) => line,
            (None, None) => BitRate::from_kbps(2_000),
        };
        let ttfb = self.ttfb.quantile(50).unwrap_or(USUAL_TTFB);
        // An unknown edge is as good as the line but for its place in the backend's order.
        let doubt = if self.measured_at.is_some() {
            Duration::ZERO
        } else {
            Duration::from_millis(20) * self.rank.min(100)
        };
        ttfb + doubt + rate.time_for(size).unwrap_or(Duration::from_secs(60))
    }
}
