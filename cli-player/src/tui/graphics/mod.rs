//! Pictures on a terminal: which way is best, and the bytes for it.
//!
//! [`detect`] asks the terminal, [`choose`] decides, [`Painter`] writes kitty or sixel pictures, and
//! [`half_blocks`] draws into cells where the terminal knows neither.

pub mod detect;
pub mod half_blocks;
mod kitty;
mod sixel;

use ratatui::layout::Rect;

use self::detect::Answers;
use super::picture::{Picture, PixelSize};

/// How pictures are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The kitty graphics protocol: the terminal scales, exact colours.
    Kitty,
    /// DEC sixels, 216 colours.
    Sixel,
    /// Two pixels a cell, as `▀` with two colours.
    #[default]
    HalfBlocks,
    /// No picture.
    None,
}

/// Which way the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The best that the terminal answers to.
    #[default]
    Auto,
    /// This one, whatever the terminal answers.
    Fixed(Method),
}

impl std::str::FromStr for Wish {
    type Err = UnknownWish;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "kitty" => Ok(Self::Fixed(Method::Kitty)),
            "sixel" => Ok(Self::Fixed(Method::Sixel)),
            "half" => Ok(Self::Fixed(Method::HalfBlocks)),
            "none" => Ok(Self::Fixed(Method::None)),
            _ => Err(UnknownWish),
        }
    }
}

/// A word that names no way to show pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pictures are shown as auto, kitty, sixel, half or none")]
pub struct UnknownWish;

/// Which colours there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// 24 bits.
    #[default]
    True,
    /// The 256 of xterm.
    Indexed,
    /// None: `NO_COLOR` is set.
    None,
}

/// The size of one cell in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellSize {
    /// Pixels across, not zero.
    pub width: u16,
    /// Pixels down, not zero.
    pub height: u16,
}

impl Default for CellSize {
    /// Twice as high as wide, as most are.
    fn default() -> Self {
        Self {
            width: 8,
            height: 16,
        }
    }
}

/// What the environment variables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `TERM`.
    pub term: String,
    /// `COLORTERM`.
    pub colorterm: String,
    /// Whether `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// Whether a multiplexer that swallows graphics (tmux, screen) is between us and the terminal.
    pub multiplexer: bool,
}

impl Environment {
    /// Reads the variables of this process.
    #[must_use]
    pub fn read() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let term = variable("TERM");
        let multiplexer = !variable("TMUX").is_empty()
            || !variable("STY").is_empty()
            || term.starts_with("tmux")
            || term.starts_with("screen");
        Self {
            colorterm: variable("COLORTERM"),
            no_color: !variable("NO_COLOR").is_empty(),
            multiplexer,
            term,
        }
    }

    /// Returns whether asking the terminal makes sense: one that is known to answer nothing is not asked.
    #[must_use]
    pub fn is_worth_asking(&self) -> bool {
        !matches!(self.term.as_str(), "" | "dumb" | "linux")
    }
}

/// Decides how pictures are shown.
///
/// Inside tmux and screen the answers come from the multiplexer and say nothing about what reaches the
/// terminal behind it, so half blocks are chosen there unless the user asks otherwise.
#[must_use]
pub fn choose(wish: Wish, environment: &Environment, answers: &Answers) -> Method {
    match wish {
        Wish::Fixed(method) => method,
        Wish::Auto if environment.multiplexer => Method::HalfBlocks,
        Wish::Auto if answers.kitty => Method::Kitty,
        Wish::Auto if answers.sixel => Method::Sixel,
        Wish::Auto => Method::HalfBlocks,
    }
}

/// Returns what was asked for although the terminal does not say that it knows it: it may, and the picture may
/// stay away.
#[must_use]
pub const fn doubt(wish: Wish, answers: &Answers) -> Option<&'static str> {
    match wish {
        Wish::Fixed(Method::Kitty) if !answers.kitty => Some("kitty graphics"),
        Wish::Fixed(Method::Sixel) if !answers.sixel => Some("sixels"),
        Wish::Auto | Wish::Fixed(_) => None,
    }
}

