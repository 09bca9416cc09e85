//! What a terminal shows, out of the bytes that were written to it: characters and 24-bit colours.

use std::collections::BTreeMap;

use nearcast_title::barcode::{self, Code};
use nearcast_title::image::{Image, Size};

/// A screen of any size. It understands what the player writes and what `tmux capture-pane -e` prints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    /// By row and column.
    cells: BTreeMap<(usize, usize), Cell>,
    at: (usize, usize),
    fore: Option<[u8; 3]>,
    back: Option<[u8; 3]>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    character: char,
    fore: Option<[u8; 3]>,
    back: Option<[u8; 3]>,
}

/// What the player makes pictures of: the upper half in one colour, the lower in the other.
const HALF_BLOCK: char = '▀';

impl Cells {
    /// Reads a screenshot: lines with colours.
    pub(crate) fn of_screenshot(text: &str) -> Self {
        let mut cells = Self::default();
        cells.write(text);
        cells
    }

    /// Takes what a program writes.
    pub(crate) fn write(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\x1b' => self.escape(&mut rest),
                '\r' => self.at.1 = 0,
                '\n' => self.at = (self.at.0 + 1, 0),
                character if character.is_control() => {}
                character => {
                    let cell = Cell {
                        character,
                        fore: self.fore,
                        back: self.back,
                    };
                    self.cells.insert(self.at, cell);
                    self.at.1 += 1;
                }
            }
        }
    }

    fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
        match rest.next() {
            Some('[') => {}
            // A string: up to its end.
            Some('_' | 'P' | ']') => {
                let _: Option<char> = rest.find(|character| *character == '\\');
                return;
            }
            _ => return,
        }
        let mut parameters = String::new();
        for character in rest.by_ref() {
            if !character.is_ascii_alphabetic() {
                parameters.push(character);
                continue;
            }
            let numbers: Vec<usize> = parameters
                .split(';')
                .map(|number| number.parse().unwrap_or(0))
                .collect();
            match (character, numbers.as_slice()) {
                ('H', &[row, column]) => {
                    self.at = (row.saturating_sub(1), column.saturating_sub(1));
                }
                ('H', _) => self.at = (0, 0),
                ('J', _) => self.cells.clear(),
                ('m', numbers) => self.style(numbers),
                _ => {}
            }
            return;
        }
    }

    fn style(&mut self, mut numbers: &[usize]) {
        let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        while let Some((&first, rest)) = numbers.split_first() {
            numbers = match (first, rest) {
                (38 | 48, &[2, red, green, blue, ref rest @ ..]) => {
                    let colour = Some([red, green, blue].map(byte));
                    if first == 38 {
                        self.fore = colour;
                    } else {
                        self.back = colour;
                    }
                    rest
                }
                (38 | 48, &[5, _, ref rest @ ..]) => rest,
                (0, rest) => {
                    (self.fore, self.back) = (None, None);
                    rest
                }
                (39, rest) => {
                    self.fore = None;
                    rest
                }
                (49, rest) => {
                    self.back = None;
                    rest
                }
                (_, rest) => rest,
            };
        }
    }

    /// Returns the characters, line by line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = (0, 0);
        for (&(row, column), cell) in &self.cells {
            while line.0 < row {
                text.push('\n');
                line = (line.0 + 1, 0);
            }
            while line.1 < column {
                text.push(' ');
                line.1 += 1;
            }
            text.push(cell.character);
            line.1 = column + 1;
        }
        text
    }

    /// Returns the first line that holds a text.
    pub(crate) fn line(&self, wanted: &str) -> Option<String> {
        let text = self.text();
        let found = text.lines().find(|line| line.contains(wanted));
        found.map(str::to_owned)
    }

    /// Returns what the bar code of the picture says; `None` when there is no picture, or half of one.
    pub(crate) fn code(&self) -> Option<Code> {
        let (size, pixels) = self.picture()?;
        barcode::read(&Image::rgb(size, &pixels))
    }

    /// Cuts the picture out.
    fn picture(&self) -> Option<(Size, Vec<u8>)> {
        let blocks = || {
            let cells = self.cells.iter();
            cells.filter(|(_, cell)| cell.character == HALF_BLOCK && cell.back.is_some())
        };
        let top = blocks().map(|(at, _)| at.0).min()?;
        let bottom = blocks().map(|(at, _)| at.0).max()?;
        let left = blocks().map(|(at, _)| at.1).min()?;
        let right = blocks().map(|(at, _)| at.1).max()?;
        let mut pixels = Vec::new();
        for row in top..=bottom {
            for half in [|cell: &Cell| cell.fore, |cell: &Cell| cell.back] {
                for column in left..=right {
                    pixels.extend(self.cells.get(&(row, column)).and_then(half)?);
                }
            }
        }
        let size = Size {
            width: u32::try_from(right - left + 1).ok()?,
            height: u32::try_from(bottom - top + 1).ok()? * 2,
        };
        Some((size, pixels))
    }
}
