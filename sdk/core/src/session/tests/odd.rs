//! Titles, sinks and settings that are odd: playback goes on all the same.

use nearcast_protocol::manifest::{Segment, SegmentIndex};

use super::script::{Answer, Script, known, lacks, pictures, reads, v, with_track};
use crate::session::*;
use crate::timeline::tests::segments;

fn at(seconds: i64) -> MediaTime {
    MediaTime::from_micros(seconds * 1_000_000)
}

/// Segments from one time to another, in seconds.
fn cut(spans: &[(i64, i64)]) -> SegmentIndex {
    let segment = |&(start, end): &(i64, i64)| Segment {
        start: at(start),
        duration: at(end).since(at(start)),
        size: None,
    };
    SegmentIndex::Known(spans.iter().map(segment).collect())
}

/// A session over one edge that has everything.
fn plays(config: Config, rungs: &[SegmentIndex]) -> Script {
    Script::new(1, config, |_| Answer::Whole, reads(pictures(rungs)))
}

fn with_goal(buffer_goal: Duration) -> Config {
    Config {
        buffer_goal,
        ..Config::default()
    }
}

fn position(script: &Script) -> MediaTime {
    script.session.snapshot(script.now).position
}

#[test]
fn a_goal_below_what_playback_begins_with_does_not_keep_it_from_beginning() {
    for goal in [Duration::from_millis(1), Duration::MAX] {
        let mut script = plays(with_goal(goal), &[known(40)]);
        let to = MediaTime::from_micros(10_700_000);
        script.tell(Input::Command(Command::Seek { to }));
        script.run(Duration::from_secs(4));
        assert_eq!(script.session.state, PlayState::Playing, "{goal:?}");
        assert!(position(&script) >= at(14), "{goal:?}");
    }
}

#[test]
fn what_is_left_before_a_hole_in_the_title_is_shown() {
    let spans = [(0, 4), (4, 5), (60, 64), (64, 68)];
    let mut script = plays(Config::default(), &[cut(&spans)]);
    let to = MediaTime::from_micros(4_200_000);
    script.tell(Input::Command(Command::Seek { to }));
    script.run(Duration::from_secs(3));
    assert_eq!(script.session.state, PlayState::Playing);
    assert!(position(&script) > at(60), "{:?}", position(&script));
}

#[test]
fn a_segment_that_lies_within_another_does_not_end_what_can_be_shown() {
    let wide = cut(&[(0, 12), (12, 24)]);
    let config = with_goal(Duration::from_secs(3));
    let parse = reads(pictures(&[wide, known(40)]));
    let mut script = Script::new(1, config, |_| Answer::Nothing, parse);
    script.tell(Input::Command(Command::LockRung { rung: Some(1) }));
    script.serve(|_| Answer::Whole);
    script.run(Duration::from_secs(2));
    // The first of the higher rung is broken, and nobody has another: one of the lower rung takes its place, and is longer.
    let first = ObjectKey::Media(v(1), 0);
    script.serve(lacks([first]));
    script.tell(Input::Undecodable {
        epoch: script.session.epoch,
        object: first,
        code: "media.malformed".into(),
    });
    script.run(Duration::from_secs(12));
    assert!(script.asked(ObjectKey::Media(v(0), 0)).len() == 1);
    assert!(position(&script) > at(9), "{:?}", position(&script));
}

#[test]
fn a_sink_cannot_go_back_before_what_it_was_given() {
    let mut script = plays(Config::default(), &[known(40)]);
    script.tell(Input::Command(Command::Seek { to: at(150) }));
    script.run(Duration::from_secs(1));
    script.tell(Input::Anchor {
        epoch: script.session.epoch,
        position: at(8),
    });
    assert_eq!(position(&script), at(148));
}

#[test]
fn an_index_that_was_not_asked_for_changes_nothing() {
    let mut script = plays(Config::default(), &[known(40)]);
    script.tell(Input::IndexParsed {
        key: v(0),
        segments: segments(1, Duration::from_secs(1)),
        init: true,
    });
    script.run(Duration::from_secs(20));
    let handed: Vec<_> = script.handed.iter().map(|(_, object)| *object).collect();
    assert!(handed.contains(&ObjectKey::Media(v(0), 11)), "{handed:?}");
}

#[test]
fn a_manifest_that_nobody_asked_for_is_not_taken() {
    let mut session = Session::new(Config::default());
    let outline = pictures(&[known(40)]);
    session.handle(Instant::ZERO, Input::ManifestParsed(outline));
    session.handle(Instant::ZERO, Input::Command(Command::Seek { to: at(8) }));
    assert_eq!(session.state, PlayState::Idle);
    session.check_invariants().unwrap();
}

#[test]
fn a_period_without_anything_to_fetch_is_passed_at_once() {
    let empty = with_track(pictures(&[]), TrackKind::Audio, "en", cut(&[]));
    let shown = pictures(&[cut(&[(1, 5), (5, 9)])]);
    let mut outline = empty;
    outline.periods[0].tracks.remove(0);
    for start in [1, 9] {
        let mut period = shown.periods[0].clone();
        period.start = at(start);
        outline.periods.push(period);
    }
    let mut script = Script::new(1, Config::default(), |_| Answer::Whole, reads(outline));
    script.run(Duration::from_secs(3));
    assert_eq!(script.session.state, PlayState::Playing);
}

#[test]
fn a_hole_too_short_to_count_is_filled_where_memory_is_full() {
    let config = Config {
        memory_cap: ByteCount::ZERO,
        ..Config::default()
    };
    let mut script = plays(config, &[known(40)]);
    let to = MediaTime::from_micros(3_900_000);
    script.tell(Input::Command(Command::Seek { to }));
    script.tell(Input::Undecodable {
        epoch: script.session.epoch,
        object: ObjectKey::Media(v(0), 0),
        code: "media.malformed".into(),
    });
    script.run(Duration::from_secs(4));
    assert!(position(&script) > at(5), "{:?}", position(&script));
}
