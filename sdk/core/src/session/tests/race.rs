//! Races at start-up: who joins them, who leaves them, and who goes on.

use nearcast_protocol::manifest::Outline;

use super::script::{Answer, Script, known, pictures, reads, success, v, with_track};
use crate::action::AttemptSpec;
use crate::input::{EdgeId, Failure, Protocol, TransportEvent};
use crate::session::*;

/// 150 kB, of which 56,250 bytes are needed before playback begins.
const MEDIA: ObjectKey = ObjectKey::Media(v(0), 0);
const SEGMENT: u64 = 150_000;
const MANIFEST: u64 = 9_000;

/// A session over edges of which the test says what comes.
fn starting(title: Outline) -> Script {
    let nothing = |_: &AttemptSpec| Answer::Nothing;
    Script::new(6, Config::default(), nothing, reads(title))
}

fn picture() -> Outline {
    pictures(&[known(8)])
}

fn connected(rtt: u64) -> TransportEvent {
    TransportEvent::Connected {
        cold: true,
        protocol: Protocol::H2,
        rtt: Some(ms(rtt)),
    }
}

fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// The first so many bytes of an object are here.
fn bring(script: &mut Script, spec: &AttemptSpec, (from, to): (u64, u64), total: u64) {
    if from == 0 {
        script.say(spec, success(0, Some(total)));
    }
    script.say(spec, TransportEvent::Progress { from, to });
}

/// All edges connect, where they do, with this round trip, and the first brings the manifest in so long.
fn race_for_manifest(title: Outline, round_trips: [Option<u64>; 6], takes: u64) -> Script {
    let mut script = starting(title);
    script.run(ms(15));
    let specs = script.open.clone();
    assert_eq!(specs.len(), 6);
    for (spec, round_trip) in specs.iter().zip(round_trips) {
        if let Some(round_trip) = round_trip {
            script.say(spec, connected(round_trip));
        }
    }
    script.run(ms(round_trips[0].unwrap() + takes));
    script.open.clear();
    bring(&mut script, &specs[0], (0, MANIFEST), MANIFEST);
    script.say(&specs[0], TransportEvent::Complete);
    script
}

fn live(script: &Script) -> Vec<EdgeId> {
    let media = script.open.iter().filter(|spec| spec.object == MEDIA);
    media.map(|spec| spec.edge).collect()
}

#[test]
fn edges_join_the_race_for_the_manifest_until_one_is_connected() {
    let mut script = starting(picture());
    assert_eq!(script.asked(ObjectKey::Manifest), [0, 1, 2].map(EdgeId));
    script.run(ms(4));
    assert_eq!(script.asked(ObjectKey::Manifest).len(), 3, "politely");
    script.run(ms(7));
    let joined = [0, 1, 2, 3, 4].map(EdgeId);
    assert_eq!(script.asked(ObjectKey::Manifest), joined);
    let first = script.open[0].clone();
    script.say(&first, connected(50));
    script.run(ms(100));
    assert_eq!(script.asked(ObjectKey::Manifest), joined);
}

#[test]
fn an_edge_that_connects_too_late_to_bring_the_manifest_first_is_not_asked() {
    // The round trip of the one that connects, and whether it stays.
    for (round_trip, stays) in [(2, true), (40, false)] {
        let mut script = starting(picture());
        script.run(ms(15));
        let specs = script.open.clone();
        script.say(&specs[0], connected(10));
        script.run(ms(20));
        // 4 Mbit/s: the rest of it takes 8 ms more.
        bring(&mut script, &specs[0], (0, 5_000), MANIFEST);
        assert_eq!(script.open.len(), 6, "who connects costs nothing");
        script.say(&specs[1], connected(round_trip));
        assert_eq!(script.open.contains(&specs[1]), stays, "{round_trip}");
        assert_eq!(script.open.len(), 5 + usize::from(stays));
    }
}

#[test]
fn an_edge_that_delivers_sooner_than_its_connection_let_expect_is_judged_by_that() {
    let mut script = starting(picture());
    script.run(ms(15));
    let specs = script.open.clone();
    // A packet of the handshake was lost: that took long, and says nothing about what comes.
    script.say(&specs[0], connected(400));
    script.say(&specs[1], connected(5));
    script.run(ms(30));
    bring(&mut script, &specs[0], (0, 8_500), MANIFEST);
    bring(&mut script, &specs[1], (0, 4_000), MANIFEST);
    assert!(script.open.contains(&specs[0]));
    assert!(!script.open.contains(&specs[1]));
}

