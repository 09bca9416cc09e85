//! Many worlds that chance broke: whatever happens, no invariant breaks, and playback recovers once the
//! faults are over.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultRule, FaultSelector};
use nearcast_core::{AbrRule, Command};
use nearcast_sim::{Setup, SimTitle, Simulation};
use nearcast_units::{MediaTime, Ratio, Rng, Seed};

const SEEDS: u64 = 100;
const STATUSES: [u16; 5] = [403, 429, 500, 503, 404];

/// Faults that end; a lone edge that says a file does not exist is believed, and so are most that give wrong bytes:
/// that is left to worlds with others.
fn fault(rng: &mut Rng, alone: bool, spoils: bool) -> FaultRule {
    let share = Ratio::new(rng.next_f64()).unwrap();
    let index = usize::try_from(rng.below(if alone { 4 } else { 5 })).unwrap();
    let mut cut = FaultSelector::EVERYTHING;
    let fault = match rng.below(10) {
        0 => Fault::Kill,
        1 => Fault::Stop,
        2 => Fault::Rate {
            rate_bps: Some(50_000 + rng.below(3_000_000)),
        },
        kind @ (3 | 4) => {
            cut.after = Some(share);
            if kind == 3 {
                Fault::Reset
            } else {
                Fault::Truncate
            }
        }
        5 => Fault::Status {
            status: STATUSES[index],
            retry_after_s: None,
        },
        6 => Fault::LateFirstByte {
            delay_ms: rng.below(9_000),
        },
        7 => Fault::Trickle {
            rate_bps: 8_000 + rng.below(300_000),
        },
        8 if spoils => Fault::Corrupt,
        _ => Fault::Delay {
            delay_ms: rng.below(900),
        },
    };
    FaultRule {
        id: None,
        fault,
        on: cut,
    }
}

fn world(seed: u64) -> Setup {
    let seed = Seed::new(seed);
    let mut rng = seed.split("faults").rng();
    let edges = u32::try_from(1 + rng.below(6)).unwrap();
    let mut setup = Setup::quiet(SimTitle::made(Duration::from_secs(100), seed), edges);
    setup.config.seed = seed;
    // Whoever chooses the rungs.
    let rule = seed.split("rule").rng().below(2);
    setup.config.abr = [AbrRule::Horizon, AbrRule::Dynamic][usize::try_from(rule).unwrap()];
    setup.digests = rng.below(2) == 0;
    for _ in 0..rng.below(8) {
        let edge = usize::try_from(rng.below(u64::from(edges))).unwrap();
        let at = 2.0 + 70.0 * rng.next_f64();
        let rule = fault(&mut rng, edges == 1, edge == 1 && edges > 2);
        setup = setup.fault_on(at, edge, rule);
    }
    // All faults are over at 90 s.
    for edge in 0..usize::try_from(edges).unwrap() {
        setup = setup.fault(90.0, edge, None);
    }
    for _ in 0..rng.below(3) {
        let at = 3.0 + 60.0 * rng.next_f64();
        let command = match rng.below(6) {
            0 => Command::Seek {
                to: MediaTime::from_micros(i64::try_from(rng.below(90_000_000)).unwrap()),
            },
            1 => Command::NetworkChanged { network: None },
            2 => Command::SelectAudio {
                track: u16::try_from(rng.below(2)).unwrap(),
            },
            3 => Command::SelectText {
                track: (rng.below(3) > 0).then_some(0),
            },
            4 => {
                setup = setup.command(at + 12.0 * rng.next_f64(), Command::Play);
                Command::Pause
            }
            _ => Command::CapRung { bitrate: None },
        };
        setup = setup.command(at, command);
    }
    setup.limit = Duration::from_secs(600);
    setup
}

#[test]
fn whatever_breaks_playback_comes_to_its_end() {
    for seed in 0..SEEDS {
        let outcome = Simulation::new(world(seed)).run();
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
        let last: Vec<_> = outcome.report.decisions.iter().rev().take(12).collect();
        assert!(
            outcome.over,
            "seed {seed}: at {} s {last:#?}",
            outcome.ended_at.as_secs_f64()
        );
        assert_eq!(outcome.report.error, None, "seed {seed}: {last:#?}");
        let bytes = &outcome.report.bytes;
        assert!(bytes.wasted < bytes.media, "seed {seed}: {bytes:?}");
    }
}
