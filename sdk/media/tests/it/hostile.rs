//! Input that lies: every end is a typed error or samples, never a panic, a loop or a large allocation.

use bytes::Bytes;
use nearcast_media::{
    DemuxError, InitSegment, SampleKind, SegmentDemuxer, audio_decoder, parse_webvtt,
};
use proptest::prelude::*;

use crate::fixtures::{
    AUDIO, MUXED, OPUS, SURROUND, VIDEO, boxed, demux_in_pieces, position_of, samples_of,
};

fn video_error(segment: &[u8]) -> DemuxError {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    demux_in_pieces(&init, segment, 64).unwrap_err()
}

fn changed(position: usize, bytes: &[u8]) -> Vec<u8> {
    let mut segment = VIDEO.segments[0].to_vec();
    segment[position..position + bytes.len()].copy_from_slice(bytes);
    segment
}

#[test]
fn every_cut_is_told_with_the_number_of_bytes_that_came() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let segment = VIDEO.segments[0];
    let boxes = [
        0,
        position_of(segment, b"sidx"),
        position_of(segment, b"moof"),
        position_of(segment, b"mdat"),
    ];
    for cut in 1..segment.len() {
        let error = demux_in_pieces(&init, &segment[..cut], 100).unwrap_err();
        let expected = if boxes.contains(&cut) {
            "media.malformed" // nothing is cut off, and yet the samples are not there
        } else {
            "media.truncated"
        };
        assert_eq!(error.code(), expected, "cut at {cut}: {error}");
        match error {
            DemuxError::Truncated { offset, .. } | DemuxError::Malformed { offset, .. } => {
                assert_eq!(offset, u64::try_from(cut).unwrap());
            }
            DemuxError::Unsupported { .. } | DemuxError::Encrypted { .. } => panic!("{error}"),
        }
    }
    for cut in 0..VIDEO.init.len() {
        assert!(InitSegment::parse(&VIDEO.init[..cut]).is_err());
    }
}

#[test]
fn samples_before_the_damage_are_given_and_the_error_stays() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let mdat = position_of(VIDEO.segments[0], b"mdat") + 8;
    let mut segment = VIDEO.segments[0].to_vec();
    segment[mdat + 732..].fill(0); // from the second sample on
    let mut demuxer = SegmentDemuxer::new(&init, 0);
    demuxer.push(segment.clone().into());
    assert!(demuxer.poll_sample().unwrap().is_some());
    let error = demuxer.poll_sample().unwrap_err();
    assert_eq!(
        error,
        DemuxError::Malformed {
            offset: u64::try_from(mdat + 732).unwrap(),
            what: "a NAL unit without bytes"
        }
    );
    demuxer.push(segment.into());
    assert_eq!(demuxer.poll_sample(), Err(error.clone()));
    assert_eq!(demuxer.finish(), Err(error));
}

#[test]
fn what_is_no_segment_is_malformed() {
    for (bytes, what) in [
        (vec![0; 5000], "no box begins here"),
        (b"<html>\n<head>".to_vec(), "no box begins here"),
        (vec![], "a segment without a fragment"),
        (boxed(b"styp", b"msdh"), "a segment without a fragment"),
        (boxed(b"mdat", &[1; 9]), "an mdat before any moof"),
        (boxed(b"moof", b"\0\0\0\x09trafx"), "a box cut short"),
    ] {
        let error = video_error(&bytes);
        assert_eq!(error.code(), "media.malformed", "{error}");
        if what != "a box cut short" {
            assert!(error.to_string().ends_with(what), "{error}");
        }
    }
    let zeros = vec![0; 1000];
    assert_eq!(
        InitSegment::parse(&zeros).unwrap_err().code(),
        "media.malformed"
    );
}

