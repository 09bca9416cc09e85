use std::sync::{Arc, Mutex};

use nearcast_protocol::manifest::{RepresentationKey, Segment};

use super::*;

const VIDEO: RepresentationKey = RepresentationKey {
    period: 0,
    track: 0,
    representation: 1,
};

/// Presentation times given to the sink, in tenths of a second, with whether they are only for decoding.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(i64, bool)>>>);

impl SampleSink for Times {
    fn format(&mut self, _: &TrackFormat) {}

    fn sample(&mut self, _: TrackKind, sample: &Sample, preroll: bool) {
        self.0
            .lock()
            .unwrap()
            .push((sample.pts.as_micros() / 100_000, preroll));
    }
}

impl Times {
    /// Since the last call, in presentation order.
    fn take(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self
            .0
            .lock()
            .unwrap()
            .drain(..)
            .map(|(time, _)| time)
            .collect();
        times.sort_unstable();
        times
    }
}

fn pump() -> (Pump, Times) {
    let times = Times::default();
    let outputs = Outputs {
        samples: Some(Box::new(times.clone())),
        ..Outputs::default()
    };
    (Pump::new(outputs), times)
}

fn seconds(seconds: i64) -> MediaTime {
    MediaTime::from_micros(seconds * 1_000_000)
}

fn handed(object: ObjectKey, bytes: &'static [u8], place: Option<Place>) -> Handed {
    let facts = Facts {
        id: "1".to_owned(),
        bitrate: BitRate::from_kbps(160),
        container: Container::Fmp4,
        media_offset_us: 0,
        origin_unknown: false,
        place,
    };
    Handed {
        object,
        bytes: Bytes::from_static(bytes),
        facts,
    }
}

fn init() -> Handed {
    handed(
        ObjectKey::Init(VIDEO),
        include_bytes!("../../tests/data/init-1.mp4"),
        None,
    )
}

/// One of six segments of a second.
fn place(index: u32) -> Option<Place> {
    let segments: Vec<Segment> = (0..6)
        .map(|second| Segment {
            start: seconds(second),
            duration: Duration::from_secs(1),
            size: None,
        })
        .collect();
    Place::of(&segments, usize::try_from(index).unwrap())
}

/// The segment from second `index` on.
fn segment(index: u32) -> Handed {
    let bytes: &[u8] = match index {
        0 => include_bytes!("../../tests/data/1-1.m4s"),
        1 => include_bytes!("../../tests/data/1-2.m4s"),
        2 => include_bytes!("../../tests/data/1-3.m4s"),
        3 => include_bytes!("../../tests/data/1-4.m4s"),
        _ => include_bytes!("../../tests/data/1-5.m4s"),
    };
    handed(ObjectKey::Media(VIDEO, index), bytes, place(index))
}

fn hand_on_all(pump: &mut Pump, from: u32) {
    pump.hand_on(TrackKind::Video, init());
    for index in from..5 {
        pump.hand_on(TrackKind::Video, segment(index));
    }
}

#[test]
fn samples_leave_at_most_two_seconds_ahead() {
    let (mut pump, times) = pump();
    hand_on_all(&mut pump, 0);
    let wake = pump.advance(seconds(0));
    assert!(
        times.take().iter().all(|time| *time <= 24),
        "two seconds by decode time, reordered pictures a little more"
    );
    let wake = wake.position.expect("it says when to come again");
    assert!(wake > seconds(0) && wake <= seconds(1), "{wake:?}");
    pump.advance(seconds(1));
    assert!(times.take().iter().all(|time| (18..=34).contains(time)));
    pump.finish();
    assert_eq!(times.take().last(), Some(&49));
}

