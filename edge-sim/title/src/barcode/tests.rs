use nearcast_units::{Rng, Seed};
use proptest::prelude::*;

use super::*;
use crate::image::to_usize;

const FULL: Size = size(320, 180);
const CODE: Code = Code {
    frame: 123_456,
    rung: 5,
};

const fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn drawn(size: Size, code: Code) -> Vec<u8> {
    let mut plane = vec![110; to_usize(size.width) * to_usize(size.height)];
    let mut canvas = Canvas {
        size,
        plane: &mut plane,
    };
    draw(&mut canvas, code);
    plane
}

/// Averages as a scaler does: each target pixel is the mean of the source pixels it covers.
fn scaled(plane: &[u8], from: Size, to: Size) -> Vec<u8> {
    let image = Image::luma(from, plane);
    let mut result = Vec::new();
    for row in 0..to.height {
        for column in 0..to.width {
            let left = from.width * column / to.width;
            let top = from.height * row / to.height;
            let area = Area {
                left,
                top,
                right: (from.width * (column + 1) / to.width).max(left + 1),
                bottom: (from.height * (row + 1) / to.height).max(top + 1),
            };
            result.push(image.mean(area).unwrap());
        }
    }
    result
}

#[test]
fn geometry_is_what_the_documentation_says() {
    let plane = drawn(FULL, Code { frame: 0, rung: 0 });
    let at = |column: usize, row: usize| plane[row * 320 + column];
    assert_eq!(at(0, 149), 110, "the picture ends where the code begins");
    assert_eq!([at(0, 150), at(15, 164)], [WHITE; 2], "row 0, cell 0");
    assert_eq!([at(16, 150), at(31, 164)], [BLACK; 2], "row 0, cell 1");
    assert_eq!(
        [at(0, 165), at(319, 179)],
        [BLACK; 2],
        "row 1, cells 0 and 19"
    );
    // CRC-8 of three zero bytes from 0xFF, by hand: 0xFF -> 0xF3 -> 0xD7 -> 0x2B.
    assert_eq!(encode(Code { frame: 0, rung: 0 }), u32::from(crc8(0)));
}

#[test]
fn the_checksum_is_the_documented_one() {
    // The check value of CRC-8 with initial value 0xFF over one byte, from the polynomial's own long division.
    let long_division = |bytes: &[u8]| {
        let mut remainder = 0xFF_u8;
        for &byte in bytes {
            remainder ^= byte;
            for _ in 0..8 {
                let carry = remainder & 0x80 != 0;
                remainder <<= 1;
                if carry {
                    remainder ^= 0x07;
                }
            }
        }
        remainder
    };
    assert_eq!(crc8(0x0012_3456), long_division(&[0x12, 0x34, 0x56]));
}

#[test]
fn it_is_read_at_every_size_down_to_forty_by_twenty_four() {
    let plane = drawn(FULL, CODE);
    for to in [
        size(160, 90),
        size(80, 44),
        size(118, 66),
        size(106, 60),
        size(40, 24),
        size(333, 97),
    ] {
        let small = scaled(&plane, FULL, to);
        assert_eq!(read(&Image::luma(to, &small)), Some(CODE), "{to:?}");
    }
}

/// Scales a line of pixels as a good scaler does: a source pixel that lies in two target pixels counts for both,
/// by its share.
fn shared_out(line: &[u8], to: usize) -> Vec<u8> {
    let from = line.len();
    let pixel = |target: usize| {
        let (start, end) = (target * from, (target + 1) * from);
        let sum: usize = line
            .iter()
            .enumerate()
            .map(|(source, &value)| {
                let overlap = end
                    .min((source + 1) * to)
                    .saturating_sub(start.max(source * to));
                overlap * usize::from(value)
            })
            .sum();
        u8::try_from(sum / from).unwrap()
    };
    (0..to).map(pixel).collect()
}