#[test]
fn sizes_and_counts_that_lie_are_malformed_and_cost_nothing() {
    let segment = VIDEO.segments[0];
    let moof = position_of(segment, b"moof");
    let mdat = position_of(segment, b"mdat");
    let trun = position_of(segment, b"trun");
    let tfhd = position_of(segment, b"tfhd");
    for (what, segment) in [
        ("moof of no size", changed(moof, &[0; 4])),
        ("moof of 4 GiB", changed(moof, &[0xff; 4])),
        (
            "traf larger than moof",
            changed(moof + 24, &[0, 0, 0xff, 0]),
        ),
        (
            "four thousand million samples",
            changed(trun + 12, &[0xff; 4]),
        ),
        (
            "the same, all of the default size",
            changed(trun + 8, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("data before the file", changed(trun + 16, &[0x80, 0, 0, 0])),
        ("data in the moof", changed(trun + 16, &[0, 0, 0, 16])),
        ("a sample of 4 GiB", changed(trun + 24, &[0xff; 4])),
        ("a sample of nothing", changed(trun + 24, &[0; 4])),
        ("mdat too small", changed(mdat, &[0, 0, 0, 99])),
        ("no tfdt", changed(moof + 64, b"free")),
        ("a second description", changed(tfhd + 8, &[0, 2, 0, 0x3a])),
    ] {
        let error = video_error(&segment);
        assert!(
            matches!(
                error,
                DemuxError::Malformed { .. } | DemuxError::Unsupported { .. }
            ),
            "{what}: {error}"
        );
    }
    let far = changed(moof + 72, &[0x7f; 8]);
    assert!(video_error(&far).to_string().contains("end of time"));
}

/// A fragment of `count` samples of one byte each: the run says nothing of any of them.
fn tiny_samples(count: u32) -> Vec<u8> {
    let mdat = boxed(b"mdat", &vec![1; usize::try_from(count).unwrap()]);
    let moof = |data_offset: u32| {
        // The first track, data from the moof on, ten ticks and one byte for each sample.
        let tfhd = [&[0, 2, 0, 0x18][..], &[0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0, 1]].concat();
        let trun = [
            &[0, 0, 0, 1][..],
            &count.to_be_bytes(),
            &data_offset.to_be_bytes(),
        ];
        let traf = [
            boxed(b"tfhd", &tfhd),
            boxed(b"tfdt", &[0; 8]),
            boxed(b"trun", &trun.concat()),
        ];
        boxed(b"moof", &boxed(b"traf", &traf.concat()))
    };
    let data_offset = u32::try_from(moof(0).len() + 8).unwrap();
    [moof(data_offset), mdat].concat()
}

#[test]
fn a_segment_stands_for_no_more_samples_than_a_long_one_has() {
    // The track of sound: a sample of one byte may be one.
    let init = InitSegment::parse(AUDIO.init).unwrap();
    let most = demux_in_pieces(&init, &tiny_samples(65_536), 1 << 20).unwrap();
    assert_eq!(most.len(), 65_536);
    for segment in [
        tiny_samples(65_537),
        tiny_samples(8_000_000),
        [tiny_samples(40_000), tiny_samples(40_000)].concat(),
    ] {
        let mut demuxer = SegmentDemuxer::new(&init, 0);
        demuxer.push(segment.into());
        let mut count = 0;
        let error = loop {
            match demuxer.poll_sample() {
                Ok(Some(_)) => count += 1,
                Ok(None) => panic!("{count} samples and no error"),
                Err(error) => break error,
            }
        };
        assert!(count <= 65_536, "{count}");
        assert!(error.to_string().contains("65,536 samples"), "{error}");
    }
}

#[test]
fn a_fragment_may_not_name_the_same_bytes_twice() {
    let segment = VIDEO.segments[0];
    let moof = position_of(segment, b"moof");
    let mdat = position_of(segment, b"mdat");
    let traf = position_of(segment, b"traf");
    let twice = [&segment[moof + 8..mdat], &segment[traf..mdat]].concat();
    let bytes = [&boxed(b"moof", &twice)[..], &segment[mdat..]].concat();
    assert!(
        video_error(&bytes)
            .to_string()
            .ends_with("runs that share bytes")
    );
}

#[test]
fn without_ffmpeg_only_plain_aac_is_decoded_and_with_it_nonsense_is_refused() {
    for file in [OPUS, SURROUND] {
        let init = InitSegment::parse(file).unwrap();
        let outcome = audio_decoder(&init.tracks[0]).map(|_| ());
        if cfg!(feature = "video") {
            assert_eq!(outcome, Ok(()));
        } else {
            assert_eq!(outcome.unwrap_err().code(), "unsupported.codec");
        }
    }
    let mut track = InitSegment::parse(AUDIO.init).unwrap().tracks.remove(0);
    track.codec.codec = nearcast_media::Codec::Other;
    let outcome = audio_decoder(&track).map(|_| ());
    assert_eq!(outcome.unwrap_err().code(), "unsupported.codec");
}

/// Bytes to overwrite, insert, drop.
#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Word(prop::sample::Index, u32),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let word = prop_oneof![
        Just(0),
        Just(1),
        Just(7),
        Just(u32::MAX),
        Just(0x8000_0000),
        any::<u32>()
    ];
    let at = any::<prop::sample::Index>;
    prop::collection::vec(
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
            (at(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
            (at(), 1..40_usize).prop_map(|(at, len)| Mutation::Remove(at, len)),
        ],
        1..6,
    )
}

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Word(at, word) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&word.to_be_bytes()[..end - at]);
            }
            Mutation::Insert(at, byte) => {
                let at = at.index(bytes.len());
                bytes.insert(at, *byte);
            }
            Mutation::Remove(at, len) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + len);
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// Demultiplexes and decodes whatever comes; returns how many bytes the samples have.
fn play(init: &[u8], segment: &[u8], piece: usize) -> usize {
    let Ok(init) = InitSegment::parse(init) else {
        return 0;
    };
    let mut audio = (init.track(SampleKind::Audio)).and_then(|track| audio_decoder(track).ok());
    #[cfg(feature = "video")]
    let mut video = (init.track(SampleKind::Video))
        .and_then(|track| nearcast_media::VideoDecoder::new(track).ok());
    let mut demuxer = SegmentDemuxer::new(&init, 0);
    let mut bytes = 0;
    for chunk in segment.chunks(piece) {
        demuxer.push(Bytes::copy_from_slice(chunk));
        while let Some(sample) = demuxer.poll_sample().unwrap_or_default() {
            bytes += sample.data.len();
            match sample.kind {
                SampleKind::Audio => {
                    if let Some(Ok(frame)) = audio.as_mut().map(|audio| audio.decode(&sample)) {
                        assert!(frame.samples.len() <= usize::from(frame.channels) << 16);
                    }
                }
                #[cfg(feature = "video")]
                SampleKind::Video => {
                    let mut frames = Vec::new();
                    if let Some(video) = &mut video {
                        video.decode(&sample, &mut frames).ok();
                    }
                    for frame in frames {
                        assert_eq!(frame.to_rgb(8, 4).unwrap().data.len(), 96);
                    }
                }
                #[cfg(not(feature = "video"))]
                SampleKind::Video => {}
                SampleKind::Text => {}
            }
        }
    }
    let _outcome = demuxer.finish().map_err(|error| error.code());
    bytes
}

