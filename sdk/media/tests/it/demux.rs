//! Segments to samples.

use std::time::Duration;

use bytes::Bytes;
use nearcast_media::{
    Codec, DemuxError, InitSegment, Resolution, Sample, SampleKind, SegmentDemuxer,
};
use nearcast_units::MediaTime;

use crate::fixtures::{
    AUDIO, MUXED, MUXED_ABSOLUTE, Representation, VIDEO, VIDEO_HD, boxed, demux_in_pieces,
    position_of, samples_of, samples_of_file,
};

#[test]
fn an_init_segment_tells_codec_size_and_format() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let video = init.track(SampleKind::Video).unwrap();
    assert_eq!(video.codec.codec, Codec::H264);
    assert_eq!(video.codec.codec_string(), "avc1.64000a");
    assert_eq!(
        video.resolution,
        Some(Resolution {
            width: 64,
            height: 36
        })
    );
    let init = InitSegment::parse(AUDIO.init).unwrap();
    let audio = init.track(SampleKind::Audio).unwrap();
    assert_eq!(audio.codec.codec_string(), "mp4a.40.2");
    assert_eq!(
        (audio.sample_rate, audio.channels, audio.timescale),
        (Some(48_000), Some(1), 48_000)
    );
    assert_eq!(audio.edit.media_start, 1024);
}

#[test]
fn every_sample_comes_once_and_in_decode_order() {
    for (representation, count) in [(&VIDEO, 20), (&VIDEO_HD, 20), (&AUDIO, 95)] {
        let samples = samples_of(representation);
        assert_eq!(samples.len(), count);
        assert!(samples.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        let mut times: Vec<_> = samples.iter().map(|sample| sample.pts).collect();
        times.sort();
        times.dedup();
        assert_eq!(times.len(), count);
    }
}

#[test]
fn times_are_those_that_ffprobe_gives() {
    // ffprobe -show_packets on init and segments together, pts and dts in 1/10240 s and 1/48000 s.
    let micros = |samples: &[Sample]| -> Vec<_> {
        samples
            .iter()
            .map(|sample| (sample.pts.as_micros(), sample.dts.as_micros()))
            .collect()
    };
    assert_eq!(
        micros(&samples_of(&VIDEO)[..6]),
        [
            (0, -200_000),
            (300_000, -100_000),
            (100_000, 0),
            (200_000, 100_000),
            (600_000, 200_000),
            (400_000, 300_000)
        ]
    );
    // -1024, 0, 1024 ticks: the first block only primes the decoder.
    let audio = samples_of(&AUDIO);
    assert_eq!(
        micros(&audio[..3]),
        [(-21_334, -21_334), (0, 0), (21_333, 21_333)]
    );
    assert_eq!(audio[0].trim_start, audio[0].duration);
    assert!(audio[1..].iter().all(|sample| sample.trim_start.is_zero()));
}

#[test]
fn durations_add_up_to_the_segment_without_drift() {
    let total = |samples: &[Sample]| {
        samples
            .iter()
            .map(|sample| sample.duration)
            .sum::<Duration>()
    };
    assert_eq!(total(&samples_of(&VIDEO)), Duration::from_secs(2));
    // 39 blocks of 1024 samples and 47 of them, to the microsecond; each is a third of a microsecond too long.
    let audio = samples_of(&AUDIO);
    let end = audio[39].pts;
    assert_eq!(total(&audio[..39]), end.since(audio[0].pts));
    assert_eq!(
        audio[0].pts + total(&audio),
        MediaTime::from_micros(2_000_000)
    );
}

#[test]
fn only_the_first_picture_of_a_segment_is_a_sync_sample() {
    let syncs: Vec<_> = samples_of(&VIDEO)
        .iter()
        .map(|sample| sample.sync)
        .collect();
    let expected: Vec<_> = (0..20).map(|index| index % 10 == 0).collect();
    assert_eq!(syncs, expected);
    assert!(samples_of(&AUDIO).iter().all(|sample| sample.sync));
}

#[test]
fn pieces_of_any_size_give_the_same_samples() {
    for representation in [&VIDEO, &AUDIO] {
        let init = InitSegment::parse(representation.init).unwrap();
        for segment in representation.segments {
            let whole = demux_in_pieces(&init, segment, segment.len()).unwrap();
            for piece in [1, 2, 7, 100] {
                assert_eq!(demux_in_pieces(&init, segment, piece).unwrap(), whole);
            }
        }
    }
}

#[test]
fn a_sample_is_there_as_soon_as_its_last_byte_is() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let segment = VIDEO.segments[0];
    let first = demux_in_pieces(&init, segment, segment.len()).unwrap()[0].clone();
    let end = position_of(segment, b"mdat") + 8 + first.data.len();
    let mut demuxer = SegmentDemuxer::new(&init, 0);
    demuxer.push(segment[..end - 1].into());
    assert_eq!(demuxer.poll_sample(), Ok(None));
    demuxer.push(segment[end - 1..end].into());
    assert_eq!(demuxer.poll_sample(), Ok(Some(first)));
    assert_eq!(demuxer.poll_sample(), Ok(None));
}

