//! Pictures out of characters: two pixels a cell, as the upper half block with two colours.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::Widget;

use super::Colours;
use crate::tui::picture::{Picture, PixelSize};

/// Draws a picture over a whole area; its shape is the caller's business ([`fit`](super::fit)).
#[derive(Debug)]
pub struct HalfBlocks<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// Which colours to use; without any, shades of characters.
    pub colours: Colours,
}

impl Widget for HalfBlocks<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let scaled = self.picture.scaled(PixelSize {
            width: u32::from(area.width),
            height: u32::from(area.height) * 2,
        });
        for row in 0..area.height {
            for column in 0..area.width {
                let (x, y) = (u32::from(column), u32::from(row) * 2);
                let (upper, lower) = (scaled.pixel(x, y), scaled.pixel(x, y + 1));
                let Some(cell) = buffer.cell_mut((area.x + column, area.y + row)) else {
                    continue;
                };
                match self.colours {
                    Colours::True => {
                        cell.set_symbol("▀")
                            .set_fg(quantised(upper))
                            .set_bg(quantised(lower));
                    }
                    Colours::Indexed => {
                        cell.set_symbol("▀")
                            .set_fg(indexed(upper))
                            .set_bg(indexed(lower));
                    }
                    Colours::None => {
                        cell.set_symbol(shade(upper, lower));
                    }
                }
            }
        }
    }
}

/// Rounds a colour down to 5 bits a channel: noise below that would change nearly every cell of every
/// frame, and the terminal's time goes by changed cells.
fn quantised(pixel: [u8; 3]) -> Color {
    let [red, green, blue] = pixel.map(|value| value & 0xf8 | value >> 5);
    Color::Rgb(red, green, blue)
}

/// Returns the nearest of xterm's 256 colours: the 6x6x6 cube or the 24 greys.
fn indexed(pixel: [u8; 3]) -> Color {
    let nearest = |value: u8| {
        let levels = CUBE.iter().enumerate();
        levels
            .min_by_key(|(_, level)| level.abs_diff(value))
            .map_or(0, |(at, _)| at)
    };
    let cube = pixel.map(nearest);
    let mean = pixel.iter().map(|value| u16::from(*value)).sum::<u16>() / 3;
    let grey = (mean.saturating_sub(3) / 10).min(23);
    let grey_value = u8::try_from(8 + 10 * grey).unwrap_or(u8::MAX);
    let index = if distance(pixel, [grey_value; 3]) < distance(pixel, cube.map(|at| CUBE[at])) {
        232 + usize::from(grey)
    } else {
        16 + 36 * cube[0] + 6 * cube[1] + cube[2]
    };
    Color::Indexed(u8::try_from(index).unwrap_or(u8::MAX))
}

/// The levels of xterm's colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| u32::from(a.abs_diff(b)).pow(2))
        .sum()
}

fn shade(upper: [u8; 3], lower: [u8; 3]) -> &'static str {
    let luma = |[red, green, blue]: [u8; 3]| {
        (u32::from(red) * 30 + u32::from(green) * 59 + u32::from(blue) * 11) / 100
    };
    match (luma(upper) + luma(lower)) / 2 {
        0..=25 => " ",
        26..=89 => "░",
        90..=152 => "▒",
        153..=216 => "▓",
        _ => "█",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(rgb: &[u8], width: u32, height: u32, colours: Colours) -> Buffer {
        let picture = Picture::new(PixelSize { width, height }, rgb.to_vec()).unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 1));
        HalfBlocks {
            picture: &picture,
            colours,
        }
        .render(buffer.area, &mut buffer);
        buffer
    }

    #[test]
    fn a_cell_holds_two_pixels() {
        let rgb = [255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 34, 56];
        let buffer = draw(&rgb, 2, 2, Colours::True);
        assert_eq!(buffer[(0, 0)].symbol(), "▀");
        assert_eq!(buffer[(0, 0)].fg, Color::Rgb(255, 0, 0));
        assert_eq!(buffer[(0, 0)].bg, Color::Rgb(0, 0, 255));
        assert_eq!(buffer[(1, 0)].bg, Color::Rgb(8, 33, 57));
    }

    #[test]
    fn small_noise_changes_no_cell() {
        let calm = draw(&[100; 12], 2, 2, Colours::True);
        let noisy = draw(&[101, 102, 103].repeat(4), 2, 2, Colours::True);
        assert_eq!(calm, noisy);
    }

    #[test]
    fn without_24_bits_the_nearest_of_256_is_taken() {
        assert_eq!(indexed([255, 0, 0]), Color::Indexed(196));
        assert_eq!(indexed([0, 0, 0]), Color::Indexed(16));
        assert_eq!(indexed([128, 128, 128]), Color::Indexed(244));
        assert_eq!(indexed([255, 255, 255]), Color::Indexed(231));
    }

    #[test]
    fn without_colours_there_are_shades() {
        let buffer = draw(&[0, 0, 0, 255, 255, 255].repeat(2), 2, 2, Colours::None);
        assert_eq!(buffer[(0, 0)].symbol(), " ");
        assert_eq!(buffer[(1, 0)].symbol(), "█");
        assert_eq!(buffer[(1, 0)].fg, Color::Reset);
    }

    #[test]
    fn an_area_beyond_the_buffer_is_cut() {
        let picture = Picture::new(
            PixelSize {
                width: 1,
                height: 1,
            },
            vec![9; 3],
        )
        .unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 2, 2));
        HalfBlocks {
            picture: &picture,
            colours: Colours::True,
        }
        .render(Rect::new(1, 1, 50, 50), &mut buffer);
        assert_eq!(buffer[(1, 1)].symbol(), "▀");
        assert_eq!(buffer[(0, 0)].symbol(), " ");
    }
}
