//! Bytes that are wrong, and objects that nobody has.

use alloc::rc::Rc;
use core::cell::Cell;

use nearcast_protocol::manifest::SegmentIndex::Deferred;

use super::script::{
    Answer, Script, known, lacks, of_track, pictures, reads, success, v, with_track,
};
use super::{answered, grant};
use crate::action::AttemptSpec;
use crate::edge::BreakerState;
use crate::input::{EdgeId, Failure, Grant, TransportEvent};
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
    assert!(!script.session.report(script.now).ended);
    script.run(Duration::from_secs(200));
    assert_eq!(script.session.state, PlayState::Ended);
    assert!(script.session.report(script.now).ended);
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

fn unreadable(object: ObjectKey) -> Input {
    Input::ParseFailed {
        object,
        code: "manifest.malformed".into(),
        message: "no".into(),
    }
}

#[test]
fn nonsense_that_two_edges_gave_together_is_asked_of_one_alone() {
    // Of the third, or where there is none of the one that does not rest.
    for (edges, next) in [(3, EdgeId(2)), (2, EdgeId(1))] {
        let config = Config {
            race_width: 1,
            ..Config::default()
        };
        let manifest = ObjectKey::Manifest;
        let mut script = Script::new(edges, config, |_| Answer::Nothing, |_| None);
        let first = script.take(manifest);
        script.say(&first, success(0, Some(40_000)));
        script.say(
            &first,
            TransportEvent::Progress {
                from: 0,
                to: 20_000,
            },
        );
        script.say(&first, TransportEvent::Failed(Failure::Reset));
        let second = script.take(manifest);
        script.say(&second, success(second.from, Some(40_000)));
        let (from, to) = (second.from, 40_000);
        script.say(&second, TransportEvent::Progress { from, to });
        script.say(&second, TransportEvent::Complete);
        script.tell(unreadable(manifest));
        assert_eq!(script.asked(manifest), [EdgeId(0), EdgeId(1), next]);
        assert_eq!(script.error(), None);
    }
}

#[test]
fn nonsense_that_two_edges_gave_each_is_the_titles_own() {
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let mut script = Script::new(
        3,
        config,
        |_| Answer::Whole,
        |object| Some(unreadable(object)),
    );
    script.run(Duration::from_secs(1));
    assert_eq!(script.asked(ObjectKey::Manifest), [EdgeId(0), EdgeId(1)]);
    assert_eq!(script.error(), Some("manifest.malformed"));
    // Neither of them rests for it.
    assert!(
        script
            .session
            .edges
            .iter()
            .all(|(_, edge)| edge.rested_at().is_none())
    );
}

#[test]
fn an_answer_that_was_taken_for_lost_ends_nothing_when_it_comes() {
    let outline = pictures(&[known(40)]);
    let mut asked = 0;
    let parse = move |object| {
        asked += 1;
        let manifest = (asked > 1).then(|| Input::ManifestParsed(outline.clone()));
        manifest.filter(|_| object == ObjectKey::Manifest)
    };
    let mut script = Script::new(1, Config::default(), |_| Answer::Whole, parse);
    script.run(Duration::from_secs(14));
    script.tell(unreadable(ObjectKey::Manifest));
    assert_eq!(script.session.state, PlayState::Playing);
}

#[test]
fn a_parser_that_never_answers_is_asked_three_times() {
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let mut script = Script::new(2, config, |_| Answer::Whole, |_| None);
    script.run(Duration::from_secs(20));
    let asked = script.started.iter();
    let asked_at: Vec<Instant> = asked.map(|(at, _)| *at).collect();
    let lost_at = |times| Instant::ZERO + WORK_LOST * times;
    assert_eq!(asked_at, [0, 1, 2].map(lost_at));
    assert_eq!(script.error(), Some("player.internal"));
}

#[test]
fn an_index_that_one_edge_gives_wrong_is_awaited_from_one_that_rests_for_a_moment() {
    let outline = with_track(pictures(&[known(40)]), TrackKind::Text, "en", Deferred);
    let config = Config {
        text_language: Some("en".into()),
        race_width: 1,
        ..Config::default()
    };
    let index = ObjectKey::Index(of_track(1, 0));
    let mut reads = reads(outline);
    let giver = Rc::new(Cell::new(EdgeId(0)));
    let asked = giver.clone();
    let parse = move |object| {
        if object == index && giver.get() == EdgeId(0) {
            return Some(unreadable(object));
        }
        reads(object)
    };
    let mut script = Script::new(2, config, silent_on(index), parse);
    let held = script.take(index);
    script
        .session
        .edge_failed(EdgeId(1), Duration::ZERO, "net.reset");
    for input in answered(&held) {
        script.tell(input);
    }
    script.serve(move |spec| {
        if spec.object == index {
            asked.set(spec.edge);
        }
        Answer::Whole
    });
    script.run(Duration::from_secs(10));
    assert_eq!(script.asked(index).last(), Some(&EdgeId(1)));
    let shown = script.session.snapshot(script.now).text_tracks;
    assert!(shown.iter().any(|track| track.chosen), "{shown:?}");
}

