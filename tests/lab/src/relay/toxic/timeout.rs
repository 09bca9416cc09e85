//! Nothing comes, and then the connection is closed.

use std::time::Duration;

use nearcast_units::Instant;

use super::attributes::{AttributeError, Attributes, as_millis};
use super::{Effect, Ending, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Drops everything, and closes the connection after a time, or when it is taken away: a gap cannot be mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeout {
    /// After how long, from when it met the connection; zero is never.
    pub timeout: Duration,
}

impl Timeout {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        Ok(Self {
            timeout: attributes.millis("timeout")?,
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![("timeout", as_millis(self.timeout))]
    }

    pub(super) const fn stage(self, now: Instant) -> TimingOut {
        TimingOut {
            timeout: self.timeout,
            since: now,
            ended: None,
            told: false,
        }
    }
}

pub(super) struct TimingOut {
    timeout: Duration,
    /// When it met the connection.
    since: Instant,
    /// When the sender has ended: nothing can come any more.
    ended: Option<Instant>,
    told: bool,
}

impl Stage for TimingOut {
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>) {
        match item {
            Item::Bytes(piece) => {
                if !self.told {
                    self.told = true;
                    effects.push(Effect {
                        offset: piece.offset,
                        deed: Deed::Dropped,
                    });
                }
            }
            Item::End | Item::Ending(_) => self.ended = Some(now),
        }
    }

    fn poll(&mut self, _: Instant, _: &mut Vec<Effect>) -> Option<Item> {
        None
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn has_room(&self) -> bool {
        true
    }

    fn ends_at(&self) -> Option<(Instant, Ending)> {
        let over = (!self.timeout.is_zero()).then(|| self.since + self.timeout);
        let ends = self.ended.into_iter().chain(over).min()?;
        Some((ends, Ending::Close))
    }

    fn set(&mut self, _: Instant, toxic: &Toxic) {
        if let Toxic::Timeout(timeout) = toxic {
            self.timeout = timeout.timeout;
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        Rest::Ending(Ending::Close)
    }
}
