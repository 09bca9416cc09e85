//! The files of `tests/data` (made by `make.sh` there) and what every test does with them.

use bytes::Bytes;
use nearcast_media::{DemuxError, InitSegment, Sample, SampleKind, SegmentDemuxer};

/// One representation: its init segment and its segments of one second.
pub(crate) struct Representation {
    pub(crate) init: &'static [u8],
    pub(crate) segments: &'static [&'static [u8]],
}

pub(crate) const VIDEO: Representation = Representation {
    init: include_bytes!("../data/video-init.mp4"),
    segments: &[
        include_bytes!("../data/video-1.m4s"),
        include_bytes!("../data/video-2.m4s"),
    ],
};
pub(crate) const VIDEO_HD: Representation = Representation {
    init: include_bytes!("../data/video-hd-init.mp4"),
    segments: &[
        include_bytes!("../data/video-hd-1.m4s"),
        include_bytes!("../data/video-hd-2.m4s"),
    ],
};
/// The last segment holds what is left when the others have 40 and 47 blocks.
pub(crate) const AUDIO: Representation = Representation {
    init: include_bytes!("../data/audio-init.mp4"),
    segments: &[
        include_bytes!("../data/audio-1.m4s"),
        include_bytes!("../data/audio-2.m4s"),
        include_bytes!("../data/audio-3.m4s"),
    ],
};
/// Picture and sound in one file.
pub(crate) const MUXED: &[u8] = include_bytes!("../data/muxed.mp4");
/// The same with absolute base offsets in `tfhd`.
pub(crate) const MUXED_ABSOLUTE: &[u8] = include_bytes!("../data/muxed-absolute.mp4");
pub(crate) const OPUS: &[u8] = include_bytes!("../data/opus.mp4");
pub(crate) const SURROUND: &[u8] = include_bytes!("../data/surround.mp4");
#[cfg(feature = "video")]
pub(crate) const AC3: &[u8] = include_bytes!("../data/ac3.mp4");

/// Demultiplexes a segment given in pieces of `piece` bytes.
pub(crate) fn demux_in_pieces(
    init: &InitSegment,
    segment: &[u8],
    piece: usize,
) -> Result<Vec<Sample>, DemuxError> {
    let mut demuxer = SegmentDemuxer::new(init, 0);
    let mut samples = Vec::new();
    for bytes in segment.chunks(piece) {
        demuxer.push(Bytes::copy_from_slice(bytes));
        while let Some(sample) = demuxer.poll_sample()? {
            samples.push(sample);
        }
    }
    demuxer.finish()?;
    Ok(samples)
}

/// All samples of a representation.
pub(crate) fn samples_of(representation: &Representation) -> Vec<Sample> {
    let init = InitSegment::parse(representation.init).unwrap();
    (representation.segments.iter())
        .flat_map(|segment| demux_in_pieces(&init, segment, segment.len()).unwrap())
        .collect()
}

/// All samples of one kind in a file that holds init and fragments.
pub(crate) fn samples_of_file(file: &[u8], kind: SampleKind) -> Vec<Sample> {
    let init = InitSegment::parse(file).unwrap();
    let mut samples = demux_in_pieces(&init, file, file.len()).unwrap();
    samples.retain(|sample| sample.kind == kind);
    samples
}

/// A box of this kind around a body.
pub(crate) fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], kind, body].concat()
}

/// Where the first box of this kind begins, at any depth, by its name.
pub(crate) fn position_of(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|window| window == kind).unwrap() - 4
}
