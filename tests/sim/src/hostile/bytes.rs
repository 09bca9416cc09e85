//! Bytes as decisions: each is used once, and zeros follow when none are left.

use std::time::Duration;

use nearcast_units::MediaTime;

/// What is left of the bytes.
#[derive(Debug)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Returns a number below this one, which is at least 1 and fits into a byte.
    pub(super) fn below(&mut self, most: u8) -> u8 {
        self.byte() % most
    }

    /// Returns true in so many of 256 cases.
    pub(super) fn chance(&mut self, of_256: u8) -> bool {
        self.byte() < of_256
    }

    /// Picks one of several; `None` where there are none.
    pub(super) fn pick<'b, T>(&mut self, among: &'b [T]) -> Option<&'b T> {
        let at = usize::from(self.byte()).checked_rem(among.len())?;
        among.get(at)
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Returns a number of at most so many bits, small ones as often as large ones.
    pub(super) fn number(&mut self, bits: u8) -> u64 {
        let bits = self.byte() % (bits + 1);
        let number = (0..bits.div_ceil(8)).fold(0, |sum, _| sum << 8 | u64::from(self.byte()));
        number
            & 1_u64
                .checked_shl(bits.into())
                .map_or(u64::MAX, |one| one - 1)
    }

    /// Returns a span of up to so many bits of microseconds.
    pub(super) fn span(&mut self, bits: u8) -> Duration {
        Duration::from_micros(self.number(bits))
    }

    /// Returns a place on the timeline: mostly within minutes of its start.
    pub(super) fn place(&mut self) -> MediaTime {
        let bits = if self.chance(16) { 62 } else { 27 };
        let micros = self.number(bits).cast_signed();
        MediaTime::from_micros(if self.chance(16) { -micros } else { micros })
    }
}
