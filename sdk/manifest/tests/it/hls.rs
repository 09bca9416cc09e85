//! HLS beyond what the packagers of the fixtures write.

use nearcast_manifest::{ByteRange, Location, Manifest, ManifestError, Target, parse};
use nearcast_protocol::manifest::TrackKind::{Audio, Text, Video};
use nearcast_protocol::manifest::{Container, ObjectKey, SegmentIndex};
use nearcast_units::BitRate;

use crate::fixtures::{check_invariants, files, key, representation, shape, times, tracks};

fn hls(body: &str) -> Result<Manifest, ManifestError> {
    let manifest = parse(format!("#EXTM3U\n{body}").as_bytes(), "title/main.m3u8")?;
    check_invariants(&manifest);
    Ok(manifest)
}

fn code(result: Result<Manifest, ManifestError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "it parsed")
}

const SOUND: &str = r#"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="lo",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en-lo.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="lo",NAME="Describing",LANGUAGE="en",CHARACTERISTICS="public.accessibility.describes-video",URI="ad.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="surround",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en-51.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Deutsch",LANGUAGE="de",FORCED=YES,URI="de.m3u8"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="cc",INSTREAM-ID="CC1"
"#;

#[test]
fn variants_that_differ_by_sound_alone_are_one_representation() {
    let manifest = hls(&format!(
        r#"{SOUND}
#EXT-X-STREAM-INF:BANDWIDTH=2300000,CODECS="avc1.64001f,ec-3",RESOLUTION=1280x720,AUDIO="surround",SUBTITLES="subs"
720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2100000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,AUDIO="lo"
720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=600000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,AUDIO="lo"
360.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=600000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,AUDIO="lo"
https://backup.example/360.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100000,URI="iframes.m3u8"
"#
    ))
    .unwrap();
    assert_eq!(
        shape(&manifest),
        [
            (Video, None, 2),
            (Audio, Some("en"), 1),
            (Audio, Some("en"), 1),
            (Text, Some("de"), 1)
        ]
    );
    let ladder: Vec<_> = tracks(&manifest)[0]
        .representations
        .iter()
        .map(|one| (one.bitrate.as_bps(), one.resolution, one.codecs.as_str()))
        .collect();
    assert_eq!(
        ladder,
        [
            (600_000, Some((640, 360)), "avc1.64001e"),
            (2_100_000, Some((1280, 720)), "avc1.64001f")
        ]
    );
    // AAC comes first, though the other group is used by the first variant.
    let english = tracks(&manifest)[1];
    assert_eq!(english.representations[0].codecs, "mp4a.40.2");
    assert!(english.default);
    let roles: Vec<_> = tracks(&manifest)
        .iter()
        .map(|track| track.role.as_deref())
        .collect();
    assert_eq!(
        roles,
        [None, None, Some("description"), Some("forced-subtitle")]
    );
    assert_eq!(
        manifest.locations.locate(ObjectKey::Index(key(0, 1, 0))),
        Some(Location {
            target: Target::Path("title/en-lo.m3u8".to_owned()),
            range: None
        })
    );
}

#[test]
fn a_known_rate_of_sound_is_subtracted() {
    let manifest = hls(
        r#"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=700000,CODECS="avc1.64001e,mp4a.40.2",AUDIO="a"
v.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="mp4a.40.2",AUDIO="a"
en.m3u8
"#,
    )
    .unwrap();
    assert_eq!(shape(&manifest), [(Video, None, 1), (Audio, None, 1)]);
    let bitrate = |track| representation(&manifest, key(0, track, 0)).bitrate;
    assert_eq!(bitrate(0), BitRate::from_kbps(600));
    assert_eq!(bitrate(1), BitRate::from_kbps(100));
}

