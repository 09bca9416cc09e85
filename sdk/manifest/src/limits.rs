//! Bounds on what a manifest may make the player allocate. Input is hostile until proved otherwise.

use crate::ManifestError;

/// Bytes of one MPD, playlist or segment index. The largest real MPDs seen are a few megabytes.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// Segments of one representation: 55 hours of 2 s segments.
pub const SEGMENTS_MAX: usize = 100_000;

/// Segments of all representations together: 20 MB of outline.
pub const SEGMENTS_TOTAL_MAX: usize = 500_000;

/// Representations of all periods together, and adaptation sets: ten in each of the most periods, which is six
/// pictures, two sounds and two subtitles. The parser makes 2 KB of one of either: 20 MB. Each may carry an
/// inherited template of its own.
pub(crate) const REPRESENTATIONS_MAX: usize = 10 * PERIODS_MAX;

/// Bytes of one reference, or of one resolved URL.
pub(crate) const URL_BYTES_MAX: usize = 4 << 10;

/// Bytes of all file names together: short references may be resolved against a long base.
const FILE_NAME_BYTES_MAX: usize = 64 << 20;

/// Depth of XML elements. An MPD needs nine.
pub(crate) const XML_DEPTH_MAX: usize = 32;

/// `S` and `SegmentURL` elements: twice the segments of the largest timeline that may be spelt out. Each takes
/// about 100 bytes once parsed.
pub(crate) const XML_SEGMENTS_MAX: usize = 400_000;

/// `Period` elements: eight hours, cut by an advertisement every two minutes.
pub(crate) const PERIODS_MAX: usize = 500;

/// All other XML elements together. The parser makes up to 2 KB of the largest of them, however short they are
/// written: 40 MB.
pub(crate) const XML_OTHERS_MAX: usize = 20_000;

/// The highest rate believed of one representation, in bits per second: far above any picture, and low enough
/// that sums and products of rates and times stay numbers.
const BANDWIDTH_MAX: u64 = 10_000_000_000;

/// Checks a declared rate; 0 would divide by zero in every estimate made of it.
pub(crate) fn check_bandwidth(what: &str, bandwidth: u64) -> Result<(), ManifestError> {
    if (1..=BANDWIDTH_MAX).contains(&bandwidth) {
        return Ok(());
    }
    Err(ManifestError::malformed(format!("{what} is {bandwidth}")))
}

/// What is left of the limits while one manifest is read.
#[derive(Debug)]
pub(crate) struct Budget {
    segments: usize,
    representations: usize,
    file_name_bytes: usize,
}

impl Budget {
    pub(crate) const fn new(segments_used: usize) -> Self {
        Self {
            segments: SEGMENTS_TOTAL_MAX.saturating_sub(segments_used),
            representations: REPRESENTATIONS_MAX,
            file_name_bytes: FILE_NAME_BYTES_MAX,
        }
    }

    /// Takes `count` segments for a representation that has `so_far`, before they are made.
    pub(crate) fn take_segments(
        &mut self,
        so_far: usize,
        count: u64,
    ) -> Result<usize, ManifestError> {
        let limit = SEGMENTS_MAX;
        let too_many = |limit| ManifestError::TooManySegments { limit };
        let count = usize::try_from(count).map_err(|_| too_many(limit))?;
        if so_far.saturating_add(count) > limit {
            return Err(too_many(limit));
        }
        self.segments = self
            .segments
            .checked_sub(count)
            .ok_or_else(|| too_many(SEGMENTS_TOTAL_MAX))?;
        Ok(count)
    }

    pub(crate) fn take_file_name(&mut self, bytes: usize) -> Result<(), ManifestError> {
        self.file_name_bytes =
            self.file_name_bytes
                .checked_sub(bytes)
                .ok_or(ManifestError::TooLarge {
                    what: "file names in bytes",
                    limit: FILE_NAME_BYTES_MAX,
                })?;
        Ok(())
    }

    pub(crate) fn take_representation(&mut self) -> Result<(), ManifestError> {
        self.representations =
            self.representations
                .checked_sub(1)
                .ok_or(ManifestError::TooLarge {
                    what: "number of representations",
                    limit: REPRESENTATIONS_MAX,
                })?;
        Ok(())
    }
}

/// Checks the size of input before anything else looks at it.
pub(crate) const fn check_size(bytes: &[u8]) -> Result<(), ManifestError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLarge {
            what: "manifest in bytes",
            limit: MANIFEST_BYTES_MAX,
        });
    }
    Ok(())
}
