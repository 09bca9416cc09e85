//! BOLA-E (Spiteri, Sitaraman, Sparacio, `MMSys` 2018): BOLA with a buffer that is partly imagined, so that it begins
//! at the rung the rate sustains, and with the insufficient-buffer rule.

use super::estimate::Estimate;
use super::sabre::Policy;
use super::throughput::ShortBuffer;
use crate::trace::{Delivered, Progress, Setup, Verdict, View};

/// The buffer's target: so much, and so much more for each rung, or the cap where that is higher.
const TARGET_MS: f64 = 10_000.0;
const TARGET_PER_RUNG_MS: f64 = 2_000.0;

pub(super) struct BolaE {
    ladder_kbps: Vec<f64>,
    /// Utility of each rung: one plus the logarithm of how many times the lowest rate it is.
    utilities: Vec<f64>,
    gamma: f64,
    v_ms: f64,
    /// What the buffer is imagined to hold beyond what it holds.
    placeholder_ms: f64,
    last: usize,
    /// `None` until there is an estimate to begin with.
    short: Option<ShortBuffer>,
}

impl BolaE {
    #[expect(clippy::cast_precision_loss, reason = "a count of rungs")]
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        let ladder = setup.movie.bitrates_kbps();
        let lowest = ladder[0];
        let utilities: Vec<f64> = ladder
            .iter()
            .map(|kbps| 1.0 + (kbps / lowest).ln())
            .collect();
        let target_ms = TARGET_MS + TARGET_PER_RUNG_MS * ladder.len() as f64;
        let target_ms = target_ms.max(setup.cap_ms);
        let top = utilities[utilities.len() - 1];
        let gamma = (top - 1.0) / (target_ms / TARGET_MS - 1.0);
        Self {
            ladder_kbps: ladder.to_vec(),
            utilities,
            gamma,
            v_ms: TARGET_MS / gamma,
            placeholder_ms: 0.0,
            last: 0,
            short: None,
        }
    }

    /// Returns the buffer level from which on a rung is worth more than all lower ones.
    fn least_ms(&self, rung: usize) -> f64 {
        let (kbps, utility) = (self.ladder_kbps[rung], self.utilities[rung]);
        let lower = self.ladder_kbps.iter().zip(&self.utilities).take(rung);
        let equal = lower.map(|(other_kbps, other)| {
            let crossing = (kbps * other - other_kbps * utility) / (kbps - other_kbps);
            self.v_ms * (self.gamma + crossing)
        });
        equal.fold(0.0, f64::max)
    }

    /// Returns the buffer level at which a rung is worth nothing any more.
    fn worthless_ms(&self, rung: usize) -> f64 {
        self.v_ms * (self.utilities[rung] + self.gamma)
    }

    fn by_buffer(&self, level_ms: f64) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (rung, kbps) in self.ladder_kbps.iter().enumerate() {
            let score = (self.worthless_ms(rung) - level_ms) / kbps;
            if score > best.1 {
                best = (rung, score);
            }
        }
        best.0
    }

    /// Takes a wait out of what is imagined first, and returns what is left of it.
    fn pay(&mut self, wait_ms: f64) -> f64 {
        let paid = wait_ms.clamp(0.0, self.placeholder_ms);
        self.placeholder_ms -= paid;
        (wait_ms - paid).max(0.0)
    }
}

impl Policy for BolaE {
    const GIVES_UP: bool = true;

    fn choose(&mut self, view: &View<'_>, estimate: &Estimate) -> (usize, f64) {
        let Some(kbps) = estimate.kbps() else {
            return (self.last, 0.0);
        };
        let sustained = estimate.sustained(view.movie, kbps);
        if self.short.is_none() {
            self.short = Some(ShortBuffer::new());
            self.placeholder_ms = (self.least_ms(sustained) - view.buffer_ms).max(0.0);
            return (sustained, 0.0);
        }
        let level_ms = view.buffer_ms + self.placeholder_ms;
        let mut rung = self.by_buffer(level_ms);
        let mut wait_ms = 0.0;
        if rung > self.last && rung > sustained {
            rung = sustained.max(self.last);
            wait_ms = self.pay((level_ms - self.worthless_ms(rung)).max(0.0));
        }
        let short = self.short.as_mut();
        if let Some(lower) = short.and_then(|short| short.lower(view, estimate, kbps, rung)) {
            rung = lower;
            wait_ms = 0.0;
            let room_ms = (self.least_ms(rung) - view.buffer_ms).max(0.0);
            self.placeholder_ms = self.placeholder_ms.min(room_ms);
        }
        (rung, wait_ms)
    }

    fn instead(
        &mut self,
        view: &View<'_>,
        progress: &Progress<'_>,
        _estimate: &Estimate,
    ) -> Option<usize> {
        if progress.got_bits <= 0.0 || progress.transfer_ms <= 0.0 {
            return None;
        }
        // Another request costs its latency, in which this one goes on.
        let level_ms = view.buffer_ms + self.placeholder_ms - progress.latency_ms;
        let level_ms = level_ms.max(0.0);
        let kbps = progress.got_bits / progress.transfer_ms;
        let rest_bits = progress.size_bits - progress.got_bits - progress.latency_ms * kbps;
        if rest_bits <= 0.0 {
            return None;
        }
        let worth = |rung: usize| self.worthless_ms(rung) - level_ms;
        let mut best = (None, worth(progress.rung) / rest_bits);
        for rung in 0..progress.rung {
            let size_bits =
                progress.size_bits * self.ladder_kbps[rung] / self.ladder_kbps[progress.rung];
            let score = worth(rung) / size_bits;
            if size_bits < rest_bits && score > best.1 {
                best = (Some(rung), score);
            }
        }
        best.0
    }

    fn delivered(&mut self, view: &View<'_>, delivered: &Delivered<'_>) {
        let transfer = &delivered.transfer;
        self.last = transfer.rung;
        match delivered.verdict {
            Verdict::Continue if transfer.replaces => {
                self.placeholder_ms += view.movie.segment_ms();
            }
            Verdict::Continue => {
                let was_ms = view.buffer_ms + transfer.latency_ms + transfer.transfer_ms;
                let most_ms = (self.worthless_ms(transfer.rung) - was_ms).max(0.0);
                let least_ms = self.least_ms(transfer.rung) - was_ms;
                self.placeholder_ms = self.placeholder_ms.min(most_ms).max(least_ms);
            }
            Verdict::Abandon { .. } if transfer.replaces => {}
            // Something went wrong: no more is imagined than the lower rung needs.
            Verdict::Abandon { instead } => {
                let lower = instead.filter(|rung| *rung > 0);
                let most_ms = lower.map_or(TARGET_MS, |rung| self.least_ms(rung));
                let room_ms = (most_ms - view.buffer_ms).max(0.0);
                self.placeholder_ms = self.placeholder_ms.min(room_ms);
            }
        }
    }

    fn waited(&mut self, ms: f64) {
        self.placeholder_ms += ms;
    }
}
