//! The same decisions everywhere: in debug and release builds, on every machine.

use std::fmt::Write as _;
use std::time::Duration;

use nearcast_appliance::fault::Fault;
use nearcast_core::AbrRule;
use nearcast_sim::{Setup, SimTitle};
use nearcast_units::{BitRate, Seed};

use crate::run;

/// What the decisions of these worlds were when they were last looked at, a line for each.
const KNOWN: &str = include_str!("golden.txt");

/// A line that swings, edges that fail.
fn world(seed: u64) -> Setup {
    let seed = Seed::new(seed);
    let mut rng = seed.split("golden").rng();
    let title = SimTitle::made(Duration::from_secs(60), seed);
    let mut setup = Setup::quiet(title, 3);
    setup.config.seed = seed;
    for edge in &mut setup.edges {
        edge.link.rate = Some(BitRate::from_kbps(1_500 + rng.below(6_000)));
    }
    for step in 1..12_u32 {
        let fault = match rng.below(8) {
            0 => Some(Fault::Stop),
            1 => Some(Fault::Kill),
            2 => None,
            _ => Some(Fault::Rate {
                rate_bps: Some(300_000 + rng.below(8_000_000)),
            }),
        };
        let edge = usize::try_from(rng.below(3)).unwrap();
        setup = setup.fault(f64::from(step) * 5.0, edge, fault);
    }
    setup
}

/// FNV-1a (Fowler, Noll, Vo): enough to tell one log from another.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[test]
fn decisions_are_those_that_are_known() {
    let mut found = String::new();
    for rule in AbrRule::ALL {
        let name = rule.policy().name();
        for seed in 1..=3 {
            let mut setup = world(seed);
            setup.config.abr = rule;
            let outcome = run(setup);
            let decisions = outcome.report.decisions.len();
            let digest = digest(&outcome.text());
            writeln!(found, "{name} {seed}: {decisions} {digest:016x}").unwrap();
        }
    }
    assert_eq!(
        found, KNOWN,
        "decisions changed: if they were meant to, these lines belong in golden.txt:\n{found}"
    );
}