#[test]
fn a_rate_of_sound_that_leaves_nothing_is_not_subtracted() {
    let manifest = hls(
        r#"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=90000,CODECS="avc1.64001e,mp4a.40.2",AUDIO="a"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=700000,CODECS="avc1.64001e,mp4a.40.2",AUDIO="a"
v.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=90000,CODECS="mp4a.40.2",AUDIO="a"
en.m3u8
"#,
    )
    .unwrap();
    let bitrate = |index| representation(&manifest, key(0, 0, index)).bitrate;
    assert_eq!(bitrate(0), BitRate::from_kbps(90));
    assert_eq!(bitrate(1), BitRate::from_kbps(610));
}

#[test]
fn a_rate_of_sound_that_nobody_believes_is_none() {
    for wrong in ["0", "10000000001", "18446744073709551615"] {
        let of = |rates: [&str; 2]| {
            let sounds = rates.map(|rate| {
                format!(
                    "#EXT-X-STREAM-INF:BANDWIDTH={rate},CODECS=\"mp4a.40.2\",AUDIO=\"a\"\nen.m3u8\n"
                )
            });
            let manifest = hls(&format!(
                r#"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=700000,CODECS="avc1.64001e,mp4a.40.2",AUDIO="a"
v.m3u8
{}"#,
                sounds.concat()
            ));
            let manifest = manifest.unwrap();
            [0, 1].map(|track| representation(&manifest, key(0, track, 0)).bitrate.as_bps())
        };
        assert_eq!(of([wrong, wrong]), [700_000, 128_000], "{wrong}");
        assert_eq!(of([wrong, "100000"]), [600_000, 100_000], "{wrong}");
    }
}

#[test]
fn one_ladder_holds_one_encoding_of_the_pictures() {
    let stream = |number: u32, codecs: &str, more: &str| {
        format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={number}000,CODECS=\"{codecs}\",RESOLUTION=2x2{more}\n{number}\n"
        )
    };
    let kept = |variants: &[String]| {
        let manifest = hls(&variants.concat()).unwrap();
        let ladder: Vec<_> = tracks(&manifest)[0]
            .representations
            .iter()
            .map(|one| one.codecs.clone())
            .collect();
        let refused: Vec<_> = manifest
            .refused
            .iter()
            .map(|refused| (refused.kind, refused.error.to_string()))
            .collect();
        (ladder, refused)
    };
    let all = [
        stream(1, "hvc1.2.4.L93", ",VIDEO-RANGE=PQ"),
        stream(2, "hev1.1.6.L93", ""),
        stream(3, "avc1.64001e", ",VIDEO-RANGE=SDR"),
        stream(4, "av01.0.04M.08", ""),
        stream(5, "avc3.64001f", ""),
        stream(6, "dvh1.05.01", ",VIDEO-RANGE=PQ"),
        stream(7, "hvc1.2.4.L120", ",VIDEO-RANGE=PQ"),
    ];
    let (ladder, refused) = kept(&all);
    assert_eq!(ladder, ["avc1.64001e", "avc3.64001f"]);
    let told = ["HEVC (PQ)", "HEVC (SDR)", "AV1 (SDR)", "Dolby Vision (PQ)"]
        .map(|what| format!("unsupported feature: pictures in {what} beside others"))
        .map(|error| (Video, error));
    assert_eq!(refused, told);
    // Without the one that all can decode: the one that all can show.
    let (ladder, refused) = kept(&[all[0].clone(), all[1].clone(), all[6].clone()]);
    assert_eq!(
        (ladder.as_slice(), refused.len()),
        ([String::from("hev1.1.6.L93")].as_slice(), 1)
    );
    let (ladder, refused) = kept(&[all[0].clone(), all[6].clone()]);
    assert_eq!((ladder.len(), refused.len()), (2, 0));
}

#[test]
fn sound_alone_is_a_ladder_too() {
    let manifest = hls(
        "#EXT-X-STREAM-INF:BANDWIDTH=128000,CODECS=\"mp4a.40.2\"\nhigh.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS=\"mp4a.40.5\"\nlow.m3u8\n",
    )
    .unwrap();
    assert_eq!(shape(&manifest), [(Audio, None, 2)]);
    assert_eq!(
        representation(&manifest, key(0, 0, 0)).bitrate,
        BitRate::from_kbps(64)
    );
}

