//! Where it is learned and judged: sessions over the public sets.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use nearcast_sim::trace::{self, Hindsight, Network as Line, Profile, Setup, State};
use nearcast_units::{Rng, Seed};
use rayon::prelude::*;

use super::lesson::{Lesson, lessons};
use super::pupil::{Notes, Pupil};
use crate::abr::measure::Bench;
use crate::fit::learn::network::Network;
use crate::fit::validates;
use crate::sets::PUBLIC;

/// How much the decisions of each set count: those of profile pensieve most, which has most kinds of lines, and oboe among them, where
/// least is lost.
const WEIGHTS: [f32; PUBLIC.len()] = [1.0, 1.5, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9];
/// Of each set of profile sabre so many networks are played for one of another set: their sessions are longer.
const SABRE_SHARE: f64 = 1.0 / 3.0;
/// Share of the networks that are played from the beginning of a recording, as benches do.
const FROM_BEGINNING: f64 = 0.25;
/// Sessions over one network: what comes is the same, and what is tried is another.
const SESSIONS: u64 = 16;
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

    /// Plays everything, as planned or with a network.
    pub(super) fn qoes(&self, network: Option<&Arc<Network>>) -> Result<Qoes> {
        let play = |set: &Bench| {
            let traces = set.set.traces.par_iter();
            let qoes = traces.map(|trace| {
                let setup = set.setup(&trace.network);
                let pupil = Pupil::new(network.cloned(), None, setup.segments);
                let played = play(&setup, pupil).with_context(|| set.set.name.clone())?;
                Ok(played.qoe_per_segment(set.mu))
            });
            qoes.collect::<Result<Vec<f64>>>()
        };
        self.sets.iter().map(play).collect()
    }

    /// Plays networks to learn from, `lines` of each set of profile pensieve.
    pub(super) fn lessons(
        &self,
        network: &Arc<Network>,
        critic: &Network,
        lines: u32,
        seed: Seed,
    ) -> Result<Vec<Lesson>> {
        let jobs = self.sets.iter().enumerate().flat_map(|(number, set)| {
            let share = match set.profile.reference() {
                Profile::Pensieve => 1.0,
                Profile::Sabre => SABRE_SHARE,
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of networks"
            )]
            let lines = (f64::from(lines) * share).ceil() as u64;
            (0..lines).map(move |line| (number, line))
        });
        let jobs: Vec<(usize, u64)> = jobs.collect();
        let all = jobs.into_par_iter().map(|(number, line)| {
            let set = &self.sets[number];
            let seed = seed.split_index(number as u64).split_index(line);
            let (network, critic) = (network, (critic, WEIGHTS[number]));
            learn(set, network, critic, seed).with_context(|| set.set.name.clone())
        });
        Ok(all
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Tells QoE before and after, of the networks that are learned from and of the others.
    pub(super) fn table(&self, before: &Qoes, after: &Qoes) -> String {
        let sets = PUBLIC.iter().zip(before.iter().zip(after));
        sets.map(|(public, (before, after))| {
            let mean = |qoes: &[f64], validated: bool| {
                let of = qoes.iter().enumerate();
                let of: Vec<f64> = of
                    .filter(|(place, _)| validates(*place) == validated)
                    .map(|(_, qoe)| *qoe)
                    .collect();
                if of.is_empty() {
                    return format!("{:>7}", "-");
                }
                #[expect(clippy::cast_precision_loss, reason = "a count of traces")]
                let count = of.len() as f64;
                format!("{:>7.3}", of.iter().sum::<f64>() / count)
            };
            format!(
                "  {:<16} fitted {} -> {}   validated {} -> {}\n",
                public.name,
                mean(before, false),
                mean(after, false),
                mean(before, true),
                mean(after, true)
            )
        })
        .collect()
    }
}

fn play(setup: &Setup<'_>, pupil: Pupil) -> Result<trace::Played> {
    let mut rule = trace::rules::Product::new(setup, Box::new(pupil));
    Ok(trace::run(setup, &mut rule)?)
}

/// Plays one network some times.
fn learn(
    set: &Bench,
    network: &Arc<Network>,
    (critic, weight): (&Network, f32),
    seed: Seed,
) -> Result<Vec<Lesson>> {
    let line = draw(set, &mut seed.split("line").rng());
    let setup = Setup {
        segments: match set.profile.reference() {
            Profile::Pensieve => set.segments,
            Profile::Sabre => set.segments.min(SEGMENTS),
        },
        ..set.setup(&line)
    };
    let top_mbps = set.movie.bitrates_kbps().last().copied().unwrap_or(1e3) / 1e3;
    let mut hindsight = None;
    let mut all = Vec::new();
    for session in 0..SESSIONS {
        let notes = Notes::default();
        let tries = (seed.split_index(session).rng(), Arc::clone(&notes));
        let pupil = Pupil::new(Some(Arc::clone(network)), Some(tries), setup.segments);
        let end = State::end(&play(&setup, pupil)?);
        let mut notes = notes
            .lock()
            .map_err(|_| anyhow!("a session came to no end"))?;
        let notes = std::mem::take(&mut *notes);
        let Some(first) = notes.first() else { continue };
        let hindsight = hindsight.get_or_insert_with(|| Hindsight::new(&setup, &first.state));
        all.extend(lessons(notes, end, hindsight, (critic, top_mbps, weight)));
    }
    Ok(all)
}

/// Draws a network that is learned from, begun somewhere.
fn draw(set: &Bench, rng: &mut Rng) -> Line {
    let learned = (0..set.set.traces.len()).filter(|place| !validates(*place));
    let learned: Vec<usize> = learned.collect();
    let place = usize::try_from(rng.below(learned.len() as u64)).unwrap_or(0);
    let line = &set.set.traces[learned[place]].network;
    if rng.next_f64() < FROM_BEGINNING {
        line.clone()
    } else {
        line.begun_at(rng.next_f64() * line.round_ms())
    }
}
