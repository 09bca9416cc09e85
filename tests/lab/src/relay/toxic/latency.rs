//! Everything comes later.

use std::collections::VecDeque;
use std::time::Duration;

use nearcast_units::{Instant, Rng};

use super::attributes::{AttributeError, Attributes, as_millis};
use super::{Effect, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Delays everything by `latency`, give or take `jitter`. Nothing overtakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The mean delay.
    pub latency: Duration,
    /// How far a delay may be from it: uniform, drawn anew for each piece that is read, never below no delay.
    pub jitter: Duration,
}

impl Latency {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        Ok(Self {
            latency: attributes.millis("latency")?,
            jitter: attributes.millis("jitter")?,
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("latency", as_millis(self.latency)),
            ("jitter", as_millis(self.jitter)),
        ]
    }

    pub(super) const fn stage(self, rng: Rng) -> Delaying {
        Delaying {
            latency: self,
            rng,
            held: VecDeque::new(),
            held_bytes: 0,
            told: false,
        }
    }
}

/// What 100 Mbit/s bring in a third of a second.
const HELD_MAX: usize = 4 * 1024 * 1024;
/// In small pieces it is this many: each has its own place in memory, whatever its size.
const PIECES_MAX: usize = 16_384;

pub(super) struct Delaying {
    latency: Latency,
    rng: Rng,
    /// With when each may go, if those before it have gone.
    held: VecDeque<(Instant, Item)>,
    held_bytes: usize,
    told: bool,
}

impl Delaying {
    fn draw(&mut self) -> Duration {
        let Latency { latency, jitter } = self.latency;
        let twice = jitter.as_nanos().saturating_mul(2);
        let drawn = self.rng.below(u64::try_from(twice).unwrap_or(u64::MAX));
        (latency + Duration::from_nanos(drawn)).saturating_sub(jitter)
    }
}

impl Stage for Delaying {
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>) {
        let delay = self.draw();
        let due = now + delay;
        if let Item::Bytes(piece) = &item {
            self.held_bytes += piece.bytes.len();
            if !self.told && due > now {
                self.told = true;
                effects.push(Effect {
                    offset: piece.offset,
                    deed: Deed::Delayed {
                        by_ms: as_millis(due.since(now)),
                    },
                });
            }
        }
        self.held.push_back((due, item));
    }

    fn poll(&mut self, now: Instant, _: &mut Vec<Effect>) -> Option<Item> {
        let (due, _) = self.held.front()?;
        if *due > now {
            return None;
        }
        let (_, item) = self.held.pop_front()?;
        if let Item::Bytes(piece) = &item {
            self.held_bytes -= piece.bytes.len();
        }
        Some(item)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }

    fn has_room(&self) -> bool {
        self.held_bytes < HELD_MAX && self.held.len() < PIECES_MAX
    }

    /// What is held keeps its time, unless less is left of the new delay.
    fn set(&mut self, now: Instant, toxic: &Toxic) {
        if let Toxic::Latency(latency) = toxic {
            self.latency = *latency;
            let longest = now + latency.latency + latency.jitter;
            for (due, _) in &mut self.held {
                *due = (*due).min(longest);
            }
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        Rest::Items(self.held.into_iter().map(|(_, item)| item).collect())
    }
}