#[test]
fn only_the_first_pathway_is_kept() {
    let manifest = hls(
        "#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"a\",RESOLUTION=2x2\na.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=2,PATHWAY-ID=\"b\",RESOLUTION=2x2\nb.m3u8\n",
    )
    .unwrap();
    assert_eq!(shape(&manifest), [(Video, None, 1)]);
}

#[test]
fn sound_inside_the_pictures_is_refused() {
    let alone = "#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.64001e,mp4a.40.2\"\nv.m3u8\n";
    assert_eq!(code(hls(alone)), "unsupported.muxed");
    let group = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nv.m3u8\n";
    assert_eq!(code(hls(group)), "unsupported.muxed");
}

#[test]
fn broken_tags_are_errors_that_name_tag_and_attribute() {
    let stream = |attributes: &str| hls(&format!("#EXT-X-STREAM-INF:{attributes}\nv.m3u8\n"));
    assert_eq!(
        stream("RESOLUTION=2x2").unwrap_err(),
        ManifestError::MissingAttribute {
            element: "EXT-X-STREAM-INF (line 2)".to_owned(),
            attribute: "BANDWIDTH".to_owned()
        }
    );
    let broken = [
        (
            "#EXT-X-STREAM-INF:BANDWIDTH=much\nv.m3u8",
            "manifest.missing_attribute",
        ),
        ("#EXT-X-STREAM-INF\nv.m3u8", "manifest.malformed"),
        (
            "#EXT-X-STREAM-INF:BANDWIDTH=1",
            "manifest.missing_attribute",
        ),
        (
            "#EXT-X-STREAM-INF:BANDWIDTH=0\nv.m3u8",
            "manifest.malformed",
        ),
        (
            "#EXT-X-MEDIA:TYPE=AUDIO,NAME=\"x\",URI=\"x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv",
            "manifest.missing_attribute",
        ),
        ("#EXTINF:abc,\na.m4s", "manifest.malformed"),
        ("#EXTINF:\na.m4s", "manifest.malformed"),
        ("#EXTINF:-1,\na.m4s", "manifest.malformed"),
        ("#EXTINF:nan,\na.m4s", "manifest.malformed"),
        ("#EXTINF:1e300,\na.m4s", "manifest.malformed"),
        (
            "#EXTINF:0,\na.m4s\n#EXT-X-ENDLIST",
            "manifest.missing_attribute",
        ),
        (
            "#EXTINF:1,\n#EXT-X-BYTERANGE:x@0\na.m4s",
            "manifest.malformed",
        ),
        (
            "#EXTINF:1,\n#EXT-X-BYTERANGE:0@0\na.m4s",
            "manifest.malformed",
        ),
        (
            "#EXTINF:1,\n#EXT-X-BYTERANGE:5\na.m4s",
            "manifest.missing_attribute",
        ),
        (
            "#EXT-X-MAP:BYTERANGE=\"5@0\"\n#EXTINF:1,\na",
            "manifest.missing_attribute",
        ),
        (
            "#EXT-X-MAP:URI=\"i\",BYTERANGE=\"5\"\n#EXTINF:1,\na",
            "manifest.malformed",
        ),
        (
            "#EXT-X-KEY:URI=\"k\"\n#EXTINF:1,\na",
            "manifest.missing_attribute",
        ),
        (
            "#EXT-X-TARGETDURATION:4\na.m4s",
            "manifest.missing_attribute",
        ),
        (
            "#EXTINF:1,\n#EXT-X-STREAM-INF:BANDWIDTH=1\na",
            "manifest.malformed",
        ),
        (
            "#EXT-X-TARGETDURATION:4\n#EXT-X-ENDLIST",
            "manifest.missing_attribute",
        ),
        ("", "manifest.no_tracks"),
    ];
    for (body, expected) in broken {
        assert_eq!(code(hls(body)), expected, "{body}");
    }
}

fn playlist(body: &str) -> Result<Manifest, ManifestError> {
    hls(&format!(
        "#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"init.mp4\"\n{body}\n#EXT-X-ENDLIST\n"
    ))
}

