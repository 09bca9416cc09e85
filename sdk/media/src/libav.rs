//! What sound and pictures share of FFmpeg's libraries: opening a decoder, sending it a sample.

use std::sync::Once;

use ffmpeg_next::codec::decoder::{Decoder, Opened, find, find_by_name};
use ffmpeg_next::codec::{Context, Id, packet::Flags};
use ffmpeg_next::{Codec as LibavCodec, Error, Packet, ffi, util::log};
use nearcast_units::MediaTime;

use crate::decode::DecodeError;
use crate::fmp4::{Codec, Sample, TrackInfo};

/// Larger pictures are refused: 4K has 9 million pixels, and a decoder may hold 17 pictures of what a stream claims.
const PIXELS_MAX: i64 = 4096 * 2304;

/// Returns the licence of FFmpeg's libraries as they were found when the program began, in their own words:
/// `LGPL version 2.1 or later`, or `GPL …` where that was asked for when they were built.
#[must_use]
pub fn ffmpeg_license() -> &'static str {
    ffmpeg_next::codec::license()
}

/// Prepares a decoder for a track; it is not open yet.
pub(crate) fn prepare(track: &TrackInfo) -> Result<Decoder, DecodeError> {
    // The libraries write to standard error, over whatever a terminal player has drawn there. Errors come back as
    // values, nothing is lost.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| log::set_level(log::Level::Quiet));

    let codec = find_codec(track)?;
    let mut context = Context::new_with_codec(codec);
    set_up(&mut context, &extra_data(track));
    let mut decoder = context.decoder();
    decoder.set_packet_time_base((1, 1_000_000));
    // Damage is to be told, not painted over.
    decoder.check(ffmpeg_next::codec::decoder::Check::EXPLODE);
    Ok(decoder)
}

/// Turns what opening said into our error.
pub(crate) fn configuration_error(track: &TrackInfo, error: Error) -> DecodeError {
    DecodeError::Configuration {
        codec: track.codec.codec_string(),
        reason: error.to_string(),
    }
}

/// Hands a sample to a decoder.
pub(crate) fn send(decoder: &mut Opened, sample: &Sample) -> Result<(), DecodeError> {
    // An empty packet would mean the end of the stream.
    if sample.data.is_empty() {
        return Err(corrupt(sample.pts, Error::InvalidData));
    }
    let mut packet = Packet::copy(&sample.data);
    packet.set_pts(Some(sample.pts.as_micros()));
    packet.set_dts(Some(sample.dts.as_micros()));
    packet.set_duration(i64::try_from(sample.duration.as_micros()).unwrap_or(0));
    if sample.sync {
        packet.set_flags(Flags::KEY);
    }
    decoder
        .send_packet(&packet)
        .map_err(|error| corrupt(sample.pts, error))
}

pub(crate) fn corrupt(pts: MediaTime, error: Error) -> DecodeError {
    DecodeError::Corrupt {
        pts,
        reason: error.to_string(),
    }
}

fn find_codec(track: &TrackInfo) -> Result<LibavCodec, DecodeError> {
    let id = match track.codec.codec {
        Codec::H264 => Some(Id::H264),
        Codec::H265 => Some(Id::HEVC),
        Codec::Av1 => Some(Id::AV1),
        Codec::Vp8 => Some(Id::VP8),
        Codec::Vp9 => Some(Id::VP9),
        Codec::Aac => Some(Id::AAC),
        Codec::Mp3 => Some(Id::MP3),
        Codec::Opus => Some(Id::OPUS),
        Codec::Ac3 => Some(Id::AC3),
        Codec::Eac3 => Some(Id::EAC3),
        Codec::Flac => Some(Id::FLAC),
        Codec::WebVtt | Codec::Other => None,
    };
    // Several decoders know AV1, and the first one found may need hardware.
    let dav1d = (id == Some(Id::AV1))
        .then(|| find_by_name("libdav1d"))
        .flatten();
    dav1d
        .or_else(|| id.and_then(find))
        .ok_or_else(|| DecodeError::UnsupportedCodec {
            codec: track.codec.codec_string(),
            reason: "this build of FFmpeg does not know it",
        })
}

/// The configuration in the form that the libraries want.
fn extra_data(track: &TrackInfo) -> Vec<u8> {
    let config = track.codec.config.as_slice();
    match track.codec.codec {
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Aac => config.to_vec(),
        Codec::Opus => opus_head(config).unwrap_or_default(),
        // A full box with one metadata block, of which the block's body counts.
        Codec::Flac => config.get(8..).unwrap_or_default().to_vec(),
        Codec::Vp8
        | Codec::Vp9
        | Codec::Mp3
        | Codec::Ac3
        | Codec::Eac3
        | Codec::WebVtt
        | Codec::Other => Vec::new(),
    }
}

/// Makes the little-endian header of Opus in Ogg (RFC 7845, 5.1) from the big-endian `dOps`.
fn opus_head(dops: &[u8]) -> Option<Vec<u8>> {
    let [_version, channels, rest @ ..] = dops else {
        return None;
    };
    let (pre_skip, rest) = rest.split_first_chunk::<2>()?;
    let (rate, rest) = rest.split_first_chunk::<4>()?;
    let (gain, mapping) = rest.split_first_chunk::<2>()?;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(*channels);
    head.extend(u16::from_be_bytes(*pre_skip).to_le_bytes());
    head.extend(u32::from_be_bytes(*rate).to_le_bytes());
    head.extend(i16::from_be_bytes(*gain).to_le_bytes());
    head.extend(mapping);
    Some(head)
}

#[expect(unsafe_code, reason = "ffmpeg-next has no setters for these fields")]
fn set_up(context: &mut Context, extra_data: &[u8]) {
    let padding = usize::try_from(ffi::AV_INPUT_BUFFER_PADDING_SIZE).unwrap_or(64);
    // SAFETY: the context is allocated and not open. `av_mallocz` gives zeroed memory of the size asked for, or null;
    // the context owns it from here on and frees it with itself.
    unsafe {
        let raw = context.as_mut_ptr();
        if raw.is_null() {
            return; // opening it says so
        }
        if let Ok(size) = i32::try_from(extra_data.len())
            && size > 0
        {
            let copy = ffi::av_mallocz(extra_data.len() + padding).cast::<u8>();
            if !copy.is_null() {
                copy.copy_from_nonoverlapping(extra_data.as_ptr(), extra_data.len());
                (*raw).extradata = copy;
                (*raw).extradata_size = size;
            }
        }
        // More threads would delay each picture by one more; the caller has a thread per track.
        (*raw).thread_count = 1;
        (*raw).max_pixels = PIXELS_MAX;
        // The demultiplexer says what to cut off.
        (*raw).flags2 |= ffi::AV_CODEC_FLAG2_SKIP_MANUAL;
    }
}
