//! DEC sixels with a fixed palette of 6x6x6 colours.
//!
//! A palette made for each picture would be closer to the colours, costs more than the decoder does, and
//! makes still areas flicker from frame to frame. Each channel is off by at most 26 of 255.

use ratatui::layout::Rect;

use crate::tui::picture::Picture;

const LEVELS: usize = 6;
const PALETTE: usize = LEVELS * LEVELS * LEVELS;
/// A sixel is a column of six pixels.
const BAND: u32 = 6;

/// Keeps the memory of one band between frames.
#[derive(Debug, Default)]
pub(super) struct Sixel {
    /// For each colour a row of sixels, `width` long.
    rows: Vec<u8>,
}

impl Sixel {
    pub(super) fn paint(&mut self, out: &mut Vec<u8>, picture: &Picture, cells: Rect) {
        let size = picture.size();
        super::move_to(out, cells);
        // P2=1: pixels that are not named keep their colour; raster attributes give the size.
        out.extend_from_slice(
            format!("\x1bP0;1;0q\"1;1;{};{}", size.width, size.height).as_bytes(),
        );
        define_palette(out);
        for top in (0..size.height).step_by(BAND as usize) {
            self.band(out, picture, top);
        }
        out.extend_from_slice(b"\x1b\\");
    }

    fn band(&mut self, out: &mut Vec<u8>, picture: &Picture, top: u32) {
        let size = picture.size();
        let width = size.width as usize;
        self.rows.clear();
        self.rows.resize(PALETTE * width, 0);
        let mut used = [false; PALETTE];
        let stride = width * 3;
        for y in top..size.height.min(top + BAND) {
            let bit = 1 << (y - top);
            let start = y as usize * stride;
            for (x, pixel) in picture.rgb()[start..start + stride]
                .chunks_exact(3)
                .enumerate()
            {
                let colour = nearest(pixel);
                used[colour] = true;
                self.rows[colour * width + x] |= bit;
            }
        }
        for (colour, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            out.extend_from_slice(format!("#{colour}").as_bytes());
            run_lengths(out, &self.rows[colour * width..(colour + 1) * width]);
            out.push(b'$'); // back to the start of the band, for the next colour
        }
        out.push(b'-');
    }
}

fn define_palette(out: &mut Vec<u8>) {
    for colour in 0..PALETTE {
        let per_cent = |level: usize| level * 100 / (LEVELS - 1);
        let red = per_cent(colour / (LEVELS * LEVELS));
        let green = per_cent(colour / LEVELS % LEVELS);
        let blue = per_cent(colour % LEVELS);
        out.extend_from_slice(format!("#{colour};2;{red};{green};{blue}").as_bytes());
    }
}

fn nearest(pixel: &[u8]) -> usize {
    pixel.iter().fold(0, |colour, value| {
        colour * LEVELS + (usize::from(*value) + 25) / 51
    })
}

/// Writes sixels, runs of more than three as `!count`; the empty rest of the row is left out.
fn run_lengths(out: &mut Vec<u8>, row: &[u8]) {
    let end = row
        .iter()
        .rposition(|bits| *bits != 0)
        .map_or(0, |last| last + 1);
    for run in row[..end].chunk_by(|a, b| a == b) {
        let sixel = b'?' + run[0];
        if run.len() > 3 {
            out.extend_from_slice(format!("!{}", run.len()).as_bytes());
            out.push(sixel);
        } else {
            out.extend(std::iter::repeat_n(sixel, run.len()));
        }
    }
}