/// Decides which colours are used.
#[must_use]
pub fn colours(environment: &Environment, answers: &Answers) -> Colours {
    if environment.no_color {
        Colours::None
    } else if matches!(environment.colorterm.as_str(), "truecolor" | "24bit") || answers.kitty {
        Colours::True
    } else {
        Colours::Indexed
    }
}

/// Returns the cells of `area`, centred, that show a picture of this shape undistorted.
#[must_use]
pub fn fit(picture: PixelSize, area: Rect, cell: CellSize) -> Rect {
    let (cell_width, cell_height) = (u64::from(cell.width.max(1)), u64::from(cell.height.max(1)));
    let (width, height) = (
        u64::from(picture.width.max(1)),
        u64::from(picture.height.max(1)),
    );
    let area_width = u64::from(area.width) * cell_width;
    let area_height = u64::from(area.height) * cell_height;
    // Either all columns or all rows are used; the other side is rounded to whole cells.
    let (columns, rows) = if area_width * height <= area_height * width {
        let rows = (area_width * height + width * cell_height / 2) / (width * cell_height);
        (u64::from(area.width), rows)
    } else {
        let columns = (area_height * width + height * cell_width / 2) / (height * cell_width);
        (columns, u64::from(area.height))
    };
    let columns = u16::try_from(columns)
        .unwrap_or(area.width)
        .clamp(1.min(area.width), area.width);
    let rows = u16::try_from(rows)
        .unwrap_or(area.height)
        .clamp(1.min(area.height), area.height);
    Rect {
        x: area.x + (area.width - columns) / 2,
        y: area.y + (area.height - rows) / 2,
        width: columns,
        height: rows,
    }
}

/// Returns the size of pictures that a rectangle of cells can use; more would be thrown away.
#[must_use]
pub fn useful_size(method: Method, cells: Rect, cell: CellSize) -> Option<PixelSize> {
    if cells.is_empty() {
        return None;
    }
    let pixels = PixelSize {
        width: u32::from(cells.width) * u32::from(cell.width),
        height: u32::from(cells.height) * u32::from(cell.height),
    };
    match method {
        Method::Kitty => Some(pixels.limited(KITTY_PIXELS_MAX)),
        // A sixel picture has the size of its cells: the terminal does not scale it.
        Method::Sixel => Some(pixels),
        Method::HalfBlocks => Some(PixelSize {
            width: u32::from(cells.width),
            height: u32::from(cells.height) * 2,
        }),
        Method::None => None,
    }
}

/// 640x360: 0.7 MB a frame before compression, which a local terminal takes 30 times a second.
const KITTY_PIXELS_MAX: u64 = 640 * 360;

/// The largest area given to sixels: encoding and decoding cost by the pixel.
const SIXEL_PIXELS_MAX: u64 = 800 * 450;

