//! BB, the buffer-based rule (Huang et al., SIGCOMM 2014) as Pensieve compares itself with it: a straight line from
//! the lowest rung at 5 s of buffer to the highest at 15 s.

use crate::trace::{Rule, Step, View};

pub(super) struct Bb;

const RESERVOIR_MS: f64 = 5_000.0;
const CUSHION_MS: f64 = 10_000.0;

impl Rule for Bb {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rung's number, within the ladder"
    )]
    fn next(&mut self, view: &View<'_>) -> Step {
        let top = view.movie.rungs() - 1;
        let share = ((view.buffer_ms - RESERVOIR_MS) / CUSHION_MS).clamp(0.0, 1.0);
        Step::Next {
            rung: (top as f64 * share) as usize,
            wait_ms: 0.0,
        }
    }
}
