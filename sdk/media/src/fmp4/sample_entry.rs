//! The sample description: codec, decoder configuration, picture size, sound format.

use super::asc::AudioSpecificConfig;
use super::init::protection_scheme;
use super::reader::Reader;
use super::{DemuxError, FourCc, Resolution, SampleKind};

/// A codec that has a decoder somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264; the configuration is the body of `avcC`.
    H264,
    /// H.265; the configuration is the body of `hvcC`.
    H265,
    /// AV1; the configuration is the body of `av1C`.
    Av1,
    /// VP8; the configuration is the body of `vpcC`.
    Vp8,
    /// VP9; the configuration is the body of `vpcC`.
    Vp9,
    /// AAC; the configuration is the `AudioSpecificConfig`.
    Aac,
    /// MPEG audio layer 3.
    Mp3,
    /// Opus; the configuration is the body of `dOps`.
    Opus,
    /// AC-3; the configuration is the body of `dac3`.
    Ac3,
    /// E-AC-3; the configuration is the body of `dec3`.
    Eac3,
    /// FLAC; the configuration is the body of `dfLa`.
    Flac,
    /// WebVTT cues in samples; the configuration is the text of `vttC`.
    WebVtt,
    /// Anything else; the sample entry's name tells.
    Other,
}

/// A codec and what its decoder needs to know before the first sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecConfig {
    /// The name of the sample entry, `avc1` for instance.
    pub four_cc: FourCc,
    /// The codec.
    pub codec: Codec,
    /// The decoder configuration, as [`Codec`] says; empty when the file holds none.
    pub config: Vec<u8>,
}

impl CodecConfig {
    /// Returns the codec as manifests name it (RFC 6381), with profile and level for H.264 and the object type
    /// for AAC, else the name of the sample entry.
    #[must_use]
    pub fn codec_string(&self) -> String {
        match (self.codec, self.config.as_slice()) {
            (Codec::H264, [_, profile, constraints, level, ..]) => {
                format!("{}.{profile:02x}{constraints:02x}{level:02x}", self.four_cc)
            }
            (Codec::Aac, [first, ..]) => format!("{}.40.{}", self.four_cc, first >> 3),
            _ => self.four_cc.to_string(),
        }
    }

    /// Returns how many bytes tell the length of each NAL unit in a sample; `None` for other codecs.
    pub(super) fn nal_length_size(&self) -> Option<usize> {
        let byte = match self.codec {
            Codec::H264 => self.config.get(4),
            Codec::H265 => self.config.get(21),
            Codec::Av1
            | Codec::Vp8
            | Codec::Vp9
            | Codec::Aac
            | Codec::Mp3
            | Codec::Opus
            | Codec::Ac3
            | Codec::Eac3
            | Codec::Flac
            | Codec::WebVtt
            | Codec::Other => None,
        };
        byte.map(|byte| usize::from(byte & 3) + 1)
    }
}

pub(super) struct SampleEntry {
    pub(super) codec: CodecConfig,
    pub(super) resolution: Option<Resolution>,
    pub(super) sample_rate: Option<u32>,
    pub(super) channels: Option<u16>,
}

/// Reads the first sample entry.
pub(super) fn parse_stsd(
    mut stsd: Reader<'_>,
    kind: SampleKind,
) -> Result<SampleEntry, DemuxError> {
    let (stsd_version, _) = stsd.version_and_flags()?;
    stsd.u32()?; // entry count
    let Some(entry) = stsd.next_box()? else {
        return Err(stsd.malformed("a track without a sample entry"));
    };
    let mut body = entry.body;
    body.take(8)?; // reserved, data reference index
    let (mut resolution, mut sample_rate, mut channels) = (None, None, None);
    match kind {
        SampleKind::Video => {
            body.take(16)?;
            resolution = Some(Resolution {
                width: u32::from(body.u16()?),
                height: u32::from(body.u16()?),
            });
            body.take(50)?; // resolution in dpi, frame count, name, depth
        }
        SampleKind::Audio => {
            let version = body.u16()?;
            body.take(6)?; // revision, vendor
            channels = Some(body.u16()?);
            body.take(6)?; // sample size, compression id, packet size
            let rate = body.u32()? >> 16; // 16.16
            sample_rate = Some(rate).filter(|&rate| rate > 0);
            // QuickTime's version 1 has four more fields; a version 1 entry of ISO/IEC 14496-12 has none, and
            // lies in an stsd of version 1.
            if version == 1 && stsd_version == 0 {
                body.take(16)?;
            }
        }
        SampleKind::Text => {}
    }
    if matches!(&entry.kind, b"encv" | b"enca" | b"enct") {
        return Err(DemuxError::Encrypted {
            scheme: protection_scheme(body)?,
        });
    }
    let codec = codec_of(entry.kind, body)?;
    // Writers put 2 for any number of channels; the decoder's own configuration is right. With band replication
    // the decoder gives more than its configuration says of the core.
    if codec.codec == Codec::Aac
        && let Some(config) = AudioSpecificConfig::parse(&codec.config)
        && !config.sbr
    {
        sample_rate = Some(config.sample_rate);
        channels = config.channels().or(channels);
    }
    Ok(SampleEntry {
        codec,
        resolution,
        sample_rate,
        channels,
    })
}

