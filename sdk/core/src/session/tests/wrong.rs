//! Bytes that are wrong, and objects that nobody has.

use nearcast_protocol::manifest::SegmentIndex::Deferred;

use super::script::{Answer, Script, known, of_track, pictures, reads, v, with_track};
use crate::action::AttemptSpec;
use crate::session::*;

const fn at(seconds: i64) -> MediaTime {
    MediaTime::from_micros(seconds * 1_000_000)
}

#[test]
fn subtitles_that_were_left_take_none_with_them() {
    let outline = with_track(pictures(&[known(40)]), TrackKind::Text, "en", known(40));
    let outline = with_track(outline, TrackKind::Text, "sv", Deferred);
    let other = ObjectKey::Index(of_track(2, 0));
    let config = Config {
        text_language: Some("en".into()),
        ..Config::default()
    };
    let mut script = Script::new(1, config, silent_on(other), reads(outline));
    script.run(Duration::from_secs(1));
    for track in [1, 0] {
        let track = Some(track);
        script.tell(Input::Command(Command::SelectText { track }));
    }
    script.refuse(other, 404);
    script.run(Duration::from_secs(3));
    let shown = script.session.snapshot(script.now).text_tracks;
    assert!(shown.iter().any(|track| track.chosen), "{shown:?}");
}

#[test]
fn a_language_that_was_left_does_not_end_playback() {
    let outline = with_track(pictures(&[known(40)]), TrackKind::Audio, "en", known(40));
    let outline = with_track(outline, TrackKind::Audio, "sv", known(40));
    let other = ObjectKey::Init(of_track(2, 0));
    let mut script = Script::new(1, Config::default(), silent_on(other), reads(outline));
    script.run(Duration::from_secs(1));
    for track in [1, 0] {
        script.tell(Input::Command(Command::SelectAudio { track }));
    }
    script.refuse(other, 404);
    script.run(Duration::from_secs(200));
    assert_eq!(script.session.state, PlayState::Ended);
}

#[test]
fn rungs_that_turn_out_to_be_missing_one_after_the_other_end_playback_where_none_is_left() {
    let lacking = [ObjectKey::Media(v(0), 5), ObjectKey::Init(v(1))];
    let answer = move |spec: &AttemptSpec| {
        if spec.object == lacking[0] {
            Answer::Status(404)
        } else if spec.object == ObjectKey::Manifest {
            Answer::Whole
        } else {
            Answer::Nothing
        }
    };
    let config = Config {
        start_at: at(20),
        ..Config::default()
    };
    let outline = pictures(&[known(40), known(40)]);
    let mut script = Script::new(1, config, answer, reads(outline));
    // Instead of segment 5 of the first rung the second is asked for. Elsewhere the first can take its place.
    script.run(Duration::from_secs(1));
    script.tell(Input::Command(Command::Seek { to: at(0) }));
    script.refuse(ObjectKey::Init(v(1)), 404);
    script.run(Duration::from_millis(1_300));
    script.serve(lacks(lacking));
    script.run(Duration::from_secs(18));
    assert_eq!(script.session.state, PlayState::Playing);
    script.run(Duration::from_secs(5));
    assert_eq!(script.error(), Some("edge.not_found"));
}

/// Edges that have everything but these.
fn lacks<const N: usize>(objects: [ObjectKey; N]) -> impl FnMut(&AttemptSpec) -> Answer {
    move |spec| {
        if objects.contains(&spec.object) {
            Answer::Status(404)
        } else {
            Answer::Whole
        }
    }
}

/// Edges that say nothing to a request for an object.
fn silent_on(object: ObjectKey) -> impl FnMut(&AttemptSpec) -> Answer {
    move |spec| {
        if spec.object == object {
            Answer::Nothing
        } else {
            Answer::Whole
        }
    }
}
