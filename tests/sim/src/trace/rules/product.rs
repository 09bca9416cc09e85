//! The product's own policies: `nearcast-core` decides, here it is told what a session of the profile knows.

use std::time::Duration;

use nearcast_core::RateEstimate;
use nearcast_core::abr::{
    AbrChoice, AbrContext, AbrDecision, AbrPolicy, LOOK_AHEAD, Objective, Rung, SegmentAhead,
    SegmentBuffered, Transfer, UnderWay,
};
use nearcast_units::{BitRate, ByteCount, Instant};

use crate::trace::{Delivered, Pace, Profile, Progress, Rule, Setup, Slice, Step, Verdict, View};

/// The player hears of a transfer as often.
const PACE: Pace = Pace {
    bits: 8_000.0,
    ms: 250.0,
};
/// Share of the newest time to the first byte in the running one.
const TTFB_GAIN: f64 = 0.3;

/// One policy over one session.
pub struct Product {
    policy: Box<dyn AbrPolicy>,
    profile: Profile,
    rate: RateEstimate,
    ttfb_s: Option<f64>,
    told: AbrContext,
    /// Slices of the transfer under way that were taken already.
    taken: usize,
}

impl Product {
    /// Lets a policy of the product decide.
    #[must_use]
    pub fn new(setup: &Setup<'_>, policy: Box<dyn AbrPolicy>) -> Self {
        let bitrates = setup.movie.bitrates_kbps().iter().map(|kbps| rate(*kbps));
        let bitrates: Vec<BitRate> = bitrates.collect();
        let objective = Objective {
            stall: Some(setup.mu),
            stall_begins: Some(0.0),
            ..Objective::default()
        };
        let worth = |rung: usize| objective.value(rung, bitrates[rung], bitrates[0]);
        let ladder: Vec<Rung> = (0..bitrates.len())
            .map(|rung| Rung {
                bitrate: bitrates[rung],
                value: worth(rung),
            })
            .collect();
        let top = ladder.last().map_or(0.0, |top| top.value);
        Self {
            policy,
            profile: setup.profile,
            rate: RateEstimate::default(),
            ttfb_s: None,
            told: AbrContext {
                weights: objective.weights(top),
                ladder,
                ..AbrContext::default()
            },
            taken: 0,
        }
    }

    fn tell(&mut self, view: &View<'_>) {
        let told = &mut self.told;
        let segment = span(view.movie.segment_ms());
        told.now = Instant::ZERO + span(view.now_ms);
        told.buffer = span(view.buffer_ms);
        told.buffer_max = span(view.cap_ms);
        if self.profile == Profile::Pensieve {
            // There a segment is asked for while the buffer holds no more than its cap, and comes on top.
            told.buffer_max += segment;
        }
        told.playing = view.index > 0;
        told.last = view.last;
        told.ahead.clear();
        told.sizes.clear();
        told.buffered.clear();
        let left = view.segments - view.index;
        told.left = u32::try_from(left).ok();
        for ahead in 0..left.min(LOOK_AHEAD) {
            told.ahead.push(SegmentAhead { duration: segment });
            let sizes = view.movie.sizes_bits(view.index + ahead);
            told.sizes.extend(sizes.iter().map(|bits| bytes(*bits)));
        }
        let begun = usize::from(view.played_ms > 0.0);
        let first = view.index - view.buffered.len();
        for (place, rung) in view.buffered.iter().enumerate().skip(begun) {
            let before = u32::try_from(place).unwrap_or(u32::MAX);
            told.buffered.push(SegmentBuffered {
                rung: *rung,
                open_for: (segment * before).saturating_sub(span(view.played_ms)),
                duration: segment,
            });
            let sizes = view.movie.sizes_bits(first + place);
            told.sizes.extend(sizes.iter().map(|bits| bytes(*bits)));
        }
        if self.profile == Profile::Pensieve {
            told.buffered.clear();
        }
        let ttfb = self.ttfb_s.map(Duration::from_secs_f64);
        let forecast = ttfb.and_then(|ttfb| self.rate.forecast(ttfb));
        told.forecast = forecast.unwrap_or_default();
    }

