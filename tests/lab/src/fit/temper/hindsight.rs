//! Looking back: what each choice at a decision would have come to, with everything after it decided as ever. The network does not
//! care what is chosen, so that it can be played again.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use nearcast_sim::trace::{self, Network as Line, Profile};
use nearcast_units::{Rng, Seed};
use rayon::prelude::*;

use super::pupil::{Choice, Decision, Notes, Pupil};
use crate::abr::measure::Bench;
use crate::fit::learn::network::Network;
use crate::fit::validates;
use crate::sets::PUBLIC;

/// Rungs further from the chosen one are not tried.
const APART: usize = 2;
/// Of each set, how much its decisions count together: on puffer-2021 they gain and lose several times as much as elsewhere, and
/// on oboe a tenth.
const WEIGHTS: [f32; PUBLIC.len()] = [1.5, 5.0, 2.0, 0.8, 1.0, 0.7, 1.0, 1.2, 0.7, 0.7];
/// Share of a session's decisions that is looked back at: neighbours say the same.
const LOOKED_AT: f64 = 0.15;
/// Share of the sessions that play from the beginning of a recording, as benches do.
const FROM_BEGINNING: f64 = 0.15;
/// Segments of a session of profile sabre while it is learned: what comes much later is chance.
const SEGMENTS: usize = 60;

/// The public sets.
pub(super) struct Stages {
    sets: Vec<Bench>,
}

/// QoE of each session, set by set.
pub(super) type Qoes = Vec<Vec<f64>>;

impl Stages {
    pub(super) fn read(limit: Option<u32>) -> Result<Self> {
        let sets = PUBLIC
            .iter()
            .map(|public| public.bench(limit, &["horizon".to_owned()]));
        Ok(Self {
            sets: sets.collect::<Result<_>>()?,
        })
    }

    /// Plays everything, with a network or without moves.
    pub(super) fn qoes(&self, network: Option<&Arc<Network>>) -> Result<Qoes> {
        let play = |set: &Bench| {
            let traces = set.set.traces.par_iter();
            let qoes = traces.map(|trace| {
                let played = play(
                    set,
                    &trace.network,
                    set.segments,
                    Pupil::new(network.cloned(), None),
                );
                Ok(played?.qoe_per_segment(set.mu))
            });
            qoes.collect::<Result<Vec<f64>>>()
        };
        self.sets.iter().map(play).collect()
    }

    /// Plays networks to learn from and looks back at some of the decisions, `count` of each set.
    pub(super) fn look_back(
        &self,
        network: &Arc<Network>,
        count: u32,
        seed: Seed,
    ) -> Result<Vec<Decision>> {
        let mut all = Vec::new();
        for (set, weight) in self.sets.iter().zip(WEIGHTS) {
            let segments = self.segments(set);
            let count = if set.profile.reference() == Profile::Sabre {
                count / 4
            } else {
                count
            };
            #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
            let each = segments as f64 * LOOKED_AT;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of sessions"
            )]
            let sessions = (f64::from(count) / each).ceil() as u64;
            let seed = seed.split(&set.set.name);
            let learned = (0..set.set.traces.len()).filter(|place| !validates(*place));
            let learned: Vec<usize> = learned.collect();
            let decisions = (0..sessions).into_par_iter().map(|session| {
                let mut rng = seed.split_index(session).rng();
                let place = usize::try_from(rng.below(learned.len() as u64)).unwrap_or(0);
                let line = &set.set.traces[learned[place]].network;
                let line = if rng.next_f64() < FROM_BEGINNING {
                    line.clone()
                } else {
                    line.begun_at(rng.next_f64() * line.round_ms())
                };
                look_back(set, &line, segments, network, &mut rng)
            });
            let decisions: Vec<Vec<Decision>> = decisions.collect::<Result<_>>()?;
            let decisions = decisions.concat();
            #[expect(clippy::cast_precision_loss, reason = "a count of decisions")]
            let weight = weight / decisions.len().max(1) as f32;
            all.extend(
                decisions
                    .into_iter()
                    .map(|decision| Decision { weight, ..decision }),
            );
        }
        Ok(all)
    }

    fn segments(&self, set: &Bench) -> usize {
        match set.profile.reference() {
            Profile::Pensieve => set.segments,
            Profile::Sabre => set.segments.min(SEGMENTS),
        }
    }

    /// Tells QoE before and after, of the networks that are learned from and of the others.
    pub(super) fn table(&self, before: &Qoes, after: &Qoes) -> String {
        let sets = self.sets.iter().zip(before).zip(after);
        sets.map(|((set, before), after)| {
            let mean = |qoes: &[f64], validated: bool| {
                let of = qoes.iter().enumerate();
                let of: Vec<f64> = of
                    .filter(|(place, _)| validates(*place) == validated)
                    .map(|(_, qoe)| *qoe)
                    .collect();
                #[expect(clippy::cast_precision_loss, reason = "a count of traces")]
                let count = of.len() as f64;
                of.iter().sum::<f64>() / count
            };
            format!(
                "  {:<16} fitted {:>7.3} -> {:>7.3}   validated {:>7.3} -> {:>7.3}\n",
                set.set.name,
                mean(before, false),
                mean(after, false),
                mean(before, true),
                mean(after, true)
            )
        })
        .collect()
    }
}

fn play(set: &Bench, line: &Line, segments: usize, pupil: Pupil) -> Result<trace::Played> {
    let setup = trace::Setup {
        segments,
        ..set.setup(line)
    };
    let mut rule = trace::rules::Product::new(&setup, Box::new(pupil));
    trace::run(&setup, &mut rule).with_context(|| set.set.name.clone())
}

fn look_back(
    set: &Bench,
    line: &Line,
    segments: usize,
    network: &Arc<Network>,
    rng: &mut Rng,
) -> Result<Vec<Decision>> {
    let notes = Notes::default();
    let pupil = Pupil::new(Some(Arc::clone(network)), None).noting(&notes);
    let top = set.movie.bitrates_kbps().last().copied().unwrap_or(1.0) / 1e3;
    let chosen = play(set, line, segments, pupil)?.qoe(set.mu) / top;
    let notes = notes
        .lock()
        .map_err(|_| anyhow!("a session came to no end"))?;
    let mut decisions = Vec::new();
    for (number, note) in notes.iter().enumerate() {
        if rng.next_f64() >= LOOKED_AT {
            continue;
        }
        let came_to = |rung: usize| -> Result<f64> {
            let pupil = Pupil::new(Some(Arc::clone(network)), Some((number, rung)));
            Ok(play(set, line, segments, pupil)?.qoe(set.mu) / top)
        };
        let mut choices = Vec::new();
        for (rung, score) in note.scores.iter().enumerate() {
            if rung.abs_diff(note.rung) > APART {
                continue;
            }
            let gained = if rung == note.rung {
                0.0
            } else {
                came_to(rung)? - chosen
            };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "networks learn in single precision"
            )]
            choices.push(Choice {
                score: (score - note.scores[note.rung]) as f32,
                slope: note.slopes[rung],
                gained: gained as f32,
            });
        }
        decisions.push(Decision {
            inputs: note.inputs,
            temper: note.temper,
            choices,
            weight: 1.0,
        });
    }
    Ok(decisions)
}
