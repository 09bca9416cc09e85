//! What happens when, for one seed: the same for whoever runs it.

use std::time::Duration;

use nearcast_appliance::fault::{FaultOrder, FaultRule};
use nearcast_units::{Rng, Seed};

use crate::scenario::{Doing, Place, Scenario};

/// Something that is to happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// When: since the run began for orders, since the player did for what viewers do.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// Somebody is told what goes wrong.
    Order(Place, FaultOrder),
    /// A viewer does something; `None` is all of them.
    Viewer(Option<usize>, Doing),
}

/// A session of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Which of the scenario's players, by its index.
    pub player: usize,
    /// What the session is called: the player's name, with a number where there are many of it.
    pub name: String,
    /// When it begins, since the run did.
    pub arrives: Duration,
    /// What its own dice fall by.
    pub seed: Seed,
}

impl Scenario {
    /// Returns the sessions of a run, player by player.
    #[must_use]
    pub fn viewers(&self, seed: u64) -> Vec<Viewer> {
        let all = self.players.iter().enumerate().flat_map(|(index, player)| {
            let chance = Seed::new(seed).split(&player.name);
            (0..player.count).map(move |number| {
                let mut rng = chance.split_index(u64::from(number)).rng();
                Viewer {
                    player: index,
                    name: player.session(number),
                    seed: Seed::new(rng.next_u64()),
                    arrives: player.starts + player.spread.mul_f64(rng.next_f64()),
                }
            })
        });
        all.collect()
    }

    /// Returns what a player's viewer does, each since that session began.
    pub fn doings(&self, seed: u64, player: usize) -> impl Iterator<Item = (Duration, Doing)> {
        let schedule = self.schedule(seed).into_iter();
        schedule.filter_map(move |one| match one.what {
            Happening::Viewer(whose, doing) if whose.is_none_or(|whose| whose == player) => {
                Some((one.at, doing))
            }
            Happening::Viewer(..) | Happening::Order(..) => None,
        })
    }

    /// Returns who is told what goes wrong, each since the run began.
    pub fn orders(&self, seed: u64) -> impl Iterator<Item = (Duration, Place, FaultOrder)> {
        let schedule = self.schedule(seed).into_iter();
        schedule.filter_map(|one| match one.what {
            Happening::Order(place, order) => Some((one.at, place, order)),
            Happening::Viewer(..) => None,
        })
    }

    /// Returns what happens, in order. What is to happen within a span is drawn by the seed, each by itself: what is left out
    /// does not move the others.
    #[must_use]
    pub fn schedule(&self, seed: u64) -> Vec<Scheduled> {
        let chance = Seed::new(seed).split("schedule");
        let mut all = Vec::new();
        for (index, fault) in (0..).zip(&self.faults) {
            let mut rng = chance.split(&fault.id).split_index(index).rng();
            let first = drawn(fault.at, fault.within, &mut rng);
            let begins = std::iter::successors(Some(first), |at| Some(*at + fault.every?));
            for at in begins.take_while(|at| *at <= self.limit).take(REPEATS_MAX) {
                let rule = FaultRule {
                    id: Some(fault.id.clone()),
                    fault: fault.fault.clone(),
                    on: fault.on.clone(),
                };
                all.push(Scheduled {
                    at,
                    what: Happening::Order(fault.place, FaultOrder::add([rule])),
                });
                if let Some(lasts) = fault.lasts {
                    let over = FaultOrder {
                        remove: vec![fault.id.clone()],
                        ..FaultOrder::default()
                    };
                    all.push(Scheduled {
                        at: at + lasts,
                        what: Happening::Order(fault.place, over),
                    });
                }
            }
        }
        for (index, action) in (0..).zip(&self.actions) {
            let mut rng = chance.split("viewer").split_index(index).rng();
            all.push(Scheduled {
                at: drawn(action.at, action.within, &mut rng),
                what: Happening::Viewer(action.player, action.doing),
            });
        }
        all.sort_by_key(|scheduled| scheduled.at);
        all
    }
}

/// More often than this nothing is repeated: an hour of seconds.
const REPEATS_MAX: usize = 3_600;

fn drawn(at: Duration, within: Duration, rng: &mut Rng) -> Duration {
    at + within.mul_f64(rng.next_f64())
}
