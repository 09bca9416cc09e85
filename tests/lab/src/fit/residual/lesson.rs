//! What a session teaches: how much better each of its choices was than usual, and how that moves the network.

use nearcast_core::abr::Candidate;
use nearcast_sim::trace::{Hindsight, State};

use super::pupil::{Note, judge};
use crate::fit::learn::network::Network;

/// One decision to learn from.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    pub(super) candidates: Vec<Candidate>,
    pub(super) chosen: usize,
    /// How likely that was when it was played.
    pub(super) likely: f32,
    /// How much better it was than what usually comes of such a decision, in values of the highest rung.
    pub(super) better: f32,
    /// What came of it, as far as it was found out.
    pub(super) came: f32,
    /// How much it counts.
    pub(super) weight: f32,
}

/// What is lost after a decision counts the less for it the more decisions lie between (generalized advantage estimation: Schulman et
/// al., ICLR 2016).
const KEEP: f32 = 0.9;
/// Losses beyond are those of outages, which would decide alone; the values of states are interpolated, so that something may seem to be gained.
const LOST_MOST: f64 = 6.0;
const LOST_LEAST: f64 = -0.5;
/// A step does not move how likely a choice is by more than this share (proximal policy optimization: Schulman et al., 2017).
const MOVED_MOST: f32 = 0.2;
/// The critic is corrected by no more than this at once.
const ERROR_MOST: f32 = 5.0;

/// What a session that ended like this teaches. What is lost against who knows the whole network is what counts: that a network was bad
/// is no choice's fault (a baseline that depends on what comes: Mao et al., ICLR 2019).
pub(super) fn lessons(
    notes: Vec<Note>,
    end: State,
    hindsight: &Hindsight<'_>,
    (critic, top_mbps, weight): (&Network, f64, f32),
) -> Vec<Lesson> {
    let usual: Vec<f32> = notes.iter().map(|note| usually(critic, note)).collect();
    let mut better = 0.0;
    let mut after = (end, 0.0);
    let mut lessons = Vec::with_capacity(notes.len());
    for (note, usual) in notes.into_iter().zip(usual).rev() {
        let (then, usual_then) = after;
        let lost = hindsight.lost(&note.state, &then) / top_mbps;
        let came = usual_then - narrow(lost.clamp(LOST_LEAST, LOST_MOST));
        better = came - usual + KEEP * better;
        after = (note.state, usual);
        lessons.push(Lesson {
            candidates: note.candidates,
            chosen: note.chosen,
            likely: note.likely,
            better,
            came: better + usual,
            weight,
        });
    }
    lessons
}

/// What the critic expects of all that follows a decision.
fn usually(critic: &Network, note: &Note) -> f32 {
    note.candidates.first().map_or(0.0, |one| {
        critic.run(&one.inputs[..Candidate::OF_DECISION]).out[0]
    })
}

/// Adds what the weights do to what is lost: the gradient of a policy, as long as it is near the one that played. Returns how
/// much it counts.
pub(super) fn teach(network: &Network, lesson: &Lesson, gradient: &mut [f32]) -> f32 {
    let judged = judge(network, &lesson.candidates);
    let ratio = judged.likely[lesson.chosen] / lesson.likely;
    let moved_enough = if lesson.better > 0.0 {
        ratio > 1.0 + MOVED_MOST
    } else {
        ratio < 1.0 - MOVED_MOST
    };
    if !moved_enough {
        let all = lesson.candidates.iter().zip(&judged.units);
        for (place, ((one, units), likely)) in all.zip(&judged.likely).enumerate() {
            let taken = if place == lesson.chosen { 1.0 } else { 0.0 };
            let loses = -lesson.weight * lesson.better * ratio * (taken - likely);
            network.add_gradient(&one.inputs, units, &[loses], gradient);
        }
    }
    lesson.weight
}

/// Adds what the critic's weights do to its error. Returns how much it counts.
pub(super) fn teach_critic(critic: &Network, lesson: &Lesson, gradient: &mut [f32]) -> f32 {
    let Some(one) = lesson.candidates.first() else {
        return 0.0;
    };
    let inputs = &one.inputs[..Candidate::OF_DECISION];
    let units = critic.run(inputs);
    let error = (units.out[0] - lesson.came).clamp(-ERROR_MOST, ERROR_MOST);
    critic.add_gradient(inputs, &units, &[lesson.weight * error], gradient);
    lesson.weight
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "networks learn in single precision"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}
