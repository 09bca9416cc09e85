//! The bar code along the bottom of every frame: which frame it is, and of which rung.
//!
//! # Geometry
//! The code fills the bottom sixth of the picture over its whole width: two rows of twenty cells, each cell a
//! twentieth of the width and a twelfth of the height. Row 0 is the upper one. Edges are rounded down to pixels:
//! cell `c` of row `r` covers the columns `W·c/20 .. W·(c+1)/20` and the rows `H·(10+r)/12 .. H·(11+r)/12`.
//!
//! | cells | row 0 | row 1 |
//! | --- | --- | --- |
//! | 0, 1 | white, black | black, white |
//! | 2 to 17 | bits 31 to 16 of the word | bits 15 to 0 of the word |
//! | 18, 19 | black, white | white, black |
//!
//! White is a one. The eight outer cells are the same on every frame; they give the threshold, and prove that this is
//! a bar code the right way up. The word, most significant bit first: frame number (20 bits), rung (4 bits),
//! CRC-8 of those 24 bits (polynomial 0x07, initial value 0xFF).
//!
//! Cells are large so that the code outlives what happens on the way to a terminal: an encoder's coarsest quantiser,
//! scaling down to 40 by 12 pixels, colours cut to six bits, noise. Twenty bits count frames for twelve hours.

use crate::image::{Area, Canvas, Image, Size};

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The frame's number in presentation order, from 0; at most 2²⁰ − 1.
    pub frame: u32,
    /// The rung's number, 0 for the lowest; at most 15.
    pub rung: u8,
}

/// Cells in a row.
const COLUMNS: u32 = 20;
/// Rows of cells.
const ROWS: u32 = 2;
/// A cell's height is the picture's divided by this.
const ROWS_IN_PICTURE: u32 = 12;
/// Data cells in a row.
const BITS_IN_ROW: u32 = 16;
const FRAME_MAX: u32 = (1 << 20) - 1;
const RUNG_MAX: u8 = 15;

/// Black and white as video calls them (limited range).
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// The least difference between white and black cells that is taken for a code. Noise alone, averaged over a
/// cell, stays far below; a quarter of full contrast survives every terminal palette.
const CONTRAST_MIN: u8 = 48;

/// Draws the code into the bottom of a luma plane. Numbers that do not fit are cut to their lowest bits.
pub(crate) fn draw(canvas: &mut Canvas<'_>, code: Code) {
    let word = encode(code);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let white = sync(row, column).unwrap_or_else(|| bit(word, row, column));
            canvas.fill(
                cell(canvas.size, row, column),
                if white { WHITE } else { BLACK },
            );
        }
    }
}

/// Reads the code from a picture of any size that shows the whole frame and nothing else.
///
/// Returns `None` when there is no code, when it is damaged, or when the picture is smaller than 20 by 12 pixels.
pub fn read(image: &Image<'_>) -> Option<Code> {
    let mut cells = [[0_u8; COLUMNS as usize]; ROWS as usize];
    for (row, cells) in (0..).zip(&mut cells) {
        for (column, value) in (0..).zip(cells) {
            *value = image.mean(middle(image.size(), row, column))?;
        }
    }
    let threshold = threshold(&cells)?;
    let mut word = 0_u32;
    for (row, cells) in (0..).zip(&cells) {
        for (column, &value) in (0..).zip(cells) {
            let white = value > threshold;
            match sync(row, column) {
                Some(expected) if expected != white => return None,
                Some(_) => {}
                None => word = word << 1 | u32::from(white),
            }
        }
    }
    decode(word)
}

/// Returns the brightness half-way between the cells known to be white and those known to be black.
fn threshold(cells: &[[u8; COLUMNS as usize]; ROWS as usize]) -> Option<u8> {
    let (mut darkest_white, mut brightest_black) = (u8::MAX, 0);
    for (row, cells) in (0..).zip(cells) {
        for (column, &value) in (0..).zip(cells) {
            match sync(row, column) {
                Some(true) => darkest_white = darkest_white.min(value),
                Some(false) => brightest_black = brightest_black.max(value),
                None => {}
            }
        }
    }
    let contrast = darkest_white.checked_sub(brightest_black)?;
    (contrast >= CONTRAST_MIN).then_some(brightest_black + contrast / 2)
}

fn cell(size: Size, row: u32, column: u32) -> Area {
    let x = |column: u32| share(size.width, column, COLUMNS);
    let y = |row: u32| share(size.height, ROWS_IN_PICTURE - ROWS + row, ROWS_IN_PICTURE);
    Area {
        left: x(column),
        top: y(row),
        right: x(column + 1),
        bottom: y(row + 1),
    }
}

/// Returns `length · part / whole`, rounded down, without overflow for any picture.
fn share(length: u32, part: u32, whole: u32) -> u32 {
    let pixels = u64::from(length) * u64::from(part) / u64::from(whole);
    u32::try_from(pixels).unwrap_or(u32::MAX)
}

/// Returns the pixels of a cell's middle half each way, where a neighbour's blur does not reach; at least the one in
/// its middle. In a small picture a cell's edges lie inside pixels, so they are not rounded before its middle is found.
fn middle(size: Size, row: u32, column: u32) -> Area {
    let (left, right) = middle_half(size.width, column, COLUMNS);
    let (top, bottom) = middle_half(size.height, ROWS_IN_PICTURE - ROWS + row, ROWS_IN_PICTURE);
    Area {
        left,
        top,
        right,
        bottom,
    }
}

fn middle_half(length: u32, part: u32, whole: u32) -> (u32, u32) {
    let whole = u64::from(whole) * 4;
    let at = |quarter: u64| u64::from(length) * (u64::from(part) * 4 + quarter);
    let (from, to) = (at(1).div_ceil(whole), at(3) / whole);
    let centre = at(2) / whole;
    let (from, to) = if from < to {
        (from, to)
    } else {
        (centre, centre + 1)
    };
    let pixel = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    (pixel(from), pixel(to))
}

/// Returns the fixed colour of an outer cell: white is `true`; `None` for a data cell.
fn sync(row: u32, column: u32) -> Option<bool> {
    let from_edge = column.min(COLUMNS - 1 - column);
    (from_edge < 2).then_some((from_edge + row).is_multiple_of(2))
}

fn bit(word: u32, row: u32, column: u32) -> bool {
    let from_top = row * BITS_IN_ROW + column - 2;
    word << from_top & 1 << 31 != 0
}

fn encode(code: Code) -> u32 {
    let data = (code.frame & FRAME_MAX) << 4 | u32::from(code.rung & RUNG_MAX);
    data << 8 | u32::from(crc8(data))
}

fn decode(word: u32) -> Option<Code> {
    let [high, middle, low, check] = word.to_be_bytes();
    let data = word >> 8;
    (crc8(data) == check).then_some(Code {
        frame: u32::from_be_bytes([0, high, middle, low]) >> 4,
        rung: low & RUNG_MAX,
    })
}

/// CRC-8 of the lower 24 bits.
fn crc8(data: u32) -> u8 {
    let [_, bytes @ ..] = data.to_be_bytes();
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| {
            let polynomial = if crc & 0x80 == 0 { 0 } else { 0x07 };
            crc << 1 ^ polynomial
        })
    })
}

#[cfg(test)]
mod tests;
