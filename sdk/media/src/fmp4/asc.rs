//! The `AudioSpecificConfig` of AAC (ISO/IEC 14496-3, 1.6.2.1).

/// Which kind of AAC a track holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// The audio object type of the core: 2 is LC.
    pub object_type: u8,
    /// Samples per second of the core.
    pub sample_rate: u32,
    /// The channel configuration: 1 mono, 2 stereo, 6 is 5.1, 7 is 7.1; 0 when the stream tells it.
    pub channel_configuration: u8,
    /// Whether spectral band replication is signalled: HE-AAC.
    pub sbr: bool,
    /// Whether a frame has 960 samples and not 1024.
    pub short_frames: bool,
}

impl AudioSpecificConfig {
    /// Reads the configuration; `None` when it is cut off or uses a reserved sampling frequency.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits { bytes, position: 0 };
        let mut object_type = object_type(&mut bits)?;
        let sample_rate = sampling_frequency(&mut bits)?;
        let channel_configuration = u8::try_from(bits.read(4)?).ok()?;
        // 5 is SBR, 29 SBR and parametric stereo, both around a core that follows.
        let mut sbr = matches!(object_type, 5 | 29);
        if sbr {
            sampling_frequency(&mut bits)?;
            object_type = self::object_type(&mut bits)?;
        }
        let mut short_frames = false;
        if matches!(object_type, 1..=4 | 6 | 7) {
            short_frames = bits.read(1)? == 1;
            if bits.read(1)? == 1 {
                bits.read(14)?; // core coder delay
            }
            bits.read(1)?; // extension
            // Signalled so that old decoders do not see it: a sync word after what they read.
            if bits.read(11) == Some(0x2b7) && self::object_type(&mut bits) == Some(5) {
                sbr |= bits.read(1) == Some(1);
            }
        }
        Some(Self {
            object_type,
            sample_rate,
            channel_configuration,
            sbr,
            short_frames,
        })
    }

    /// Returns the number of channels; `None` when the stream tells it.
    #[must_use]
    pub const fn channels(&self) -> Option<u16> {
        match self.channel_configuration {
            configuration @ 1..=6 => Some(configuration as u16),
            7 => Some(8),
            _ => None,
        }
    }

    /// Whether this is LC without extensions in mono or stereo, with 1024 samples a frame.
    #[must_use]
    pub const fn is_plain_lc(&self) -> bool {
        self.object_type == 2
            && !self.sbr
            && !self.short_frames
            && matches!(self.channel_configuration, 1 | 2)
    }
}

fn object_type(bits: &mut Bits<'_>) -> Option<u8> {
    let number = match bits.read(5)? {
        31 => 32 + bits.read(6)?,
        number => number,
    };
    u8::try_from(number).ok()
}

fn sampling_frequency(bits: &mut Bits<'_>) -> Option<u32> {
    const FREQUENCIES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    match usize::try_from(bits.read(4)?).ok()? {
        15 => bits.read(24).filter(|&rate| rate > 0),
        index => FREQUENCIES.get(index).copied(),
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bits<'_> {
    /// Reads up to 32 bits; `None` when there are not so many.
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for position in self.position..self.position + count {
            let byte = self.bytes.get(position / 8)?;
            value = value << 1 | u32::from(byte >> (7 - position % 8) & 1);
        }
        self.position += count;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_aac_are_told_apart() {
        let lc = AudioSpecificConfig::parse(&[0x11, 0x90]).unwrap();
        assert_eq!(
            (lc.object_type, lc.sample_rate, lc.channel_configuration),
            (2, 48_000, 2)
        );
        assert!(lc.is_plain_lc());
        // 5.1.
        assert!(
            !AudioSpecificConfig::parse(&[0x11, 0xb0])
                .unwrap()
                .is_plain_lc()
        );
        // HE-AAC, explicit: object type 5, 24 kHz core, 48 kHz out.
        let he = AudioSpecificConfig::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert!(he.sbr && he.object_type == 2 && !he.is_plain_lc());
        // HE-AAC, backward compatible: the sync extension 0x2b7, object type 5, present.
        let compatible = AudioSpecificConfig::parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]).unwrap();
        assert!(compatible.sbr && !compatible.is_plain_lc());
        // The same extension, saying that there is none: what FFmpeg's encoder writes.
        let plain = AudioSpecificConfig::parse(&[0x11, 0x88, 0x56, 0xe5, 0x00]).unwrap();
        assert!(plain.is_plain_lc());
        // 960 samples a frame.
        assert!(
            !AudioSpecificConfig::parse(&[0x11, 0x94])
                .unwrap()
                .is_plain_lc()
        );
    }

    #[test]
    fn what_is_cut_off_or_reserved_is_refused() {
        for bytes in [&[][..], &[0x11], &[0x16, 0x90], &[0x17, 0x80, 0, 0]] {
            assert_eq!(AudioSpecificConfig::parse(bytes), None, "{bytes:x?}");
        }
    }
}
