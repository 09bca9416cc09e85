//! So many bytes, and no more.

use std::collections::VecDeque;

use nearcast_units::Instant;

use super::attributes::{AttributeError, Attributes};
use super::{Effect, Ending, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Closes the connection when so many bytes have passed since it met the connection; with 0, when the first one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitData {
    /// How many.
    pub bytes: u64,
}

impl LimitData {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        Ok(Self {
            bytes: attributes.number("bytes", "a whole number of bytes from 0 on")?,
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![("bytes", self.bytes)]
    }

    pub(super) const fn stage(self) -> Limiting {
        Limiting {
            bytes: self.bytes,
            passed: 0,
            passing: VecDeque::new(),
            is_over: false,
        }
    }
}

pub(super) struct Limiting {
    bytes: u64,
    passed: u64,
    passing: VecDeque<Item>,
    is_over: bool,
}

impl Stage for Limiting {
    fn handle(&mut self, _: Instant, item: Item, effects: &mut Vec<Effect>) {
        if self.is_over {
            return;
        }
        let Item::Bytes(mut piece) = item else {
            self.passing.push_back(item);
            return;
        };
        let left = self.bytes.saturating_sub(self.passed);
        let kept = piece.split_to(usize::try_from(left).unwrap_or(usize::MAX));
        let cut = kept.end();
        self.passed += cut - kept.offset;
        if !kept.bytes.is_empty() {
            self.passing.push_back(Item::Bytes(kept));
        }
        if self.passed >= self.bytes {
            self.is_over = true;
            self.passing.push_back(Item::Ending(Ending::Close));
            effects.push(Effect {
                offset: cut,
                deed: Deed::Cut,
            });
        }
    }

    fn poll(&mut self, _: Instant, _: &mut Vec<Effect>) -> Option<Item> {
        self.passing.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.passing.front().map(|_| Instant::ZERO)
    }

    fn has_room(&self) -> bool {
        self.passing.is_empty() && !self.is_over
    }

    /// What has passed counts on.
    fn set(&mut self, _: Instant, toxic: &Toxic) {
        if let Toxic::LimitData(limit_data) = toxic {
            self.bytes = limit_data.bytes;
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        Rest::Items(self.passing.into())
    }
}
