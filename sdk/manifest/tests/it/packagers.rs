//! What FFmpeg and Shaka Packager write: every object must lie in a file that they made.

use std::time::Duration;

use nearcast_manifest::{ByteRange, Location, Manifest, Target};
use nearcast_protocol::manifest::TrackKind::{Audio, Text, Video};
use nearcast_protocol::manifest::{Container, ObjectKey};
use nearcast_units::BitRate;

use crate::fixtures::{check_files, files, key, open, representation, shape, times, tracks};

const DURATION: Duration = Duration::from_millis(10_400);

/// Two rungs of picture, two languages.
const USUAL: [(nearcast_protocol::manifest::TrackKind, Option<&str>, usize); 3] = [
    (Video, None, 2),
    (Audio, Some("en"), 1),
    (Audio, Some("fr"), 1),
];

fn video_times() -> Vec<(i64, u128)> {
    let mut times: Vec<_> = (0..5).map(|n| (n * 2_000_000, 2_000_000)).collect();
    times.push((10_000_000, 400_000));
    times
}

fn check_usual(name: &str, file: &str) -> Manifest {
    let manifest = open(name, file);
    check_files(&manifest, name);
    assert_eq!(shape(&manifest), USUAL);
    for rung in 0..2 {
        assert_eq!(times(&manifest, key(0, 0, rung)), video_times());
    }
    manifest
}

#[test]
fn ffmpeg_template_with_timeline() {
    let manifest = check_usual("ffmpeg-timeline", "stream.mpd");
    assert_eq!(manifest.outline.duration, Some(DURATION));
    let low = representation(&manifest, key(0, 0, 0));
    assert_eq!(low.bitrate, BitRate::from_bps(99_936));
    assert_eq!(low.resolution, Some((160, 90)));
    assert_eq!(low.codecs, "avc1.64000b");
    assert_eq!(low.media_offset_us, 0);
    // 92,160 ticks of 48 kHz, then 96,256: from absolute ticks, each rounded once.
    assert_eq!(
        times(&manifest, key(0, 1, 0)).get(..3).unwrap(),
        [
            (0, 1_920_000),
            (1_920_000, 2_005_333),
            (3_925_333, 2_005_333)
        ]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 1)).last().map(String::as_str),
        Some("title/chunk-stream1-00006.m4s")
    );
}

#[test]
fn ffmpeg_template_with_number() {
    let manifest = check_usual("ffmpeg-number", "stream.mpd");
    assert_eq!(times(&manifest, key(0, 1, 0)), video_times());
}

#[test]
fn ffmpeg_single_file() {
    let manifest = check_usual("ffmpeg-single-file", "stream.mpd");
    assert_eq!(
        manifest.locations.locate(ObjectKey::Init(key(0, 0, 0))),
        Some(Location {
            target: Target::Path("title/stream-stream0.mp4".to_owned()),
            range: Some(ByteRange {
                first: 0,
                last: 833
            }),
        })
    );
}

#[test]
fn ffmpeg_segment_list_with_an_adaptation_set_for_each_stream() {
    let manifest = open("ffmpeg-list", "stream.mpd");
    // Nothing says that one may switch between the two pictures: one is kept.
    assert_eq!(
        shape(&manifest),
        [
            (Video, None, 1),
            (Audio, Some("en"), 1),
            (Audio, Some("fr"), 1)
        ]
    );
    assert_eq!(times(&manifest, key(0, 0, 0)), video_times());
    assert_eq!(files(&manifest, key(0, 0, 0)).len(), 6);
}

#[test]
fn ffmpeg_hls() {
    let manifest = check_usual("ffmpeg-hls", "master.m3u8");
    // The longest playlist: sound, by 21 ms.
    assert_eq!(
        manifest.outline.duration,
        Some(Duration::from_nanos(10_421_332_000))
    );
    let english = tracks(&manifest)[1];
    assert!(english.default);
    assert_eq!(english.label.as_deref(), Some("audio_2"));
    let low = representation(&manifest, key(0, 0, 0));
    assert_eq!(low.bitrate, BitRate::from_bps(180_669));
    assert!(low.init);
}

#[test]
fn ffmpeg_hls_in_single_files() {
    let manifest = check_usual("ffmpeg-hls-single-file", "master.m3u8");
    // Byte ranges give the rate of the sound away.
    let english = representation(&manifest, key(0, 1, 0));
    let kbps = english.bitrate.as_bps() / 1000;
    assert!((60..75).contains(&kbps), "{kbps}");
}

#[test]
fn shaka_on_demand() {
    let manifest = open("shaka-ondemand", "stream.mpd");
    check_files(&manifest, "shaka-ondemand");
    let mut with_text = USUAL.to_vec();
    with_text.push((Text, Some("en"), 1));
    assert_eq!(shape(&manifest), with_text);
    assert_eq!(times(&manifest, key(0, 0, 0)), video_times());
    assert_eq!(
        manifest.locations.locate(ObjectKey::Index(key(0, 0, 0))),
        Some(Location {
            target: Target::Path("title/lo.mp4".to_owned()),
            range: Some(ByteRange {
                first: 876,
                last: 979
            }),
        })
    );
    let text = tracks(&manifest)[3];
    assert_eq!(text.role.as_deref(), Some("subtitle"));
    assert_eq!(text.representations[0].container, Container::WebVtt);
    assert_eq!(times(&manifest, key(0, 3, 0)), [(0, 10_400_000)]);
}

#[test]
fn shaka_template() {
    let manifest = open("shaka-template", "stream.mpd");
    check_files(&manifest, "shaka-template");
    assert_eq!(times(&manifest, key(0, 0, 0)), video_times());
    assert_eq!(
        files(&manifest, key(0, 1, 0)).get(..2).unwrap(),
        ["title/en/0.m4s", "title/en/96256.m4s"]
    );
    assert_eq!(files(&manifest, key(0, 3, 0)).len(), 4);
}

#[test]
fn shaka_subtitles_in_mp4() {
    let manifest = open("shaka-wvtt", "stream.mpd");
    check_files(&manifest, "shaka-wvtt");
    assert_eq!(shape(&manifest), [(Video, None, 1), (Text, Some("en"), 1)]);
    let text = representation(&manifest, key(0, 1, 0));
    assert_eq!(text.container, Container::Fmp4);
    assert!(text.init);
}

#[test]
fn shaka_hls() {
    for name in ["shaka-ondemand", "shaka-template"] {
        let manifest = open(name, "master.m3u8");
        check_files(&manifest, name);
        assert_eq!(times(&manifest, key(0, 0, 1)), video_times());
        let pictures = tracks(&manifest)[0];
        assert_eq!(pictures.representations[0].codecs, "avc1.64000b");
        let sound = tracks(&manifest)[1];
        assert_eq!(sound.representations[0].codecs, "mp4a.40.2");
        let text = tracks(&manifest)[3];
        assert_eq!((text.kind, text.language.as_deref()), (Text, Some("en")));
        assert_eq!(text.representations[0].container, Container::WebVtt);
        assert!(!text.representations[0].init);
    }
}
