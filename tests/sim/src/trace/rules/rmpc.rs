//! `RobustMPC` (Yin et al., SIGCOMM 2015): the best of all plans for the next five segments, at the rate that the
//! last ones had, divided by one plus the worst error of late.
//!
//! The clean form: true sizes of the segments that are planned, the round trip part of every sample, errors
//! of this session only.

use crate::trace::{Delivered, Movie, Rule, Step, Verdict, View};

/// Segments planned, samples averaged and errors remembered.
const HORIZON: usize = 5;

#[derive(Default)]
pub(super) struct Rmpc {
    /// The last samples, newest last.
    samples_kbps: Vec<f64>,
    /// Relative errors of the last forecasts, newest last.
    errors: Vec<f64>,
    /// What was forecast for the transfer that is under way.
    forecast_kbps: Option<f64>,
}

impl Rule for Rmpc {
    fn next(&mut self, view: &View<'_>) -> Step {
        let rung = self.plan(view);
        Step::Next { rung, wait_ms: 0.0 }
    }

    fn delivered(&mut self, _view: &View<'_>, delivered: &Delivered<'_>) {
        let transfer = &delivered.transfer;
        if delivered.verdict != Verdict::Continue {
            return;
        }
        let kbps = transfer.size_bits / (transfer.latency_ms + transfer.transfer_ms);
        let error = self.forecast_kbps.take();
        // The first sample was not forecast, and counts as one without an error.
        let error = error.map_or(0.0, |forecast| (forecast - kbps).abs() / kbps);
        remember(&mut self.errors, error);
        remember(&mut self.samples_kbps, kbps);
    }
}

fn remember(last: &mut Vec<f64>, one: f64) {
    if last.len() == HORIZON {
        last.remove(0);
    }
    last.push(one);
}

impl Rmpc {
    #[expect(clippy::cast_precision_loss, reason = "at most five")]
    fn plan(&mut self, view: &View<'_>) -> usize {
        if self.samples_kbps.is_empty() {
            return 0;
        }
        let inverse: f64 = self.samples_kbps.iter().map(|kbps| 1.0 / kbps).sum();
        let harmonic_kbps = self.samples_kbps.len() as f64 / inverse;
        self.forecast_kbps = Some(harmonic_kbps);
        let worst = self.errors.iter().copied().fold(0.0, f64::max);
        let search = Search {
            movie: view.movie,
            kbps: harmonic_kbps / (1.0 + worst),
            mu: view.mu,
            end: view.segments.min(view.index + HORIZON),
        };
        let mut best = (f64::NEG_INFINITY, 0);
        let state = State {
            segment: view.index,
            buffer_ms: view.buffer_ms,
            last: view.last.unwrap_or(0),
            worth: 0.0,
            first: None,
        };
        search.deepen(state, &mut best);
        best.1
    }
}

struct Search<'a> {
    movie: &'a Movie,
    kbps: f64,
    mu: f64,
    /// The segment behind the last one that is planned.
    end: usize,
}

#[derive(Clone, Copy)]
struct State {
    segment: usize,
    buffer_ms: f64,
    last: usize,
    /// So far, in Mbit/s.
    worth: f64,
    /// The plan's first rung.
    first: Option<usize>,
}

impl Search<'_> {
    #[expect(clippy::cast_precision_loss, reason = "at most five")]
    fn deepen(&self, state: State, best: &mut (f64, usize)) {
        if state.segment == self.end {
            // Of plans of equal worth the last one is taken, as the rule's authors do.
            if let Some(first) = state.first.filter(|_| state.worth >= best.0) {
                *best = (state.worth, first);
            }
            return;
        }
        let ladder = self.movie.bitrates_kbps();
        let sizes = self.movie.sizes_bits(state.segment);
        let left = (self.end - state.segment) as f64;
        let top = ladder[ladder.len() - 1] / 1e3;
        // No plan from here can still be the best one. Known results decide between equal plans by how this sum is
        // rounded, so a margin would choose otherwise now and then.
        if state.worth + left * top < best.0 {
            return;
        }
        for (rung, kbps) in ladder.iter().enumerate() {
            let took_ms = sizes[rung] / self.kbps;
            let stall_ms = (took_ms - state.buffer_ms).max(0.0);
            let change = (kbps - ladder[state.last]).abs() / 1e3;
            // Equal to the last bit for plans that are: what a segment is worth is added in one piece.
            let worth = kbps / 1e3 - self.mu * (stall_ms / 1e3) - change;
            self.deepen(
                State {
                    segment: state.segment + 1,
                    buffer_ms: (state.buffer_ms - took_ms).max(0.0) + self.movie.segment_ms(),
                    last: rung,
                    worth: state.worth + worth,
                    first: state.first.or(Some(rung)),
                },
                best,
            );
        }
    }
}
