//! A decoded picture, and its conversion to what a screen wants.

use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video as LibavFrame;
use ffmpeg_next::software::scaling::{Context, Flags};
use nearcast_units::MediaTime;

use super::RgbImage;
use crate::decode::DecodeError;

/// A decoded picture in the decoder's own pixel format.
pub struct VideoFrame {
    pts: MediaTime,
    picture: LibavFrame,
}

impl VideoFrame {
    pub(super) const fn new(pts: MediaTime, picture: LibavFrame) -> Self {
        Self { pts, picture }
    }

    /// Returns when it is shown.
    #[must_use]
    pub const fn pts(&self) -> MediaTime {
        self.pts
    }

    /// Returns the number of pixels across.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.picture.width()
    }

    /// Returns the number of pixels down.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.picture.height()
    }

    /// Returns how many bytes the picture occupies, for whoever keeps a cap.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        (0..self.picture.planes())
            .map(|plane| self.picture.data(plane).len())
            .sum()
    }

    /// Converts to RGB at the given size. For more than one frame a [`FrameScaler`] is cheaper.
    ///
    /// # Errors
    /// [`DecodeError::Conversion`] when the size is zero or larger than 8192 either way.
    pub fn to_rgb(&self, width: u32, height: u32) -> Result<RgbImage, DecodeError> {
        FrameScaler::new().to_rgb(self, width, height)
    }
}

impl core::fmt::Debug for VideoFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("VideoFrame")
            .field("pts", &self.pts)
            .field("width", &self.width())
            .field("height", &self.height())
            .finish()
    }
}

/// Converts frames to RGB and keeps what it has prepared for frames and pictures of the same size.
#[derive(Default)]
pub struct FrameScaler {
    prepared: Option<Prepared>,
}

struct Prepared {
    from: Source,
    width: u32,
    height: u32,
    context: Context,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Source {
    format: Pixel,
    width: u32,
    height: u32,
    matrix: i32,
    full_range: bool,
}

// SAFETY: the context is owned by this value alone and swscale ties nothing to a thread.
#[expect(unsafe_code, reason = "the binding leaves this out for a raw pointer")]
unsafe impl Send for FrameScaler {}

/// A screen of 8K; more would only cost memory.
const SIDE_MAX: u32 = 8192;

impl FrameScaler {
    /// Makes a converter; nothing is allocated yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { prepared: None }
    }

    /// Converts a frame to RGB at the given size, with the colours that the stream declares. The shape of the
    /// picture is not kept: ask for a size of the right shape.
    ///
    /// # Errors
    /// [`DecodeError::Conversion`] when the size is zero or larger than 8192 either way.
    pub fn to_rgb(
        &mut self,
        frame: &VideoFrame,
        width: u32,
        height: u32,
    ) -> Result<RgbImage, DecodeError> {
        let failure = |reason: String| DecodeError::Conversion {
            width,
            height,
            reason,
        };
        if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
            return Err(failure("a size out of range".to_owned()));
        }
        let from = source_of(&frame.picture);
        let kept = self.prepared.take().filter(|prepared| {
            prepared.from == from && prepared.width == width && prepared.height == height
        });
        let mut prepared = match kept {
            Some(prepared) => prepared,
            None => prepare(from, width, height).map_err(|error| failure(error.to_string()))?,
        };
        let mut scaled = LibavFrame::empty();
        prepared
            .context
            .run(&frame.picture, &mut scaled)
            .map_err(|error| failure(error.to_string()))?;
        self.prepared = Some(prepared);

        let row = width as usize * 3;
        let mut data = Vec::with_capacity(row * height as usize);
        for line in scaled
            .data(0)
            .chunks(scaled.stride(0))
            .take(height as usize)
        {
            data.extend_from_slice(&line[..row.min(line.len())]);
        }
        Ok(RgbImage {
            width,
            height,
            data,
        })
    }
}

#[expect(unsafe_code, reason = "the binding reads these as enums")]
fn source_of(picture: &LibavFrame) -> Source {
    // SAFETY: the frame is allocated for as long as it is borrowed. Both fields are C enums, read as the integers
    // they are: a stream may carry a number that the binding's enum has no name for.
    let (matrix, range) = unsafe {
        let raw = picture.as_ptr();
        (
            (&raw const (*raw).colorspace).cast::<i32>().read(),
            (&raw const (*raw).color_range).cast::<i32>().read(),
        )
    };
    Source {
        format: picture.format(),
        width: picture.width(),
        height: picture.height(),
        matrix,
        full_range: range == FULL_RANGE,
    }
}

/// `AVCOL_RANGE_JPEG`.
const FULL_RANGE: i32 = 2;
/// `AVCOL_SPC_BT709` and `SWS_CS_ITU709`, which have the same number, as all matrices do.
const BT709: i32 = 1;
/// `AVCOL_SPC_UNSPECIFIED`.
const UNSPECIFIED: i32 = 2;
/// `SWS_CS_DEFAULT`: BT.601.
const BT601: i32 = 5;

fn prepare(from: Source, width: u32, height: u32) -> Result<Prepared, ffmpeg_next::Error> {
    let mut context = Context::get(
        from.format,
        from.width,
        from.height,
        Pixel::RGB24,
        width,
        height,
        // Averages all pixels when it makes a picture smaller, so that thin lines do not vanish.
        Flags::BILINEAR,
    )?;
    // Without a word in the stream: the matrix of HD for HD, the older one below.
    let matrix = match from.matrix {
        UNSPECIFIED if from.height >= 720 => BT709,
        UNSPECIFIED => BT601,
        told => told,
    };
    set_colours(&mut context, matrix, from.full_range);
    Ok(Prepared {
        from,
        width,
        height,
        context,
    })
}

#[expect(
    unsafe_code,
    reason = "ffmpeg-next has no wrapper for the colour matrix"
)]
fn set_colours(context: &mut Context, matrix: i32, full_range: bool) {
    const ONE: i32 = 1 << 16;
    // SAFETY: the context is initialised; the tables are static, and a matrix without a table gives the default one.
    unsafe {
        let table = ffi::sws_getCoefficients(matrix);
        ffi::sws_setColorspaceDetails(
            context.as_mut_ptr(),
            table,
            i32::from(full_range),
            table,
            1,
            0,
            ONE,
            ONE,
        );
    }
}