#[test]
fn the_samples_of_a_whole_segment_are_parts_of_it() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let segment = Bytes::from_static(VIDEO.segments[0]);
    let mut demuxer = SegmentDemuxer::new(&init, 0);
    demuxer.push(segment.clone());
    let mut at = position_of(&segment, b"mdat") + 8;
    while let Some(sample) = demuxer.poll_sample().unwrap() {
        assert_eq!(sample.data.as_ptr(), segment[at..].as_ptr());
        at += sample.data.len();
    }
    assert_eq!(at, segment.len());
}

#[test]
fn the_offset_moves_every_time() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let mut demuxer = SegmentDemuxer::new(&init, 3_600_000_000);
    demuxer.push(Bytes::from_static(VIDEO.segments[0]));
    let sample = demuxer.poll_sample().unwrap().unwrap();
    assert_eq!(sample.pts, MediaTime::from_micros(3_600_000_000));
    assert_eq!(sample.dts, MediaTime::from_micros(3_599_800_000));
}

#[test]
fn tracks_in_one_file_are_told_apart_however_their_offsets_are_written() {
    for file in [MUXED, MUXED_ABSOLUTE] {
        let video = samples_of_file(file, SampleKind::Video);
        let audio = samples_of_file(file, SampleKind::Audio);
        assert_eq!((video.len(), audio.len()), (20, 95));
        assert_eq!(bytes_of(&video), bytes_of(&samples_of(&VIDEO)));
        assert_eq!(bytes_of(&audio), bytes_of(&samples_of(&AUDIO)));
    }
    // Absolute offsets count from the start of the file, a fragment asked for alone begins elsewhere.
    let init = InitSegment::parse(MUXED_ABSOLUTE).unwrap();
    let fragment = &MUXED_ABSOLUTE[position_of(MUXED_ABSOLUTE, b"moof")..];
    assert_eq!(
        demux_in_pieces(&init, fragment, 64).unwrap(),
        demux_in_pieces(&init, MUXED_ABSOLUTE, 64).unwrap()
    );
}

fn bytes_of(samples: &[Sample]) -> Vec<&[u8]> {
    samples.iter().map(|sample| sample.data.as_ref()).collect()
}

#[test]
fn boxes_without_samples_and_several_fragments_are_passed_over_and_through() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let [first, second] = VIDEO.segments else {
        panic!("two segments");
    };
    let mut joined = [
        &boxed(b"styp", b"msdh")[..],
        &boxed(b"emsg", &[0; 40]),
        &boxed(b"prft", &[0; 24]),
        first,
        &boxed(b"free", b""),
        second,
    ]
    .concat();
    joined.extend(boxed(b"uuid", &[7; 32]));
    let samples = demux_in_pieces(&init, &joined, 33).unwrap();
    assert_eq!(samples, samples_of(&VIDEO));
}

