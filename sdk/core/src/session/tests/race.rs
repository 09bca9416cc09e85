//! Races at start-up: who joins them, and who goes on.

use super::script::{Answer, Script, known, pictures, reads, success, v};
use crate::action::AttemptSpec;
use crate::input::{EdgeId, Protocol, TransportEvent};
use crate::session::*;

const MEDIA: ObjectKey = ObjectKey::Media(v(0), 0);

/// A session whose edges answer everything but this object, of which the test says what comes.
fn but(object: ObjectKey) -> Script {
    let title = reads(pictures(&[known(8)]));
    Script::new(6, Config::default(), all_but(object), title)
}

fn all_but(object: ObjectKey) -> impl FnMut(&AttemptSpec) -> Answer {
    move |spec| {
        if spec.object == object {
            Answer::Nothing
        } else {
            Answer::Whole
        }
    }
}

fn connected() -> TransportEvent {
    TransportEvent::Connected {
        cold: true,
        protocol: Protocol::H2,
        rtt: Some(Duration::ZERO),
    }
}

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

#[test]
fn edges_join_the_race_for_the_manifest_until_one_is_connected() {
    let mut script = but(ObjectKey::Manifest);
    assert_eq!(script.asked(ObjectKey::Manifest), [0, 1, 2].map(EdgeId));
    script.run(ms(14));
    assert_eq!(script.asked(ObjectKey::Manifest).len(), 3, "politely");
    script.run(ms(18));
    let joined = [0, 1, 2, 3, 4].map(EdgeId);
    assert_eq!(script.asked(ObjectKey::Manifest), joined);
    let first = script.open[0].clone();
    script.say(&first, connected());
    script.run(ms(100));
    assert_eq!(script.asked(ObjectKey::Manifest), joined);
}

#[test]
fn who_is_expected_to_bring_the_start_first_goes_on_alone() {
    // When the winner of the first race and a rival have brought how much, and who goes on.
    let cases = [
        // Enough for both, and nearly all that is needed from the other.
        ((60, 20_000), (50, 19_900), 1),
        ((50, 20_000), (45, 9_000), 0),
        ((40, 3_000), (50, 20_000), 1),
        // The line is slow, or all are: it is over after a while.
        ((0, 1_000), (75, 19_000), 1),
        ((75, 9_000), (0, 1_000), 0),
        // A first flight, and then nothing.
        ((5, 14_600), (90, 19_900), 1),
    ];
    for (first, rival, goes_on) in cases {
        let mut script = but(ObjectKey::Manifest);
        script.run(ms(5));
        script.serve(all_but(MEDIA));
        // Beside the winner those that were never asked, and by turns with them those that answered soonest.
        assert_eq!(script.asked(MEDIA), [0, 3, 1, 4].map(EdgeId));
        let specs = script.open.clone();
        for spec in &specs {
            script.say(spec, connected());
        }
        let mut told = [(first, 0), (rival, 1)];
        told.sort_unstable();
        let began = script.now;
        for ((at, bytes), nth) in told {
            script.run((began + ms(at)).since(script.now));
            script.say(&specs[nth], success(0, Some(150_000)));
            script.say(&specs[nth], TransportEvent::Progress { from: 0, to: bytes });
        }
        let left: Vec<EdgeId> = script.open.iter().map(|spec| spec.edge).collect();
        assert_eq!(left, [specs[goes_on].edge], "{first:?} {rival:?}");
        assert_eq!(script.session.edges.current(), Some(specs[goes_on].edge));
    }
}
