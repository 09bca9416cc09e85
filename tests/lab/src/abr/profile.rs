//! Whose semantics sessions have, and which rules are known there.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use nearcast_core::AbrRule;
use nearcast_core::abr::HorizonConfig;
use nearcast_sim::player;
use nearcast_sim::trace::{self, Played, Profile, Setup, rules};
use nearcast_units::BitRate;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// Latency is part of the network's time; transfers can be given up and segments replaced
    Sabre,
    /// A fixed round trip; the first segment has the second rung and does not count
    Pensieve,
    /// The whole session of the player, with connections, slow start and sound; figures of the picture, as in sabre
    Player,
}

/// Rules that the player knows, by the names that they have in tables.
fn product() -> impl Iterator<Item = (&'static str, AbrRule)> {
    let named = |rule: AbrRule| (rule.policy().name(), rule);
    AbrRule::ALL.into_iter().map(named)
}

impl ProfileName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sabre => "sabre",
            Self::Pensieve => "pensieve",
            Self::Player => "player",
        }
    }

    /// What the buffer may hold where nothing else is asked for.
    pub(crate) const fn buffer_s(self) -> f64 {
        match self {
            Self::Sabre | Self::Player => 25.0,
            Self::Pensieve => 60.0,
        }
    }

    /// Returns the names of all rules known, in the order of tables.
    pub(crate) fn rules(self) -> Vec<&'static str> {
        match self {
            Self::Sabre | Self::Pensieve => rules::names(self.reference()),
            Self::Player => product().map(|(name, _)| name).collect(),
        }
    }

    /// Returns the profile of the reference simulators, where the player's the one whose figures it tells.
    pub(crate) const fn reference(self) -> Profile {
        match self {
            Self::Sabre | Self::Player => Profile::Sabre,
            Self::Pensieve => Profile::Pensieve,
        }
    }

    /// Plays one session; `horizon` are other numbers for the rule of that name, `sound` is what only the player has.
    pub(crate) fn play(
        self,
        setup: &Setup<'_>,
        rule: &str,
        horizon: Option<HorizonConfig>,
        sound: Option<BitRate>,
    ) -> Result<Played> {
        const ABSENT: &str = "a rule that is not there";
        match self {
            Self::Sabre | Self::Pensieve => {
                let mut rule = match horizon {
                    Some(config) if rule == "horizon" => rules::horizon(setup, config),
                    _ => rules::named(setup.profile, rule).context(ABSENT)?(setup),
                };
                Ok(trace::run(setup, rule.as_mut())?)
            }
            Self::Player => {
                ensure!(
                    horizon.is_none(),
                    "profile player plays with the product's own numbers: leave --horizon out"
                );
                let known = product().find(|(name, _)| *name == rule);
                let (_, rule) = known.context(ABSENT)?;
                Ok(player::play(setup, sound, rule)?)
            }
        }
    }
}
