//! Input that means harm: bounded in memory and time, and answered with a typed error.

use std::fmt::Write as _;

use nearcast_manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, parse};

use crate::fixtures::{folder, key, open};

fn code(text: &str) -> &'static str {
    parse(text.as_bytes(), "title/x").map_or_else(|error| error.code(), |_| "it parsed")
}

fn mpd(attributes: &str, segments: &str) -> String {
    format!(
        r#"<MPD {attributes}><Period><AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1">
        {segments}</Representation></AdaptationSet></Period></MPD>"#
    )
}

#[test]
fn what_is_no_manifest_is_told_apart() {
    for text in [
        "",
        "   ",
        "hello",
        "{\"a\":1}",
        "<html><body/></html>",
        "<!DOCTYPE html><html><body><br></body></html>",
        "<!doctype HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\"><p>",
        "<a:x/>",
        "\u{0}\u{1}",
    ] {
        assert_eq!(code(text), "manifest.not_a_manifest", "{text:?}");
    }
    let binary = parse(b"\xff\xfe<\x00M\x00", "x").unwrap_err();
    assert_eq!(binary.code(), "manifest.not_a_manifest");
    for text in [
        "<MPD",
        "<MPD>",
        "<MPD><Period></MPD>",
        "<!-- -->",
        "<MPD/><MPD",
    ] {
        assert_eq!(code(text), "manifest.malformed", "{text:?}");
    }
    for (bytes, found) in [
        (&b"hello"[..], "\"hello\""),
        (b"", "nothing at all"),
        (
            b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix",
            "a media segment (binary MP4)",
        ),
        (b"\0\0\x02\xf4moof\0\0", "a media segment (binary MP4)"),
        (b"\0\0\0\x1cftypiso5", "an MP4 file (binary)"),
        (b"\x1f\x8b\x08\0\0", "binary data"),
        (b"Gr\xfc\xdfe", "\"Gr\u{fffd}\u{fffd}e\""),
    ] {
        let told = parse(bytes, "x").unwrap_err().to_string();
        assert_eq!(told, format!("not a DASH or HLS manifest: {found}"));
    }
    let not_utf8 = parse(b"#EXTM3U\n#EXTINF:1,\n\xff\n", "x").unwrap_err();
    assert_eq!(not_utf8.code(), "manifest.malformed");
    assert_eq!(code("<MPD/>"), "manifest.no_tracks");
    assert_eq!(
        parse(b"<MPD/>", "ftp://x/y").unwrap_err().code(),
        "manifest.bad_url"
    );
}

