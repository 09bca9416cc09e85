//! What a session is about, as bytes say it: settings, edges, and titles of which some cannot be.

use std::time::Duration;

use nearcast_core::abr::{Objective, RungValue};
use nearcast_core::{AbrRule, Config, EdgeOffer, Grant};
use nearcast_protocol::manifest::{
    Container, Outline, Period, Representation, Segment, SegmentIndex, Track, TrackKind,
};
use nearcast_units::{BitRate, ByteCount, MediaTime, Seed};

use super::bytes::Bytes;

pub(super) const LANGUAGES: [&str; 3] = ["en", "sv-SE", ""];

pub(super) fn config(bytes: &mut Bytes<'_>) -> Config {
    let usual = Config {
        seed: Seed::new(bytes.byte().into()),
        abr: AbrRule::ALL[usize::from(bytes.below(6))],
        custom_policy: bytes.chance(64),
        race_width: bytes.below(5).into(),
        text_language: bytes.chance(64).then(|| LANGUAGES[0].into()),
        ..Config::default()
    };
    if bytes.chance(160) {
        return usual;
    }
    Config {
        buffer_goal: if bytes.chance(16) {
            Duration::MAX
        } else {
            bytes.span(30)
        },
        memory_cap: ByteCount::new(bytes.number(40)),
        start_at: bytes.place(),
        objective: Objective {
            value: match bytes.below(3) {
                0 => RungValue::BitRate,
                1 => RungValue::LogBitRate,
                _ => RungValue::Scores(vec![f64::NAN, -1.0, 1e300, 3.0]),
            },
            stall: bytes.chance(128).then_some(1e300),
            stall_begins: bytes.chance(128).then_some(1e300),
            switch: bytes.chance(128).then_some(0.0),
        },
        rung_cap: bytes
            .chance(128)
            .then(|| BitRate::from_bps(bytes.number(30))),
        audio_language: bytes.chance(128).then(|| LANGUAGES[1].into()),
        paused: bytes.chance(64),
        start_timeout: bytes.span(30),
        give_up: bytes.chance(128).then(|| bytes.span(30)),
        extra_allowance: ByteCount::new(bytes.number(24)),
        extra_percent: bytes.byte(),
        network: bytes.chance(128).then(|| LANGUAGES[0].into()),
        began_s: bytes.number(64),
        ..usual
    }
}

/// Edges, of which some may have been there before.
pub(super) fn grant(bytes: &mut Bytes<'_>) -> Grant {
    let edges = (0..bytes.below(6)).map(|_| EdgeOffer {
        name: format!("e{}", bytes.below(8)),
        rank: bytes.below(8).into(),
    });
    Grant {
        edges: edges.collect(),
        refresh_after: bytes.chance(160).then(|| bytes.span(36)),
        length: bytes.chance(64).then(|| bytes.span(36)),
    }
}

/// Four edges whose tokens do not expire.
pub(super) fn usual_grant() -> Grant {
    let edges = (0..4).map(|rank| EdgeOffer {
        name: format!("e{rank}"),
        rank,
    });
    Grant {
        edges: edges.collect(),
        refresh_after: None,
        length: None,
    }
}

/// Twelve segments of 4 s.
pub(super) fn usual_segments() -> Vec<Segment> {
    let duration = Duration::from_secs(4);
    let segment = |nth| Segment {
        start: MediaTime::from_duration(duration * nth),
        duration,
        size: None,
    };
    (0..12).map(segment).collect()
}

/// No segment is shorter than a picture is shown.
const FRAME: Duration = Duration::from_millis(40);

