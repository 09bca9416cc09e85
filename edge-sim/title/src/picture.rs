//! What a frame looks like: a noisy scene, the rung, the time and the frame number in words, a flash at each
//! second, and the [`barcode`].
//!
//! The noise is what gives a rung its rate: a clean test pattern never needs its bits. It lies under the scene
//! only, not under words and bars, so that the lowest rung stays readable.

use font8x8::legacy::BASIC_LEGACY;
use nearcast_units::{Rng, Seed};

use crate::barcode::{self, Code};
use crate::config::{FRAMES_PER_SECOND, Rung};
use crate::image::{Area, Canvas, Image, Size, to_usize};

/// For how many frames the flash is lit at the start of each second: 125 ms, close to the tone's 100 ms.
pub const FLASH_FRAMES: u32 = 3;

const LIT: u8 = 235;
const DARK: u8 = 24;

/// How long a scene lasts. No multiple of the segment length: scenes change inside segments, as in real titles.
const SCENE_FRAMES: u32 = 7 * FRAMES_PER_SECOND;

/// The scenes, in turn: noise amplitude, brightness, and the two colour planes. The amplitudes are what makes
/// segment sizes vary.
const SCENES: [Scene; 5] = [
    scene(7.0, 70, 158, 108),
    scene(9.5, 120, 142, 100),
    scene(6.0, 60, 148, 140),
    scene(8.5, 105, 104, 158),
    scene(7.5, 85, 122, 168),
];

#[derive(Clone, Copy)]
struct Scene {
    /// Standard deviation of the noise, in luma steps.
    noise: f32,
    luma: u8,
    blue: u8,
    red: u8,
}

const fn scene(noise: f32, luma: u8, blue: u8, red: u8) -> Scene {
    Scene {
        noise,
        luma,
        blue,
        red,
    }
}

/// Says whether the flash is lit in a picture that shows the whole frame; `None` when the picture is too small.
pub fn is_flash_lit(image: &Image<'_>) -> Option<bool> {
    let area = flash(image.size());
    let (across, down) = ((area.right - area.left) / 4, (area.bottom - area.top) / 4);
    let core = Area {
        left: area.left + across,
        top: area.top + down,
        right: area.right - across,
        bottom: area.bottom - down,
    };
    image.mean(core).map(|luma| luma > (LIT - DARK) / 2 + DARK)
}

/// Draws the frames of one rung, one after the other.
pub(crate) struct Painter {
    rung: Rung,
    frame: u32,
    rng: Rng,
    /// Noise at the amplitude of the scene that is on: rows begin at random places in it.
    noise: Vec<u8>,
    /// The current frame as planar YUV 4:2:0, the form in which the encoder takes it.
    yuv: Vec<u8>,
}

impl Painter {
    pub(crate) fn new(rung: Rung) -> Self {
        let luma = to_usize(rung.size.width) * to_usize(rung.size.height);
        Self {
            rung,
            frame: 0,
            rng: Seed::new(1).split_index(u64::from(rung.index)).rng(),
            noise: Vec::new(),
            yuv: vec![0; luma + luma / 2],
        }
    }

    /// Draws the next frame and returns its bytes, planar YUV 4:2:0.
    pub(crate) fn next_frame(&mut self) -> &[u8] {
        let scene = SCENES[to_usize(self.frame / SCENE_FRAMES) % SCENES.len()];
        let size = self.rung.size;
        let luma = to_usize(size.width) * to_usize(size.height);
        if self.frame.is_multiple_of(SCENE_FRAMES) {
            self.noise = noise(&mut self.rng, scene.noise, to_usize(size.width));
            let (blue, red) = self.yuv[luma..].split_at_mut(luma / 4);
            blue.fill(scene.blue);
            red.fill(scene.red);
        }
        let mut canvas = Canvas {
            size,
            plane: &mut self.yuv[..luma],
        };
        draw_scene(&mut canvas, scene, &self.noise, &mut self.rng);
        draw_words(&mut canvas, self.rung, self.frame);
        draw_second(&mut canvas, self.frame);
        let code = Code {
            frame: self.frame,
            rung: self.rung.index,
        };
        barcode::draw(&mut canvas, code);
        self.frame += 1;
        &self.yuv
    }
}

/// Noise values that a row can begin in; a power of two, for a cheap random start.
const NOISE_STARTS: usize = 1 << 16;

/// Returns bell-shaped noise as bytes to add with wrap-around, long enough for a row from every start.
fn noise(rng: &mut Rng, deviation: f32, row: usize) -> Vec<u8> {
    (0..NOISE_STARTS + row)
        .map(|_| {
            // The mean of eight bytes has a standard deviation of 256 / √12 / √8 = 26.1.
            let bytes = rng.next_u64().to_be_bytes();
            let sum: u16 = bytes.iter().copied().map(u16::from).sum();
            let value = (f32::from(sum) / 8.0 - 127.5) / 26.1 * deviation;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within ±60, and a negative value is meant to wrap"
            )]
            let wrapped = value.round() as i8 as u8;
            wrapped
        })
        .collect()
}

fn draw_scene(canvas: &mut Canvas<'_>, scene: Scene, noise: &[u8], rng: &mut Rng) {
    let height = canvas.size.height;
    for row in 0..strip_top(height) {
        // A gentle gradient downwards. With noise of ±60 it stays inside a byte, so adding needs no clamp.
        let shade = u8::try_from(row * 40 / height).unwrap_or(0);
        let base = scene.luma + shade;
        let start = to_usize(u32::try_from(rng.next_u64() >> 48).unwrap_or(0));
        for (pixel, noise) in canvas.row(row).iter_mut().zip(&noise[start..]) {
            *pixel = base.wrapping_add(*noise);
        }
    }
}

