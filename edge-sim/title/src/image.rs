//! Pictures in memory, to draw on and to read from.

/// The size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A rectangle of a picture in pixels: columns `left..right` of rows `top..bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The first column.
    pub left: u32,
    /// The first row.
    pub top: u32,
    /// One past the last column.
    pub right: u32,
    /// One past the last row.
    pub bottom: u32,
}

/// A borrowed picture whose brightness can be asked for: 8 bits of luma, or RGB with 8 bits each.
///
/// A buffer shorter than its size promises is no error: what is missing has no brightness.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    size: Size,
    bytes: &'a [u8],
    bytes_per_row: usize,
    bytes_per_pixel: usize,
}

impl<'a> Image<'a> {
    /// Borrows a luma plane without padding between its rows.
    pub fn luma(size: Size, plane: &'a [u8]) -> Self {
        Self::luma_with_stride(size, to_usize(size.width), plane)
    }

    /// Borrows a luma plane whose rows begin `bytes_per_row` apart, as decoders give it.
    pub fn luma_with_stride(size: Size, bytes_per_row: usize, plane: &'a [u8]) -> Self {
        Self {
            size,
            bytes: plane,
            bytes_per_row,
            bytes_per_pixel: 1,
        }
    }

    /// Borrows packed RGB (three bytes a pixel) without padding between its rows.
    pub fn rgb(size: Size, pixels: &'a [u8]) -> Self {
        Self {
            size,
            bytes: pixels,
            bytes_per_row: to_usize(size.width).saturating_mul(3),
            bytes_per_pixel: 3,
        }
    }

    /// Returns the size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns a pixel's brightness from 0 to 255; `None` outside the picture or its buffer.
    pub fn brightness(&self, column: u32, row: u32) -> Option<u8> {
        if column >= self.size.width || row >= self.size.height {
            return None;
        }
        let at = to_usize(row)
            .checked_mul(self.bytes_per_row)?
            .checked_add(to_usize(column).checked_mul(self.bytes_per_pixel)?)?;
        let pixel = self.bytes.get(at..at.checked_add(self.bytes_per_pixel)?)?;
        match *pixel {
            [luma] => Some(luma),
            // Rec. 601 weights in 1/256: they sum to 256, so the result fits a byte.
            [red, green, blue] => {
                let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
                u8::try_from(sum / 256).ok()
            }
            _ => None,
        }
    }

    /// Returns the mean brightness of an area; `None` when it is empty or not wholly inside the picture.
    pub fn mean(&self, area: Area) -> Option<u8> {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for row in area.top..area.bottom {
            for column in area.left..area.right {
                sum += u64::from(self.brightness(column, row)?);
                count += 1;
            }
        }
        u8::try_from(sum.checked_div(count)?).ok()
    }
}

/// Widens a pixel count; no supported platform has an address space smaller than 32 bits.
pub(crate) const fn to_usize(pixels: u32) -> usize {
    pixels as usize
}

/// A luma plane to draw on.
pub(crate) struct Canvas<'a> {
    pub(crate) size: Size,
    pub(crate) plane: &'a mut [u8],
}

impl Canvas<'_> {
    /// Paints an area, or as much of it as lies inside the picture.
    pub(crate) fn fill(&mut self, area: Area, luma: u8) {
        let right = to_usize(area.right.min(self.size.width));
        let left = to_usize(area.left).min(right);
        for row in area.top..area.bottom.min(self.size.height) {
            self.row(row)[left..right].fill(luma);
        }
    }

    /// Returns one row of pixels.
    pub(crate) fn row(&mut self, row: u32) -> &mut [u8] {
        let width = to_usize(self.size.width);
        let start = to_usize(row) * width;
        &mut self.plane[start..start + width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 2,
        height: 2,
    };

    #[test]
    fn rgb_brightness_follows_the_eye() {
        let pixels = [255, 255, 255, 0, 255, 0, 0, 0, 255, 0, 0, 0];
        let image = Image::rgb(SIZE, &pixels);
        assert_eq!(image.brightness(0, 0), Some(255));
        assert!(image.brightness(1, 0) > image.brightness(0, 1));
        assert_eq!(image.brightness(1, 1), Some(0));
    }

    #[test]
    fn nothing_is_read_outside_the_picture_or_its_buffer() {
        let image = Image::luma(SIZE, &[1, 2, 3]);
        assert_eq!(image.brightness(1, 0), Some(2));
        assert_eq!(image.brightness(2, 0), None);
        assert_eq!(image.brightness(1, 1), None);
        let all = Area {
            left: 0,
            top: 0,
            right: 2,
            bottom: 2,
        };
        assert_eq!(image.mean(all), None);
    }
}