#[test]
fn it_is_read_where_cells_do_not_fall_on_whole_pixels() {
    for frame in [0, 0x5_5555, 0xA_AAAA, 0xF_FFFF, 0x0_FFFF, 0x2_4924] {
        let code = Code { frame, rung: 3 };
        let plane = drawn(FULL, code);
        for width in 40..=90_u32 {
            let to = size(width, 24);
            let wide = to_usize(width);
            let rows: Vec<Vec<u8>> = plane.chunks(320).map(|row| shared_out(row, wide)).collect();
            let columns: Vec<Vec<u8>> = (0..wide)
                .map(|column| rows.iter().map(|row| row[column]).collect::<Vec<u8>>())
                .map(|column| shared_out(&column, 24))
                .collect();
            let small: Vec<u8> = (0..24)
                .flat_map(|row| columns.iter().map(move |column| column[row]))
                .collect();
            let read = read(&Image::luma(to, &small));
            assert_eq!(read, Some(code), "{to:?}");
        }
    }
}

#[test]
fn it_is_read_after_half_blocks_in_six_bit_colours() {
    let to = size(160, 90);
    let small = scaled(&drawn(FULL, CODE), FULL, to);
    let rgb: Vec<u8> = small
        .iter()
        .flat_map(|&luma| [luma & 0xC0, luma & 0xC0 | 0x20, luma & 0xC0])
        .collect();
    assert_eq!(read(&Image::rgb(to, &rgb)), Some(CODE));
}

#[test]
fn nothing_is_read_where_there_is_no_code() {
    let mut rng = Seed::new(7).rng();
    for _ in 0..2000 {
        let noise: Vec<u8> = (0..160 * 90).map(|_| byte(&mut rng)).collect();
        assert_eq!(read(&Image::luma(size(160, 90), &noise)), None);
    }
    assert_eq!(read(&Image::luma(size(160, 90), &[128; 160 * 90])), None);
    assert_eq!(read(&Image::luma(size(0, 0), &[])), None);
    assert_eq!(read(&Image::luma(size(19, 11), &[200; 19 * 11])), None);
    assert_eq!(read(&Image::luma(size(u32::MAX, u32::MAX), &[1, 2])), None);
}

#[test]
fn a_picture_upside_down_or_mirrored_is_refused() {
    let plane = drawn(FULL, CODE);
    let upside_down: Vec<u8> = plane.rchunks(320).flatten().copied().collect();
    assert_eq!(read(&Image::luma(FULL, &upside_down)), None);
    let mirrored: Vec<u8> = plane
        .chunks(320)
        .flat_map(|row| row.iter().rev())
        .copied()
        .collect();
    assert_eq!(read(&Image::luma(FULL, &mirrored)), None);
}

fn byte(rng: &mut Rng) -> u8 {
    u8::try_from(rng.next_u64() >> 56).unwrap()
}

proptest! {
    #[test]
    fn every_code_is_read_back_through_noise(
        frame in 0..=FRAME_MAX, rung in 0..=RUNG_MAX, amplitude in 0_i16..90, seed: u64,
    ) {
        let code = Code { frame, rung };
        let mut rng = Seed::new(seed).rng();
        let mut plane = drawn(FULL, code);
        for pixel in &mut plane {
            let noise = (i16::from(byte(&mut rng)) - 128) * amplitude / 128;
            *pixel = u8::try_from((i16::from(*pixel) + noise).clamp(0, 255)).unwrap();
        }
        prop_assert_eq!(read(&Image::luma(FULL, &plane)), Some(code));
        let small = scaled(&plane, FULL, size(160, 90));
        prop_assert_eq!(read(&Image::luma(size(160, 90), &small)), Some(code));
    }

    #[test]
    fn one_wrong_cell_is_never_read_as_another_frame(
        frame in 0..=FRAME_MAX, row in 0..ROWS, column in 0..COLUMNS,
    ) {
        let mut plane = drawn(FULL, Code { frame, rung: 2 });
        let area = cell(FULL, row, column);
        let was = plane[to_usize(area.top * FULL.width + area.left)];
        let mut canvas = Canvas { size: FULL, plane: &mut plane };
        canvas.fill(area, if was == WHITE { BLACK } else { WHITE });
        prop_assert_eq!(read(&Image::luma(FULL, &plane)), None);
    }
}