#[test]
fn a_flush_of_one_track_keeps_what_comes_before_it() {
    let (mut pump, times) = pump();
    hand_on_all(&mut pump, 0);
    pump.advance(seconds(0));
    pump.flush(Epoch(1), Some(TrackKind::Video), seconds(4));
    // The session hands on again what it had handed on from there.
    hand_on_all(&mut pump, 4);
    pump.finish();
    assert_eq!(times.take(), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_flush_cuts_between_segments_wherever_their_samples_lie() {
    // How far off the playlist is, and where playback is: a second of what is to be cut is not yet given.
    for (off_ms, playhead) in [(500, 0), (-500, -1)] {
        let (mut pump, times) = pump();
        let hand_on = |pump: &mut Pump, indices: std::ops::Range<u32>| {
            pump.hand_on(TrackKind::Video, init());
            for index in indices {
                pump.hand_on(TrackKind::Video, late_ms(index, off_ms));
            }
        };
        hand_on(&mut pump, 1..3);
        pump.advance(seconds(playhead));
        pump.flush(Epoch(1), Some(TrackKind::Video), seconds(2));
        hand_on(&mut pump, 2..3);
        pump.finish();
        let first = 10 + off_ms / 100;
        let all: Vec<_> = (first..first + 20).collect();
        assert_eq!(times.take(), all, "{off_ms}");
    }
}

#[test]
fn a_seek_forgets_everything_and_marks_what_is_only_for_decoding() {
    let (mut pump, times) = pump();
    hand_on_all(&mut pump, 0);
    pump.advance(seconds(0));
    times.take();
    pump.flush(Epoch(1), None, MediaTime::from_micros(3_500_000));
    hand_on_all(&mut pump, 3);
    pump.finish();
    let mut got = times.0.lock().unwrap().clone();
    got.sort_unstable();
    assert_eq!(
        got,
        (30..50).map(|time| (time, time < 35)).collect::<Vec<_>>()
    );
}

#[test]
fn a_broken_segment_is_told_early_and_nothing_behind_it_leaves() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    pump.hand_on(TrackKind::Video, segment(0));
    let broken = ObjectKey::Media(VIDEO, 1);
    pump.hand_on(
        TrackKind::Video,
        handed(broken, b"\0\0\0\x08junk", place(1)),
    );
    pump.hand_on(TrackKind::Video, segment(2));
    pump.advance(seconds(0));
    let Some(Input::Undecodable { object, .. }) = pump.poll_input() else {
        panic!("the session must hear of it")
    };
    assert_eq!(object, broken);
    pump.flush(Epoch(1), Some(TrackKind::Video), seconds(1));
    hand_on_all(&mut pump, 1);
    pump.finish();
    assert_eq!(times.take(), (0..50).collect::<Vec<_>>());
}

#[test]
fn broken_subtitles_are_told_as_all_that_is_broken() {
    let (mut pump, _) = pump();
    let broken = ObjectKey::Media(VIDEO, 0);
    let mut vtt = handed(broken, b"no subtitles", place(0));
    vtt.facts.container = Container::WebVtt;
    pump.hand_on(TrackKind::Text, vtt);
    pump.advance(seconds(0));
    assert!(matches!(
        pump.poll_input(),
        Some(Input::Undecodable { object, .. }) if object == broken
    ));
}

#[test]
fn without_a_sink_segments_are_looked_at_once_and_nobody_is_woken_for_them() {
    let mut pump = Pump::new(Outputs::default());
    hand_on_all(&mut pump, 0);
    assert_eq!(pump.advance(seconds(0)), Wake::default());
    assert_eq!(pump.poll_input(), None);
    let broken = ObjectKey::Media(VIDEO, 5);
    pump.hand_on(
        TrackKind::Video,
        handed(broken, b"\0\0\0\x08junk", place(5)),
    );
    pump.advance(seconds(0));
    assert!(matches!(
        pump.poll_input(),
        Some(Input::Undecodable { object, .. }) if object == broken
    ));
}

#[test]
fn another_segment_than_the_one_asked_for_is_told_and_not_shown() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    pump.hand_on(TrackKind::Video, segment(0));
    let mut wrong = segment(3);
    wrong.object = ObjectKey::Media(VIDEO, 1);
    wrong.facts.place = place(1);
    pump.hand_on(TrackKind::Video, wrong);
    pump.finish();
    assert!(matches!(
        pump.poll_input(),
        Some(Input::Undecodable { object: ObjectKey::Media(_, 1), code, .. }) if code == "media.misplaced"
    ));
    assert_eq!(times.take(), (0..10).collect::<Vec<_>>());
}

/// The segment from second `index` on, in `parts` pieces.
fn pieces(index: u32, parts: usize) -> Vec<Bytes> {
    let whole = segment(index).bytes;
    let each = whole.len().div_ceil(parts);
    (0..parts)
        .map(|part| whole.slice(part * each..((part + 1) * each).min(whole.len())))
        .collect()
}

