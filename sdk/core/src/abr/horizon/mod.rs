//! Our policy: a plan over the segments to come, judged by what the viewer is to have (the objective), for three
//! rates that the line may turn out to have. The next rung, a wait, a replacement and giving a transfer up are all
//! judged by the same worth; that of the next rung is corrected by what came of such choices before.

mod config;
mod grid;
mod outlook;
mod planner;
mod residual;
mod residual_weights;

pub use config::{HorizonConfig, Leaning};
pub use residual::Candidate;

use core::time::Duration;

use outlook::{Outlook, PATHS};
use planner::{Planner, RUNGS_MAX};
use residual::Candidates;

use super::{AbrChoice, AbrContext, AbrDecision, AbrPolicy, UnderWay};

/// A transfer younger than this is not given up: its rate says nothing yet.
const ABANDON_AFTER: Duration = Duration::from_millis(400);
/// While the buffer is full it is asked again after so long at most: something may be worth replacing by then.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The policy and its tables. It plans with the lowest sixteen rungs of a ladder.
#[derive(Clone, Debug, Default)]
pub struct Horizon {
    config: HorizonConfig,
    /// Plans are taken as they are.
    uncorrected: bool,
    planner: Planner,
    candidates: Candidates,
    scores: [f64; RUNGS_MAX],
}

impl Horizon {
    /// Makes the policy with numbers of one's own. Its plans are corrected as those of the default ones are, which is what was learned with.
    #[must_use]
    pub fn new(config: HorizonConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Makes the policy without what was learned of where plans are wrong: for whoever teaches that.
    #[must_use]
    pub fn uncorrected() -> Self {
        Self {
            uncorrected: true,
            ..Self::default()
        }
    }

    /// Returns the rungs that the last decision on a next segment was among, as they were planned; none where nothing was measured.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        self.candidates.all()
    }

    /// Plans for this decision.
    fn plan(&mut self, context: &AbrContext) -> Outlook {
        let segment_s = context
            .ahead
            .first()
            .map_or(4.0, |next| next.duration.as_secs_f64());
        let top_bps = context
            .ladder
            .last()
            .map_or(1.0, |top| top.bitrate.as_f64());
        let outlook = Outlook::new(&context.forecast, &self.config, segment_s, top_bps);
        self.planner.plan(context, &outlook, &self.config);
        outlook
    }

    /// The best rung for the next segment, as planned and as corrected.
    fn best_next(&mut self, context: &AbrContext, outlook: &Outlook) -> (usize, usize) {
        let buffer_s = seconds(context.buffer);
        let rungs = self.planner.rungs();
        for rung in 0..rungs {
            let bits = self.planner.bits_next(rung);
            let takes_s = core::array::from_fn(|path| outlook.takes_s(path, bits));
            let switching = context
                .last
                .map_or(0.0, |last| self.planner.switching(last, rung));
            let worth = self.planner.next(outlook, rung, buffer_s, takes_s) - switching;
            self.scores[rung] = f64::from(worth);
        }
        let scores = &mut self.scores[..rungs];
        let planned = highest(scores);
        self.candidates.find(context, scores, planned);
        if self.uncorrected {
            return (planned, planned);
        }
        self.candidates.correct(scores);
        (planned, highest(scores))
    }

    /// The replacement that is worth most, if one is worth more than `otherwise`.
    fn best_replacement(
        &self,
        context: &AbrContext,
        outlook: &Outlook,
        last: usize,
        otherwise: f32,
    ) -> Option<AbrChoice> {
        let mut best = (otherwise + self.config.replace_margin as f32, None);
        for (segment, held) in context.buffered.iter().enumerate() {
            for rung in held.rung + 1..self.planner.rungs() {
                let gain = self.gain(context, segment, rung);
                let bits = context.size_buffered(segment, rung).get() as f32 * 8.0;
                let is_last = segment + 1 == context.buffered.len();
                let mut worth = 0.0;
                for path in 0..PATHS {
                    let takes_s = outlook.takes_s(path, bits);
                    let in_time = takes_s < seconds(held.open_for);
                    let left_s = seconds(context.buffer) - takes_s;
                    let room_s = self.planner.full_s - self.planner.duration_next_s();
                    let then = if is_last && in_time { rung } else { last };
                    let rest = self.planner.before(path, left_s.min(room_s), then);
                    let stalled = self.planner.stall * (-left_s).max(0.0);
                    worth +=
                        outlook.share[path] * (if in_time { gain } else { 0.0 } + rest - stalled);
                }
                if worth > best.0 {
                    best = (worth, Some(AbrDecision::Replace { segment, rung }));
                }
            }
        }
        best.1.map(|decision| AbrChoice {
            decision,
            why: "a better picture of a buffered segment is worth more than going on",
        })
    }

