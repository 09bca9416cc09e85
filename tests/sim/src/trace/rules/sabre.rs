//! What all of Sabre's rules have around them: the estimate, replacement, how often a transfer is looked at.

use super::estimate::Estimate;
use crate::trace::{Delivered, Pace, Progress, Rule, Setup, Step, Verdict, View};

/// A rule as Sabre knows it.
pub(super) trait Policy {
    /// Whether it ever gives a transfer up.
    const GIVES_UP: bool;

    /// Chooses the next segment's rung, and how long to wait before.
    fn choose(&mut self, view: &View<'_>, estimate: &Estimate) -> (usize, f64);

    /// Returns the rung that should be fetched instead, if this transfer is to be given up.
    fn instead(
        &mut self,
        view: &View<'_>,
        progress: &Progress<'_>,
        estimate: &Estimate,
    ) -> Option<usize>;

    /// Told of a transfer that is over, before the estimate takes it in.
    fn delivered(&mut self, _view: &View<'_>, _delivered: &Delivered<'_>) {}

    /// Told that the buffer was full for so long.
    fn waited(&mut self, _ms: f64) {}
}

const PACE: Pace = Pace {
    bits: 12_000.0,
    ms: 50.0,
};

struct Sabre<P> {
    estimate: Estimate,
    policy: P,
    replaces: bool,
}

/// Makes a rule of a policy; `replaces` is the option `-r left`.
pub(super) fn rule<P: Policy + 'static>(
    setup: &Setup<'_>,
    replaces: bool,
    policy: P,
) -> Box<dyn Rule> {
    Box::new(Sabre {
        estimate: Estimate::new(setup.movie),
        policy,
        replaces,
    })
}

impl<P: Policy> Rule for Sabre<P> {
    fn next(&mut self, view: &View<'_>) -> Step {
        let (rung, wait_ms) = self.policy.choose(view, &self.estimate);
        if let Some(segment) = self.replaces.then(|| too_low(view, rung)).flatten() {
            return Step::Replace { segment, rung };
        }
        Step::Next { rung, wait_ms }
    }

    fn pace(&self) -> Option<Pace> {
        (P::GIVES_UP || self.replaces).then_some(PACE)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    fn progress(&mut self, view: &View<'_>, progress: &Progress<'_>) -> Verdict {
        if progress.replaces {
            let behind = (view.index - progress.segment) as f64 * view.movie.segment_ms();
            let too_late = view.buffer_ms <= behind;
            return if too_late {
                Verdict::Abandon { instead: None }
            } else {
                Verdict::Continue
            };
        }
        match self.policy.instead(view, progress, &self.estimate) {
            Some(rung) => Verdict::Abandon {
                instead: Some(rung),
            },
            None => Verdict::Continue,
        }
    }

    fn waited(&mut self, _view: &View<'_>, ms: f64) {
        self.policy.waited(ms);
    }

    fn delivered(&mut self, view: &View<'_>, delivered: &Delivered<'_>) {
        self.policy.delivered(view, delivered);
        if delivered.verdict == Verdict::Continue {
            self.estimate.push(&delivered.transfer);
        }
    }
}

/// Returns the first segment in the buffer that is lower than `rung`, leaving out those about to be played.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "two or three segments"
)]
fn too_low(view: &View<'_>, rung: usize) -> Option<usize> {
    let skipped = (1.5 + view.played_ms / view.movie.segment_ms()).ceil() as usize;
    let mut rest = view.buffered.iter().enumerate().skip(skipped);
    let (place, _) = rest.find(|(_, buffered)| **buffered < rung)?;
    Some(view.index - view.buffered.len() + place)
}