fn inputs(pump: &mut Pump) -> Vec<Input> {
    std::iter::from_fn(|| pump.poll_input()).collect()
}

#[test]
fn a_segment_is_handed_on_while_it_arrives_each_sample_once() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    let Handed { object, facts, .. } = segment(0);
    pump.hand_on_part(TrackKind::Video, object, facts);
    let mut given = Vec::new();
    let mut reached = Vec::new();
    for piece in pieces(0, 5) {
        pump.hand_more(TrackKind::Video, piece);
        pump.advance(seconds(0));
        given.push(times.take().len());
        for input in inputs(&mut pump) {
            let Input::Playable { until, .. } = input else {
                panic!("{input:?}");
            };
            reached.push(until);
        }
    }
    assert!(given[1] > 0 && given[3] > 0, "as it comes: {given:?}");
    assert!(reached.is_sorted() && reached.last() < Some(&seconds(1)));
    pump.hand_rest(TrackKind::Video);
    pump.hand_on(TrackKind::Video, segment(1));
    pump.advance(seconds(0));
    let total: usize = given.iter().sum();
    assert_eq!(
        total + times.take().len(),
        20,
        "two seconds of ten pictures"
    );
    assert_eq!(inputs(&mut pump), []);
}

#[test]
fn what_arrives_is_shown_after_what_was_handed_on_whole() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    pump.hand_on(TrackKind::Video, segment(0));
    pump.hand_on(TrackKind::Video, segment(1));
    // Another rung goes on.
    pump.hand_on(TrackKind::Video, init());
    let Handed { object, facts, .. } = segment(2);
    pump.hand_on_part(TrackKind::Video, object, facts);
    let mut come = pieces(2, 4);
    let last = come.pop().unwrap();
    for piece in come {
        pump.hand_more(TrackKind::Video, piece);
    }
    let soon_dry = MediaTime::from_micros(1_700_000);
    pump.advance(soon_dry);
    let told = inputs(&mut pump);
    assert!(
        matches!(told.as_slice(), [Input::Playable { object: of, until, .. }]
            if *of == object && *until > seconds(2) && *until < seconds(3)),
        "{told:?}"
    );
    let mut shown = times.take();
    assert!(shown.len() > 20 && shown.len() < 30, "{shown:?}");
    pump.hand_more(TrackKind::Video, last);
    pump.hand_rest(TrackKind::Video);
    pump.advance(soon_dry);
    shown.extend(times.take());
    assert_eq!(shown, (0..30).collect::<Vec<_>>());
}

#[test]
fn what_arrives_goes_on_when_another_track_is_flushed_and_when_it_comes_whole() {
    for whole in [false, true] {
        let (mut pump, times) = pump();
        pump.hand_on(TrackKind::Video, init());
        let Handed { object, facts, .. } = segment(0);
        pump.hand_on_part(TrackKind::Video, object, facts);
        let halves = pieces(0, 2);
        pump.hand_more(TrackKind::Video, halves[0].clone());
        pump.advance(seconds(0));
        pump.flush(Epoch(1), Some(TrackKind::Text), seconds(0));
        if whole {
            pump.hand_on(TrackKind::Video, segment(0));
        } else {
            pump.hand_more(TrackKind::Video, halves[1].clone());
            pump.hand_rest(TrackKind::Video);
        }
        pump.hand_on(TrackKind::Video, segment(1));
        pump.advance(seconds(0));
        assert_eq!(times.take(), (0..20).collect::<Vec<_>>(), "{whole}");
    }
}

#[test]
fn what_arrives_broken_is_told_and_may_arrive_again() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    let Handed { object, facts, .. } = segment(0);
    pump.hand_on_part(TrackKind::Video, object, facts.clone());
    let halves = pieces(0, 2);
    pump.hand_more(TrackKind::Video, halves[0].clone());
    pump.advance(seconds(0));
    inputs(&mut pump);
    // It ends in the middle.
    pump.hand_rest(TrackKind::Video);
    pump.advance(seconds(0));
    assert!(matches!(
        inputs(&mut pump).as_slice(),
        [Input::Undecodable { object: told, .. }] if *told == object
    ));
    pump.flush(Epoch(1), Some(TrackKind::Video), seconds(0));
    times.take();
    pump.hand_on(TrackKind::Video, init());
    pump.hand_on_part(TrackKind::Video, object, facts);
    for half in halves {
        pump.hand_more(TrackKind::Video, half);
    }
    pump.hand_rest(TrackKind::Video);
    pump.advance(seconds(0));
    assert_eq!(times.take().len(), 10);
}