#[test]
fn an_mdat_may_have_a_long_size_or_none() {
    let init = InitSegment::parse(VIDEO.init).unwrap();
    let segment = VIDEO.segments[0];
    let mdat = position_of(segment, b"mdat");
    let expected = demux_in_pieces(&init, segment, segment.len()).unwrap();

    let mut open = segment.to_vec();
    open[mdat..mdat + 4].fill(0);
    assert_eq!(demux_in_pieces(&init, &open, 50).unwrap(), expected);
    open.pop();
    assert!(matches!(
        demux_in_pieces(&init, &open, 50),
        Err(DemuxError::Truncated {
            what: "a sample",
            ..
        })
    ));

    // Eight more bytes of header: the data offset of the run counts from the moof.
    let len = u64::try_from(segment.len() - mdat + 8).unwrap();
    let mut long = segment[..mdat].to_vec();
    long.extend(b"\0\0\0\x01mdat");
    long.extend(len.to_be_bytes());
    long.extend(&segment[mdat + 8..]);
    let offset = position_of(&long, b"trun") + 16;
    long[offset + 3] += 8;
    assert_eq!(demux_in_pieces(&init, &long, 50).unwrap(), expected);
}

#[test]
fn an_empty_edit_delays_the_track() {
    // The edit list of the fixture becomes two entries: half a second of nothing, then the media.
    let init = AUDIO.init;
    let elst = position_of(init, b"elst");
    let mut entries = boxed(
        b"elst",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 2][..],
            &500_u32.to_be_bytes(), // the movie counts milliseconds
            &(-1_i32).to_be_bytes(),
            &[0, 1, 0, 0],
            &init[elst + 16..elst + 28],
        ]
        .concat(),
    );
    let mut delayed = init[..elst].to_vec();
    delayed.append(&mut entries);
    delayed.extend(&init[elst + 28..]);
    for parent in [b"moov", b"trak", b"edts"] {
        let position = position_of(&delayed, parent);
        let size = u32::from_be_bytes(delayed[position..position + 4].try_into().unwrap()) + 12;
        delayed[position..position + 4].copy_from_slice(&size.to_be_bytes());
    }
    let init = InitSegment::parse(&delayed).unwrap();
    let samples = demux_in_pieces(&init, AUDIO.segments[0], 99).unwrap();
    assert_eq!(samples[1].pts, MediaTime::from_micros(500_000));
    assert_eq!(samples[0].trim_start, samples[0].duration);
}

#[test]
fn an_encrypted_track_is_refused_by_the_name_of_its_scheme() {
    let mut init = VIDEO.init.to_vec();
    let entry = position_of(&init, b"avc1");
    init[entry + 4..entry + 8].copy_from_slice(b"encv");
    // The last box of the entry becomes the protection box.
    let last = position_of(&init, b"pasp");
    init[last + 4..last + 8].copy_from_slice(b"free");
    let error = InitSegment::parse(&init).unwrap_err();
    assert_eq!(error.code(), "unsupported.encrypted");
    let protection = boxed(b"sinf", &boxed(b"schm", b"\0\0\0\0cbcs\0\x01\0\0"));
    let end = last + 16;
    init.splice(end..end, protection.iter().copied());
    for parent in [
        b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"encv",
    ] {
        let position = position_of(&init, parent);
        let size = u32::from_be_bytes(init[position..position + 4].try_into().unwrap());
        let size = size + u32::try_from(protection.len()).unwrap();
        init[position..position + 4].copy_from_slice(&size.to_be_bytes());
    }
    let error = InitSegment::parse(&init).unwrap_err();
    assert!(matches!(error, DemuxError::Encrypted { .. }));
    assert_eq!(
        error.to_string(),
        "unsupported encryption of the media: scheme cbcs"
    );
}

#[test]
fn the_init_segment_of_one_rung_is_not_that_of_another() {
    // A check of the fixtures: a switch that keeps the decoder would not be seen otherwise.
    let configuration = |representation: &Representation| {
        let init = InitSegment::parse(representation.init).unwrap();
        init.tracks[0].codec.config.clone()
    };
    assert_ne!(configuration(&VIDEO), configuration(&VIDEO_HD));
}
