//! Who plays.

use std::time::Duration;

use nearcast_units::{BitRate, MediaTime};
use toml::Spanned;

use super::Checker;
use crate::error::ScenarioError;
use crate::scenario::Player;
use crate::spec::PlayerSpec;

impl Checker<'_> {
    pub(super) fn players(
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
                let written = spec.name.span();
                return self.wrong(
                    if written.is_empty() { table } else { written },
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
}

/// More sessions than this in one world are a typing error.
const PLAYERS_MAX: u32 = 100_000;