    fn decide(&mut self, view: &View<'_>) -> AbrDecision {
        self.tell(view);
        self.policy.decide(&self.told).decision
    }

    /// The number in the session of what the policy named by its place in the buffer.
    fn numbered(view: &View<'_>, segment: usize) -> usize {
        let begun = usize::from(view.played_ms > 0.0);
        view.index - view.buffered.len() + begun + segment
    }

    fn take(&mut self, slices: &[Slice]) {
        for slice in slices.get(self.taken..).unwrap_or_default() {
            if slice.ms > 0.0 {
                self.rate
                    .sample(rate(slice.bits / slice.ms), span(slice.ms));
            }
        }
        self.taken = slices.len();
    }
}

impl Rule for Product {
    fn first(&mut self, view: &View<'_>) -> usize {
        match self.decide(view) {
            AbrDecision::Next { rung } => rung,
            AbrDecision::Wait { .. } | AbrDecision::Replace { .. } => 0,
        }
    }

    fn next(&mut self, view: &View<'_>) -> Step {
        match self.decide(view) {
            AbrDecision::Next { rung } => Step::Next { rung, wait_ms: 0.0 },
            AbrDecision::Replace { segment, rung } => Step::Replace {
                segment: Self::numbered(view, segment),
                rung,
            },
            AbrDecision::Wait { span } => Step::Next {
                rung: view.last.unwrap_or(0),
                wait_ms: span.as_secs_f64() * 1e3,
            },
        }
    }

    fn pace(&self) -> Option<Pace> {
        Some(PACE)
    }

    fn progress(&mut self, view: &View<'_>, progress: &Progress<'_>) -> Verdict {
        self.take(progress.slices);
        if progress.replaces || in_time(view, progress) {
            return Verdict::Continue;
        }
        self.tell(view);
        let under_way = UnderWay {
            rung: progress.rung,
            received: bytes(progress.got_bits),
            total: bytes(progress.size_bits),
            elapsed: span(progress.latency_ms + progress.transfer_ms),
        };
        match self.policy.review(&self.told, &under_way) {
            Some(AbrChoice {
                decision: AbrDecision::Next { rung },
                ..
            }) => Verdict::Abandon {
                instead: Some(rung),
            },
            Some(_) | None => Verdict::Continue,
        }
    }

    fn idle(&mut self, view: &View<'_>, _wait_ms: f64) -> Option<(usize, usize)> {
        match self.decide(view) {
            AbrDecision::Replace { segment, rung } => Some((Self::numbered(view, segment), rung)),
            AbrDecision::Next { .. } | AbrDecision::Wait { .. } => None,
        }
    }

    fn delivered(&mut self, _view: &View<'_>, delivered: &Delivered<'_>) {
        let transfer = &delivered.transfer;
        self.take(transfer.slices);
        self.taken = 0;
        let ttfb_s = transfer.latency_ms / 1e3;
        let before_s = self.ttfb_s.unwrap_or(ttfb_s);
        self.ttfb_s = Some(before_s + (ttfb_s - before_s) * TTFB_GAIN);
        if delivered.verdict == Verdict::Continue {
            self.rate.transferred();
            self.policy.transferred(&Transfer {
                bytes: bytes(transfer.got_bits),
                ttfb: span(transfer.latency_ms),
                body: span(transfer.transfer_ms),
            });
        }
    }
}

/// Whether the segment would be here in time at its mean rate so far: giving it up is no question then.
fn in_time(view: &View<'_>, progress: &Progress<'_>) -> bool {
    let rest_bits = progress.size_bits - progress.got_bits;
    rest_bits * progress.transfer_ms <= view.buffer_ms * progress.got_bits
}

fn span(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

fn rate(kbps: f64) -> BitRate {
    BitRate::from_bps(1).scaled(kbps * 1e3)
}

fn bytes(bits: f64) -> ByteCount {
    BitRate::from_bps(1)
        .scaled(bits)
        .bytes_in(Duration::from_secs(1))
}
