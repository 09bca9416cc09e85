//! Objects that nobody has, or that only edges have which rest.

use super::script::{
    Answer, Script, known, lacks, of_track, pictures, reads, success, v, with_track,
};
use crate::action::AttemptSpec;
use crate::input::{EdgeId, Failure, TransportEvent};
use crate::session::*;

const fn at(seconds: i64) -> MediaTime {
    MediaTime::from_micros(seconds * 1_000_000)
}

/// Edges of which the first lacks some objects.
fn first_lacks<const N: usize>(objects: [ObjectKey; N]) -> impl FnMut(&AttemptSpec) -> Answer {
    move |spec| {
        if spec.edge == EdgeId(0) && objects.contains(&spec.object) {
            Answer::Status(404)
        } else {
            Answer::Whole
        }
    }
}

/// Two rungs, of which the lower is locked, and subtitles, which are shown.
fn with_cues(answer: impl FnMut(&AttemptSpec) -> Answer + 'static) -> Script {
    let outline = pictures(&[known(40), known(40)]);
    let outline = with_track(outline, TrackKind::Text, "en", known(40));
    let config = Config {
        text_language: Some("en".into()),
        race_width: 1,
        ..Config::default()
    };
    let mut script = Script::new(2, config, answer, reads(outline));
    script.tell(Input::Command(Command::LockRung { rung: Some(0) }));
    // Nothing is probed.
    script.tell(Input::Command(Command::Background { hidden: true }));
    script
}

#[test]
fn what_an_edge_has_that_rests_for_a_moment_is_awaited() {
    for object in [
        ObjectKey::Media(v(0), 10),
        ObjectKey::Media(of_track(1, 0), 10),
    ] {
        let mut script = with_cues(first_lacks([object]));
        // It is asked for 30 s ahead.
        script.run(Duration::from_millis(9_400));
        assert_eq!(script.asked(object), []);
        script
            .session
            .edge_failed(EdgeId(1), Duration::ZERO, "net.reset");
        script.run(Duration::from_secs(5));
        assert_eq!(script.asked(object), [EdgeId(0), EdgeId(1)]);
        let rung = ObjectKey::Media(v(1), 10);
        assert_eq!(script.asked(rung), [], "nothing takes its place");
    }
}

#[test]
fn what_takes_the_place_of_a_locked_rung_is_not_called_locked() {
    let mut script = with_cues(lacks([ObjectKey::Media(v(0), 10)]));
    let before = script.events.len();
    script.run(Duration::from_secs(20));
    let rungs = script.events[before..].iter().filter_map(|event| {
        let Event::Decision(one) = event else {
            return None;
        };
        let is_picture = one.kind == DecisionKind::Rung && one.chosen.starts_with('v');
        is_picture.then(|| (&*one.chosen, one.why.contains("locked")))
    });
    let rungs: Vec<(&str, bool)> = rungs.collect();
    assert!(rungs.contains(&("v0", true)), "{rungs:?}");
    assert!(rungs.contains(&("v1", false)), "{rungs:?}");
    assert!(
        rungs
            .iter()
            .all(|(rung, locked)| *locked == (*rung == "v0")),
        "{rungs:?}"
    );
}

#[test]
fn what_nothing_can_take_the_place_of_is_awaited_from_the_dead() {
    let lacking = [ObjectKey::Media(v(0), 5), ObjectKey::Init(v(1))];
    let config = Config {
        start_at: at(20),
        race_width: 1,
        ..Config::default()
    };
    let outline = pictures(&[known(40), known(40)]);
    let manifest_only = |spec: &AttemptSpec| {
        if spec.object == ObjectKey::Manifest {
            Answer::Whole
        } else {
            Answer::Nothing
        }
    };
    let mut script = Script::new(2, config, manifest_only, reads(outline));
    let rest = Duration::from_secs(6);
    script.session.edge_failed(EdgeId(1), rest, "net.reset");
    script.serve(first_lacks(lacking));
    script.run(Duration::from_secs(10));
    assert_eq!(script.session.state, PlayState::Playing);
    let init = script.asked(ObjectKey::Init(v(1)));
    assert_eq!(init, [EdgeId(0), EdgeId(1)]);
}