#[test]
fn a_media_playlist_alone_is_one_representation() {
    let manifest = playlist("#EXTINF:4,\na.m4s\n#EXTINF:2.5,\nb.m4s?x=1").unwrap();
    assert_eq!(shape(&manifest), [(Video, None, 1)]);
    assert_eq!(
        times(&manifest, key(0, 0, 0)),
        [(0, 4_000_000), (4_000_000, 2_500_000)]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        ["title/a.m4s", "title/b.m4s?x=1"]
    );
    assert!(representation(&manifest, key(0, 0, 0)).init);
    assert_eq!(
        manifest.outline.duration.map(|d| d.as_millis()),
        Some(6_500)
    );
}

#[test]
fn sums_of_extinf_do_not_drift() {
    let body = "#EXTINF:2.002000,\ns.m4s\n".repeat(50_000);
    let manifest = playlist(&body).unwrap();
    let times = times(&manifest, key(0, 0, 0));
    assert_eq!(times.last(), Some(&(2_002_000 * 49_999, 2_002_000)));
}

#[test]
fn byte_ranges_follow_one_another() {
    let manifest = playlist(
        "#EXTINF:1,\n#EXT-X-BYTERANGE:100@50\na.mp4\n#EXTINF:1,\n#EXT-X-BYTERANGE:200\na.mp4\n\
        #EXTINF:1,\n#EXT-X-BYTERANGE:10@0\na.mp4",
    )
    .unwrap();
    let ranges: Vec<_> = (0..3)
        .map(|index| ObjectKey::Media(key(0, 0, 0), index))
        .map(|object| manifest.locations.locate(object).unwrap().range.unwrap())
        .collect();
    assert_eq!(
        ranges,
        [
            ByteRange {
                first: 50,
                last: 149
            },
            ByteRange {
                first: 150,
                last: 349
            },
            ByteRange { first: 0, last: 9 }
        ]
    );
    // Without an offset in another file there is nothing to follow.
    let broken = playlist(
        "#EXTINF:1,\n#EXT-X-BYTERANGE:100@50\na.mp4\n#EXTINF:1,\n#EXT-X-BYTERANGE:200\nb.mp4",
    );
    assert_eq!(code(broken), "manifest.missing_attribute");
}

#[test]
fn the_time_of_a_gap_passes() {
    let manifest =
        playlist("#EXTINF:2,\na.m4s\n#EXT-X-GAP\n#EXTINF:3,\nb.m4s\n#EXTINF:2,\nc.m4s").unwrap();
    assert_eq!(
        times(&manifest, key(0, 0, 0)),
        [(0, 2_000_000), (5_000_000, 2_000_000)]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        ["title/a.m4s", "title/c.m4s"]
    );
}

#[test]
fn an_empty_segment_is_passed_over() {
    let manifest = playlist(
        "#EXTINF:2,\na.m4s\n#EXTINF:0,\nb.m4s\n#EXTINF:0.0000001,\nc.m4s\n#EXTINF:2,\nd.m4s",
    )
    .unwrap();
    assert_eq!(
        times(&manifest, key(0, 0, 0)),
        [(0, 2_000_000), (2_000_000, 2_000_000)]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        ["title/a.m4s", "title/d.m4s"]
    );
    assert_eq!(code(playlist("#EXTINF:0,\na.m4s")), "manifest.malformed");
}