/// Init segment and segment. Numbers stand for them in the output of a failing test.
const FILES: [(&[u8], &[u8]); 5] = [
    (VIDEO.init, VIDEO.segments[0]),
    (AUDIO.init, AUDIO.segments[1]),
    (MUXED, MUXED),
    (OPUS, OPUS),
    (SURROUND, SURROUND),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_segments_end_in_samples_or_a_typed_error(
        mutations in mutations(),
        file in 0..FILES.len(),
        piece in 1..4000_usize,
    ) {
        let (init, segment) = FILES[file];
        let segment = mutated(segment, &mutations);
        prop_assert!(play(init, &segment, piece) <= segment.len());
    }

    #[test]
    fn mutated_init_segments_end_in_tracks_or_a_typed_error(
        mutations in mutations(),
        file in 0..FILES.len(),
    ) {
        let (init, segment) = FILES[file];
        play(&mutated(init, &mutations), segment, 1000);
    }

    #[test]
    fn mutated_samples_are_sound_or_a_typed_error(
        mutations in mutations(),
        samples in prop::collection::vec(0..95_usize, 1..5),
    ) {
        let track = InitSegment::parse(AUDIO.init).unwrap().tracks.remove(0);
        let mut decoder = audio_decoder(&track).unwrap();
        let all = samples_of(&AUDIO);
        for index in samples {
            let mut sample = all[index].clone();
            sample.data = mutated(&sample.data, &mutations).into();
            if let Ok(frame) = decoder.decode(&sample) {
                prop_assert!(frame.samples.len() <= 1024);
                prop_assert!(frame.samples.iter().all(|value| value.is_finite()));
            }
            // Whatever it was, the next good one is heard.
            prop_assert!(decoder.decode(&all[50]).is_ok());
        }
    }

    #[test]
    fn any_text_after_the_header_gives_cues_that_last(text in "(\n|[0-9:. ]|-->|<|>|&|[a-z;#]|\\PC){0,200}") {
        let file = format!("WEBVTT\n\n{text}");
        for cue in parse_webvtt(file.as_bytes(), 0).unwrap_or_default() {
            prop_assert!(cue.start < cue.end);
            prop_assert!(!cue.text.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
