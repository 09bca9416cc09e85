//! Runs every rule over every trace.

use anyhow::{Context as _, Result};
use indicatif::{ParallelProgressIterator as _, ProgressBar, ProgressStyle};
use nearcast_core::abr::HorizonConfig;
use nearcast_sim::trace::{self, Effort, Movie, Network, Optimum, Played, Setup};
use nearcast_units::BitRate;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::profile::ProfileName;
use super::set::{Set, Trace};
use crate::moment::{Moment, speed};
use crate::write;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) profile: ProfileName,
    pub(crate) movie: Movie,
    pub(crate) set: Set,
    pub(crate) segments: usize,
    pub(crate) cap_ms: f64,
    pub(crate) mu: f64,
    pub(crate) rules: Vec<String>,
    /// What the rule `horizon` plans with, if not with the product's own numbers.
    pub(crate) horizon: Option<HorizonConfig>,
    /// The rate of the sound beside the picture, in profile player.
    pub(crate) sound: Option<BitRate>,
}

/// One session in the figures that tables are made of and known results are compared with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) segments: usize,
    pub(crate) qoe: f64,
    pub(crate) qoe_per_segment: f64,
    pub(crate) mean_bitrate_bps: f64,
    /// Start-up and stalls count as nothing in it.
    pub(crate) time_mean_bitrate_bps: f64,
    pub(crate) change_bps: f64,
    pub(crate) switches: f64,
    pub(crate) startup_s: f64,
    pub(crate) stall_s: f64,
    pub(crate) stalls: usize,
    pub(crate) total_s: f64,
}

/// The best that could have been done over each trace.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Limit {
    pub(crate) sessions: Vec<Session>,
    /// No better session is more than this better, for each segment, but for what the cap on the buffer hides: the
    /// largest of all traces.
    pub(crate) tolerance: f64,
}

impl Bench {
    /// Returns a session over this network.
    pub(crate) fn setup<'a>(&'a self, network: &'a Network) -> Setup<'a> {
        Setup {
            profile: self.profile.reference(),
            network,
            movie: &self.movie,
            segments: self.segments,
            cap_ms: self.cap_ms,
            mu: self.mu,
        }
    }

    /// Runs all sessions on all cores: for each rule, in the order asked for, one for each trace, in name order.
    pub(crate) fn run(&self) -> Result<Vec<Vec<Played>>> {
        let rules: Vec<&str> = self.rules.iter().map(String::as_str).collect();
        self.sessions(&rules)
    }

    /// Runs the sessions of one rule.
    pub(crate) fn only(&self, rule: &str) -> Result<Vec<Played>> {
        Ok(self.sessions(&[rule])?.concat())
    }

    fn sessions(&self, rules: &[&str]) -> Result<Vec<Vec<Played>>> {
        let traces = &self.set.traces;
        let what = match rules {
            [rule] => format!("{} {rule}", self.set.name),
            _ => self.set.name.clone(),
        };
        let progress = bar(rules.len() * traces.len(), &what);
        let began = Moment::now();
        let all: Result<Vec<Played>> = (0..rules.len() * traces.len())
            .into_par_iter()
            .progress_with(progress.clone())
            .map(|job| self.session(rules[job / traces.len()], &traces[job % traces.len()]))
            .collect();
        progress.finish_and_clear();
        let all = all?;
        if self.profile == ProfileName::Player {
            let virtual_s = all.iter().map(|played| played.total_ms / 1e3).sum();
            write::tell(&speed(all.len(), virtual_s, began.elapsed_s()))?;
        }
        Ok(all.chunks(traces.len()).map(<[Played]>::to_vec).collect())
    }

    fn session(&self, rule: &str, trace: &Trace) -> Result<Played> {
        let setup = self.setup(&trace.network);
        let played = self.profile.play(&setup, rule, self.horizon, self.sound);
        played.with_context(|| format!("{rule} over {}/{}", self.set.name, trace.name))
    }

    /// Finds the offline optimum of each trace.
    pub(crate) fn optimum(&self) -> Result<Vec<Optimum>> {
        let traces = &self.set.traces;
        let progress = bar(traces.len(), &format!("{} optimum", self.set.name));
        let all: Result<Vec<Optimum>> = traces
            .par_iter()
            .progress_with(progress.clone())
            .map(|trace| {
                let optimum = trace::optimum(&self.setup(&trace.network), Effort::USUAL);
                optimum.with_context(|| format!("optimum over {}/{}", self.set.name, trace.name))
            })
            .collect();
        progress.finish_and_clear();
        all
    }

    /// Returns a session's figures.
    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub(crate) fn figures(&self, played: &Played) -> Session {
        Session {
            segments: played.rungs.len(),
            qoe: played.qoe(self.mu),
            qoe_per_segment: played.qoe_per_segment(self.mu),
            mean_bitrate_bps: played.mean_kbps() * 1e3,
            time_mean_bitrate_bps: played.time_mean_kbps() * 1e3,
            change_bps: played.change_kbps() * 1e3,
            switches: played.switches() as f64,
            startup_s: played.startup_ms / 1e3,
            stall_s: played.stall_ms / 1e3,
            stalls: played.stalls,
            total_s: played.total_ms / 1e3,
        }
    }

    /// Returns the optimum's figures.
    pub(crate) fn limit(&self, optimum: &[Optimum]) -> Limit {
        Limit {
            sessions: optimum
                .iter()
                .map(|one| self.figures(&one.played))
                .collect(),
            tolerance: optimum.iter().map(|one| one.tolerance).fold(0.0, f64::max),
        }
    }
}

/// Shows how far it is, where somebody looks at standard error.
pub(crate) fn bar(count: usize, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::new(count as u64).with_message(what.to_owned());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