#[test]
fn an_end_before_what_is_there_is_no_end() {
    let config = Config {
        race_width: 2,
        ..Config::default()
    };
    let manifest = ObjectKey::Manifest;
    let mut script = Script::new(2, config, |_| Answer::Nothing, |_| None);
    let [first, second] = [script.take(manifest), script.take(manifest)];
    // Neither says how long it is.
    script.say(&first, success(0, None));
    script.say(&second, success(0, None));
    script.say(
        &first,
        TransportEvent::Progress {
            from: 0,
            to: 20_000,
        },
    );
    script.say(&second, TransportEvent::Progress { from: 0, to: 8_000 });
    script.say(&second, TransportEvent::Complete);
    assert!(script.session.parsing.is_empty());
    script.say(
        &first,
        TransportEvent::Progress {
            from: 20_000,
            to: 40_000,
        },
    );
    script.say(&first, TransportEvent::Complete);
    assert!(script.session.is_parsing(manifest));
}

#[test]
fn what_is_said_of_samples_that_were_taken_back_changes_nothing() {
    let outline = pictures(&[known(40)]);
    let mut script = Script::new(1, Config::default(), |_| Answer::Whole, reads(outline));
    script.run(Duration::from_secs(1));
    let object = ObjectKey::Media(v(0), 1);
    let first = script.handed.iter().find(|(_, one)| *one == object);
    let &(first, _) = first.unwrap();
    // Away and back: it is fetched anew.
    for to in [100, 1] {
        script.tell(Input::Command(Command::Seek { to: at(to) }));
    }
    script.run(Duration::from_secs(1));
    let newest = script.handed.iter().rfind(|(_, one)| *one == object);
    let &(newest, _) = newest.unwrap();
    // What is said of what the sinks have now changes something.
    for (epoch, times) in [(first, 2), (newest, 3)] {
        script.tell(Input::Undecodable {
            epoch,
            object,
            code: "media.malformed".into(),
        });
        script.run(Duration::from_secs(1));
        assert_eq!(script.asked(object).len(), times);
    }
}

#[test]
fn what_is_said_of_an_init_segment_that_was_replaced_changes_nothing() {
    let outline = pictures(&[known(40)]);
    let mut script = Script::new(3, Config::default(), |_| Answer::Whole, reads(outline));
    script.run(Duration::from_secs(1));
    let init = ObjectKey::Init(v(0));
    let handed = |script: &Script| script.handed.iter().filter(|(_, one)| *one == init).count();
    let (epoch, _) = *script.handed.iter().find(|(_, one)| *one == init).unwrap();
    let broken = || Input::Undecodable {
        epoch,
        object: init,
        code: "media.malformed".into(),
    };
    script.tell(broken());
    script.run(Duration::from_secs(1));
    assert_eq!((script.asked(init).len(), handed(&script)), (2, 2));
    script.tell(broken());
    script.run(Duration::from_secs(1));
    assert_eq!((script.asked(init).len(), handed(&script)), (2, 2));
}

#[test]
fn a_manifest_that_only_a_dead_edge_may_have_right_is_asked_for_ever_less_often() {
    let config = Config {
        paused: true,
        race_width: 1,
        ..Config::default()
    };
    let parse = |object| Some(unreadable(object));
    let mut script = Script::new(2, config, |_| Answer::Nothing, parse);
    // The second is never heard of but in failures.
    script.serve(|spec| {
        if spec.edge == EdgeId(1) {
            Answer::Status(500)
        } else {
            Answer::Whole
        }
    });
    script.run(Duration::from_secs(300));
    let asked = script.asked(ObjectKey::Manifest);
    assert_eq!(script.error(), None);
    assert!(asked.len() < 120, "{}", asked.len());
    // And it is heard of once it is there.
    let back = EdgeId(1);
    assert!(asked.iter().filter(|edge| **edge == back).count() > 5);
}

#[test]
fn an_edge_that_failed_otherwise_since_rests_on_when_the_title_is_at_fault() {
    for failed_since in [false, true] {
        let outline = with_track(pictures(&[known(40)]), TrackKind::Text, "en", Deferred);
        let config = Config {
            text_language: Some("en".into()),
            race_width: 1,
            ..Config::default()
        };
        let index = ObjectKey::Index(of_track(1, 0));
        let mut reads = reads(outline);
        let parse = move |object| {
            if object == index {
                Some(unreadable(object))
            } else {
                reads(object)
            }
        };
        let mut script = Script::new(3, config, silent_on(index), parse);
        for edge in 0..2 {
            let spec = script.take(index);
            assert_eq!(spec.edge, EdgeId(edge));
            for input in answered(&spec) {
                script.tell(input);
            }
            if edge == 0 && failed_since {
                let session = &mut script.session;
                session.edge_failed(EdgeId(0), Duration::ZERO, "net.reset");
            }
        }
        let edges = script.session.snapshot(script.now).edges;
        let rest: Vec<bool> = edges
            .iter()
            .map(|edge| edge.state == BreakerState::Open)
            .collect();
        assert_eq!(rest, [failed_since, false, false]);
    }
}

