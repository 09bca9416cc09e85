//! The end comes later.

use std::collections::VecDeque;
use std::time::Duration;

use nearcast_units::Instant;

use super::attributes::{AttributeError, Attributes, as_millis};
use super::{Effect, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Delays the end of what is sent; bytes pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowClose {
    /// By how much.
    pub delay: Duration,
}

impl SlowClose {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        Ok(Self {
            delay: attributes.millis("delay")?,
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![("delay", as_millis(self.delay))]
    }

    pub(super) const fn stage(self) -> ClosingSlowly {
        ClosingSlowly {
            delay: self.delay,
            passing: VecDeque::new(),
            end: None,
            offset: 0,
        }
    }
}

pub(super) struct ClosingSlowly {
    delay: Duration,
    passing: VecDeque<Item>,
    /// When the end goes on, and what it is; nothing comes after it.
    end: Option<(Instant, Item)>,
    offset: u64,
}

impl Stage for ClosingSlowly {
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>) {
        if let Item::Bytes(piece) = &item {
            self.offset = piece.end();
            self.passing.push_back(item);
        } else {
            effects.push(Effect {
                offset: self.offset,
                deed: Deed::CloseHeld {
                    by_ms: as_millis(self.delay),
                },
            });
            self.end = Some((now + self.delay, item));
        }
    }

    fn poll(&mut self, now: Instant, _: &mut Vec<Effect>) -> Option<Item> {
        let passing = self.passing.pop_front();
        passing.or_else(|| Some(self.end.take_if(|(due, _)| *due <= now)?.1))
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.passing.front() {
            Some(_) => Some(Instant::ZERO),
            None => self.end.as_ref().map(|(due, _)| *due),
        }
    }

    fn has_room(&self) -> bool {
        self.passing.is_empty() && self.end.is_none()
    }

    fn set(&mut self, now: Instant, toxic: &Toxic) {
        if let Toxic::SlowClose(slow_close) = toxic {
            self.delay = slow_close.delay;
            if let Some((due, _)) = &mut self.end {
                *due = (*due).min(now + self.delay);
            }
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        let end = self.end.map(|(_, item)| item);
        Rest::Items(self.passing.into_iter().chain(end).collect())
    }
}