#[test]
fn those_that_promise_the_start_sooner_than_the_edge_in_use_race_with_it() {
    let round_trips = [20, 40, 25, 30].map(Some);
    let near = |last| {
        let [first, second, third, fourth] = round_trips;
        [first, second, third, fourth, None, last]
    };
    let mut sound = with_track(picture(), TrackKind::Audio, "en", known(8));
    sound.periods[0].tracks[1].representations[0].bitrate = BitRate::from_kbps(300);
    let cases = [
        // It is slow: those that are nearest.
        (picture(), near(Some(35)), 60, &[0, 2, 3, 5][..]),
        (picture(), near(None), 60, &[0, 2, 3, 1][..]),
        // It is fast enough: only who is clearly nearer.
        (picture(), near(Some(35)), 4, &[0][..]),
        (picture(), near(Some(10)), 4, &[0, 5][..]),
        // It is fast enough for the picture, but brings the sound as well.
        (
            picture(),
            [Some(20), Some(60), None, None, None, None],
            18,
            &[0],
        ),
        (
            sound,
            [Some(20), Some(60), None, None, None, None],
            18,
            &[0, 1],
        ),
    ];
    for (title, round_trips, takes, asked) in cases {
        let script = race_for_manifest(title, round_trips, takes);
        let asked: Vec<EdgeId> = asked.iter().copied().map(EdgeId).collect();
        assert_eq!(script.asked(MEDIA), asked, "{round_trips:?} {takes}");
    }
}

#[test]
fn who_fails_while_it_races_brings_that_and_is_not_in_use_by_it() {
    for fails in [false, true] {
        let mut script = race_for_manifest(picture(), [Some(20); 6], 60);
        let asked = script.open.clone();
        let of = |object| asked.iter().filter(move |spec| spec.object == object);
        if fails {
            let init = of(ObjectKey::Init(v(0))).next().unwrap();
            assert_eq!(init.edge, EdgeId(0));
            script.say(init, TransportEvent::Failed(Failure::Reset));
        }
        script.run(ms(25));
        for spec in of(MEDIA) {
            let brings = if spec.edge == EdgeId(0) { 12_000 } else { 100 };
            bring(&mut script, spec, (0, brings), SEGMENT);
        }
        script.run(ms(10));
        assert_eq!(live(&script), [EdgeId(0)]);
        let in_use = script.session.edges.current();
        assert_eq!(in_use == Some(EdgeId(0)), !fails, "{in_use:?}");
    }
}

#[test]
fn whoever_cannot_be_first_any_more_leaves_the_race() {
    // When who has brought how much, from the time on at which an answer is due, and who is left then.
    type Step = (u64, usize, u64, &'static [u16]);
    // With how many of the four are connected.
    let cases: [(usize, &[Step]); 7] = [
        (
            4,
            &[
                // 4 Mbit/s: all others may be better.
                (10, 0, 5_000, &[0, 1, 2, 3]),
                // 9 Mbit/s: the others had to be better than hoped for a moment later.
                (11, 1, 12_000, &[1, 2, 3]),
                (15, 1, 14_600, &[1]),
            ],
        ),
        // Who is still connecting may be first only where others are slow.
        (
            3,
            &[(10, 0, 5_000, &[0, 1, 2, 3]), (11, 1, 12_000, &[1, 2])],
        ),
        // Nothing is known by so little, until more should have come.
        (
            4,
            &[(1, 0, 500, &[0, 1, 2, 3]), (9, 1, 3_900, &[0, 1, 2, 3])],
        ),
        (
            4,
            &[(12, 0, 500, &[0, 1, 2, 3]), (13, 1, 3_900, &[1, 2, 3])],
        ),
        // As fast as can be hoped for.
        (4, &[(5, 2, 14_600, &[2])]),
        // The line is slow, or all are: the one that is ahead goes on as soon as all have shown it.
        (
            4,
            &[
                (20, 0, 3_000, &[0, 1, 2, 3]),
                (21, 1, 2_900, &[0, 2, 3]),
                (22, 2, 2_900, &[0, 3]),
                (23, 3, 2_900, &[0]),
            ],
        ),
        // A first flight, and then nothing.
        (4, &[(5, 0, 8_000, &[0, 1, 2, 3]), (130, 1, 56_000, &[1])]),
    ];
    for (connect, steps) in cases {
        let mut script = race_for_manifest(picture(), [Some(20); 6], 60);
        assert_eq!(live(&script), [0, 1, 2, 3].map(EdgeId));
        let mut specs = script.open.clone();
        specs.retain(|spec| spec.object == MEDIA);
        for spec in &specs[..connect] {
            script.say(spec, connected(20));
        }
        let due = script.now + ms(20);
        let mut brought = [0; 4];
        for (at, nth, to, left) in steps {
            script.run((due + ms(*at)).since(script.now));
            let from = core::mem::replace(&mut brought[*nth], *to);
            bring(&mut script, &specs[*nth], (from, *to), SEGMENT);
            let left: Vec<EdgeId> = left.iter().copied().map(EdgeId).collect();
            assert_eq!(live(&script), left, "{steps:?} at {at} ms");
            if let [winner] = left[..] {
                assert_eq!(script.session.edges.current(), Some(winner));
            }
        }
    }
}