/// Mostly ascending and without gaps.
pub(super) fn segments(bytes: &mut Bytes<'_>) -> Vec<Segment> {
    if bytes.chance(128) {
        return usual_segments();
    }
    let mut at = MediaTime::ZERO;
    let mut segments = Vec::new();
    for _ in 0..bytes.below(20) {
        let bits = if bytes.chance(8) { 50 } else { 24 };
        let duration = FRAME + bytes.span(bits);
        segments.push(Segment {
            start: if bytes.chance(4) { bytes.place() } else { at },
            duration,
            size: bytes.chance(64).then(|| {
                let bits = if bytes.chance(16) { 64 } else { 20 };
                ByteCount::new(bytes.number(bits))
            }),
        });
        at = at
            + duration
            + if bytes.chance(16) {
                bytes.span(22)
            } else {
                Duration::ZERO
            };
    }
    segments
}

fn representation(
    id: String,
    bitrate: BitRate,
    kind: TrackKind,
    index: SegmentIndex,
) -> Representation {
    let text = kind == TrackKind::Text;
    Representation {
        id,
        bitrate,
        codecs: String::new(),
        resolution: None,
        container: if text {
            Container::WebVtt
        } else {
            Container::Fmp4
        },
        init: !text,
        index,
        media_offset_us: 0,
    }
}

/// A title as there are many: three rungs, two languages, subtitles; one index comes apart.
pub(super) fn usual_outline() -> Outline {
    let track = |kind, language: Option<&str>, kbps: &[u64]| Track {
        kind,
        language: language.map(Into::into),
        label: None,
        role: None,
        default: false,
        representations: kbps
            .iter()
            .enumerate()
            .map(|(nth, kbps)| {
                let index = match nth {
                    1 => SegmentIndex::Deferred,
                    _ => SegmentIndex::Known(usual_segments()),
                };
                representation(
                    format!("{kind:?}{nth}"),
                    BitRate::from_kbps(*kbps),
                    kind,
                    index,
                )
            })
            .collect(),
    };
    Outline {
        duration: Some(Duration::from_secs(48)),
        periods: vec![Period {
            start: MediaTime::ZERO,
            duration: None,
            tracks: vec![
                track(TrackKind::Video, None, &[300, 1_000, 3_000]),
                track(TrackKind::Audio, Some(LANGUAGES[0]), &[96]),
                track(TrackKind::Audio, Some(LANGUAGES[1]), &[96]),
                track(TrackKind::Text, Some(LANGUAGES[0]), &[1]),
            ],
        }],
    }
}

/// A title of any number of periods, tracks and rungs; some cannot be played.
pub(super) fn outline(bytes: &mut Bytes<'_>) -> Outline {
    let mut start = MediaTime::ZERO;
    let periods = (0..bytes.below(4))
        .map(|_| {
            let period = Period {
                start,
                duration: None,
                tracks: (0..bytes.below(5)).map(|_| track(bytes)).collect(),
            };
            start = if bytes.chance(8) {
                bytes.place()
            } else {
                start + bytes.span(25)
            };
            period
        })
        .collect();
    Outline {
        duration: bytes.chance(128).then(|| bytes.span(28)),
        periods,
    }
}

fn track(bytes: &mut Bytes<'_>) -> Track {
    let kind = [TrackKind::Video, TrackKind::Audio, TrackKind::Text][usize::from(bytes.below(3))];
    let rungs = if bytes.chance(32) {
        bytes.below(24)
    } else {
        bytes.below(5)
    };
    let mut bps = 0;
    let representations = (0..rungs).map(|nth| {
        bps += bytes.number(23);
        let index = if bytes.chance(64) {
            SegmentIndex::Deferred
        } else {
            SegmentIndex::Known(segments(bytes))
        };
        Representation {
            init: kind != TrackKind::Text && bytes.chance(224),
            ..representation(format!("r{nth}"), BitRate::from_bps(bps), kind, index)
        }
    });
    Track {
        kind,
        representations: representations.collect(),
        language: bytes.pick(&LANGUAGES).map(|one| (*one).into()),
        label: None,
        role: bytes.chance(32).then(|| "main".into()),
        default: bytes.chance(64),
    }
}
