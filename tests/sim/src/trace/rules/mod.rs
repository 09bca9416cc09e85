//! The published rules, with what their simulators do to them: results equal those published, quirks included.
//! The product's own policies are free of these quirks and live in `nearcast-core`.

mod bb;
mod bola;
mod bola_e;
mod dynamic;
mod estimate;
mod fixed;
mod product;
mod rmpc;
mod sabre;
mod throughput;

use nearcast_core::AbrRule;
use nearcast_core::abr::{Horizon, HorizonConfig};

pub use product::Product;

use super::{Profile, Rule, Setup};

/// Makes a rule for one session.
pub type Make = fn(&Setup<'_>) -> Box<dyn Rule>;

/// Returns what makes the rule of this name in this profile.
#[must_use]
pub fn named(profile: Profile, name: &str) -> Option<Make> {
    let mut rules = RULES.iter();
    let found = rules.find(|rule| rule.name == name && rule.profiles.contains(&profile));
    found.map(|rule| rule.make)
}

/// Returns the names of all rules that a profile knows, in the order of tables.
#[must_use]
pub fn names(profile: Profile) -> Vec<&'static str> {
    let known = RULES.iter().filter(|rule| rule.profiles.contains(&profile));
    known.map(|rule| rule.name).collect()
}

/// Makes the rule `horizon` with numbers of one's own.
#[must_use]
pub fn horizon(setup: &Setup<'_>, config: HorizonConfig) -> Box<dyn Rule> {
    Box::new(Product::new(setup, Box::new(Horizon::new(config))))
}

struct Named {
    name: &'static str,
    profiles: &'static [Profile],
    make: Make,
}

const SABRE: &[Profile] = &[Profile::Sabre];
const BOTH: &[Profile] = &[Profile::Sabre, Profile::Pensieve];

/// Those that give up transfers or replace segments have nothing to do in a profile that knows neither; they are left
/// out of it where they would be another rule's double.
const RULES: &[Named] = &[
    Named {
        name: "throughput",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, throughput::Throughput::new()),
    },
    Named {
        name: "bola-basic",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, bola::Bola::basic(setup)),
    },
    Named {
        name: "bola",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, bola::Bola::finite(setup)),
    },
    Named {
        name: "bola-u-basic",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, bola::Bola::basic_utility(setup)),
    },
    Named {
        name: "bola-e",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, bola_e::BolaE::new(setup)),
    },
    Named {
        name: "bola-e-fs",
        profiles: SABRE,
        make: |setup| sabre::rule(setup, true, bola_e::BolaE::new(setup)),
    },
    Named {
        name: "dynamic",
        profiles: BOTH,
        make: |setup| sabre::rule(setup, false, dynamic::Dynamic::new(setup)),
    },
    Named {
        name: "dynamic-fs",
        profiles: SABRE,
        make: |setup| sabre::rule(setup, true, dynamic::Dynamic::new(setup)),
    },
    Named {
        name: "bb",
        profiles: BOTH,
        make: |_| Box::new(bb::Bb),
    },
    Named {
        name: "rmpc",
        profiles: BOTH,
        make: |_| Box::new(rmpc::Rmpc::default()),
    },
    Named {
        name: "horizon",
        profiles: BOTH,
        make: |setup| Box::new(product::Product::new(setup, AbrRule::Horizon.policy())),
    },
    Named {
        name: "lowest",
        profiles: BOTH,
        make: |_| Box::new(fixed::Lowest),
    },
];
