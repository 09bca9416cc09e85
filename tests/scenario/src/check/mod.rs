//! What TOML cannot check: a scenario is made of what was written, or refused with its line.

mod action;
mod edge;
mod fault;
mod player;

pub(crate) use fault::Written;

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use crate::error::{ScenarioError, Source, nearest};
use crate::expect::{Expectation, World};
use crate::scenario::{Place, Scenario};
use crate::spec::{BackendSpec, ScenarioSpec};

/// Checks what TOML cannot.
#[derive(Clone, Copy)]
pub(crate) struct Checker<'a> {
    pub(crate) source: Source<'a>,
}

impl Checker<'_> {
    pub(crate) fn scenario(self, spec: &ScenarioSpec) -> Result<Scenario, ScenarioError> {
        let stem = self.source.file.file_stem();
        let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
        let edges = self.edges(&spec.edges)?;
        let names: Vec<&str> = edges.iter().map(|edge| edge.name.as_str()).collect();
        let duration = Duration::from(spec.title.duration_s);
        if duration.is_zero() {
            return self.wrong(
                self.source.only("duration_s"),
                "the title has no length",
                "write `duration_s = 120` under `[title]`",
            );
        }
        let limit = spec
            .limit_s
            .map_or(duration * 2 + Duration::from_secs(60), Duration::from);
        self.check_runs(spec, limit)?;
        let players = self.players(&spec.players, (duration, limit))?;
        let of_matrix = spec.matrix.as_ref().map(|_| crate::matrix::ID);
        let faults = self.fault_names(&spec.faults, of_matrix)?;
        let faults = faults.into_iter().zip(&spec.faults);
        let mut scenario = Scenario {
            name: spec
                .name
                .clone()
                .or(stem)
                .unwrap_or_else(|| "scenario".to_owned()),
            about: spec.about.trim().to_owned(),
            file: self.source.file.to_owned(),
            seeds_max: spec.seeds_max,
            modes: spec.modes.clone(),
            limit,
            duration,
            digests: spec.title.digests,
            last_mile: self.link(spec.last_mile.as_ref())?,
            token_ttl: spec.backend.token_ttl_s.into(),
            refresh_after: self.refresh_after(&spec.backend)?,
            backend_delay: spec.backend.delay_ms.into(),
            actions: spec
                .actions
                .iter()
                .map(|action| self.action(action, &players, (duration, limit)))
                .collect::<Result<_, _>>()?,
            faults: faults
                .map(|(name, fault)| self.fault(name, fault, (&names, &players), limit))
                .collect::<Result<_, _>>()?,
            expectations: Vec::new(),
            players,
            edges,
            cell: None,
        };
        scenario.expectations = self.expectations(&spec.expect, &scenario)?;
        Ok(scenario)
    }

    /// Refuses a scenario that is never run, or over at once.
    fn check_runs(self, spec: &ScenarioSpec, limit: Duration) -> Result<(), ScenarioError> {
        let (key, what, hint) = if spec.seeds_max == Some(0) {
            (
                "seeds_max",
                "it is run with no seed",
                "from 1 on, or none, would be right",
            )
        } else if spec.modes.is_empty() {
            (
                "modes",
                "it is run in no way",
                "write some of \"sim\", \"app\" and \"packet\", or leave it out for all",
            )
        } else if limit.is_zero() {
            (
                "limit_s",
                "it ends before it begins",
                "above 0, or none, would be right",
            )
        } else {
            return Ok(());
        };
        self.wrong(self.source.only(key), what, hint)
    }

    /// Returns when players ask for other tokens. That tokens end before is tried by scenarios, and has to be said.
    fn refresh_after(self, spec: &BackendSpec) -> Result<Duration, ScenarioError> {
        let ends = Duration::from(spec.token_ttl_s);
        let asked = spec.refresh_after_s.map_or(REFRESH_AFTER, Duration::from);
        if spec.refresh_after_s.is_some() || asked < ends {
            return Ok(asked);
        }
        self.wrong(
            self.source.only("token_ttl_s"),
            format!(
                "tokens end before players ask for others, after {} s",
                asked.as_secs_f64()
            ),
            "add a `refresh_after_s` below it (or above it, where tokens are to end)",
        )
    }

    /// Returns that something is wrong, and what would be right.
    pub(crate) fn wrong<T>(
        self,
        span: Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<T, ScenarioError> {
        Err(self.source.error(span, what, Some(hint.into())))
    }

    /// Refuses what is to happen when the run has ended.
    pub(crate) fn check_time(
        self,
        span: Range<usize>,
        at: Duration,
        limit: Duration,
    ) -> Result<(), ScenarioError> {
        if at < limit {
            return Ok(());
        }
        let (at_s, ends_s) = (at.as_secs_f64(), limit.as_secs_f64());
        self.wrong(
            span,
            format!("{at_s} s after the run began it has ended, at {ends_s} s"),
            "an earlier time, or a longer `limit_s`, would be right",
        )
    }

    pub(crate) fn place(
        self,
        name: &Spanned<String>,
        edges: &[&str],
    ) -> Result<Place, ScenarioError> {
        match name.get_ref().as_str() {
            "all" => Ok(Place::All),
            "in_use" => Ok(Place::InUse),
            "backend" => Ok(Place::Backend),
            _ => self.place_of(name, edges, "edge").map(Place::Edge),
        }
    }

    fn place_of(
        self,
        name: &Spanned<String>,
        known: &[&str],
        what: &str,
    ) -> Result<usize, ScenarioError> {
        let found = known.iter().position(|one| one == name.get_ref());
        found.ok_or_else(|| {
            let hint = match nearest(name.get_ref(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            let what = format!("there is no {what} `{}`", name.get_ref());
            self.source.error(name.span(), what, Some(hint))
        })
    }

    pub(crate) fn expectations(
        self,
        texts: &[Spanned<String>],
        scenario: &Scenario,
    ) -> Result<Vec<Expectation>, ScenarioError> {
        let world = World::of(scenario);
        let read = |text: &Spanned<String>| {
            Expectation::parse(text.get_ref(), &world)
                .map_err(|no| self.source.error(text.span(), no.what, no.hint))
        };
        texts.iter().map(read).collect()
    }
}

/// When players ask for other tokens where a scenario does not say.
const REFRESH_AFTER: Duration = Duration::from_secs(120);