fn codec_of(kind: [u8; 4], entry: Reader<'_>) -> Result<CodecConfig, DemuxError> {
    let (codec, config_box) = match &kind {
        b"avc1" | b"avc3" => (Codec::H264, Some(b"avcC")),
        b"hvc1" | b"hev1" => (Codec::H265, Some(b"hvcC")),
        b"av01" => (Codec::Av1, Some(b"av1C")),
        b"vp08" => (Codec::Vp8, Some(b"vpcC")),
        b"vp09" => (Codec::Vp9, Some(b"vpcC")),
        b"mp4a" => (Codec::Aac, None),
        b".mp3" => (Codec::Mp3, None),
        b"Opus" => (Codec::Opus, Some(b"dOps")),
        b"ac-3" => (Codec::Ac3, Some(b"dac3")),
        b"ec-3" => (Codec::Eac3, Some(b"dec3")),
        b"fLaC" => (Codec::Flac, Some(b"dfLa")),
        b"wvtt" => (Codec::WebVtt, Some(b"vttC")),
        _ => (Codec::Other, None),
    };
    let (codec, config) = match (codec, config_box) {
        (Codec::Aac, _) => match entry.find(b"esds")? {
            Some(esds) => parse_esds(esds.body)?,
            None => (Codec::Other, Vec::new()),
        },
        (_, Some(kind)) => {
            let config = entry.find(kind)?.map(|config| config.body.rest().to_vec());
            // Without it no sample of these can be taken apart.
            if config.is_none() && matches!(codec, Codec::H264 | Codec::H265) {
                return Err(entry.malformed("a sample entry without its decoder configuration"));
            }
            (codec, config.unwrap_or_default())
        }
        (_, None) => (codec, Vec::new()),
    };
    Ok(CodecConfig {
        four_cc: FourCc(kind),
        codec,
        config,
    })
}

/// Reads the nested descriptors of ISO/IEC 14496-1, 7.2.6, down to the decoder-specific bytes.
fn parse_esds(mut esds: Reader<'_>) -> Result<(Codec, Vec<u8>), DemuxError> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    esds.version_and_flags()?;
    let mut es = descriptor(&mut esds, ES)?;
    es.u16()?; // id
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.u16()?; // depends on
    }
    if flags & 0x40 != 0 {
        let len = es.u8()?;
        es.take(usize::from(len))?; // URL
    }
    if flags & 0x20 != 0 {
        es.u16()?; // clock reference
    }
    let mut config = descriptor(&mut es, DECODER_CONFIG)?;
    let codec = match config.u8()? {
        0x40 | 0x66..=0x68 => Codec::Aac,
        0x69 | 0x6b => Codec::Mp3,
        _ => Codec::Other,
    };
    config.take(12)?; // stream type, buffer size, bit rates
    if config.rest().is_empty() {
        return Ok((codec, Vec::new()));
    }
    let specific = descriptor(&mut config, DECODER_SPECIFIC)?;
    Ok((codec, specific.rest().to_vec()))
}

fn descriptor<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<Reader<'a>, DemuxError> {
    if reader.u8()? != tag {
        return Err(reader.malformed("an unexpected descriptor in esds"));
    }
    // Seven bits a byte, at most four bytes.
    let mut len = 0;
    for _ in 0..4 {
        let byte = reader.u8()?;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let offset = reader.offset();
    Ok(Reader::new(reader.take(len)?, offset))
}
