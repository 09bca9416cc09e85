//! DASH beyond what the packagers of the fixtures write.

use std::time::Duration;

use nearcast_manifest::{Location, Manifest, ManifestError, Target, parse};
use nearcast_protocol::manifest::ObjectKey;
use nearcast_protocol::manifest::TrackKind::{Audio, Text, Video};

use crate::fixtures::{
    check_invariants, files, key, representation, segments_of, shape, times, tracks,
};

fn mpd_with(attributes: &str, periods: &str) -> Result<Manifest, ManifestError> {
    let text = format!(r#"<?xml version="1.0"?><MPD {attributes}>{periods}</MPD>"#);
    let manifest = parse(
        text.as_bytes(),
        "https://edge.example/a/b/stream.mpd?token=1",
    )?;
    check_invariants(&manifest);
    Ok(manifest)
}

/// One period of ten seconds.
fn mpd(sets: &str) -> Result<Manifest, ManifestError> {
    mpd_with(
        r#"type="static" mediaPresentationDuration="PT10S""#,
        &format!("<Period>{sets}</Period>"),
    )
}

fn video(segments: &str) -> Result<Manifest, ManifestError> {
    mpd(&format!(
        r#"<AdaptationSet mimeType="video/mp4" codecs="avc1.64001e">
        <Representation id="v" bandwidth="1000">{segments}</Representation></AdaptationSet>"#
    ))
}

fn code(result: Result<Manifest, ManifestError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "it parsed")
}

#[test]
fn presentation_time_offset_moves_media_onto_the_period() {
    let manifest = mpd_with(
        r#"mediaPresentationDuration="PT20S""#,
        r#"<Period duration="PT12S"><AdaptationSet mimeType="video/mp4">
            <SegmentTemplate media="$Number$" duration="4"/>
            <Representation id="v" bandwidth="1"/></AdaptationSet></Period>
        <Period id="2"><AdaptationSet mimeType="video/mp4">
            <SegmentTemplate media="$Time$" timescale="1000" presentationTimeOffset="60000">
            <SegmentTimeline><S t="60000" d="4000" r="-1"/></SegmentTimeline></SegmentTemplate>
            <Representation id="v" bandwidth="1"/></AdaptationSet></Period>"#,
    )
    .unwrap();
    assert_eq!(
        times(&manifest, key(1, 0, 0)),
        [(12_000_000, 4_000_000), (16_000_000, 4_000_000)]
    );
    assert_eq!(
        representation(&manifest, key(1, 0, 0)).media_offset_us,
        12_000_000 - 60_000_000
    );
    assert_eq!(files(&manifest, key(1, 0, 0)), ["/a/b/60000", "/a/b/64000"]);
    assert_eq!(manifest.outline.duration, Some(Duration::from_secs(20)));
}

#[test]
fn negative_repeats_reach_the_next_row_or_the_end() {
    let manifest = video(
        r#"<SegmentTemplate media="$Number%03d$-$Time$" startNumber="7"><SegmentTimeline>
        <S t="0" d="2" r="-1"/><S t="5" d="3" r="-1"/></SegmentTimeline></SegmentTemplate>"#,
    )
    .unwrap();
    // The third segment of the first row is cut off by the second row.
    assert_eq!(
        times(&manifest, key(0, 0, 0)),
        [
            (0, 2_000_000),
            (2_000_000, 2_000_000),
            (4_000_000, 1_000_000),
            (5_000_000, 3_000_000),
            (8_000_000, 3_000_000)
        ]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        [
            "/a/b/007-0",
            "/a/b/008-2",
            "/a/b/009-4",
            "/a/b/010-5",
            "/a/b/011-8"
        ]
    );
}

