//! What is handed on while it arrives.

use super::script::{Answer, Script, known, pictures, reads, success, v};
use crate::action::AttemptSpec;
use crate::input::TransportEvent;
use crate::session::*;

/// The third segment, which begins at 8 s and is the first that does not come at once.
const SLOW: ObjectKey = ObjectKey::Media(v(0), 2);
const BEGINS_US: i64 = 8_000_000;
const SEGMENT_US: i64 = 4_000_000;
const SEGMENT_BYTES: u64 = 40_000;
const STEPS: u32 = 40;

fn at_ms(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// A session that plays and asks for the slow segment when less than four seconds are left.
fn plays() -> Script {
    let config = Config {
        buffer_goal: Duration::from_secs(4),
        ..Config::default()
    };
    let answer = |spec: &AttemptSpec| {
        if spec.object == SLOW {
            Answer::Nothing
        } else {
            Answer::Whole
        }
    };
    let mut script = Script::new(1, config, answer, reads(pictures(&[known(40)])));
    script.run(Duration::from_millis(4_100));
    let slow = script.open.first().unwrap().clone();
    script.say(&slow, success(0, Some(SEGMENT_BYTES)));
    // The first one was, since playback began with it.
    script.parts.clear();
    script
}

/// Lets bytes of the slow segment come, evenly, until this time; sinks show what comes.
fn comes(script: &mut Script, until: Instant, from: u64, to: u64) {
    let slow = script.open.first().unwrap().clone();
    let began = script.now;
    for step in 0..STEPS {
        let share = |step| from + (to - from) * u64::from(step) / u64::from(STEPS);
        let (from, to) = (share(step), share(step + 1));
        let due = began + until.since(began) * (step + 1) / STEPS;
        script.run(due.since(script.now));
        script.say(&slow, TransportEvent::Progress { from, to });
        let shown_us = SEGMENT_US * i64::try_from(to).unwrap() / 40_000;
        script.tell(Input::Playable {
            epoch: script.session.epoch,
            object: SLOW,
            until: MediaTime::from_micros(BEGINS_US + shown_us),
        });
    }
}

#[test]
fn a_segment_that_comes_late_but_fast_enough_is_no_stall() {
    let mut script = plays();
    comes(&mut script, at_ms(7_600), 0, 18_000);
    assert_eq!(script.parts, [], "there is something else to be shown");
    comes(&mut script, at_ms(7_950), 18_000, 20_000);
    assert!(
        matches!(script.parts[..], [(_, SLOW)]),
        "{:?}",
        script.parts
    );
    comes(&mut script, at_ms(11_900), 20_000, SEGMENT_BYTES);
    let slow = script.take(SLOW);
    script.say(&slow, TransportEvent::Complete);
    script.run(Duration::from_secs(10));
    assert_eq!(script.session.state, PlayState::Playing);
    assert_eq!(script.session.report(script.now).stalls, []);
    let of_slow = script.parts.iter().filter(|(_, object)| *object == SLOW);
    assert_eq!(of_slow.count(), 1);
}

#[test]
fn what_is_there_is_shown_before_playback_waits_for_more() {
    let mut script = plays();
    comes(&mut script, at_ms(7_500), 0, 20_000);
    // Nothing more comes, and the session wakes by itself.
    script.run(at_ms(7_800).since(script.now));
    let (handed_on_at, object) = script.parts[0];
    assert_eq!(object, SLOW);
    assert!(handed_on_at >= at_ms(7_700) && handed_on_at <= at_ms(7_701));
    script.tell(Input::Playable {
        epoch: script.session.epoch,
        object: SLOW,
        until: MediaTime::from_micros(BEGINS_US + SEGMENT_US / 2),
    });
    script.run(at_ms(9_900).since(script.now));
    assert_eq!(script.session.state, PlayState::Playing);
    script.run(at_ms(10_100).since(script.now));
    assert!(matches!(script.session.state, PlayState::Stalled(_)));
}
