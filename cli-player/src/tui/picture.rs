//! A decoded picture on its way to the screen.

use std::sync::Arc;

/// A width and a height in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PixelSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl PixelSize {
    /// Returns the number of pixels.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Returns the largest size of the same shape with at most `pixels_max` pixels, at least 1x1.
    #[must_use]
    pub fn limited(self, pixels_max: u64) -> Self {
        if self.count() <= pixels_max {
            return self;
        }
        // height' = sqrt(max * height / width), and the width follows: never more than asked.
        let height = (pixels_max * u64::from(self.height) / u64::from(self.width.max(1))).isqrt();
        let height = height.clamp(1, u64::from(self.height.max(1)));
        let width = (u64::from(self.width) * height / u64::from(self.height.max(1))).max(1);
        Self {
            width: u32::try_from(width).unwrap_or(self.width),
            height: u32::try_from(height).unwrap_or(self.height),
        }
    }
}

/// A picture with square pixels, three bytes (red, green, blue) each, rows from the top.
///
/// Cloning is cheap: the pixels are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    size: PixelSize,
    rgb: Arc<[u8]>,
}

/// Why bytes are not a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// A side is zero or longer than [`Picture::SIDE_MAX`].
    #[error("a picture of {}x{} pixels cannot be shown", .0.width, .0.height)]
    Size(PixelSize),
    /// There are not three bytes for each pixel.
    #[error("{actual} bytes for a picture that needs {expected}")]
    Bytes {
        /// Three for each pixel.
        expected: usize,
        /// What was handed in.
        actual: usize,
    },
}

impl Picture {
    /// The longest side, in pixels: beyond 8K a terminal player has no business.
    pub const SIDE_MAX: u32 = 8192;

    /// Makes a picture from its pixels.
    ///
    /// # Errors
    /// When a side is zero or too long, or when there are not three bytes for each pixel.
    pub fn new(size: PixelSize, rgb: impl Into<Arc<[u8]>>) -> Result<Self, PictureError> {
        let sides = 1..=Self::SIDE_MAX;
        if !sides.contains(&size.width) || !sides.contains(&size.height) {
            return Err(PictureError::Size(size));
        }
        let rgb = rgb.into();
        let expected = index(size.width) * index(size.height) * 3;
        if rgb.len() != expected {
            return Err(PictureError::Bytes {
                expected,
                actual: rgb.len(),
            });
        }
        Ok(Self { size, rgb })
    }

    /// Returns the width and height.
    #[must_use]
    pub const fn size(&self) -> PixelSize {
        self.size
    }

    /// Returns the bytes: red, green, blue, row by row from the top.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Returns the colour of one pixel; black outside of the picture.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        if x >= self.size.width || y >= self.size.height {
            return [0; 3];
        }
        let at = (index(y) * index(self.size.width) + index(x)) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Tells whether both are the very same frame, without looking at the pixels.
    #[must_use]
    pub fn is_same_frame(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rgb, &other.rgb)
    }

    /// Returns the picture in another size: each new pixel is the mean of those it covers. Sides are
    /// clamped to 1 and [`SIDE_MAX`](Self::SIDE_MAX).
    #[must_use]
    pub fn scaled(&self, to: PixelSize) -> Self {
        let to = PixelSize {
            width: to.width.clamp(1, Self::SIDE_MAX),
            height: to.height.clamp(1, Self::SIDE_MAX),
        };
        if to == self.size {
            return self.clone();
        }
        let columns = spans(self.size.width, to.width);
        let mut rgb = Vec::with_capacity(index(to.width) * index(to.height) * 3);
        for (top, bottom) in spans(self.size.height, to.height) {
            for &(left, right) in &columns {
                rgb.extend(self.mean(left, right, top, bottom));
            }
        }
        Self {
            size: to,
            rgb: rgb.into(),
        }
    }

    fn mean(&self, left: usize, right: usize, top: usize, bottom: usize) -> [u8; 3] {
        let stride = index(self.size.width) * 3;
        let mut sums = [0_u64; 3];
        for y in top..bottom {
            for pixel in self.rgb[y * stride + left * 3..y * stride + right * 3].chunks_exact(3) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += u64::from(*value);
                }
            }
        }
        let count = ((right - left) * (bottom - top)) as u64;
        sums.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX))
    }
}

/// Returns which source pixels (from, to) each of `to` target pixels covers; never none.
fn spans(from: u32, to: u32) -> Vec<(usize, usize)> {
    let (from, to) = (index(from), index(to));
    (0..to)
        .map(|at| {
            let start = at * from / to;
            let end = ((at + 1) * from / to).max(start + 1);
            (start, end)
        })
        .collect()
}

fn index(side: u32) -> usize {
    // Sides are at most 8192.
    side as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(width: u32, height: u32) -> PixelSize {
        PixelSize { width, height }
    }

    #[test]
    fn bytes_that_do_not_fill_the_size_are_refused() {
        assert_eq!(
            Picture::new(size(2, 2), vec![0; 11]),
            Err(PictureError::Bytes {
                expected: 12,
                actual: 11
            })
        );
        assert_eq!(
            Picture::new(size(0, 2), vec![]),
            Err(PictureError::Size(size(0, 2)))
        );
        assert_eq!(
            Picture::new(size(1, 8193), vec![0; 3 * 8193]),
            Err(PictureError::Size(size(1, 8193)))
        );
    }

    #[test]
    fn a_smaller_picture_holds_the_means_and_a_larger_one_repeats() {
        let picture = Picture::new(size(2, 1), vec![0, 10, 100, 100, 20, 0]).unwrap();
        assert_eq!(picture.scaled(size(1, 1)).rgb(), [50, 15, 50]);
        let large = picture.scaled(size(4, 2));
        assert_eq!(large.pixel(1, 1), [0, 10, 100]);
        assert_eq!(large.pixel(2, 0), [100, 20, 0]);
        assert_eq!(large.pixel(4, 0), [0, 0, 0]);
    }

    #[test]
    fn a_limited_size_keeps_its_shape() {
        assert_eq!(size(1920, 1080).limited(640 * 360), size(640, 360));
        assert_eq!(size(320, 180).limited(640 * 360), size(320, 180));
        assert_eq!(size(8192, 1).limited(100), size(8192, 1).limited(100));
        assert!(size(1, 8000).limited(100).count() >= 1);
    }
}
