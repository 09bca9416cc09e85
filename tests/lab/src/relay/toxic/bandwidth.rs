//! No more than a rate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

use super::attributes::{AttributeError, Attributes};
use super::{Effect, Item, Rest, Stage, Toxic};
use crate::relay::receipt::Deed;

/// Lets no more than a rate pass: a byte is handed on when it would have been sent, never sooner, and time in which
/// nothing was there to be sent is not made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// The rate; zero passes nothing.
    pub rate: BitRate,
}

impl Bandwidth {
    pub(super) fn parse(attributes: &mut Attributes<'_>) -> Result<Self, AttributeError> {
        let rate = attributes.number(
            "rate",
            "a whole number of KB/s from 0 on (0 passes nothing)",
        )?;
        // Kilobytes are thousands of bytes, as Toxiproxy's are.
        let bytes = ByteCount::new(rate.saturating_mul(1000));
        Ok(Self {
            rate: bytes.rate_over(SECOND).unwrap_or(BitRate::ZERO),
        })
    }

    pub(super) fn attributes(&self) -> Vec<(&'static str, u64)> {
        vec![("rate", self.rate.bytes_in(SECOND).get() / 1000)]
    }

    /// Begins to send on a lane, which others may send on too.
    pub(in crate::relay) const fn stage(self, lane: Lane) -> Throttling {
        Throttling {
            rate: self.rate,
            lane,
            held: VecDeque::new(),
            held_bytes: 0,
            slice: None,
            told: false,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What is sent one behind the other: all that send on one lane share its rate.
#[derive(Clone, Debug, Default)]
pub(in crate::relay) struct Lane {
    free_at: Arc<Mutex<Instant>>,
}

impl Lane {
    /// Sends so much of what has waited since `since`, and returns when it has been sent.
    fn send(&self, since: Instant, time: Duration) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(since) + time;
        *free_at
    }
}

/// Timers wake within some milliseconds; shorter slices would be many for nothing.
const SLICE: Duration = Duration::from_millis(10);
/// So much waits here, so that none of the rate is lost while more is read.
const HELD_MAX: usize = 64 * 1024;

pub(in crate::relay) struct Throttling {
    rate: BitRate,
    lane: Lane,
    /// With the time since when each has waited.
    held: VecDeque<(Instant, Item)>,
    held_bytes: usize,
    /// How much of the first is being sent, and when it has been.
    slice: Option<(Instant, usize)>,
    told: bool,
}

impl Throttling {
    /// Begins to send the next slice of what stands first.
    fn begin(&mut self) {
        let Some((since, Item::Bytes(piece))) = self.held.front() else {
            return;
        };
        let most = usize::try_from(self.rate.bytes_in(SLICE).get()).unwrap_or(usize::MAX);
        let size = piece.bytes.len().min(most.max(1));
        let amount = ByteCount::new(u64::try_from(size).unwrap_or(u64::MAX));
        if let Some(time) = self.rate.time_for(amount) {
            self.slice = Some((self.lane.send(*since, time), size));
        }
    }
}

impl Stage for Throttling {
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>) {
        if let Item::Bytes(piece) = &item {
            self.held_bytes += piece.bytes.len();
            if !self.told {
                self.told = true;
                effects.push(Effect {
                    offset: piece.offset,
                    deed: Deed::Throttled,
                });
            }
        }
        self.held.push_back((now, item));
        if self.slice.is_none() {
            self.begin();
        }
    }

    fn poll(&mut self, now: Instant, _: &mut Vec<Effect>) -> Option<Item> {
        let (_, first) = self.held.front_mut()?;
        let Item::Bytes(piece) = first else {
            let (_, item) = self.held.pop_front()?;
            self.begin();
            return Some(item);
        };
        let (due, size) = self.slice?;
        if due > now {
            return None;
        }
        let sent = piece.split_to(size);
        let is_all = piece.bytes.is_empty();
        self.held_bytes -= sent.bytes.len();
        self.slice = None;
        if is_all {
            self.held.pop_front();
        }
        self.begin();
        Some(Item::Bytes(sent))
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.held.front()? {
            (_, Item::Bytes(_)) => self.slice.map(|(due, _)| due),
            (since, Item::End | Item::Ending(_)) => Some(*since),
        }
    }

    fn has_room(&self) -> bool {
        self.held_bytes < HELD_MAX
    }

    /// What is held is sent at the new rate from `now` on, the slice that is being sent included.
    fn set(&mut self, now: Instant, toxic: &Toxic) {
        if let Toxic::Bandwidth(bandwidth) = toxic {
            self.rate = bandwidth.rate;
            for (since, _) in &mut self.held {
                *since = now;
            }
            self.slice = None;
            self.begin();
        }
    }

    fn into_rest(self: Box<Self>) -> Rest {
        Rest::Items(self.held.into_iter().map(|(_, item)| item).collect())
    }
}
