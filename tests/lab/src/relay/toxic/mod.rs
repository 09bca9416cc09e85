//! What can be wrong with one direction of a TCP connection, each kind in a file of its own.
//!
//! A toxic here is sans-IO: it takes what arrived and the time, and answers what goes on when. It holds a bounded
//! amount; when it has no room, nothing more is read from the socket.

mod attributes;
mod bandwidth;
mod latency;
mod limit_data;
mod reset_peer;
mod slicer;
mod slow_close;
mod timeout;

use bytes::Bytes;
use nearcast_units::{Instant, Rng};
use serde_json::{Map, Value};

use super::receipt::Deed;
pub use attributes::AttributeError;
use attributes::Attributes;
pub use bandwidth::Bandwidth;
pub(super) use bandwidth::Lane;
pub use latency::Latency;
pub use limit_data::LimitData;
pub use reset_peer::ResetPeer;
pub use slicer::Slicer;
pub use slow_close::SlowClose;
pub use timeout::Timeout;

/// A kind of toxic and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Delays everything.
    Latency(Latency),
    /// Limits the rate.
    Bandwidth(Bandwidth),
    /// Delays the end of what is sent.
    SlowClose(SlowClose),
    /// Drops everything, then closes the connection.
    Timeout(Timeout),
    /// Drops everything, then resets the connection.
    ResetPeer(ResetPeer),
    /// Cuts what is sent into slices.
    Slicer(Slicer),
    /// Closes the connection after so many bytes.
    LimitData(LimitData),
}

impl Toxic {
    /// The names of all kinds.
    pub const KINDS: [&'static str; 7] = [
        "latency",
        "bandwidth",
        "slow_close",
        "timeout",
        "reset_peer",
        "slicer",
        "limit_data",
    ];

    /// Returns the name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Bandwidth(_) => "bandwidth",
            Self::SlowClose(_) => "slow_close",
            Self::Timeout(_) => "timeout",
            Self::ResetPeer(_) => "reset_peer",
            Self::Slicer(_) => "slicer",
            Self::LimitData(_) => "limit_data",
        }
    }

    /// Makes a toxic of a kind, with Toxiproxy's attributes; those that are not given are 0.
    ///
    /// # Errors
    /// When there is no such kind, it has no such attribute, or an attribute is not what it has to be.
    pub fn parse(kind: &str, attributes: &Map<String, Value>) -> Result<Self, AttributeError> {
        let mut left = Attributes::new(attributes);
        let toxic = match kind {
            "latency" => Self::Latency(Latency::parse(&mut left)?),
            "bandwidth" => Self::Bandwidth(Bandwidth::parse(&mut left)?),
            "slow_close" => Self::SlowClose(SlowClose::parse(&mut left)?),
            "timeout" => Self::Timeout(Timeout::parse(&mut left)?),
            "reset_peer" => Self::ResetPeer(ResetPeer::parse(&mut left)?),
            "slicer" => Self::Slicer(Slicer::parse(&mut left)?),
            "limit_data" => Self::LimitData(LimitData::parse(&mut left)?),
            _ => {
                return Err(AttributeError::Kind {
                    kind: kind.to_owned(),
                });
            }
        };
        left.finish(kind)?;
        Ok(toxic)
    }

    /// Returns its numbers as Toxiproxy's attributes.
    #[must_use]
    pub fn attributes(&self) -> Map<String, Value> {
        let numbers = match self {
            Self::Latency(latency) => latency.attributes(),
            Self::Bandwidth(bandwidth) => bandwidth.attributes(),
            Self::SlowClose(slow_close) => slow_close.attributes(),
            Self::Timeout(timeout) => timeout.attributes(),
            Self::ResetPeer(reset_peer) => reset_peer.attributes(),
            Self::Slicer(slicer) => slicer.attributes(),
            Self::LimitData(limit_data) => limit_data.attributes(),
        };
        let named = |(name, number): (&str, u64)| (name.to_owned(), Value::from(number));
        numbers.into_iter().map(named).collect()
    }

    /// Begins to work on one direction of a connection.
    pub(super) fn stage(&self, now: Instant, rng: Rng) -> Box<dyn Stage> {
        match *self {
            Self::Latency(latency) => Box::new(latency.stage(rng)),
            Self::Bandwidth(bandwidth) => Box::new(bandwidth.stage(Lane::default())),
            Self::SlowClose(slow_close) => Box::new(slow_close.stage()),
            Self::Timeout(timeout) => Box::new(timeout.stage(now)),
            Self::ResetPeer(reset_peer) => Box::new(reset_peer.stage()),
            Self::Slicer(slicer) => Box::new(slicer.stage(rng)),
            Self::LimitData(limit_data) => Box::new(limit_data.stage()),
        }
    }
}

/// What goes one way on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Bytes(Piece),
    /// No more will be sent.
    End,
    /// The connection is to be ended once what was before this has been handed on.
    Ending(Ending),
}

/// Bytes, and where they stand in all that the sender has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// Takes so many bytes off the front; no more than there are.
    pub(super) fn split_to(&mut self, size: usize) -> Self {
        let size = size.min(self.bytes.len());
        let front = Self {
            offset: self.offset,
            bytes: self.bytes.split_to(size),
        };
        self.offset = front.end();
        front
    }

    /// Returns where the byte behind it stands.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }
}

/// How a connection ends, both ways at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Reset,
}

/// What a toxic did, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) offset: u64,
    pub(super) deed: Deed,
}

/// What is left of a toxic that is taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// What it still held, in order.
    Items(Vec<Item>),
    /// It has dropped bytes: what came now would be something else than was sent.
    Ending(Ending),
}

/// A toxic at work on one direction of one connection.
///
/// One `handle`, then `poll` until `None`, then wait until `next_deadline` or `ends_at`.
pub(super) trait Stage: Send {
    /// Takes what arrived at `now`; where there is no room it is taken all the same.
    fn handle(&mut self, now: Instant, item: Item, effects: &mut Vec<Effect>);
    /// Returns what goes on by `now`; call until `None`.
    fn poll(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Option<Item>;
    /// Returns when `poll` has something to give if nothing else happens.
    fn next_deadline(&self) -> Option<Instant>;
    /// Whether it takes more without holding too much.
    fn has_room(&self) -> bool;
    /// Returns when it ends the connection, and how, whatever is still under way.
    fn ends_at(&self) -> Option<(Instant, Ending)> {
        None
    }
    /// Changes its numbers from `now` on; those of another kind change nothing.
    fn set(&mut self, now: Instant, toxic: &Toxic);
    /// Ends it.
    fn into_rest(self: Box<Self>) -> Rest;
}
