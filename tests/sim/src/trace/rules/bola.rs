//! BOLA (Spiteri, Urgaonkar, Sitaraman, INFOCOM 2016): utility against buffer by Lyapunov optimisation.
//! The basic form for endless titles, BOLA-U, and the finite form.

use super::estimate::Estimate;
use super::sabre::Policy;
use crate::trace::{Progress, Setup, View};

/// Utility of not standing still, in the units of a rung's utility.
pub(super) const GAMMA: f64 = 5.0;

pub(super) struct Bola {
    /// Utility of each rung: the logarithm of how many times the lowest rate it is.
    utilities: Vec<f64>,
    /// Weight of utility against buffer.
    v_ms: f64,
    last: usize,
    /// Shrinks the buffer near both ends of the title, and gives transfers up.
    finite: bool,
    /// Waits rather than switch to and fro.
    steady: bool,
}

impl Bola {
    fn new(setup: &Setup<'_>, finite: bool, steady: bool) -> Self {
        let ladder = setup.movie.bitrates_kbps();
        let lowest = ladder[0];
        let mut bola = Self {
            utilities: ladder.iter().map(|kbps| (kbps / lowest).ln()).collect(),
            v_ms: 0.0,
            last: 0,
            finite,
            steady,
        };
        bola.aim(setup.cap_ms, setup.movie.segment_ms());
        bola
    }

    /// For titles without end.
    pub(super) fn basic(setup: &Setup<'_>) -> Self {
        Self::new(setup, false, true)
    }

    /// BOLA-U: rather one rung more than the rate sustains than a wait.
    pub(super) fn basic_utility(setup: &Setup<'_>) -> Self {
        Self::new(setup, false, false)
    }

    /// For titles with an end.
    pub(super) fn finite(setup: &Setup<'_>) -> Self {
        Self::new(setup, true, true)
    }

    fn aim(&mut self, buffer_ms: f64, segment_ms: f64) {
        let top = self.utilities[self.utilities.len() - 1];
        self.v_ms = (buffer_ms - segment_ms) / (top + GAMMA);
    }

    /// Returns the buffer level at which a rung is worth nothing any more.
    fn worthless_ms(&self, rung: usize) -> f64 {
        self.v_ms * (self.utilities[rung] + GAMMA)
    }

    fn by_buffer(&self, view: &View<'_>) -> usize {
        let mut best = (0, f64::NEG_INFINITY);
        for (rung, kbps) in view.movie.bitrates_kbps().iter().enumerate() {
            let score = (self.worthless_ms(rung) - view.buffer_ms) / kbps;
            if score > best.1 {
                best = (rung, score);
            }
        }
        best.0
    }
}

impl Policy for Bola {
    // In the basic form too: Sabre asks, and is told no.
    const GIVES_UP: bool = true;

    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    fn choose(&mut self, view: &View<'_>, estimate: &Estimate) -> (usize, f64) {
        let segment_ms = view.movie.segment_ms();
        if self.finite {
            let to_an_end = view.index.min(view.segments - view.index) as f64;
            let buffer_ms = (to_an_end / 2.0).max(3.0) * segment_ms;
            self.aim(buffer_ms.min(view.cap_ms), segment_ms);
        }
        let mut rung = self.by_buffer(view);
        let mut wait_ms = 0.0;
        if rung > self.last {
            let kbps = estimate.kbps().unwrap_or(0.0);
            let sustained = estimate.sustained(view.movie, kbps);
            if sustained >= rung {
                // The rate sustains it.
            } else if sustained < self.last {
                rung = self.last;
            } else if self.steady {
                rung = sustained;
                wait_ms = (view.buffer_ms - self.worthless_ms(rung)).max(0.0);
            } else {
                rung = sustained + 1;
            }
        }
        self.last = rung;
        (rung, wait_ms)
    }

    fn instead(
        &mut self,
        view: &View<'_>,
        progress: &Progress<'_>,
        _estimate: &Estimate,
    ) -> Option<usize> {
        let rest_bits = progress.size_bits - progress.got_bits;
        if !self.finite || progress.got_bits <= 0.0 {
            return None;
        }
        let worth = |rung: usize| self.worthless_ms(rung) - view.buffer_ms;
        let mut best = (None, worth(progress.rung) / rest_bits);
        if best.1 < 0.0 {
            return None;
        }
        let ladder = view.movie.bitrates_kbps();
        for rung in 0..progress.rung {
            let size_bits = progress.size_bits * ladder[rung] / ladder[progress.rung];
            let score = worth(rung) / size_bits;
            if size_bits < rest_bits && score > best.1 {
                best = (Some(rung), score);
            }
        }
        self.last = best.0.unwrap_or(self.last);
        best.0
    }
}
