//! Manifests that other packagers write, over the files of the made title: several periods, lists of segments.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::play::Play;
use crate::room::Room;
use crate::title::linked_title;
use crate::web::Nginx;

/// Segments of four seconds.
const SEGMENTS: u64 = 6;
/// Ticks a second of sound, and in one of its segments, all but the last of the title.
const SAMPLE_RATE: u64 = 48_000;
const AUDIO_SEGMENT: u64 = 192_512;

const RUNGS: &str = r#"<Representation id="v2" codecs="avc1.4d4015" bandwidth="560000" width="480" height="270"/>
<Representation id="v3" codecs="avc1.4d401e" bandwidth="1050000" width="640" height="360"/>
<Representation id="v4" codecs="avc1.4d401e" bandwidth="1750000" width="768" height="432"/>"#;
const SOUND: &str =
    r#"id="audio_en" codecs="mp4a.40.2" bandwidth="35000" audioSamplingRate="48000""#;

/// Serves the title with this manifest beside its own, and plays that to its end.
async fn assert_plays_to_the_end(mpd: &str) {
    let room = Room::new().await;
    let folder = linked_title(&room, "root/title");
    fs::write(folder.join("other.mpd"), mpd).unwrap();
    let nginx = Nginx::start(&room, "nginx", Path::new(&room.path().join("root")), None).await;
    let url = nginx.url("title/other.mpd");
    let played = Play::start(&room, "play", &["play", &url])
        .played(4 * SEGMENTS)
        .await;
    let report = &played.report;
    assert!(played.ended.out.contains("ended"), "{}", played.ended.out);
    assert_eq!(
        played.frames.len(),
        usize::try_from(4 * 24 * SEGMENTS).unwrap()
    );
    assert_eq!(report.content.ladder.len(), 3);
    for track in ["video", "audio"] {
        // One that came again at a better rung counts once.
        let came = report.segments.iter().filter(|one| one.track == track);
        let came: BTreeSet<_> = came.map(|one| one.index).collect();
        assert_eq!(u64::try_from(came.len()).unwrap(), SEGMENTS, "{track}");
    }
}

fn mpd(periods: &str) -> String {
    let seconds = 4 * SEGMENTS;
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:full:2011" type="static"
     mediaPresentationDuration="PT{seconds}S" minBufferTime="PT8S">
{periods}</MPD>
"#
    )
}

/// Each period begins anew on the timeline of its files.
#[tokio::test]
async fn several_periods_play_as_one() {
    let half = SEGMENTS / 2;
    let mut periods = String::new();
    for (period, first) in [(0, 0), (1, half)] {
        let (from_s, number) = (4 * first, first + 1);
        let offset = from_s * SAMPLE_RATE;
        // Sound is cut where its frames end, a little later than the picture.
        let (time, repeat) = (first * AUDIO_SEGMENT, half - 1);
        write!(
            periods,
            r#"<Period id="{period}" start="PT{from_s}S" duration="PT{seconds}S">
<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">
<SegmentTemplate duration="4" startNumber="{number}" presentationTimeOffset="{from_s}"
  initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/$Number%05d$.m4s"/>
{RUNGS}
</AdaptationSet>
<AdaptationSet contentType="audio" mimeType="audio/mp4" lang="en">
<Representation {SOUND}>
<SegmentTemplate timescale="{SAMPLE_RATE}" startNumber="{number}" presentationTimeOffset="{offset}"
  initialization="audio_en/init.mp4" media="audio_en/$Number%05d$.m4s">
<SegmentTimeline><S t="{time}" d="{AUDIO_SEGMENT}" r="{repeat}"/></SegmentTimeline>
</SegmentTemplate>
</Representation>
</AdaptationSet>
</Period>
"#,
            seconds = 4 * half
        )
        .unwrap();
    }
    assert_plays_to_the_end(&mpd(&periods)).await;
}

#[tokio::test]
async fn lists_of_segments_play() {
    let list = |folder: &str, attributes: &str, timeline: &str| {
        let mut text = format!("<SegmentList {attributes}>");
        write!(
            text,
            r#"<Initialization sourceURL="{folder}/init.mp4"/>{timeline}"#
        )
        .unwrap();
        for number in 1..=SEGMENTS {
            write!(text, r#"<SegmentURL media="{folder}/{number:05}.m4s"/>"#).unwrap();
        }
        text.push_str("</SegmentList>");
        text
    };
    let video: String = RUNGS
        .lines()
        .map(|line| {
            let folder = line.split('"').nth(1).unwrap();
            let open = line.strip_suffix("/>").unwrap();
            let list = list(folder, r#"duration="4""#, "");
            format!("{open}>{list}</Representation>\n")
        })
        .collect();
    let timeline = format!(
        r#"<SegmentTimeline><S t="0" d="{AUDIO_SEGMENT}" r="{}"/></SegmentTimeline>"#,
        SEGMENTS - 1
    );
    let audio = list(
        "audio_en",
        &format!(r#"timescale="{SAMPLE_RATE}""#),
        &timeline,
    );
    assert_plays_to_the_end(&mpd(&format!(
        r#"<Period start="PT0S">
<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">
{video}</AdaptationSet>
<AdaptationSet contentType="audio" mimeType="audio/mp4" lang="en">
<Representation {SOUND}>{audio}</Representation>
</AdaptationSet>
</Period>
"#
    )))
    .await;
}
