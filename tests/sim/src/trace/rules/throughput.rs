//! The throughput rule of dash.js, as Sabre has it: 0.9 of the estimate, held back while the buffer is short.

use super::estimate::Estimate;
use super::sabre::Policy;
use crate::trace::{Progress, View};

const SAFETY: f64 = 0.9;

/// Judges whether a short buffer can take the next segment. The factor only ever falls, as in Sabre.
pub(super) struct ShortBuffer {
    safety: f64,
}

impl ShortBuffer {
    const FIRST: f64 = 0.9;
    const LEAST: f64 = 0.5;

    pub(super) const fn new() -> Self {
        Self {
            safety: Self::FIRST,
        }
    }

    /// Returns a lower rung than the one wanted where the buffer is too short for it.
    pub(super) fn lower(
        &mut self,
        view: &View<'_>,
        estimate: &Estimate,
        kbps: f64,
        wanted: usize,
    ) -> Option<usize> {
        let safe_bits = self.safety * (view.buffer_ms - estimate.latency_ms()) * kbps;
        self.safety = (self.safety * Self::FIRST).max(Self::LEAST);
        let ladder = view.movie.bitrates_kbps();
        let segment_ms = view.movie.segment_ms();
        (0..wanted).find(|rung| ladder[rung + 1] * segment_ms > safe_bits)
    }
}

pub(super) struct Throughput {
    short: ShortBuffer,
}

impl Throughput {
    pub(super) const fn new() -> Self {
        Self {
            short: ShortBuffer::new(),
        }
    }

    /// A transfer is given up once it has taken so long, and its body so long, and would take this many segments.
    const GRACE_MS: f64 = 500.0;
    const BODY_MS: f64 = 200.0;
    const SEGMENTS: f64 = 1.8;
}

impl Policy for Throughput {
    const GIVES_UP: bool = true;

    fn choose(&mut self, view: &View<'_>, estimate: &Estimate) -> (usize, f64) {
        let Some(kbps) = estimate.kbps() else {
            return (0, 0.0);
        };
        let rung = estimate.sustained(view.movie, kbps * SAFETY);
        let lower = self.short.lower(view, estimate, kbps, rung);
        (lower.unwrap_or(rung), 0.0)
    }

    fn instead(
        &mut self,
        view: &View<'_>,
        progress: &Progress<'_>,
        estimate: &Estimate,
    ) -> Option<usize> {
        let took_ms = progress.latency_ms + progress.transfer_ms;
        if took_ms < Self::GRACE_MS || progress.transfer_ms <= Self::BODY_MS {
            return None;
        }
        let kbps = progress.got_bits / progress.transfer_ms;
        let rest_bits = progress.size_bits - progress.got_bits;
        if took_ms + rest_bits / kbps <= Self::SEGMENTS * view.movie.segment_ms() {
            return None;
        }
        let ladder = view.movie.bitrates_kbps();
        let rung = estimate.sustained(view.movie, kbps * SAFETY);
        let size_bits = progress.size_bits * ladder[rung] / ladder[progress.rung];
        (rung < progress.rung && size_bits < rest_bits).then_some(rung)
    }
}
