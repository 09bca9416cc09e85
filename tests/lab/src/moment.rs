//! How long things take: the only reader of the clock here.

use std::time::{Duration, Instant};

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Instant);

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured here is the time that a run takes"
    )]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn elapsed_s(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// Returns how fast so many sessions of so much virtual time were run, for people.
#[expect(clippy::cast_precision_loss, reason = "counts of sessions and cores")]
pub(crate) fn speed(sessions: usize, virtual_s: f64, took_s: f64) -> String {
    let cores = rayon::current_num_threads().min(sessions.max(1));
    let core_s = took_s.max(1e-9) * cores as f64;
    format!(
        "{sessions} sessions in {took_s:.1} s on {cores} cores: {:.1} sessions/s, each core {:.0} times real time\n",
        sessions as f64 / took_s.max(1e-9),
        // A sum of nothing is below zero.
        (virtual_s + 0.0) / core_s
    )
}
