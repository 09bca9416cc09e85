//! What a session teaches: how much better each of its choices was than usual, and how that moves the network.

use nearcast_core::abr::Candidate;
use nearcast_sim::trace::{Hindsight, State};

use super::pupil::{Note, judge};
use crate::fit::learn::narrow;
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
/// In values of the highest rung. Losses beyond are those of outages, which would decide alone; the values of states are interpolated, so that something
/// may seem to be gained.
const LOST_MOST: f64 = 6.0;
const LOST_LEAST: f64 = -0.5;
/// A choice that has become likelier, or less likely, by this share since it was played teaches no more of that (proximal policy
/// optimization: Schulman et al., 2017).
const MOVED_MOST: f32 = 0.2;
/// The critic is corrected by no more than this at once, in values of the highest rung.
const ERROR_MOST: f32 = 5.0;

/// What a session that ended like this teaches, the last decision first. What is lost against who knows the whole network is what counts: that a network was bad
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

#[cfg(test)]
mod tests {
    use nearcast_sim::trace::{Movie, Network as Line, Profile, Setup};
    use nearcast_units::Seed;

    use super::*;
    use crate::fit::residual::{CRITIC, SHAPE};

    /// A decision among three rungs of which the second was taken, when it was so likely.
    fn lesson(better: f32, likely: f32) -> Lesson {
        let mut rng = Seed::new(4).rng();
        let mut draw = || narrow(2.0 * rng.next_f64() - 1.0);
        let candidates = [-0.03, 0.0, -0.05].map(|behind| Candidate {
            rung: 0,
            behind,
            inputs: std::array::from_fn(|_| draw()),
        });
        Lesson {
            candidates: candidates.to_vec(),
            chosen: 1,
            likely,
            better,
            came: 0.4,
            weight: 2.0,
        }
    }

    fn slopes_are(network: &Network, ours: &[f32], lost: impl Fn(&Network) -> f32) {
        let (step, mut largest) = (1e-2, 0.0_f32);
        let mut network = network.clone();
        for (place, ours) in ours.iter().enumerate() {
            let kept = network.weights()[place];
            network.weights_mut()[place] = kept + step;
            let above = lost(&network);
            network.weights_mut()[place] = kept - step;
            let below = lost(&network);
            network.weights_mut()[place] = kept;
            let slope = (above - below) / (2.0 * step);
            assert!((slope - ours).abs() < 0.01, "{place}: {slope}, not {ours}");
            largest = largest.max(slope.abs());
        }
        assert!(largest > 0.1, "it has a slope at all: {largest}");
    }

    #[test]
    fn the_gradients_are_the_slopes_of_what_is_lost() {
        let mut rng = Seed::new(2).rng();
        let network = Network::new(SHAPE, (1.0, 1.0), |_| 0.1, &mut rng);
        let mut one = lesson(0.7, 1.0);
        one.likely = judge(&network, &one.candidates).likely[1];
        let mut gradient = vec![0.0; network.weights().len()];
        teach(&network, &one, &mut gradient);
        slopes_are(&network, &gradient, |network| {
            let likely = judge(network, &one.candidates).likely[1];
            -one.weight * one.better * likely / one.likely
        });

        let critic = Network::new(CRITIC, (1.0, 1.0), |_| 0.1, &mut rng);
        let mut gradient = vec![0.0; critic.weights().len()];
        teach_critic(&critic, &one, &mut gradient);
        slopes_are(&critic, &gradient, |critic| {
            let inputs = &one.candidates[0].inputs[..Candidate::OF_DECISION];
            let error = critic.run(inputs).out[0] - one.came;
            one.weight * error * error / 2.0
        });
    }

    #[test]
    fn who_has_moved_enough_is_left_alone() {
        let mut rng = Seed::new(2).rng();
        let network = Network::new(SHAPE, (1.0, 1.0), |_| 0.1, &mut rng);
        let now = judge(&network, &lesson(1.0, 1.0).candidates).likely[1];
        let moves = |better: f32, then: f32| {
            let mut gradient = vec![0.0; network.weights().len()];
            teach(&network, &lesson(better, then), &mut gradient);
            gradient.iter().any(|one| *one != 0.0)
        };
        let (less, more) = (now / 1.3, now / 0.7);
        assert!(!moves(1.0, less) && moves(1.0, now) && moves(1.0, more));
        assert!(!moves(-1.0, more) && moves(-1.0, now) && moves(-1.0, less));
    }

    #[test]
    fn a_choice_answers_for_what_was_lost_after_it_the_less_the_later() {
        let movie = r#"{"segment_duration_ms":4000,"bitrates_kbps":[1000,2000],
            "segment_sizes_bits":[[4e6,8e6],[4e6,8e6],[4e6,8e6],[4e6,8e6]]}"#;
        let movie = Movie::read(movie).unwrap();
        // 2 s for a segment of the higher rung: it is always the better one.
        let line = Line::read("1000,4000,0\n").unwrap();
        let setup = Setup {
            profile: Profile::Sabre,
            network: &line,
            movie: &movie,
            segments: 4,
            cap_ms: 25_000.0,
            mu: 4.3,
        };
        let state = |segment: usize, buffer_s: f64, last| State {
            segment,
            late_ms: 2_000.0,
            buffer_ms: buffer_s * 1e3,
            last,
        };
        // Down for the third segment, and up again.
        let states = [state(1, 4.0, 1), state(2, 6.0, 1), state(3, 9.0, 0)];
        let hindsight = Hindsight::new(&setup, &states[0]);
        let notes = states.map(|state| Note {
            state,
            candidates: lesson(0.0, 1.0).candidates,
            chosen: 1,
            likely: 0.5,
        });
        let end = State {
            late_ms: 2_000.0,
            ..state(4, 0.0, 1)
        };
        let mut rng = Seed::new(2).rng();
        // It expects that 0.25 is still gained, always.
        let critic = Network::new(CRITIC, (1.0, 0.0), |_| 0.25, &mut rng);
        let mut taught = lessons(notes.to_vec(), end, &hindsight, (&critic, 2.0, 0.5));
        taught.reverse();
        // The second choice lost 1 Mbit/s and two changes of as much, in values of 2 Mbit/s; the others nothing. After the third nothing follows.
        let third = -0.25;
        let second = -1.5 + KEEP * third;
        let first = KEEP * second;
        for (one, expected) in taught.iter().zip([first, second, third]) {
            assert!((one.better - expected).abs() < 1e-5, "{}", one.better);
            assert!((one.came - expected - 0.25).abs() < 1e-5, "{}", one.came);
            assert!((one.weight - 0.5).abs() < f32::EPSILON);
        }
        // An outage of a minute does not count for all of it.
        let end = State {
            late_ms: 62_000.0,
            ..end
        };
        let taught = lessons(notes.to_vec(), end, &hindsight, (&critic, 2.0, 0.5));
        assert!(
            (taught[0].better + 6.25).abs() < 1e-5,
            "{}",
            taught[0].better
        );
    }
}