#[test]
fn segments_outside_the_period_are_left_out() {
    let manifest = video(
        r#"<SegmentTemplate media="$Number$" presentationTimeOffset="4"><SegmentTimeline>
        <S t="0" d="2" r="20"/></SegmentTimeline></SegmentTemplate>"#,
    )
    .unwrap();
    let times = times(&manifest, key(0, 0, 0));
    assert_eq!(times.first(), Some(&(0, 2_000_000)));
    assert_eq!(times.last(), Some(&(8_000_000, 2_000_000)));
    assert_eq!(files(&manifest, key(0, 0, 0))[0], "/a/b/3");
}

#[test]
fn a_constant_duration_is_cut_off_at_the_end_of_the_period() {
    let manifest = video(
        r#"<SegmentTemplate media="$Number$-$Time$" initialization="init" duration="4004"
        timescale="1000" startNumber="0" presentationTimeOffset="500"/>"#,
    )
    .unwrap();
    assert_eq!(
        times(&manifest, key(0, 0, 0)),
        [
            (0, 4_004_000),
            (4_004_000, 4_004_000),
            (8_008_000, 1_992_000)
        ]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        ["/a/b/0-500", "/a/b/1-4504", "/a/b/2-8508"]
    );
    assert_eq!(
        representation(&manifest, key(0, 0, 0)).media_offset_us,
        -500_000
    );
}

