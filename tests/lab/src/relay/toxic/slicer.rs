//! Many small writes instead of few large ones.

use std::collections::VecDeque;
use std::time::Duration;

use nearcast_units::{Instant, Rng};

use super::attributes::{AttributeError, Attributes};
use super::{Effect, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Cuts what is sent into slices, with a pause behind each. No byte is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicer {
    average_size: u64,
    size_variation: u64,
    delay: Duration,
}

impl Slicer {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        let size = "a whole number of bytes from 1 on";
        let average_size = attributes.number("average_size", size)?;
        if average_size == 0 {
            return Err(AttributeError::Value {
                name: "average_size",
                value: "0, or not given".to_owned(),
                right: size,
            });
        }
        let variation = "a whole number of bytes from 0 on, less than average_size,";
        let size_variation = attributes.number("size_variation", variation)?;
        if size_variation >= average_size {
            return Err(AttributeError::Value {
                name: "size_variation",
                value: size_variation.to_string(),
                right: variation,
            });
        }
        let delay = attributes.number("delay", "a whole number of microseconds from 0 on")?;
        Ok(Self {
            average_size,
            size_variation,
            delay: Duration::from_micros(delay),
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        let delay = u64::try_from(self.delay.as_micros()).unwrap_or(u64::MAX);
        vec![
            ("average_size", self.average_size),
            ("size_variation", self.size_variation),
            ("delay", delay),
        ]
    }

    pub(super) const fn stage(self, rng: Rng) -> Slicing {
        Slicing {
            slicer: self,
            rng,
            held: VecDeque::new(),
            next_at: Instant::ZERO,
            told: false,
        }
    }
}

pub(super) struct Slicing {
    slicer: Slicer,
    rng: Rng,
    held: VecDeque<Item>,
    /// When the pause behind the last slice is over.
    next_at: Instant,
    told: bool,
}

impl Slicing {
    fn draw(&mut self) -> usize {
        let Slicer {
            average_size,
            size_variation,
            ..
        } = self.slicer;
        let over = self.rng.below(2 * size_variation + 1);
        let size = average_size - size_variation + over;
        usize::try_from(size).unwrap_or(usize::MAX)
    }
}

impl Stage for Slicing {
    fn handle(&mut self, _: Instant, item: Item, _: &mut Vec<Effect>) {
        self.held.push_back(item);
    }

    fn poll(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Option<Item> {
        if self.next_at > now {
            return None;
        }
        let size = self.draw();
        let Some(Item::Bytes(piece)) = self.held.front_mut() else {
            return self.held.pop_front();
        };
        let slice = piece.split_to(size);
        let is_last = piece.bytes.is_empty();
        if !self.told && !is_last {
            self.told = true;
            effects.push(Effect {
                offset: slice.end(),
                deed: Deed::Sliced,
            });
        }
        if is_last {
            self.held.pop_front();
        }
        self.next_at = now + self.slicer.delay;
        Some(Item::Bytes(slice))
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.held.front().map(|_| self.next_at)
    }

    fn has_room(&self) -> bool {
        self.held.is_empty()
    }

    fn set(&mut self, now: Instant, toxic: &Toxic) {
        if let Toxic::Slicer(slicer) = toxic {
            self.slicer = *slicer;
            self.next_at = self.next_at.min(now + slicer.delay);
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        Rest::Items(self.held.into())
    }
}
