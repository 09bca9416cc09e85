//! From the title's format to the device's.

use super::Format;

/// Maps channels and rate; keeps the place between two input frames from block to block, so that blocks
/// join without a click.
#[derive(Debug)]
pub(super) struct Converter {
    from: Format,
    to: Format,
    /// The last input frame, its channels mapped already; empty before the first.
    last: Vec<f32>,
    /// Where the next output frame lies, in input frames; 0.0 is `last`, or the first frame before that.
    place: f64,
}

impl Converter {
    pub(super) const fn new(from: Format, to: Format) -> Self {
        Self {
            from,
            to,
            last: Vec::new(),
            place: 0.0,
        }
    }

    pub(super) const fn from(&self) -> Format {
        self.from
    }

    /// Converts whole frames.
    pub(super) fn convert(&mut self, samples: &[f32]) -> Vec<f32> {
        let mapped = self.map_channels(samples);
        if self.from.rate_hz == self.to.rate_hz {
            return mapped;
        }
        self.resample(mapped)
    }

    fn map_channels(&self, samples: &[f32]) -> Vec<f32> {
        let (from, to) = (
            usize::from(self.from.channels),
            usize::from(self.to.channels),
        );
        if from == to {
            return samples.to_vec();
        }
        let mut mapped = Vec::with_capacity(samples.len() / from * to);
        for frame in samples.chunks_exact(from) {
            let (left, right) = stereo(frame);
            if to == 1 {
                mapped.push(f32::midpoint(left, right));
                continue;
            }
            mapped.extend([left, right]);
            // A device with more speakers than the title: the others stay silent.
            mapped.extend(std::iter::repeat_n(0.0, to - 2));
        }
        mapped
    }

    /// Linear interpolation. Good enough for the rare device that refuses the title's rate: the images it
    /// leaves are 40 dB down for voices and music below 10 kHz.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "places are not negative and below the length of a block, 384,000 frames"
    )]
    fn resample(&mut self, mapped: Vec<f32>) -> Vec<f32> {
        let channels = usize::from(self.to.channels);
        let step = f64::from(self.from.rate_hz) / f64::from(self.to.rate_hz);
        let mut input = std::mem::take(&mut self.last);
        input.extend(mapped);
        let frames = input.len() / channels;
        let mut output = Vec::with_capacity((frames as f64 / step) as usize * channels + channels);
        while self.place + 1.0 < frames as f64 {
            let left = self.place as usize;
            let share = (self.place - left as f64) as f32;
            let pair = &input[left * channels..(left + 2) * channels];
            let (before, after) = pair.split_at(channels);
            output.extend(before.iter().zip(after).map(|(a, b)| a + (b - a) * share));
            self.place += step;
        }
        self.place -= frames.saturating_sub(1) as f64;
        self.last = input[frames.saturating_sub(1) * channels..].to_vec();
        output
    }
}

/// Mixes a frame down to two channels. Surround is L R C LFE Ls Rs: centre and back at -3 dB, no LFE, as
/// ITU-R BS.775 has it, and scaled so that nothing clips.
fn stereo(frame: &[f32]) -> (f32, f32) {
    const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;
    match *frame {
        [mono] => (mono, mono),
        [left, right, centre, _, back_left, back_right, ..] => {
            let scale = 1.0 / (1.0 + 2.0 * HALF_POWER);
            let mix = |side: f32, back: f32| (side + HALF_POWER * (centre + back)) * scale;
            (mix(left, back_left), mix(right, back_right))
        }
        [left, right, ..] => (left, right),
        [] => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(rate_hz: u32, channels: u16) -> Format {
        Format::new(rate_hz, channels).unwrap()
    }

    #[test]
    fn channels_are_mapped() {
        let convert = |from, to, samples: &[f32]| {
            Converter::new(format(48_000, from), format(48_000, to)).convert(samples)
        };
        assert_eq!(convert(1, 2, &[0.5, -0.5]), [0.5, 0.5, -0.5, -0.5]);
        assert_eq!(convert(2, 1, &[1.0, 0.0]), [0.5]);
        assert_eq!(convert(2, 4, &[0.1, 0.2]), [0.1, 0.2, 0.0, 0.0]);
        let surround = convert(6, 2, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(
            surround.iter().all(|sample| (sample - 1.0).abs() < 1e-6),
            "loud, not clipped"
        );
    }

    /// A ramp stays a ramp under linear interpolation, so every output frame can be checked.
    #[test]
    fn blocks_join_without_a_step_whatever_their_size() {
        let ramp: Vec<f32> = (0..4410_u16)
            .map(|value| f32::from(value) / 4410.0)
            .collect();
        let step = 44_100.0 / 48_000.0 / 4410.0;
        for size in [1, 7, 441, 4410] {
            let mut converter = Converter::new(format(44_100, 1), format(48_000, 1));
            let output: Vec<f32> = ramp
                .chunks(size)
                .flat_map(|block| converter.convert(block))
                .collect();
            assert!(
                (4798..=4800).contains(&output.len()),
                "{} frames",
                output.len()
            );
            for pair in output.windows(2) {
                assert!((pair[1] - pair[0] - step).abs() < 1e-5, "blocks of {size}");
            }
        }
    }
}
