//! Samples to sound.

use nearcast_media::{
    AudioFrame, DecodeError, InitSegment, Sample, SampleKind, audio_decoder, fmp4::TrackInfo,
};
use nearcast_units::MediaTime;

#[cfg(feature = "video")]
use crate::fixtures::{AC3, MUXED, OPUS, SURROUND, samples_of_file};
use crate::fixtures::{AUDIO, samples_of};

fn audio_track(init: &[u8]) -> TrackInfo {
    let init = InitSegment::parse(init).unwrap();
    init.track(SampleKind::Audio).unwrap().clone()
}

fn decode(track: &TrackInfo, samples: &[Sample]) -> Vec<AudioFrame> {
    let mut decoder = audio_decoder(track).unwrap();
    samples
        .iter()
        .map(|sample| decoder.decode(sample).unwrap())
        .collect()
}

/// Puts frames end to end, each where its time says; returns the first channel and its rate.
fn timeline(frames: &[AudioFrame]) -> (Vec<f32>, usize) {
    let rate = usize::try_from(frames[0].sample_rate).unwrap();
    let mut sound = Vec::new();
    for frame in frames.iter().filter(|frame| !frame.samples.is_empty()) {
        let micros = usize::try_from(frame.pts.as_micros()).unwrap();
        let start = (micros * rate + 500_000) / 1_000_000;
        assert!(
            start.abs_diff(sound.len()) <= 1,
            "a frame at {start}, the one before ended at {}",
            sound.len()
        );
        let first_channel = frame.samples.iter().step_by(usize::from(frame.channels));
        sound.extend(first_channel.copied());
    }
    (sound, rate)
}

/// Mean square of a stretch in milliseconds.
fn energy(sound: &[f32], rate: usize, from_ms: usize, to_ms: usize) -> f32 {
    let stretch = &sound[from_ms * rate / 1000..to_ms * rate / 1000];
    stretch.iter().map(|value| value * value).sum::<f32>()
        / f32::from(u16::try_from(stretch.len()).unwrap())
}

/// The beep is there for 100 ms from each second on and nowhere else. Encoders smear its ends by some milliseconds.
fn assert_beeps(sound: &[f32], rate: usize, seconds: usize) {
    for second in 0..seconds {
        let start = second * 1000;
        let loud = energy(sound, rate, start + 10, start + 90);
        assert!((0.08..0.18).contains(&loud), "second {second}: {loud}");
        let quiet = energy(sound, rate, start + 140, start + 400);
        assert!(quiet < 0.001, "second {second}: {quiet}");
        if second > 0 {
            let before = energy(sound, rate, start - 100, start - 30);
            assert!(before < 0.001, "before second {second}: {before}");
        }
    }
    // 1000 Hz: two changes of sign in each period.
    let tone = &sound[rate / 100..rate * 9 / 100];
    let signs = tone
        .windows(2)
        .filter(|pair| pair[0] * pair[1] < 0.0)
        .count();
    assert!(
        (158..=162).contains(&signs),
        "{signs} changes of sign in 80 ms"
    );
}

#[test]
fn the_beep_is_heard_at_each_second() {
    let frames = decode(&audio_track(AUDIO.init), &samples_of(&AUDIO));
    assert_eq!(frames.len(), 95);
    assert!(frames[0].samples.is_empty(), "it only primes the decoder");
    assert_eq!(frames[1].pts, MediaTime::ZERO);
    assert!(frames.iter().all(|frame| frame.channels == 1));
    let (sound, rate) = timeline(&frames);
    assert_eq!(rate, 48_000);
    assert!(sound.len() >= 2 * rate && sound.len() < 2 * rate + 1024);
    assert_beeps(&sound, rate, 2);
}

#[test]
fn after_a_seek_the_sound_is_where_it_was() {
    let track = audio_track(AUDIO.init);
    let samples = samples_of(&AUDIO);
    let whole = decode(&track, &samples);
    let mut decoder = audio_decoder(&track).unwrap();
    for sample in &samples[..60] {
        decoder.decode(sample).unwrap();
    }
    decoder.reset();
    // The first frame lacks the overlap with the one before; from then on it is the same sound.
    let again: Vec<_> = (samples[39..].iter())
        .map(|sample| decoder.decode(sample).unwrap())
        .collect();
    assert_eq!(again[0].pts, whole[39].pts);
    for (again, whole) in again[1..].iter().zip(&whole[40..]) {
        assert_eq!(again.pts, whole.pts);
        // But for the noise that the decoder makes up where the encoder says "noise".
        let same = |(one, other): (&f32, &f32)| (one - other).abs() < 0.001;
        assert!(again.samples.iter().zip(&whole.samples).all(same));
    }
}

#[test]
fn a_damaged_sample_is_an_error_and_the_next_one_is_heard() {
    let track = audio_track(AUDIO.init);
    let samples = samples_of(&AUDIO);
    let mut decoder = audio_decoder(&track).unwrap();
    // It is the first one that the decoder sees, which must not teach it a wrong order of elements.
    let mut damaged = samples[1].clone();
    // A channel pair where there is one channel.
    damaged.data = [&[0x21][..], &samples[1].data[1..]].concat().into();
    let error = decoder.decode(&damaged).unwrap_err();
    assert_eq!(error.code(), "media.undecodable");
    assert!(matches!(error, DecodeError::Corrupt { pts, .. } if pts == MediaTime::ZERO));
    for sample in &samples[2..10] {
        assert_eq!(decoder.decode(sample).unwrap().samples.len(), 1024);
    }
}

#[test]
fn zeros_are_not_sound() {
    let mut decoder = audio_decoder(&audio_track(AUDIO.init)).unwrap();
    let mut sample = samples_of(&AUDIO).remove(3);
    sample.data = vec![0; sample.data.len()].into();
    assert!(decoder.decode(&sample).is_err());
}

/// A few bytes may decode to a frame: the first random search had found samples of seconds.
#[cfg(feature = "video")]
#[test]
fn a_sample_that_decodes_to_more_than_a_sample_is_refused() {
    let mut sample = samples_of_file(SURROUND, SampleKind::Audio).remove(3);
    let mut decoder = audio_decoder(&audio_track(SURROUND)).unwrap();
    let frame = decoder.decode(&sample).unwrap();
    assert_eq!(frame.samples.len(), 1024 * 6);
    sample.data = sample.data.repeat(100).into();
    assert_eq!(
        decoder.decode(&sample).unwrap_err().code(),
        "media.undecodable"
    );
}

#[cfg(feature = "video")]
#[test]
fn other_codecs_are_heard_at_the_same_time() {
    for (name, file, channels, seconds) in [
        ("aac", MUXED, 1, 2),
        ("opus", OPUS, 1, 2),
        ("5.1", SURROUND, 6, 2),
        ("ac3", AC3, 1, 1),
    ] {
        let frames = decode(
            &audio_track(file),
            &samples_of_file(file, SampleKind::Audio),
        );
        assert!(
            frames.iter().all(|frame| frame.channels == channels),
            "{name}"
        );
        let (sound, rate) = timeline(&frames);
        assert_eq!(rate, 48_000, "{name}");
        assert_beeps(&sound, rate, seconds);
    }
}