/// Writes rung and rate, the time and the frame number.
fn draw_words(canvas: &mut Canvas<'_>, rung: Rung, frame: u32) {
    let height = canvas.size.height;
    let small = (height / 90).max(1);
    let large = (height / 60).max(1);
    let Size {
        width: w,
        height: h,
    } = rung.size;
    let kbps = rung.rate.as_bps() / 1000;
    let milliseconds = u64::from(frame) * 1000 / u64::from(FRAMES_PER_SECOND);
    let lines = [
        (5, small, format!("{} {kbps} kbit/s", rung.name)),
        (17, small, format!("{w}x{h}")),
        (33, large, clock(milliseconds)),
        (53, small, format!("frame {frame:06}")),
    ];
    for (top_percent, scale, text) in lines {
        write(canvas, height * top_percent / 100, scale, &text);
    }
}

/// Formats a time on the timeline as `hh:mm:ss.mmm`.
fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        milliseconds % 1000
    )
}

/// Writes a line of text on a dark plate, `scale` pixels to a dot, an inset from the left edge.
fn write(canvas: &mut Canvas<'_>, top: u32, scale: u32, text: &str) {
    let left = canvas.size.width / 32;
    let advance = GLYPH * scale;
    let length = u32::try_from(text.len()).unwrap_or(0);
    let plate = Area {
        left: left.saturating_sub(scale),
        top: top.saturating_sub(scale),
        right: left + length * advance,
        bottom: top + advance,
    };
    canvas.fill(plate, DARK);
    for (place, letter) in (0..).zip(text.bytes()) {
        let Some(glyph) = BASIC_LEGACY.get(usize::from(letter)) else {
            continue;
        };
        for (y, dots) in (0..).zip(glyph) {
            for x in (0..GLYPH).filter(|x| dots >> x & 1 == 1) {
                let (left, top) = (left + place * advance + x * scale, top + y * scale);
                let dot = Area {
                    left,
                    top,
                    right: left + scale,
                    bottom: top + scale,
                };
                canvas.fill(dot, LIT);
            }
        }
    }
}

/// Dots in a glyph, each way.
const GLYPH: u32 = 8;

/// Draws what shows the seconds: the flash, and below it a hand that crosses the picture once a second.
fn draw_second(canvas: &mut Canvas<'_>, frame: u32) {
    let Size { width, height } = canvas.size;
    let part = frame % FRAMES_PER_SECOND;
    let lit = part < FLASH_FRAMES;
    canvas.fill(flash(canvas.size), if lit { LIT } else { DARK });
    let track = Area {
        left: 0,
        top: height * 70 / 100,
        right: width,
        bottom: height * 78 / 100,
    };
    canvas.fill(track, DARK);
    let hand = Area {
        left: width * part / FRAMES_PER_SECOND,
        right: width * (part + 1) / FRAMES_PER_SECOND,
        ..track
    };
    canvas.fill(hand, LIT);
}

/// Where the flash is: a block near the upper right corner.
fn flash(size: Size) -> Area {
    let percent = |length: u32, share: u64| {
        u32::try_from(u64::from(length) * share / 100).unwrap_or(u32::MAX)
    };
    Area {
        left: percent(size.width, 84),
        top: percent(size.height, 5),
        right: percent(size.width, 97),
        bottom: percent(size.height, 25),
    }
}

/// The first row of the bar code; nothing else is drawn below it.
fn strip_top(height: u32) -> u32 {
    height * 10 / 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LADDER;

    #[test]
    fn every_frame_of_every_rung_says_which_it_is() {
        for rung in LADDER {
            let mut painter = Painter::new(rung);
            for frame in 0..30 {
                let yuv = painter.next_frame();
                let image = Image::luma(rung.size, yuv);
                let code = Code {
                    frame,
                    rung: rung.index,
                };
                assert_eq!(barcode::read(&image), Some(code));
                assert_eq!(is_flash_lit(&image), Some(frame % 24 < 3), "{frame}");
            }
        }
    }

    #[test]
    fn noise_changes_from_frame_to_frame_and_keeps_off_the_words() {
        let mut painter = Painter::new(LADDER[0]);
        let first = painter.next_frame().to_vec();
        let second = painter.next_frame().to_vec();
        let pixel = |frame: &[u8], x: usize, y: usize| frame[y * 320 + x];
        let differing = (200..300)
            .filter(|&x| pixel(&first, x, 110) != pixel(&second, x, 110))
            .count();
        assert!(differing > 60, "{differing}");
        // Dots are black or white, so a word can be read.
        let inks: std::collections::BTreeSet<u8> =
            (10..200).map(|x| pixel(&first, x, 12)).collect();
        assert_eq!(inks, [DARK, LIT].into());
    }

    #[test]
    fn the_clock_counts_hours_minutes_and_milliseconds() {
        assert_eq!(clock(3_723_042), "01:02:03.042");
    }

    #[test]
    fn no_picture_has_no_flash() {
        let size = Size {
            width: 0,
            height: 0,
        };
        assert_eq!(is_flash_lit(&Image::luma(size, &[])), None);
    }
}
