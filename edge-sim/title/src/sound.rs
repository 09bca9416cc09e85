//! What the title sounds like: a short tone at the start of each second, over a bed that is hardly heard.

use core::f64::consts::TAU;

use crate::config::Language;

/// Samples per second and channel.
pub const SAMPLE_RATE: u32 = 48_000;

/// Channels; both carry the same.
pub const CHANNELS: u32 = 2;

/// How long the tone lasts, in samples: 100 ms.
pub const TONE_SAMPLES: u32 = SAMPLE_RATE / 10;

/// What an AAC-LC encoder puts before the first sample.
///
/// CMAF players differ in whether they cut this off. So the sound is handed to the encoder without its first
/// 1,024 samples: the encoder's delay then stands in their place, every later sample is decoded exactly
/// where it belongs, and nothing has to be cut. The very first tone is 21 ms shorter for it.
pub(crate) const ENCODER_DELAY: u32 = 1024;

/// The peak of the tone and of the bed, as shares of full scale.
const TONE_PEAK: f64 = 0.4;
const BED_PEAK: f64 = 0.004;
/// The bed: mains hum an octave up. Low enough not to be mistaken for any tone.
const BED_HZ: u32 = 120;
/// The tone swells and fades over this many samples (2 ms), so that it does not click.
const RAMP_SAMPLES: u32 = 96;

/// Returns one second of the sound as interleaved 16-bit little-endian samples. Every second is the same: all pitches
/// are whole numbers of hertz.
pub(crate) fn second(language: Language) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sample in 0..SAMPLE_RATE {
        let value = wave(BED_HZ, sample) * BED_PEAK
            + wave(language.tone_hz, sample) * TONE_PEAK * envelope(sample);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the peaks sum to less than full scale"
        )]
        let value = (value * f64::from(i16::MAX)).round() as i16;
        for _ in 0..CHANNELS {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

fn wave(hertz: u32, sample: u32) -> f64 {
    (TAU * f64::from(hertz) * f64::from(sample) / f64::from(SAMPLE_RATE)).sin()
}

/// Returns how loud the tone is at a sample of its second, 0 to 1.
fn envelope(sample: u32) -> f64 {
    let to_an_end = sample.min(TONE_SAMPLES.saturating_sub(sample));
    f64::from(to_an_end.min(RAMP_SAMPLES)) / f64::from(RAMP_SAMPLES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LANGUAGES;

    #[test]
    fn a_second_begins_with_a_tone_and_goes_on_almost_silent() {
        for language in LANGUAGES {
            let bytes = second(language);
            assert_eq!(bytes.len(), 48_000 * 2 * 2);
            let loudest = |from: usize, to: usize| {
                let samples = bytes[from * 4..to * 4].as_chunks::<2>().0.iter();
                samples.map(|s| i16::from_le_bytes(*s).unsigned_abs()).max()
            };
            assert!(loudest(0, 4800) > Some(12_000));
            assert!(loudest(4800, 48_000) < Some(200));
        }
    }
}
