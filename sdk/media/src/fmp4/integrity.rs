//! What can be known of a sample without decoding it.
//!
//! A player without a screen never decodes, and a decoder may conceal what it cannot read. So the structure that
//! every sample of a codec has is checked here, in time proportional to the number of its units.

use super::sample_entry::{Codec, CodecConfig};

/// What is wrong with a sample, and at which of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SampleFault {
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

pub(super) fn check_sample(config: &CodecConfig, data: &[u8]) -> Result<(), SampleFault> {
    if let Some(length_size) = config.nal_length_size() {
        return check_nal_units(data, length_size);
    }
    let fault = |what| Err(SampleFault { offset: 0, what });
    match config.codec {
        // An AAC block ends with ID_END, three bits set; a VP9 frame begins with the bits 10; an AV1 temporal unit
        // has a frame. Zeros are none of these, and are what a hole in a file reads as.
        Codec::Aac | Codec::Vp9 | Codec::Av1 if data.iter().all(|&byte| byte == 0) => {
            fault("a sample of zeros")
        }
        Codec::Ac3 | Codec::Eac3 if !data.starts_with(&[0x0b, 0x77]) => {
            fault("a sample without its sync word")
        }
        Codec::H264
        | Codec::H265
        | Codec::Aac
        | Codec::Av1
        | Codec::Vp8
        | Codec::Vp9
        | Codec::Mp3
        | Codec::Opus
        | Codec::Ac3
        | Codec::Eac3
        | Codec::Flac
        | Codec::WebVtt
        | Codec::Other => Ok(()),
    }
}

/// The lengths of the units must add up to the sample (ISO/IEC 14496-15, 4.3.3), and each begins with a zero bit.
fn check_nal_units(data: &[u8], length_size: usize) -> Result<(), SampleFault> {
    let mut rest = data;
    while !rest.is_empty() {
        let offset = (data.len() - rest.len()) as u64;
        let fault = |what| SampleFault { offset, what };
        let (length, tail) = rest
            .split_at_checked(length_size)
            .ok_or_else(|| fault("a NAL unit without its length"))?;
        let length = length
            .iter()
            .fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let (unit, tail) = tail
            .split_at_checked(length)
            .ok_or_else(|| fault("a NAL unit longer than its sample"))?;
        match unit.first() {
            None => return Err(fault("a NAL unit without bytes")),
            Some(header) if header & 0x80 != 0 => {
                return Err(fault("a NAL unit with a wrong header"));
            }
            Some(_) => rest = tail,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_must_fill_their_sample() {
        let check = |data: &[u8]| check_nal_units(data, 4).map_err(|fault| fault.offset);
        assert_eq!(check(b"\0\0\0\x02\x65a\0\0\0\x01\x41"), Ok(()));
        assert_eq!(check(b"\0\0\0\x02\x65a\0\0\0\x02\x41"), Err(6));
        assert_eq!(check(b"\0\0\0\x02\x65a\0\0"), Err(6));
        assert_eq!(check(b"\0\0\0\0\0\0\0\0"), Err(0));
        assert_eq!(check(b"\0\0\0\x01\x80"), Err(0));
    }
}
