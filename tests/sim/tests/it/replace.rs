//! Buffered segments that are fetched again at another rung.

use std::time::Duration;

use nearcast_appliance::fault::Fault;
use nearcast_core::{AbrRule, Command};
use nearcast_protocol::report::{DecisionReport, EdgeReport};
use nearcast_sim::{Outcome, Setup, SimTitle};
use nearcast_units::{BitRate, MediaTime, Seed};

use crate::{on, run};

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
    // Three segments are held then, the first of which is shown soon.
    let replaced: Vec<&str> = replaced.iter().map(|one| &*one.chosen).collect();
    assert!(replaced.len() >= 2, "{replaced:?}");
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
fn a_steady_line_replaces_hardly_anything_once_it_is_known() {
    let mut setup = line_that_gets_better();
    setup.faults.retain(|fault| fault.at.is_zero());
    let outcome = run(setup);
    let late: Vec<f64> = replacements(&outcome)
        .into_iter()
        .map(|one| one.at_s)
        .filter(|at_s| *at_s > 20.0)
        .collect();
    // Of some thirty segments.
    assert!(late.len() <= 4, "{late:?}");
}

#[test]
fn a_better_picture_that_an_edge_refuses_is_done_without() {
    let mut setup = line_that_gets_better();
    // What is buffered when the line gets better, and no more.
    for edge in 0..2 {
        for rung in ["v4", "v5", "v6"] {
            let refuses = Fault::Status {
                status: 500,
                retry_after_s: None,
            };
            let refuses = on(refuses, |on| {
                on.representation = Some(rung.to_owned());
                (on.segment_from, on.segment_to) = (Some(11), Some(12));
            });
            setup = setup.fault_on(40.0, edge, refuses);
        }
    }
    let outcome = run(setup);
    assert!(outcome.over, "{:?}", outcome.ended_at);
    let refused = outcome.report.fetches.iter().filter(|one| {
        let mut attempts = one.attempts.iter();
        attempts.any(|attempt| attempt.code.as_deref() == Some("edge.server_error"))
    });
    let attempts: Vec<usize> = refused.map(|one| one.attempts.len()).collect();
    assert!(!attempts.is_empty(), "nothing was tried");
    assert!(
        attempts.iter().all(|attempts| *attempts == 1),
        "{attempts:?}"
    );
    assert_eq!(outcome.report.failovers, vec![]);
    let rests = |edge: &&EdgeReport| edge.state != "closed";
    assert_eq!(outcome.report.edges.iter().find(rests), None);
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
        Command::NetworkChanged { network: None },
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