#[test]
fn entities_are_never_expanded() {
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">
        <!ENTITY c SYSTEM "file:///etc/passwd">]><MPD><BaseURL>&b;&c;</BaseURL></MPD>"#;
    assert_eq!(code(bomb), "manifest.malformed");
    assert_eq!(
        code("<MPD><BaseURL>&b;</BaseURL></MPD>"),
        "manifest.malformed"
    );
    assert_eq!(code(r#"<MPD profiles="&b;"/>"#), "manifest.malformed");
    // The five that XML knows are.
    let segments =
        r#"<BaseURL>a&amp;b&#47;</BaseURL><SegmentTemplate media="$Number$" duration="1"/>"#;
    let text = mpd(r#"mediaPresentationDuration="PT1S""#, segments);
    let manifest = parse(text.as_bytes(), "title/x").unwrap();
    assert_eq!(
        crate::fixtures::files(&manifest, key(0, 0, 0)),
        ["title/a&b/1"]
    );
}

#[test]
fn size_depth_and_width_are_bounded() {
    let large = vec![b'<'; MANIFEST_BYTES_MAX + 1];
    assert_eq!(parse(&large, "x").unwrap_err().code(), "manifest.too_large");
    let mut manifest = open("ffmpeg-hls", "master.m3u8");
    assert_eq!(
        manifest
            .load_index(key(0, 0, 0), &large)
            .unwrap_err()
            .code(),
        "manifest.too_large"
    );
    let deep = format!("<MPD>{}", "<x>".repeat(1_000_000));
    assert_eq!(code(&deep), "manifest.too_large");
    let wide = format!("<MPD>{}</MPD>", "<x/>".repeat(1_000_000));
    assert_eq!(code(&wide), "manifest.too_large");
    let mut attributes = String::from("<MPD ");
    for number in 0..500_000 {
        write!(attributes, "a{number}='' ").unwrap();
    }
    attributes.push_str("/>");
    assert_eq!(code(&attributes), "manifest.too_large");
    let long = "x".repeat(100_000);
    assert_eq!(
        code(&mpd("", &format!("<BaseURL>{long}</BaseURL>"))),
        "manifest.too_large"
    );
    assert_eq!(
        code(&format!("#EXTM3U\n#EXTINF:1,\n{long}\n")),
        "manifest.too_large"
    );
    let mut renditions = String::from("#EXTM3U\n");
    for number in 0..100_000 {
        writeln!(renditions, "#EXT-X-STREAM-INF:BANDWIDTH=1\n{number}").unwrap();
    }
    assert_eq!(code(&renditions), "manifest.too_large");
}

#[test]
fn elements_are_counted_by_what_the_parser_makes_of_them() {
    let too_large = |text: &str| match parse(text.as_bytes(), "title/x") {
        Err(ManifestError::TooLarge { what, limit }) => (what, limit),
        other => panic!("{other:?}"),
    };
    let set =
        |inner: &str| format!("<MPD><Period><AdaptationSet>{inner}</AdaptationSet></Period></MPD>");
    // 7 MB of text that would be a gigabyte once parsed.
    let bomb = set(&"<Representation/>".repeat(399_990));
    assert_eq!(
        too_large(&bomb),
        ("number of Representation elements", 5_000)
    );
    for (element, limit) in [
        ("<x:Representation/>", 5_000),
        ("<SubRepresentation/>", 20_000),
        ("<ContentProtection/>", 20_000),
    ] {
        let text = set(&element.repeat(limit + 1));
        assert_eq!(too_large(&text).1, limit, "{element}");
    }
    let sets = format!(
        "<MPD><Period>{}</Period></MPD>",
        "<AdaptationSet/>".repeat(5_001)
    );
    assert_eq!(
        too_large(&sets),
        ("number of AdaptationSet elements", 5_000)
    );
    let periods = format!("<MPD>{}</MPD>", "<Period/>".repeat(501));
    assert_eq!(too_large(&periods), ("number of Period elements", 500));
    let urls = mpd(
        "",
        &format!(
            "<SegmentList>{}</SegmentList>",
            "<SegmentURL/>".repeat(400_001)
        ),
    );
    assert_eq!(
        too_large(&urls),
        ("number of S and SegmentURL elements", 400_000)
    );
    // What a long title needs passes.
    let urls = r#"<SegmentURL media="a"/>"#.repeat(100_000);
    let list = format!(r#"<SegmentList duration="1" timescale="1000">{urls}</SegmentList>"#);
    assert_eq!(
        code(&mpd(r#"mediaPresentationDuration="PT100S""#, &list)),
        "it parsed"
    );
    let ladder: String = (1..=10)
        .map(|rate| format!(r#"<Representation id="{rate}" bandwidth="{rate}"/>"#))
        .collect();
    let period = format!(
        r#"<Period duration="PT60S"><AdaptationSet mimeType="video/mp4">
        <SegmentTemplate media="$RepresentationID$/$Number$" duration="4"/>{ladder}</AdaptationSet></Period>"#
    );
    let cut = format!("<MPD>{}</MPD>", period.repeat(500));
    assert_eq!(code(&cut), "it parsed");
}

#[test]
fn segments_are_counted_before_they_are_made() {
    let row = |row: &str| {
        let segments = format!(
            r#"<SegmentTemplate media="$Number$" timescale="1000"><SegmentTimeline>{row}</SegmentTimeline></SegmentTemplate>"#
        );
        mpd(r#"mediaPresentationDuration="PT100000000S""#, &segments)
    };
    for rows in [
        r#"<S d="1" r="9223372036854775807"/>"#,
        r#"<S d="1" r="-1"/>"#,
        r#"<S d="1" r="100000"/>"#,
        r#"<S d="1" r="99999"/><S d="1"/>"#,
    ] {
        assert_eq!(code(&row(rows)), "manifest.too_many_segments", "{rows}");
    }
    assert_eq!(code(&row(r#"<S d="1" r="99999"/>"#)), "it parsed");
    for template in [
        r#"<SegmentTemplate media="$Number$" duration="1" timescale="4294967295"/>"#,
        r#"<SegmentTemplate media="$Number$" duration="0.001" timescale="1000"/>"#,
    ] {
        let text = mpd(r#"mediaPresentationDuration="PT100000000S""#, template);
        assert_eq!(code(&text), "manifest.too_many_segments", "{template}");
    }
    // Each within its limit, all together beyond theirs.
    let mut set = String::new();
    for number in 0..6 {
        write!(set, r#"<Representation id="{number}" bandwidth="1"/>"#).unwrap();
    }
    let shared = format!(
        r#"<MPD><Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate media="$Number$"><SegmentTimeline>
        <S d="1" r="99999"/></SegmentTimeline></SegmentTemplate>{set}</AdaptationSet></Period></MPD>"#
    );
    assert_eq!(code(&shared), "manifest.too_many_segments");
    let playlist = format!("#EXTM3U\n{}", "#EXTINF:1,\na\n".repeat(100_001));
    assert_eq!(code(&playlist), "manifest.too_many_segments");
}

#[test]
fn numbers_without_sense_are_errors() {
    let with = |attributes: &str| {
        let segments = format!(
            r#"<SegmentTemplate media="$Number$" {attributes}><SegmentTimeline><S t="9" d="9"/></SegmentTimeline></SegmentTemplate>"#
        );
        code(&mpd(r#"mediaPresentationDuration="PT10S""#, &segments))
    };
    for attributes in [
        r#"timescale="0""#,
        r#"timescale="-1""#,
        r#"timescale="4294967296""#,
        r#"presentationTimeOffset="-5""#,
        r#"presentationTimeOffset="18446744073709551615""#,
    ] {
        assert_eq!(with(attributes), "manifest.malformed", "{attributes}");
    }
    for duration in ["0", "-1", "NaN", "inf", "1e300"] {
        let segments = format!(r#"<SegmentTemplate media="$Number$" duration="{duration}"/>"#);
        let text = mpd(r#"mediaPresentationDuration="PT10S""#, &segments);
        assert_eq!(code(&text), "manifest.malformed", "{duration}");
    }
    for row in [
        r#"<S t="18446744073709551615" d="1"/>"#,
        r#"<S t="0" d="18446744073709551615" r="1"/>"#,
        r#"<S t="9223372036854775807" d="9223372036854775807"/>"#,
        // Shorter than a microsecond.
        r#"<S t="0" d="1"/>"#,
    ] {
        let segments = format!(
            r#"<SegmentTemplate media="$Number$" timescale="4000000000"><SegmentTimeline>{row}</SegmentTimeline></SegmentTemplate>"#
        );
        assert_eq!(code(&mpd("", &segments)), "manifest.malformed", "{row}");
    }
}

#[test]
fn durations_that_the_parser_would_overflow_on_are_errors() {
    for value in [
        "P999999999999999999D",
        "PT18446744073709551615H",
        "P9999999999Y",
        "PT١٢٣٤٥٦٧٨٩٠M",
    ] {
        for text in [
            mpd(&format!(r#"mediaPresentationDuration="{value}""#), ""),
            format!(r#"<MPD><Period duration="{value}"/></MPD>"#),
            format!(r#"<MPD minBufferTime="{value}"/>"#),
            format!(r#"<MPD><BaseURL timeShiftBufferDepth="{value}">x</BaseURL></MPD>"#),
        ] {
            assert_eq!(code(&text), "manifest.malformed", "{text}");
        }
    }
}

#[test]
fn an_index_that_lies_is_an_error() {
    let good = std::fs::read(folder("shaka-ondemand").join("lo.sidx")).unwrap();
    let load = |bytes: &[u8]| -> Result<(), ManifestError> {
        let mut manifest: Manifest = open("shaka-ondemand", "stream.mpd");
        manifest.load_index(key(0, 0, 0), bytes).map(|_| ())
    };
    assert_eq!(load(&good), Ok(()));
    let patched = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes.splice(at..at + with.len(), with.iter().copied());
        bytes
    };
    let cases = [
        ("nothing", Vec::new()),
        ("cut off", good[..60].to_vec()),
        ("text", b"<html>not found</html>".to_vec()),
        ("a size of 0", patched(0, &[0; 4])),
        ("a size below its header", patched(0, &[0, 0, 0, 4])),
        ("a huge size", patched(0, &[0xff; 4])),
        ("timescale 0", patched(16, &[0; 4])),
        ("no references", patched(30, &[0, 0])),
        ("more references than bytes", patched(30, &[0xff, 0xff])),
        ("an empty segment", patched(32, &[0; 4])),
        ("a segment without duration", patched(36, &[0; 4])),
    ];
    for (what, bytes) in cases {
        assert_eq!(
            load(&bytes).unwrap_err().code(),
            "manifest.bad_index",
            "{what}"
        );
    }
    let nested = patched(32, &[0x80, 0, 0x52, 0xd1]);
    assert_eq!(load(&nested).unwrap_err().code(), "unsupported.feature");
}

#[test]
fn codes_are_stable() {
    let text = String::new;
    let codes: Vec<&str> = [
        ManifestError::NotAManifest { found: text() },
        ManifestError::Malformed { what: text() },
        ManifestError::MissingAttribute {
            element: text(),
            attribute: text(),
        },
        ManifestError::TooLarge { what: "", limit: 0 },
        ManifestError::TooManySegments { limit: 0 },
        ManifestError::NoTracks,
        ManifestError::BadUrl {
            reference: text(),
            why: "",
        },
        ManifestError::BadIndex { what: text() },
        ManifestError::UnexpectedIndex,
        ManifestError::Live { why: "" },
        ManifestError::DrmSystem { system: text() },
        ManifestError::Container { container: text() },
        ManifestError::Muxed { codecs: text() },
        ManifestError::Xlink,
        ManifestError::Feature { feature: text() },
    ]
    .iter()
    .map(ManifestError::code)
    .collect();
    assert_eq!(
        codes,
        [
            "manifest.not_a_manifest",
            "manifest.malformed",
            "manifest.missing_attribute",
            "manifest.too_large",
            "manifest.too_many_segments",
            "manifest.no_tracks",
            "manifest.bad_url",
            "manifest.bad_index",
            "manifest.unexpected_index",
            "unsupported.live",
            "unsupported.drm_system",
            "unsupported.container",
            "unsupported.muxed",
            "unsupported.xlink",
            "unsupported.feature",
        ]
    );
}
