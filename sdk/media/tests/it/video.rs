//! Samples to pictures.

use nearcast_media::{
    Codec, FrameScaler, InitSegment, Sample, VideoDecoder, VideoFrame, fmp4::TrackInfo,
};
use nearcast_units::MediaTime;

use crate::fixtures::{Representation, VIDEO, VIDEO_HD, samples_of};

fn track(representation: &Representation) -> TrackInfo {
    let init = InitSegment::parse(representation.init).unwrap();
    init.tracks[0].clone()
}

fn decode(decoder: &mut VideoDecoder, samples: &[Sample]) -> Vec<VideoFrame> {
    let mut frames = Vec::new();
    for sample in samples {
        decoder.decode(sample, &mut frames).unwrap();
    }
    frames
}

/// The number in a frame: its grey is 16 + 10 N in the range of video.
fn number_of(frame: &VideoFrame) -> usize {
    let picture = frame.to_rgb(16, 9).unwrap();
    let mean = picture
        .data
        .iter()
        .map(|&byte| usize::from(byte))
        .sum::<usize>()
        / picture.data.len();
    // Full range: 255 / 219 times as bright.
    (mean * 219 / 255 + 5) / 10
}

fn assert_in_order(frames: &[VideoFrame], first: usize) {
    for (index, frame) in frames.iter().enumerate() {
        let index = first + index;
        let micros = i64::try_from(index).unwrap() * 100_000;
        assert_eq!(frame.pts(), MediaTime::from_micros(micros));
        assert_eq!(number_of(frame), index);
    }
}

#[test]
fn every_picture_comes_once_in_the_order_of_the_screen() {
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let mut frames = decode(&mut decoder, &samples_of(&VIDEO));
    decoder.drain(&mut frames).unwrap();
    assert_eq!(frames.len(), 20);
    assert_in_order(&frames, 0);
    assert!(
        frames
            .iter()
            .all(|frame| (frame.width(), frame.height()) == (64, 36))
    );
}

#[test]
fn a_change_of_representation_loses_and_repeats_nothing() {
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let mut frames = decode(&mut decoder, &samples_of(&VIDEO)[..10]);
    decoder.drain(&mut frames).unwrap();
    let mut decoder = VideoDecoder::new(&track(&VIDEO_HD)).unwrap();
    frames.extend(decode(&mut decoder, &samples_of(&VIDEO_HD)[10..]));
    decoder.drain(&mut frames).unwrap();
    assert_eq!(frames.len(), 20);
    assert_in_order(&frames, 0);
    assert_eq!(frames[9].width(), 64);
    assert_eq!(frames[10].width(), 128);
}

#[test]
fn after_a_seek_the_first_picture_is_that_of_the_segment() {
    let samples = samples_of(&VIDEO);
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    decode(&mut decoder, &samples[..5]);
    decoder.reset();
    let mut frames = decode(&mut decoder, &samples[10..]);
    decoder.drain(&mut frames).unwrap();
    assert_eq!(frames.len(), 10);
    assert_in_order(&frames, 10);
    // Drained, it begins again.
    let mut frames = decode(&mut decoder, &samples[..10]);
    decoder.drain(&mut frames).unwrap();
    assert_in_order(&frames, 0);
    assert_eq!(frames.len(), 10);
}

#[test]
fn what_lies_before_the_edit_is_decoded_and_not_shown() {
    let mut samples = samples_of(&VIDEO);
    for sample in samples
        .iter_mut()
        .filter(|sample| sample.pts.as_micros() < 300_000)
    {
        sample.trim_start = sample.duration;
    }
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let mut frames = decode(&mut decoder, &samples);
    decoder.drain(&mut frames).unwrap();
    assert_eq!(frames.len(), 17);
    assert_in_order(&frames, 3);
}

#[test]
fn a_damaged_picture_is_an_error_and_the_next_segment_is_shown() {
    let mut samples = samples_of(&VIDEO);
    let mut bytes = samples[0].data.to_vec();
    // The slice of the first picture; its length stays.
    let end = bytes.len();
    bytes[end - 30..].fill(0xa5);
    samples[0].data = bytes.into();
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let outcomes: Vec<_> = (samples[..10].iter())
        .map(|sample| decoder.decode(sample, &mut Vec::new()))
        .collect();
    let errors: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert!(!errors.is_empty());
    assert!(
        errors
            .iter()
            .all(|error| error.code() == "media.undecodable")
    );
    decoder.reset();
    let mut frames = decode(&mut decoder, &samples[10..]);
    decoder.drain(&mut frames).unwrap();
    assert_in_order(&frames, 10);
    assert_eq!(frames.len(), 10);
}

#[test]
fn what_was_decoded_before_the_damage_is_there() {
    let samples = samples_of(&VIDEO);
    let mut damaged = samples.clone();
    // The last picture that others refer to: those before it are still inside when it comes.
    let broken = 8;
    damaged[broken].data = {
        let mut bytes = damaged[broken].data.to_vec();
        let half = bytes.len() / 2;
        bytes[half..].fill(0xa5);
        bytes.into()
    };
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let (mut frames, mut errors) = (Vec::new(), 0);
    for sample in &damaged[..10] {
        errors += usize::from(decoder.decode(sample, &mut frames).is_err());
    }
    errors += usize::from(decoder.drain(&mut frames).is_err());
    assert!(errors > 0);
    let times: Vec<i64> = frames.iter().map(|frame| frame.pts().as_micros()).collect();
    for sample in &samples[..broken] {
        assert!(times.contains(&sample.pts.as_micros()), "{times:?}");
    }
}

#[test]
fn a_picture_is_scaled_to_any_size_within_reason() {
    let mut decoder = VideoDecoder::new(&track(&VIDEO)).unwrap();
    let mut frames = decode(&mut decoder, &samples_of(&VIDEO));
    decoder.drain(&mut frames).unwrap();
    let mut scaler = FrameScaler::new();
    for (width, height) in [(160, 90), (160, 90), (1, 1), (63, 35), (641, 7)] {
        let picture = scaler.to_rgb(&frames[10], width, height).unwrap();
        assert_eq!((picture.width, picture.height), (width, height));
        assert_eq!(
            picture.data.len(),
            usize::try_from(width * height * 3).unwrap()
        );
        // One flat grey: 16 + 100 of 219 steps.
        assert!(picture.data.iter().all(|byte| (112..=120).contains(byte)));
    }
    for (width, height) in [(0, 9), (16, 0), (8193, 9), (9, u32::MAX)] {
        let error = scaler.to_rgb(&frames[0], width, height).unwrap_err();
        assert_eq!(error.code(), "media.conversion");
    }
}

#[test]
fn a_codec_that_is_none_is_refused() {
    let mut track = track(&VIDEO);
    track.codec.config = vec![1, 2, 3];
    assert_eq!(
        VideoDecoder::new(&track).map(|_| ()).unwrap_err().code(),
        "media.decoder_config"
    );
    track.codec.codec = Codec::Other;
    assert_eq!(
        VideoDecoder::new(&track).map(|_| ()).unwrap_err().code(),
        "unsupported.codec"
    );
}