#[test]
fn a_playlist_of_a_whole_title_needs_no_end() {
    let of_type = |kind: &str, end: &str| {
        hls(&format!(
            "#EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-MAP:URI=\"i\"\n#EXTINF:1,\na.m4s{end}"
        ))
    };
    for whole in [
        "\n",
        "\r\n",
        "\n\n",
        "\n#EXT-X-ENDLIST",
        "\n#EXT-X-ENDLIST\n",
    ] {
        assert_eq!(code(of_type("VOD", whole)), "it parsed", "{whole:?}");
    }
    for cut in [
        "",
        "?token",
        "\n#EXTINF:1,",
        "\n#EXTINF:1,\n",
        "\n#EXTINF:1,\nb.m",
    ] {
        assert_eq!(code(of_type("VOD", cut)), "unsupported.live", "{cut:?}");
    }
    for growing in ["EVENT", "OTHER"] {
        assert_eq!(code(of_type(growing, "\n")), "unsupported.live");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        (
            "#EXTINF:1,\na.m4s\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\nb.m4s",
            "unsupported.feature",
        ),
        (
            "#EXTINF:1,\na.m4s\n#EXT-X-MAP:URI=\"other.mp4\"\n#EXTINF:1,\nb.m4s",
            "unsupported.feature",
        ),
        (
            "#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\na.m4s",
            "unsupported.feature",
        ),
        (
            "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"b\"\n#EXTINF:1,\n{$a}.m4s",
            "unsupported.feature",
        ),
        (
            "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\na.m4s",
            "unsupported.drm_system",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(code(playlist(body)), expected, "{body}");
    }
    assert_eq!(
        code(hls("#EXT-X-MAP:URI=\"i\"\n#EXTINF:1,\na.m4s")),
        "unsupported.live"
    );
    let ts = hls("#EXTINF:1,\na.ts\n#EXT-X-ENDLIST").unwrap_err();
    assert_eq!(ts.to_string(), "unsupported container: MPEG-TS");
    let aac = hls("#EXTINF:1,\na.aac\n#EXT-X-ENDLIST").unwrap_err();
    assert_eq!(aac.code(), "unsupported.container");
    let key = "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\",KEYFORMAT=\"com.apple.streamingkeydelivery\"";
    let error = playlist(&format!("{key}\n#EXTINF:1,\na.m4s")).unwrap_err();
    assert!(
        error.to_string().contains("FairPlay (SAMPLE-AES)"),
        "{error}"
    );
    let clear = "#EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\na.m4s";
    assert_eq!(code(playlist(clear)), "it parsed");
}

#[test]
fn an_index_that_fails_to_load_changes_nothing() {
    let mut manifest = hls("#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=2x2\nv/list.m3u8\n").unwrap();
    let key = key(0, 0, 0);
    for wrong in ["", "<html>", "#EXTM3U\n", "#EXTM3U\n#EXTINF:1,\na.m4s\n"] {
        assert!(
            manifest.load_index(key, wrong.as_bytes()).is_err(),
            "{wrong}"
        );
        assert_eq!(representation(&manifest, key).index, SegmentIndex::Deferred);
    }
    let good = "#EXTM3U\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:1,\na.m4s\n#EXT-X-ENDLIST";
    for _ in 0..2 {
        manifest.load_index(key, good.as_bytes()).unwrap();
        assert_eq!(files(&manifest, key), ["title/v/a.m4s"]);
        assert!(representation(&manifest, key).init);
        check_invariants(&manifest);
    }
    let other = crate::fixtures::key(0, 0, 1);
    assert_eq!(
        manifest.load_index(other, good.as_bytes()),
        Err(ManifestError::UnexpectedIndex)
    );
}

#[test]
fn subtitles_tell_their_container_when_they_are_loaded() {
    let master = "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=2x2\nv.m3u8\n\
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"English\",URI=\"t.m3u8\"\n";
    let mut manifest = hls(master).unwrap();
    let text = key(0, 1, 0);
    let vtt = "#EXTM3U\n#EXTINF:9,\nwhole-file\n#EXT-X-ENDLIST";
    manifest.load_index(text, vtt.as_bytes()).unwrap();
    assert_eq!(representation(&manifest, text).container, Container::WebVtt);
    // Text does not make the presentation longer.
    assert_eq!(manifest.outline.duration, None);
    let mp4 = "#EXTM3U\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:9,\nt.m4s\n#EXT-X-ENDLIST";
    manifest.load_index(text, mp4.as_bytes()).unwrap();
    assert_eq!(representation(&manifest, text).container, Container::Fmp4);
}