/// A segment of an HLS title, the media times of which begin at so many seconds.
fn late(index: u32, begins_s: i64) -> Handed {
    late_ms(index, begins_s * 1000)
}

fn late_ms(index: u32, begins_ms: i64) -> Handed {
    let mut late = segment(index);
    let mut bytes = late.bytes.to_vec();
    let tfdt = bytes.windows(4).position(|name| name == b"tfdt").unwrap();
    let ticks: &mut [u8; 8] = (&mut bytes[tfdt + 8..tfdt + 16]).try_into().unwrap();
    *ticks = (i64::from_be_bytes(*ticks) + begins_ms * 10_240 / 1000).to_be_bytes();
    late.bytes = bytes.into();
    late.facts.origin_unknown = true;
    late
}

#[test]
fn the_first_segment_of_a_playlist_says_where_its_media_begins() {
    for in_part in [false, true] {
        let (mut pump, times) = pump();
        pump.hand_on(TrackKind::Video, init());
        // Playback begins in the middle.
        if in_part {
            let first = late(1, 4000);
            pump.hand_on_part(TrackKind::Video, first.object, first.facts);
            pump.hand_more(TrackKind::Video, first.bytes);
            pump.hand_rest(TrackKind::Video);
        } else {
            pump.hand_on(TrackKind::Video, late(1, 4000));
        }
        pump.hand_on(TrackKind::Video, late(2, 4000));
        pump.advance(seconds(1));
        assert_eq!(times.take(), (10..30).collect::<Vec<_>>(), "{in_part}");
        // Now that two agree, one that lies elsewhere is wrong, and the next is not.
        pump.hand_on(TrackKind::Video, late(3, 0));
        pump.finish();
        assert!(matches!(
            inputs(&mut pump).as_slice(),
            [Input::Undecodable { code, .. }] if code == "media.misplaced"
        ));
        pump.hand_on(TrackKind::Video, late(3, 4000));
        pump.finish();
        assert_eq!(times.take(), (30..40).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_playlist_may_be_off_by_is_not_where_its_media_begins() {
    // Where playback begins, how far off segments are, and when the first sample is shown.
    for (from, off_ms, shown) in [(1, 500, 15), (1, -500, 5), (1, 4000, 10), (0, 500, 0)] {
        let (mut pump, times) = pump();
        pump.hand_on(TrackKind::Video, init());
        for index in from..from + 2 {
            pump.hand_on(TrackKind::Video, late_ms(index, off_ms));
        }
        pump.finish();
        assert_eq!(inputs(&mut pump), []);
        let all: Vec<_> = (shown..shown + 20).collect();
        assert_eq!(times.take(), all, "{from} {off_ms}");
    }
}

#[test]
fn where_the_title_begins_counts_more_than_where_playback_did() {
    let (mut pump, times) = pump();
    let hand_on = |pump: &mut Pump, from: u32| {
        pump.hand_on(TrackKind::Video, init());
        for index in from..from + 2 {
            pump.hand_on(TrackKind::Video, late_ms(index, 500));
        }
        pump.finish();
        assert_eq!(inputs(pump), []);
    };
    hand_on(&mut pump, 1);
    assert_eq!(times.take(), (15..35).collect::<Vec<_>>());
    pump.flush(Epoch(1), None, seconds(0));
    hand_on(&mut pump, 0);
    assert_eq!(times.take(), (0..20).collect::<Vec<_>>());
    pump.flush(Epoch(2), None, seconds(2));
    hand_on(&mut pump, 2);
    assert_eq!(times.take(), (20..40).collect::<Vec<_>>());
}

#[test]
fn a_wrong_segment_is_told_where_the_next_lies_as_the_playlist_says() {
    for in_part in [false, true] {
        let (mut pump, times) = pump();
        pump.hand_on(TrackKind::Video, init());
        let wrong = late(0, 700);
        let told = wrong.object;
        pump.hand_on(TrackKind::Video, wrong);
        let right = late(1, 0);
        if in_part {
            pump.hand_on_part(TrackKind::Video, right.object, right.facts);
            pump.hand_more(TrackKind::Video, right.bytes);
            pump.hand_rest(TrackKind::Video);
        } else {
            pump.hand_on(TrackKind::Video, right);
        }
        pump.finish();
        assert!(
            matches!(
                inputs(&mut pump).as_slice(),
                [Input::Undecodable { object, code, .. }]
                    if *object == told && code == "media.misplaced"
            ),
            "{in_part}"
        );
        assert_eq!(times.take(), (0..20).collect::<Vec<_>>(), "{in_part}");
        // From another edge.
        pump.flush(Epoch(0), Some(TrackKind::Video), seconds(0));
        pump.hand_on(TrackKind::Video, init());
        for index in 0..3 {
            pump.hand_on(TrackKind::Video, late(index, 0));
        }
        pump.finish();
        assert_eq!(inputs(&mut pump), []);
        assert_eq!(times.take(), (0..30).collect::<Vec<_>>());
    }
}

#[test]
fn what_two_wrong_segments_say_is_forgotten_when_two_in_a_row_deny_it() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    let mut hand_on = |index, begins_s| {
        pump.hand_on(TrackKind::Video, late(index, begins_s));
        pump.finish();
        inputs(&mut pump).is_empty()
    };
    assert!(hand_on(0, 9) && hand_on(1, 9));
    assert!(!hand_on(2, 4000) && !hand_on(2, 4000), "one of its own");
    assert!(hand_on(2, 9), "and not in a row");
    assert!(!hand_on(3, 4000) && !hand_on(4, 4000));
    assert!(hand_on(3, 4000) && hand_on(4, 4000));
    assert_eq!(times.take(), (0..50).collect::<Vec<_>>());
}

#[test]
fn what_one_wrong_segment_says_of_the_beginning_is_forgotten() {
    let (mut pump, times) = pump();
    pump.hand_on(TrackKind::Video, init());
    pump.hand_on(TrackKind::Video, late(0, 9));
    let latter = late(1, 4000).object;
    for _ in 0..2 {
        pump.hand_on(TrackKind::Video, late(1, 4000));
        pump.finish();
    }
    // Either may be the wrong one; the one that is shown goes on.
    assert!(matches!(
        inputs(&mut pump).as_slice(),
        [Input::Undecodable { object, .. }] if *object == latter
    ));
    pump.hand_on(TrackKind::Video, late(2, 4000));
    pump.finish();
    assert_eq!(inputs(&mut pump), []);
    assert_eq!(times.take(), (0..30).collect::<Vec<_>>());
}

#[test]
fn subtitles_that_count_with_the_media_wait_to_hear_where_it_begins() {
    // The times of the file, and where the media begins.
    for (map, late_s, begins_s) in [
        ("X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n", 4000, 4000),
        // The 33 bits of that clock began anew meanwhile.
        (
            "X-TIMESTAMP-MAP=MPEGTS:410065408,LOCAL:00:00:00.000\n",
            0,
            100_000,
        ),
        // As it should be without a map, and as many packagers have it.
        ("", 4000, 4000),
        ("", 0, 4000),
    ] {
        let (mut pump, _) = pump();
        let hours = format!(
            "{:02}:{:02}:{:02}",
            late_s / 3600,
            late_s / 60 % 60,
            late_s % 60
        );
        let text = format!("WEBVTT\n{map}\n{hours}.000 --> {hours}.900\nhello\n");
        let mut vtt = handed(ObjectKey::Media(VIDEO, 0), b"", place(0));
        vtt.bytes = text.into();
        vtt.facts.container = Container::WebVtt;
        vtt.facts.origin_unknown = true;
        pump.hand_on(TrackKind::Text, vtt);
        pump.hand_on(TrackKind::Video, init());
        pump.advance(seconds(0));
        assert!(pump.cues().shown().is_empty());
        pump.hand_on(TrackKind::Video, late(0, begins_s));
        pump.advance(seconds(0));
        assert_eq!(pump.cues().shown().len(), 1, "{map} {late_s}");
    }
}