/// What each edge's manifest says the title's length is, in seconds; `None` is nonsense.
type Lengths = [Option<u64>; 3];
/// How many edges there are, what they say, who is asked, what is believed, and who rests.
type Edition<'a> = (u32, Lengths, &'a [u16], u64, &'a [u16]);

/// A session that is granted a title of 160 s by edges with these manifests.
fn granted_160_s(edges: u32, lengths: Lengths) -> Script {
    let mut script = granted_160_s_by(edges, lengths, |_| Answer::Whole);
    script.run(Duration::from_secs(2));
    script
}

/// The same, by edges that answer so.
fn granted_160_s_by(
    edges: u32,
    lengths: Lengths,
    answer: impl FnMut(&AttemptSpec) -> Answer + 'static,
) -> Script {
    let manifest = ObjectKey::Manifest;
    let mut outline = pictures(&[known(40)]);
    let mut given = lengths.into_iter();
    let parse = move |object| {
        let Some(length) = given.next().filter(|_| object == manifest)? else {
            return Some(unreadable(object));
        };
        outline.duration = Some(Duration::from_secs(length));
        Some(Input::ManifestParsed(outline.clone()))
    };
    let config = Config {
        race_width: 1,
        ..Config::default()
    };
    let mut script = Script::new(edges, config, |_| Answer::Nothing, parse);
    script.tell(Input::Granted(Grant {
        length: Some(Duration::from_secs(160)),
        refresh_after: None,
        ..grant(edges)
    }));
    script.serve(answer);
    script
}

#[test]
fn a_manifest_of_another_edition_is_asked_of_another_edge() {
    let cases: [Edition<'_>; 12] = [
        (3, [Some(160), None, None], &[0], 160, &[]),
        // Catalogues round.
        (3, [Some(155), None, None], &[0], 155, &[]),
        (3, [Some(80), Some(160), None], &[0, 1], 160, &[0]),
        (3, [Some(240), Some(160), None], &[0, 1], 160, &[0]),
        // Where two say the same, it is the catalogue that is wrong.
        (3, [Some(80), Some(80), None], &[0, 1], 80, &[]),
        (3, [Some(80), Some(81), None], &[0, 1], 81, &[]),
        (3, [Some(80), Some(40), Some(160)], &[0, 1, 2], 160, &[0, 1]),
        (3, [Some(80), Some(40), Some(80)], &[0, 1, 2], 80, &[]),
        // Nonsense says nothing of it.
        (3, [Some(80), None, Some(160)], &[0, 1, 2], 160, &[0, 1]),
        (3, [None, Some(80), Some(160)], &[0, 1, 2], 160, &[0, 1]),
        // One is better than none.
        (1, [Some(80), None, None], &[0], 80, &[]),
        (3, [Some(80), None, None], &[0, 1, 2], 80, &[]),
    ];
    for (edges, lengths, asked, believed, resting) in cases {
        let script = granted_160_s(edges, lengths);
        let ids = |ids: &[u16]| ids.iter().map(|id| EdgeId(*id)).collect::<Vec<_>>();
        assert_eq!(script.asked(ObjectKey::Manifest), ids(asked), "{lengths:?}");
        let timeline = script.session.timeline.as_ref();
        let length = timeline.and_then(crate::timeline::Timeline::duration);
        assert_eq!(length, Some(Duration::from_secs(believed)), "{lengths:?}");
        let rest = script.session.edges.iter();
        let rest = rest.filter(|(_, edge)| edge.rested_at().is_some());
        let rest: Vec<EdgeId> = rest.map(|(id, _)| id).collect();
        assert_eq!(rest, ids(resting), "{lengths:?}");
        let in_use = script.session.edges.current();
        let first = (0..3).map(EdgeId).find(|id| !rest.contains(id));
        assert_eq!(in_use, first, "{lengths:?}");
        assert_eq!(script.error(), None);
    }
}

#[test]
fn a_manifest_that_nobody_contradicts_in_time_is_believed() {
    // What the other edges answer, and how long that is waited for.
    for (answer, takes) in [
        (Answer::Nothing, Duration::from_millis(1_000)),
        (Answer::Status(404), Duration::from_millis(1_000)),
        (Answer::Status(500), Duration::from_millis(1_000)),
    ] {
        let others = move |spec: &AttemptSpec| match spec.edge {
            EdgeId(0) => Answer::Whole,
            _ => answer,
        };
        let mut script = granted_160_s_by(3, [Some(80), None, None], others);
        script.run(takes);
        let timeline = script.session.timeline.as_ref();
        let length = timeline.and_then(crate::timeline::Timeline::duration);
        assert_eq!(length, Some(Duration::from_secs(80)), "{answer:?}");
        assert_eq!(script.session.edges.current(), Some(EdgeId(0)));
        assert_eq!(script.error(), None);
        let open = script
            .open
            .iter()
            .filter(|spec| spec.object == ObjectKey::Manifest);
        assert_eq!(open.count(), 0, "{answer:?}");
    }
}
