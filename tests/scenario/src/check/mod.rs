//! What TOML cannot check: a scenario is made of what was written, or refused with its line.

mod action;
mod fault;

pub(crate) use fault::Written;

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use nearcast_units::{BitRate, MediaTime};
use toml::Spanned;

use crate::error::{ScenarioError, Source, nearest};
use crate::expect::{Expectation, World};
use crate::link::{Link, LinkSpec, beside};
use crate::scenario::{Edge, Place, Player, Scenario};
use crate::spec::{BackendSpec, EdgeSpec, PlayerSpec, ScenarioSpec};

const REFRESH_AFTER: Duration = Duration::from_secs(120);
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
                .map(|(name, fault)| self.fault(name, fault, &names, limit))
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
            let edge = self.edge(spec.get_ref(), &spec.span())?;
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

    fn edge(self, spec: &EdgeSpec, table: &Range<usize>) -> Result<Edge, ScenarioError> {
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
            return self.wrong(
                self.source.key(table, "distance_km"),
                format!("`{name}` is {} km away", spec.distance_km),
                "from 0 to 20100 km is on this planet",
            );
        }
        if !(-CLOCK_SKEW_S_MAX..=CLOCK_SKEW_S_MAX).contains(&spec.clock_skew_s) {
            return self.wrong(
                self.source.key(table, "clock_skew_s"),
                format!("the clock of `{name}` is {} s ahead", spec.clock_skew_s),
                format!(
                    "from {} to {CLOCK_SKEW_S_MAX} s would be right",
                    -CLOCK_SKEW_S_MAX
                ),
            );
        }
        if let Some(prefix) = spec.prefixes.iter().find(|prefix| !is_prefix(prefix)) {
            return self.wrong(
                self.source.key(table, "prefixes"),
                format!("`{prefix}` is no network"),
                "CIDR notation as in `10.0.0.0/8` would be right",
            );
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
        let (spec, table) = spec.map_or_else(
            || (LinkSpec::default(), 0..0),
            |spec| (spec.get_ref().clone(), spec.span()),
        );
        let made = Link::new(spec, beside(self.source.file));
        made.map_err(|(key, what)| {
            let key = self.source.key(&table, key);
            self.source.error(key, what, None)
        })
    }

    fn players(
        self,
        specs: &[Spanned<PlayerSpec>],
        (duration, limit): (Duration, Duration),
    ) -> Result<Vec<Player>, ScenarioError> {
        let alone = [Spanned::new(0..0, PlayerSpec::default())];
        let specs = if specs.is_empty() { &alone } else { specs };
        let mut players: Vec<Player> = Vec::new();
        for spanned in specs {
            let (table, spec) = (spanned.span(), spanned.get_ref());
            let name = spec.name.get_ref();
            if players.iter().any(|other| other.name == *name) {
                return self.wrong(
                    spec.name.span(),
                    format!("there are two players `{name}`"),
                    "give each a `name`",
                );
            }
            if !(1..=PLAYERS_MAX).contains(&spec.count) {
                return self.wrong(
                    self.source.key(&table, "count"),
                    format!("`{name}`: there are {} of it", spec.count),
                    "from 1 to 100000 would be right",
                );
            }
            if spec.race_width == 0 {
                return self.wrong(
                    self.source.key(&table, "race_width"),
                    format!("`{name}` begins with no edge"),
                    "`race_width` from 1 on; with 1 there is no race",
                );
            }
            if Duration::from(spec.start_at_s) >= duration {
                let ends_s = duration.as_secs_f64();
                return self.wrong(
                    self.source.key(&table, "start_at_s"),
                    format!("the title ends at {ends_s} s"),
                    format!("below {ends_s} would be right"),
                );
            }
            let starts = self.source.key(&table, "starts_s");
            self.check_time(starts, spec.starts_s.into(), limit)?;
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

/// Words that name no edge.
const RESERVED: [&str; 4] = ["all", "in_use", "backend", "last-mile"];

/// A year: further off no clock is that still runs.
const CLOCK_SKEW_S_MAX: f64 = 31_536_000.0;

/// Whether a text is an address and how many of its bits count; an address alone is a network of one.
fn is_prefix(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    let (Ok(address), Ok(length), true) =
        (address.parse::<IpAddr>(), length.parse::<u8>(), is_number)
    else {
        return false;
    };
    length <= if address.is_ipv4() { 32 } else { 128 }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a year of milliseconds is less"
)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}
