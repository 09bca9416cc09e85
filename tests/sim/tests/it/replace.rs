//! Buffered segments that are fetched again at another rung.

use std::time::Duration;

use nearcast_core::{AbrRule, Command};
use nearcast_protocol::fault::Fault;
use nearcast_protocol::report::DecisionReport;
use nearcast_sim::{Outcome, Setup, SimTitle};
use nearcast_units::{BitRate, MediaTime, Seed};

use crate::run;

const MBPS: u64 = 1_000_000;

/// A line that carries a low rung until 40 s and any afterwards.
fn line_that_gets_better() -> Setup {
    let title = SimTitle::made(Duration::from_secs(120), Seed::new(7));
    let mut setup = Setup::quiet(title, 2);
    setup.config.abr = AbrRule::Horizon;
    setup.last_mile.rate = Some(BitRate::from_bps(40 * MBPS));
    let rate = |rate_bps| Some(Fault::Rate { rate_bps });
    for edge in 0..2 {
        setup =
            setup
                .fault(0.0, edge, rate(Some(1_400_000)))
                .fault(40.0, edge, rate(Some(40 * MBPS)));
    }
    setup
}

fn replacements(outcome: &Outcome) -> Vec<&DecisionReport> {
    let all = outcome.report.decisions.iter();
    all.filter(|one| one.kind == "replace").collect()
}

#[test]
fn what_is_buffered_gets_better_when_the_line_does() {
    let outcome = run(line_that_gets_better());
    assert!(outcome.over);
    let replaced = replacements(&outcome);
    assert!(replaced.len() >= 3, "{:?}", outcome.report.decisions);
    // What came first was shown by nobody.
    let bytes = &outcome.report.bytes;
    assert!(bytes.wasted > 0, "{bytes:?}");
    assert_eq!(outcome.report.stalls, vec![]);

    let mut without = line_that_gets_better();
    without.config.abr = AbrRule::Dynamic;
    let without = run(without);
    assert_eq!(replacements(&without).len(), 0);
}

#[test]
fn a_steady_line_replaces_nothing_once_it_is_known() {
    let mut setup = line_that_gets_better();
    setup.faults.retain(|fault| fault.at.is_zero());
    let outcome = run(setup);
    let late: Vec<f64> = replacements(&outcome)
        .into_iter()
        .map(|one| one.at_s)
        .filter(|at_s| *at_s > 20.0)
        .collect();
    assert_eq!(late, Vec::<f64>::new());
}

#[test]
fn the_viewer_may_leave_while_something_is_replaced_and_edges_may_die() {
    let commands = [
        Command::Seek {
            to: MediaTime::from_micros(90_000_000),
        },
        Command::Seek {
            to: MediaTime::ZERO,
        },
        Command::SelectAudio { track: 1 },
        Command::Pause,
        Command::NetworkChanged,
        Command::LockRung { rung: Some(1) },
    ];
    let mut begun = 0;
    for command in commands {
        for tenths in (0..30).step_by(4) {
            let at = 40.0 + f64::from(tenths) / 10.0;
            let mut setup = line_that_gets_better().command(at, command.clone());
            if matches!(command, Command::Pause) {
                setup = setup.command(at + 20.0, Command::Play);
            }
            let outcome = run(setup.fault(at + 0.05, 0, Some(Fault::Kill)));
            assert!(outcome.over, "{command:?} at {at}");
            assert_eq!(outcome.report.error, None, "{command:?} at {at}");
            begun += replacements(&outcome).len();
        }
    }
    assert!(begun >= 48, "{begun} in all");
}
