//! The connection is reset.

use std::time::Duration;

use nearcast_units::Instant;

use super::attributes::{AttributeError, Attributes, as_millis};
use super::{Effect, Ending, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Resets the connection a while after the first bytes, or the end, came its way. They and all that follow are dropped.
///
/// It is Toxiproxy, too, that waits for the first bytes: a client then knows that it was connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetPeer {
    /// How long after them.
    pub timeout: Duration,
}

impl ResetPeer {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        Ok(Self {
            timeout: attributes.millis("timeout")?,
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![("timeout", as_millis(self.timeout))]
    }

    pub(super) const fn stage(self) -> Resetting {
        Resetting {
            timeout: self.timeout,
            since: None,
        }
    }
}

pub(super) struct Resetting {
    timeout: Duration,
    since: Option<Instant>,
}

impl Stage for Resetting {
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>) {
        if self.since.is_none()
            && let Item::Bytes(piece) = item
        {
            effects.push(Effect {
                offset: piece.offset,
                deed: Deed::Dropped,
            });
        }
        self.since.get_or_insert(now);
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
        Some((self.since? + self.timeout, Ending::Reset))
    }

    fn set(&mut self, _: Instant, toxic: &Toxic) {
        if let Toxic::ResetPeer(reset_peer) = toxic {
            self.timeout = reset_peer.timeout;
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        match self.since {
            Some(_) => Rest::Ending(Ending::Reset),
            None => Rest::Items(Vec::new()),
        }
    }
}