    /// What the viewer gains by another rung of a buffered segment, changes to its neighbours included.
    fn gain(&self, context: &AbrContext, segment: usize, rung: usize) -> f32 {
        let Some(held) = context.buffered.get(segment) else {
            return 0.0;
        };
        let changes = |to: usize| {
            let side = |at: Option<usize>| {
                at.and_then(|at| context.buffered.get(at))
                    .map_or(0.0, |beside| {
                        (self.planner.worth(to) - self.planner.worth(beside.rung)).abs()
                    })
            };
            side(segment.checked_sub(1)) + side(Some(segment + 1))
        };
        // What is on its way to the screen changes once only: it counts as the objective has it.
        let switch = context.weights.switch as f32;
        self.planner.worth(rung)
            - self.planner.worth(held.rung)
            - switch * (changes(rung) - changes(held.rung))
    }
}

impl AbrPolicy for Horizon {
    fn name(&self) -> &'static str {
        "horizon"
    }

    fn decide(&mut self, context: &AbrContext) -> AbrChoice {
        let outlook = self.plan(context);
        let (planned, rung) = self.best_next(context, &outlook);
        let next_s = context
            .ahead
            .first()
            .map_or(0.0, |next| seconds(next.duration));
        let over_s = seconds(context.buffer) + next_s - seconds(context.buffer_max);
        let full = context.ahead.is_empty() || over_s > 1e-3;
        // What is replaced leaves all that follows open, for each path on its own: so must what it is compared with. Waiting
        // for room costs nothing.
        let room_s = seconds(context.buffer_max) - next_s;
        let goes_on_s = if full {
            room_s
        } else {
            seconds(context.buffer)
        };
        if let Some(last) = context.last {
            let rest =
                |path: usize| outlook.share[path] * self.planner.before(path, goes_on_s, last);
            let otherwise = (0..PATHS).map(rest).sum();
            if let Some(replacement) = self.best_replacement(context, &outlook, last, otherwise) {
                return replacement;
            }
        }
        if full {
            let span = Duration::try_from_secs_f32(over_s).unwrap_or(ASK_AGAIN);
            return AbrChoice {
                decision: AbrDecision::Wait {
                    span: span.clamp(Duration::from_millis(10), ASK_AGAIN),
                },
                why: "the buffer is full",
            };
        }
        let why = if rung == planned {
            "the best plan for the segments to come"
        } else {
            "better than what was planned, by what came of such plans"
        };
        AbrChoice::next(rung, why)
    }

    fn review(&mut self, context: &AbrContext, under_way: &UnderWay) -> Option<AbrChoice> {
        if under_way.elapsed < ABANDON_AFTER || under_way.rung == 0 {
            return None;
        }
        let outlook = self.plan(context);
        let buffer_s = seconds(context.buffer);
        let rest = under_way.total.saturating_sub(under_way.received);
        let worth = |rung: usize, bits: f32, ttfb_s: f32| {
            let switching = context
                .last
                .map_or(0.0, |last| self.planner.switching(last, rung));
            let takes_s = core::array::from_fn(|path| ttfb_s + bits * outlook.slowness(path, 0.0));
            self.planner.next(&outlook, rung, buffer_s, takes_s) - switching
        };
        let stay = worth(under_way.rung, rest.get() as f32 * 8.0, 0.0);
        let margin = self.config.abandon_margin as f32;
        let mut best = (stay + margin, None);
        for rung in 0..under_way.rung.min(self.planner.rungs()) {
            let instead = worth(rung, self.planner.bits_next(rung), outlook.ttfb_s);
            if instead > best.0 {
                best = (instead, Some(rung));
            }
        }
        best.1.map(|rung| {
            AbrChoice::next(
                rung,
                "what is on its way would come too late: a lower rung gains more",
            )
        })
    }

    fn reviews(&self) -> bool {
        true
    }

    fn replaces(&self) -> bool {
        true
    }

    fn scores(&self) -> &[f64] {
        self.scores.get(..self.planner.rungs()).unwrap_or_default()
    }
}

/// The first of the highest ones.
fn highest(scores: &[f64]) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (rung, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (rung, *score);
        }
    }
    best.0
}

fn seconds(span: Duration) -> f32 {
    span.as_secs_f64() as f32
}