#[test]
fn what_nobody_had_is_looked_for_again_when_an_edge_serves_again() {
    let piece = ObjectKey::Media(of_track(1, 0), 10);
    let mut script = with_cues(first_lacks([piece]));
    script.run(Duration::from_secs(9));
    let long = Duration::from_secs(20);
    script.session.edge_failed(EdgeId(1), long, "net.reset");
    script.run(Duration::from_secs(30));
    assert_eq!(script.asked(piece), [EdgeId(0)], "left out");
    script
        .session
        .edge_failed(EdgeId(0), Duration::ZERO, "net.reset");
    script.run(Duration::from_secs(10));
    script.tell(Input::Command(Command::Seek { to: at(38) }));
    script.run(Duration::from_secs(1));
    assert_eq!(script.asked(piece), [EdgeId(0), EdgeId(1)]);
}

#[test]
fn subtitles_that_cannot_be_read_are_not_stepped_through() {
    let init = ObjectKey::Init(of_track(1, 0));
    let mut script = with_cues(lacks([init]));
    script.run(Duration::from_secs(1));
    for track in [None, Some(0)] {
        script.tell(Input::Command(Command::SelectText { track }));
    }
    script.run(Duration::from_secs(1));
    let shown = script.session.snapshot(script.now).text_tracks;
    assert!(shown.iter().all(|track| !track.chosen), "{shown:?}");
    assert_eq!(script.asked(init).len(), 2, "each edge once");
}

#[test]
fn a_track_that_is_chosen_before_any_is_known_is_chosen_then() {
    let outline = pictures(&[known(40)]);
    let outline = with_track(outline, TrackKind::Text, "en", known(40));
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let mut script = Script::new(2, config, |_| Answer::Nothing, reads(outline));
    for track in [Some(0), None, Some(0)] {
        script.tell(Input::Command(Command::SelectText { track }));
    }
    script.serve(|_| Answer::Whole);
    script.run(Duration::from_secs(5));
    let shown = script.session.snapshot(script.now).text_tracks;
    assert_eq!(shown.iter().filter(|track| track.chosen).count(), 1);
    let piece = ObjectKey::Media(of_track(1, 0), 0);
    assert_eq!(script.asked(piece).len(), 1);
}

#[test]
fn who_told_first_what_an_object_is_answers_for_it_when_all_others_differ() {
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let manifest = ObjectKey::Manifest;
    let mut script = Script::new(3, config, |_| Answer::Nothing, |_| None);
    let first = script.take(manifest);
    script.say(&first, success(0, Some(40_000)));
    script.say(&first, TransportEvent::Failed(Failure::Reset));
    for _ in 0..2 {
        let other = script.take(manifest);
        script.say(&other, success(0, Some(50_000)));
    }
    let wrongs = &script.session.wrongs;
    let at_fault = [0, 1, 2].map(|edge| wrongs.is_convicted(manifest, EdgeId(edge)));
    assert_eq!(at_fault, [true, false, false]);
}

#[test]
fn what_is_said_of_a_part_that_was_taken_back_changes_nothing() {
    let object = ObjectKey::Media(v(0), 0);
    let outline = pictures(&[known(40)]);
    let silent = move |spec: &AttemptSpec| {
        if spec.object == object {
            Answer::Nothing
        } else {
            Answer::Whole
        }
    };
    let mut script = Script::new(1, Config::default(), silent, reads(outline));
    let spec = script.take(object);
    script.say(&spec, success(0, Some(40_000)));
    script.say(
        &spec,
        TransportEvent::Progress {
            from: 0,
            to: 20_000,
        },
    );
    let before = script.session.epoch;
    // Within the same segment, which is handed on anew.
    script.tell(Input::Command(Command::Seek { to: at(1) }));
    let now = script.session.epoch;
    assert!(before < now);
    for (epoch, level_s) in [(before, 0), (now, 2)] {
        let until = at(3);
        script.tell(Input::Playable {
            epoch,
            object,
            until,
        });
        let level = script.session.snapshot(script.now).video_level;
        assert_eq!(level, Duration::from_secs(level_s));
    }
    for (epoch, arrives) in [(before, true), (now, false)] {
        script.tell(Input::Undecodable {
            epoch,
            object,
            code: "media.malformed".into(),
        });
        let fetches = &script.session.fetches;
        let same = fetches.iter().any(|fetch| fetch.id == spec.fetch);
        assert_eq!(same, arrives);
    }
}