/// Returns the part of `area` that a method can keep up with, centred.
#[must_use]
pub fn affordable(method: Method, area: Rect, cell: CellSize) -> Rect {
    if method != Method::Sixel {
        return area;
    }
    let whole = PixelSize {
        width: u32::from(area.width) * u32::from(cell.width),
        height: u32::from(area.height) * u32::from(cell.height),
    };
    let part = whole.limited(SIXEL_PIXELS_MAX);
    let cells =
        |pixels: u32, side: u16| u16::try_from(pixels / u32::from(side.max(1))).unwrap_or(0);
    let width = cells(part.width, cell.width).min(area.width);
    let height = cells(part.height, cell.height).min(area.height);
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

/// Writes pictures for terminals that take pixels; keeps what it must know about the last one.
#[derive(Debug, Default)]
pub struct Painter {
    kitty: kitty::Kitty,
    sixel: sixel::Sixel,
}

impl Painter {
    /// Appends the bytes that show `picture` in `cells`, replacing the one before without a flicker.
    /// Half blocks are drawn by [`half_blocks::HalfBlocks`] instead and give no bytes here.
    pub fn paint(
        &mut self,
        out: &mut Vec<u8>,
        method: Method,
        picture: &Picture,
        cells: Rect,
        cell: CellSize,
    ) {
        let Some(size) = useful_size(method, cells, cell) else {
            return;
        };
        match method {
            Method::Kitty if picture.size().count() > size.count() => {
                self.kitty.paint(out, &picture.scaled(size), cells);
            }
            Method::Kitty => self.kitty.paint(out, picture, cells),
            Method::Sixel => self.sixel.paint(out, &picture.scaled(size), cells),
            Method::HalfBlocks | Method::None => {}
        }
    }

    /// Appends the bytes that take the picture away where cells alone would not cover it.
    pub fn clear(&mut self, out: &mut Vec<u8>) {
        self.kitty.clear(out);
    }
}

/// Appends the bytes that put the cursor on a cell.
fn move_to(out: &mut Vec<u8>, cells: Rect) {
    out.extend_from_slice(format!("\x1b[{};{}H", cells.y + 1, cells.x + 1).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: PixelSize = PixelSize {
        width: 1280,
        height: 720,
    };

    #[test]
    fn a_picture_keeps_its_shape_in_cells() {
        let cell = CellSize::default();
        // 16:9 with cells of 1:2 is 32 columns to 9 rows.
        assert_eq!(
            fit(WIDE, Rect::new(0, 0, 64, 40), cell),
            Rect::new(0, 11, 64, 18)
        );
        assert_eq!(
            fit(WIDE, Rect::new(2, 3, 100, 9), cell),
            Rect::new(2 + 34, 3, 32, 9)
        );
        let square_cells = CellSize {
            width: 10,
            height: 10,
        };
        assert_eq!(
            fit(WIDE, Rect::new(0, 0, 32, 40), square_cells),
            Rect::new(0, 11, 32, 18)
        );
    }

    #[test]
    fn no_area_is_too_small_to_fit_in() {
        for (width, height) in [(0, 0), (1, 1), (1, 0), (200, 1), (1, 200)] {
            let area = Rect::new(0, 0, width, height);
            let cells = fit(WIDE, area, CellSize::default());
            assert_eq!(area.union(cells), area);
        }
    }

    #[test]
    fn the_best_answer_wins_and_a_wish_wins_over_it() {
        let plain = Environment::default();
        let in_tmux = Environment {
            multiplexer: true,
            ..Environment::default()
        };
        let both = Answers {
            kitty: true,
            sixel: true,
            ..Answers::default()
        };
        let sixel = Answers {
            sixel: true,
            ..Answers::default()
        };
        assert_eq!(choose(Wish::Auto, &plain, &both), Method::Kitty);
        assert_eq!(choose(Wish::Auto, &plain, &sixel), Method::Sixel);
        assert_eq!(
            choose(Wish::Auto, &plain, &Answers::default()),
            Method::HalfBlocks
        );
        assert_eq!(choose(Wish::Auto, &in_tmux, &both), Method::HalfBlocks);
        let wish = "sixel".parse().unwrap();
        assert_eq!(choose(wish, &in_tmux, &Answers::default()), Method::Sixel);
        assert_eq!("jpeg".parse::<Wish>(), Err(UnknownWish));
    }

    #[test]
    fn colours_follow_the_environment() {
        let environment = |colorterm: &str, no_color| Environment {
            colorterm: colorterm.to_owned(),
            no_color,
            ..Environment::default()
        };
        let none = Answers::default();
        assert_eq!(
            colours(&environment("truecolor", false), &none),
            Colours::True
        );
        assert_eq!(colours(&environment("", false), &none), Colours::Indexed);
        assert_eq!(
            colours(&environment("truecolor", true), &none),
            Colours::None
        );
    }

    #[test]
    fn sixels_never_cover_more_than_can_be_kept_up_with() {
        let cell = CellSize {
            width: 16,
            height: 32,
        };
        let area = Rect::new(0, 0, 200, 60);
        let part = affordable(Method::Sixel, area, cell);
        let size = useful_size(Method::Sixel, part, cell).unwrap();
        assert!(size.count() <= SIXEL_PIXELS_MAX && size.count() > SIXEL_PIXELS_MAX / 2);
        assert_eq!(affordable(Method::HalfBlocks, area, cell), area);
    }
}
