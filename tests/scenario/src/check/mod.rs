//! What TOML cannot check: a scenario is made of what was written, or refused with its line.

mod action;
mod fault;

pub(crate) use fault::Written;

use std::ops::Range;
use std::time::Duration;

use nearcast_units::{BitRate, MediaTime};
use toml::Spanned;

use crate::error::{ScenarioError, Source, nearest};
use crate::expect::Expectation;
use crate::link::{Link, LinkSpec, beside};
use crate::scenario::{Edge, Place, Player, Scenario};
use crate::spec::{EdgeSpec, PlayerSpec, ScenarioSpec};

const CAPACITY: BitRate = BitRate::from_kbps(10_000_000);
/// More sessions than this in one world are a typing error.
const PLAYERS_MAX: u32 = 100_000;

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
        let players = self.players(&spec.players)?;
        let of_matrix = spec.matrix.as_ref().map(|_| crate::matrix::ID);
        let faults = self.fault_names(&spec.faults, of_matrix)?;
        let faults = faults.into_iter().zip(&spec.faults);
        Ok(Scenario {
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
            refresh_after: spec.backend.refresh_after_s.into(),
            backend_delay: spec.backend.delay_ms.into(),
            actions: spec
                .actions
                .iter()
                .map(|action| self.action(action, &players, (duration, limit)))
                .collect::<Result<_, _>>()?,
            faults: faults
                .map(|(name, fault)| self.fault(name, fault, &names, limit))
                .collect::<Result<_, _>>()?,
            expectations: self.expectations(&spec.expect, &names)?,
            players,
            edges,
            cell: None,
        })
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

    fn edges(self, specs: &[Spanned<EdgeSpec>]) -> Result<Vec<Edge>, ScenarioError> {
        if specs.is_empty() {
            return self.wrong(
                self.source.only("edges"),
                "there is no edge to play from",
                "add `[[edges]]`",
            );
        }
        let mut edges: Vec<Edge> = Vec::new();
        for spec in specs {
            let edge = self.edge(spec.get_ref())?;
            if edges.iter().any(|other| other.name == edge.name) {
                return self.wrong(
                    spec.get_ref().name.span(),
                    format!("there are two edges `{}`", edge.name),
                    "give each a `name` of its own",
                );
            }
            edges.push(edge);
        }
        Ok(edges)
    }

    fn edge(self, spec: &EdgeSpec) -> Result<Edge, ScenarioError> {
        let name = spec.name.get_ref();
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name || RESERVED.contains(&name.as_str()) {
            let what = format!("`{name}` is no name for an edge");
            let hint = format!(
                "letters, digits and `-`, at most 64 of them, and none of: {}",
                RESERVED.join(", ")
            );
            return Err(self.source.error(spec.name.span(), what, Some(hint)));
        }
        if !(0.0..=20_100.0).contains(&spec.distance_km) {
            let what = format!("`{name}` is {} km away", spec.distance_km);
            return Err(self.source.error(
                spec.name.span(),
                what,
                Some("from 0 to 20100 km is on this planet".to_owned()),
            ));
        }
        Ok(Edge {
            name: name.clone(),
            site: spec.site.clone(),
            prefixes: spec.prefixes.clone(),
            distance_km: spec.distance_km,
            capacity: spec.capacity_kbps.map_or(CAPACITY, BitRate::from),
            stores_title: spec.stores_title,
            http3: spec.http3,
            clock_skew_ms: millis(spec.clock_skew_s),
            link: self.link(spec.link.as_ref())?,
        })
    }

    fn link(self, spec: Option<&Spanned<LinkSpec>>) -> Result<Link, ScenarioError> {
        let Some(spec) = spec else {
            return Link::new(LinkSpec::default(), |_| Err(String::new()))
                .map_err(|what| self.source.whole(what, None));
        };
        Link::new(spec.get_ref().clone(), beside(self.source.file))
            .map_err(|what| self.source.error(spec.span(), what, None))
    }

    fn players(self, specs: &[Spanned<PlayerSpec>]) -> Result<Vec<Player>, ScenarioError> {
        let alone = [Spanned::new(0..0, PlayerSpec::default())];
        let specs = if specs.is_empty() { &alone } else { specs };
        let mut players: Vec<Player> = Vec::new();
        for spec in specs.iter().map(Spanned::get_ref) {
            let name = spec.name.get_ref();
            let wrong = |what: String, hint: &str| {
                Err(self
                    .source
                    .error(spec.name.span(), what, Some(hint.to_owned())))
            };
            if players.iter().any(|other| other.name == *name) {
                return wrong(
                    format!("there are two players `{name}`"),
                    "give each a `name`",
                );
            }
            if !(1..=PLAYERS_MAX).contains(&spec.count) {
                return wrong(
                    format!("`{name}`: there are {} of it", spec.count),
                    "from 1 to 100000 would be right",
                );
            }
            if spec.race_width == 0 {
                return wrong(
                    format!("`{name}` begins with no edge"),
                    "`race_width` from 1 on; with 1 there is no race",
                );
            }
            players.push(Player {
                name: name.clone(),
                count: spec.count,
                starts: spec.starts_s.into(),
                spread: spec.spread_s.into(),
                abr: spec.abr,
                buffer_goal: spec.buffer_goal_s.into(),
                start_at: MediaTime::from_duration(spec.start_at_s.into()),
                cap: spec.cap_kbps.map(BitRate::from),
                give_up: spec.give_up_s.map(Duration::from),
                memory_cap: spec.memory_cap_bytes.into(),
                race_width: usize::try_from(spec.race_width).unwrap_or(usize::MAX),
            });
        }
        Ok(players)
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
        edges: &[&str],
    ) -> Result<Vec<Expectation>, ScenarioError> {
        let read = |text: &Spanned<String>| {
            Expectation::parse(text.get_ref(), edges)
                .map_err(|no| self.source.error(text.span(), no.what, no.hint))
        };
        texts.iter().map(read).collect()
    }
}

/// Words that name no edge.
const RESERVED: [&str; 4] = ["all", "in_use", "backend", "last-mile"];

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float cast saturates, and nobody has such a clock"
)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}