#[test]
fn a_period_rounded_up_asks_for_no_segment_that_is_not_there() {
    let template = r#"<Period><AdaptationSet mimeType="video/mp4">
        <SegmentTemplate media="$Number$" duration="2"/>
        <Representation id="v" bandwidth="1"/></AdaptationSet></Period>"#;
    for (duration, count) in [("PT6S", 3), ("PT6.1S", 3), ("PT6.2S", 4), ("PT0.05S", 1)] {
        let attributes = format!(r#"mediaPresentationDuration="{duration}""#);
        let manifest = mpd_with(&attributes, template).unwrap();
        assert_eq!(times(&manifest, key(0, 0, 0)).len(), count, "{duration}");
    }
}

#[test]
fn fractional_durations_and_ept_delta_are_understood() {
    let manifest = video(r#"<SegmentTemplate media="$Number$" duration="3.2" eptDelta="1"/>"#);
    let times = times(&manifest.unwrap(), key(0, 0, 0));
    assert_eq!(
        times,
        [
            (1_000_000, 3_200_000),
            (4_200_000, 3_200_000),
            (7_400_000, 2_600_000)
        ]
    );
}

#[test]
fn end_number_ends_the_list() {
    let manifest =
        video(r#"<SegmentTemplate media="$Number$" duration="1" startNumber="3" endNumber="5"/>"#);
    assert_eq!(
        files(&manifest.unwrap(), key(0, 0, 0)),
        ["/a/b/3", "/a/b/4", "/a/b/5"]
    );
}

#[test]
fn every_segment_that_is_told_of_is_kept() {
    let told = |period: &str, count: usize, list: bool| {
        let segments = if list {
            let urls = r#"<SegmentURL media="s"/>"#.repeat(count);
            format!(r#"<SegmentList duration="4">{urls}</SegmentList>"#)
        } else {
            format!(r#"<SegmentTemplate media="$Number$" duration="4" endNumber="{count}"/>"#)
        };
        let manifest = mpd_with(
            &format!(r#"mediaPresentationDuration="{period}""#),
            &format!(
                r#"<Period><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1">
                {segments}</Representation></AdaptationSet></Period>"#
            ),
        )
        .unwrap();
        times(&manifest, key(0, 0, 0))
    };
    for list in [true, false] {
        // The last one is a frame or two long.
        let times = told("PT8.05S", 3, list);
        assert_eq!(times.last(), Some(&(8_000_000, 50_000)));
        // The others were shorter than they are said to be: what is left is a few frames.
        let times = told("PT7.9S", 3, list);
        assert_eq!(times.len(), 3);
        assert_eq!(times[1..], [(4_000_000, 3_800_000), (7_800_000, 100_000)]);
        // This one begins behind the end.
        assert_eq!(told("PT5S", 3, list).len(), 2);
        assert_eq!(told("PT5S", 1000, list).len(), 2);
        assert_eq!(told("PT20S", 3, list).len(), 3);
    }
}

#[test]
fn lists_of_periods_that_were_cut_from_one_timeline_are_moved_onto_theirs() {
    let manifest = mpd_with(
        r#"mediaPresentationDuration="PT20S""#,
        r#"<Period duration="PT8S"><x:Period/><AdaptationSet mimeType="video/mp4">
            <SegmentList timescale="10"><SegmentTimeline><S t="0" d="40" r="1"/></SegmentTimeline>
            <SegmentURL media="1"/><SegmentURL media="2"/></SegmentList>
            <Representation id="v" bandwidth="1"/></AdaptationSet></Period>
        <Period><AdaptationSet mimeType="image/jpeg"><Representation id="i"><SegmentList presentationTimeOffset="1"/>
            </Representation></AdaptationSet><AdaptationSet mimeType="video/mp4">
            <SegmentList timescale="10" presentationTimeOffset="80"><SegmentTimeline><S t="80" d="40" r="1"/>
            </SegmentTimeline><SegmentURL media="3"/><SegmentURL media="4"/></SegmentList>
            <Representation id="v" bandwidth="1"/>
            <Representation id="w" bandwidth="2"><SegmentList presentationTimeOffset="120"/></Representation>
            </AdaptationSet></Period>"#,
    )
    .unwrap();
    let of = |key| {
        (
            times(&manifest, key),
            representation(&manifest, key).media_offset_us,
        )
    };
    let four = 4_000_000_u128;
    assert_eq!(of(key(0, 0, 0)), (vec![(0, four), (4_000_000, four)], 0));
    let second = vec![(8_000_000, four), (12_000_000, four)];
    assert_eq!(of(key(1, 0, 0)), (second, 0));
    assert_eq!(of(key(1, 0, 1)), (vec![(8_000_000, four)], -4_000_000));
    let wrong = video(
        r#"<SegmentList duration="4" presentationTimeOffset="x"><SegmentURL media="1"/></SegmentList>"#,
    );
    assert_eq!(code(wrong), "manifest.malformed");
}

#[test]
fn a_rate_that_cannot_be_is_an_error() {
    let rate = |bandwidth: &str| {
        code(mpd(&format!(
            r#"<AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="{bandwidth}">
            <SegmentTemplate media="$Number$" duration="5"/></Representation></AdaptationSet>"#
        )))
    };
    for wrong in ["0", "10000000001", "18446744073709551615"] {
        assert_eq!(rate(wrong), "manifest.malformed", "{wrong}");
    }
    assert_eq!(rate("10000000000"), "it parsed");
}

#[test]
fn templates_are_inherited_attribute_by_attribute() {
    let manifest = mpd_with(
        r#"mediaPresentationDuration="PT10S""#,
        r#"<BaseURL>one/</BaseURL><Period><BaseURL>two/</BaseURL>
        <SegmentTemplate timescale="10" duration="50" initialization="$RepresentationID$-$Bandwidth$"/>
        <AdaptationSet mimeType="video/mp4"><BaseURL>three/</BaseURL>
          <SegmentTemplate media="$RepresentationID$/$Number$" startNumber="5"/>
          <Representation id="high" bandwidth="900"/>
          <Representation id="low" bandwidth="100"><BaseURL>/four/</BaseURL>
            <SegmentTemplate startNumber="8"/></Representation>
        </AdaptationSet></Period>"#,
    )
    .unwrap();
    assert_eq!(representation(&manifest, key(0, 0, 0)).id, "low");
    assert_eq!(
        files(&manifest, key(0, 0, 0)),
        ["/four/low/8", "/four/low/9"]
    );
    assert_eq!(
        files(&manifest, key(0, 0, 1)),
        ["/a/b/one/two/three/high/5", "/a/b/one/two/three/high/6"]
    );
    assert_eq!(
        manifest.locations.locate(ObjectKey::Init(key(0, 0, 1))),
        Some(Location {
            target: Target::Path("/a/b/one/two/three/high-900".to_owned()),
            range: None
        })
    );
}

#[test]
fn the_innermost_kind_of_index_counts() {
    let manifest = mpd(r#"<AdaptationSet mimeType="video/mp4">
        <SegmentTemplate media="$Number$" duration="5"/>
        <Representation id="v" bandwidth="1"><BaseURL>v.mp4</BaseURL><SegmentList>
        <SegmentURL mediaRange="100-199"/></SegmentList></Representation></AdaptationSet>"#)
    .unwrap();
    assert_eq!(times(&manifest, key(0, 0, 0)), [(0, 10_000_000)]);
    let media = manifest.locations.locate(ObjectKey::Media(key(0, 0, 0), 0));
    assert_eq!(media.unwrap().range.unwrap().length(), 100);
}

#[test]
fn several_base_urls_are_pathways() {
    let manifest = mpd_with(
        r#"mediaPresentationDuration="PT4S""#,
        r#"<BaseURL serviceLocation="late" dvb:priority="2">https://late.example/x/</BaseURL>
        <BaseURL serviceLocation="beta">https://beta.example/y/</BaseURL>
        <Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate media="v/$Number$" duration="4"/>
        <Representation id="v" bandwidth="1"/></AdaptationSet></Period>"#,
    )
    .unwrap();
    let names: Vec<_> = manifest.pathways.iter().map(|path| &path.name).collect();
    assert_eq!(names, ["beta", "late"]);
    let media = manifest.locations.locate(ObjectKey::Media(key(0, 0, 0), 0));
    let media = media.unwrap();
    assert_eq!(
        media.target,
        Target::Url("https://beta.example/y/v/1".to_owned())
    );
    let moved = manifest.on_pathway(&media, &manifest.pathways[1]).unwrap();
    assert_eq!(
        moved.target,
        Target::Url("https://late.example/x/v/1".to_owned())
    );
}

#[test]
fn tracks_carry_language_role_and_label() {
    let manifest = mpd(
        r#"<AdaptationSet mimeType="video/mp4"><Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
          <Representation id="v" bandwidth="1"><SegmentTemplate media="v$Number$" duration="5"/></Representation></AdaptationSet>
        <AdaptationSet mimeType="audio/mp4" lang="deu"><Label>Kommentar</Label>
          <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
          <Role schemeIdUri="urn:mpeg:dash:role:2011" value="commentary"/>
          <Representation id="a" bandwidth="1"><SegmentTemplate media="a$Number$" duration="5"/></Representation></AdaptationSet>
        <AdaptationSet mimeType="text/vtt" lang="en">
          <Accessibility schemeIdUri="urn:mpeg:dash:role:2011" value="caption"/>
          <Representation id="t" bandwidth="1"><BaseURL>t.vtt</BaseURL></Representation></AdaptationSet>"#,
    )
    .unwrap();
    let tracks = tracks(&manifest);
    assert!(tracks[0].default);
    assert_eq!(tracks[0].role.as_deref(), Some("main"));
    assert_eq!(tracks[1].language.as_deref(), Some("de"));
    assert_eq!(tracks[1].role.as_deref(), Some("commentary"));
    assert_eq!(tracks[1].label.as_deref(), Some("Kommentar"));
    assert_eq!(tracks[2].role.as_deref(), Some("caption"));
    assert_eq!(files(&manifest, key(0, 2, 0)), ["/a/b/t.vtt"]);
}

fn set(id: u32, mime: &str, codecs: &str, extra: &str) -> String {
    format!(
        r#"<AdaptationSet id="{id}" mimeType="{mime}">{extra}<Representation id="r{id}" bandwidth="{id}"
        codecs="{codecs}"><SegmentTemplate media="{id}-$Number$" duration="5"/></Representation></AdaptationSet>"#
    )
}

#[test]
fn sets_are_joined_only_where_the_manifest_says_so() {
    let switching = r#"<SupplementalProperty schemeIdUri="urn:mpeg:dash:adaptation-set-switching:2016" value="2, 9"/>"#;
    let joined = mpd(&format!(
        "{}{}",
        set(1, "video/mp4", "hvc1.1", switching),
        set(2, "video/mp4", "avc1.64001e", "")
    ));
    assert_eq!(shape(&joined.unwrap()), [(Video, None, 2)]);
    let apart = mpd(&format!(
        "{}{}{}",
        set(1, "video/mp4", "hvc1.1", ""),
        set(2, "video/mp4", "avc1.64001e", ""),
        set(3, "video/mp4", "avc1.64001e", "")
    ))
    .unwrap();
    assert_eq!(shape(&apart), [(Video, None, 1)]);
    // The first of those that every build can decode.
    assert_eq!(representation(&apart, key(0, 0, 0)).id, "r2");
}

#[test]
fn trick_modes_and_thumbnails_are_no_tracks() {
    let trick =
        r#"<EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="1"/>"#;
    let colour =
        r#"<EssentialProperty schemeIdUri="urn:mpeg:mpegB:cicp:ColourPrimaries" value="1"/>"#;
    let manifest = mpd(&format!(
        "{}{}{}",
        set(1, "video/mp4", "avc1.64001e", trick),
        set(2, "video/mp4", "avc1.64001e", colour),
        set(3, "image/jpeg", "", "")
    ))
    .unwrap();
    assert_eq!(shape(&manifest), [(Video, None, 1)]);
    assert_eq!(representation(&manifest, key(0, 0, 0)).id, "r2");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let protected = r#"<ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cenc"/>
        <ContentProtection schemeIdUri="urn:uuid:EDEF8BA9-79D6-4ACE-A3C8-27DCD51D21ED"/>"#;
    let error = mpd(&set(1, "video/mp4", "avc1.64001e", protected)).unwrap_err();
    assert_eq!(error.code(), "unsupported.drm_system");
    assert!(error.to_string().contains("cenc, Widevine"), "{error}");
    for (mime, codecs, expected) in [
        ("video/mp2t", "avc1.64001e", "unsupported.container"),
        ("video/webm", "vp9", "unsupported.container"),
        ("video/mp4", "avc1.64001e,mp4a.40.2", "unsupported.muxed"),
    ] {
        assert_eq!(code(mpd(&set(1, mime, codecs, ""))), expected, "{mime}");
    }
    let live = mpd_with(r#"type="dynamic""#, "<Period/>");
    assert_eq!(code(live), "unsupported.live");
    let xlink = mpd_with("", r#"<Period xlink:href="https://x.example/"/>"#);
    assert_eq!(code(xlink), "unsupported.xlink");
    assert_eq!(code(mpd("")), "manifest.no_tracks");
    assert_eq!(code(mpd(&set(1, "text/vtt", "", ""))), "manifest.no_tracks");
}

#[test]
fn one_unsupported_track_does_not_stop_the_others() {
    let manifest = mpd(&format!(
        "{}{}{}{}",
        set(1, "video/webm", "vp9", ""),
        set(2, "video/mp4", "avc1.64001e", ""),
        set(3, "audio/mp4", "mp4a.40.2", ""),
        set(4, "application/ttml+xml", "", "")
    ))
    .unwrap();
    assert_eq!(shape(&manifest), [(Video, None, 1), (Audio, None, 1)]);
    let refused: Vec<_> = manifest
        .refused
        .iter()
        .map(|refused| (refused.kind, refused.error.to_string()))
        .collect();
    assert_eq!(
        refused,
        [
            (Video, "unsupported container: WebM".to_owned()),
            (Text, "unsupported container: TTML".to_owned())
        ]
    );
    // But a title whose only sound cannot be played is no title.
    let silent = mpd(&format!(
        "{}{}",
        set(2, "video/mp4", "avc1.64001e", ""),
        set(3, "audio/webm", "opus", "")
    ));
    assert_eq!(code(silent), "unsupported.container");
}

#[test]
fn missing_attributes_are_named() {
    let missing = |result: Result<Manifest, ManifestError>| match result {
        Err(ManifestError::MissingAttribute { element, attribute }) => (element, attribute),
        other => panic!("{other:?}"),
    };
    let of = |element: &str, attribute: &str| (element.to_owned(), attribute.to_owned());
    let set = |attributes: &str, inner: &str| {
        mpd(&format!(
            r#"<AdaptationSet contentType="video"><Representation {attributes}>{inner}</Representation></AdaptationSet>"#
        ))
    };
    let template = r#"<SegmentTemplate media="$Number$" duration="5"/>"#;
    let cases = [
        (r#"bandwidth="1" mimeType="video/mp4""#, "id"),
        (r#"id="1" mimeType="video/mp4""#, "bandwidth"),
        (r#"id="1" bandwidth="1""#, "mimeType"),
    ];
    for (attributes, attribute) in cases {
        assert_eq!(
            missing(set(attributes, template)),
            of("Representation", attribute)
        );
    }
    assert_eq!(
        missing(video(r#"<SegmentTemplate duration="5"/>"#)),
        of("SegmentTemplate", "media")
    );
    assert_eq!(
        missing(video("<SegmentBase/>")),
        of("SegmentBase", "indexRange")
    );
    let endless = mpd_with(
        "",
        r#"<Period><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1">
        <SegmentTemplate media="$Number$" duration="5"/></Representation></AdaptationSet></Period>"#,
    );
    assert_eq!(missing(endless), of("MPD", "mediaPresentationDuration"));
}

#[test]
fn without_a_declared_duration_the_segments_tell() {
    let manifest = mpd_with(
        "",
        r#"<Period><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1">
        <SegmentTemplate media="$Number$"><SegmentTimeline><S d="3" r="2"/></SegmentTimeline></SegmentTemplate>
        </Representation></AdaptationSet></Period>"#,
    )
    .unwrap();
    assert_eq!(manifest.outline.duration, Some(Duration::from_secs(9)));
    assert_eq!(manifest.outline.periods[0].duration, None);
}

#[test]
fn small_overlaps_are_cut_and_steps_back_are_errors() {
    let rows = |rows: &str| {
        video(&format!(
            r#"<SegmentTemplate media="$Number$" timescale="10"><SegmentTimeline>{rows}</SegmentTimeline></SegmentTemplate>"#
        ))
    };
    let manifest = rows(r#"<S t="0" d="21"/><S t="20" d="20"/>"#).unwrap();
    let durations: Vec<_> = segments_of(&manifest, key(0, 0, 0))
        .iter()
        .map(|segment| segment.duration)
        .collect();
    assert_eq!(durations, [Duration::from_secs(2); 2]);
    for wrong in [
        r#"<S t="20" d="20"/><S t="10" d="20"/>"#,
        r#"<S t="0" d="0"/>"#,
        r#"<S t="0"/>"#,
        r#"<S t="50" d="1" r="-1"/><S t="10" d="1"/>"#,
        "",
    ] {
        assert_eq!(code(rows(wrong)), "manifest.malformed", "{wrong}");
    }
}

#[test]
fn one_url_for_many_segments_is_an_error() {
    assert_eq!(
        code(video(r#"<SegmentTemplate media="same.m4s" duration="5"/>"#)),
        "manifest.malformed"
    );
    assert_eq!(
        code(video(
            r#"<SegmentTemplate media="../../../$Number$" duration="5"/>"#
        )),
        "manifest.bad_url"
    );
}
