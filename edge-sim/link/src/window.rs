//! The slow start of one flow.

use core::time::Duration;

use nearcast_units::{ByteCount, Instant};

use crate::network::{BYTE, Volume};

/// How flows start: in rounds of one round trip each.
///
/// A flow may send `initial_window` in its first round, at the rate of the links, then waits until the round is
/// over; each full round doubles the window. Once a window takes a whole round trip to send, the links
/// are the limit and the window no longer matters. After [`SlowStart::IDLE`] and a round trip without anything to
/// send the flow starts again. No loss is modelled, so there is no congestion avoidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// What may be sent before the first acknowledgement.
    pub initial_window: ByteCount,
}

impl SlowStart {
    /// A flow restarts after this much idle time and one round trip (the retransmission time-out of
    /// common kernels, RFC 5681 section 4.1).
    pub const IDLE: Duration = Duration::from_millis(200);
}

impl Default for SlowStart {
    /// Ten segments of 1460 bytes (RFC 6928).
    fn default() -> Self {
        Self {
            initial_window: ByteCount::new(14_600),
        }
    }
}

/// What a flow's window lets it do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Window {
    /// The links are the only limit.
    Open,
    /// In a round that may still send `budget`.
    Round {
        window: Volume,
        budget: Volume,
        ends: Instant,
    },
    /// The round's window was sent early: nothing may be sent until it is over.
    Waiting { window: Volume, until: Instant },
}

impl Window {
    pub(crate) fn new(start: Option<SlowStart>, now: Instant, rtt: Duration) -> Self {
        start.map_or(Self::Open, |start| {
            Self::round(
                u128::from(start.initial_window.get().max(1)) * BYTE,
                now,
                rtt,
            )
        })
    }

    fn round(window: Volume, now: Instant, rtt: Duration) -> Self {
        Self::Round {
            window,
            budget: window,
            ends: now + rtt,
        }
    }

    /// The flow has something to send again after it had nothing.
    pub(crate) fn wake(self, now: Instant, rtt: Duration) -> Self {
        match self {
            Self::Round { window, ends, .. } if now >= ends => Self::round(window, now, rtt),
            Self::Round { .. } | Self::Waiting { .. } | Self::Open => self,
        }
    }

    /// `sent` left at `now`.
    pub(crate) fn spend(self, sent: Volume, now: Instant) -> Self {
        match self {
            Self::Round {
                window,
                budget,
                ends,
            } => {
                let budget = budget.saturating_sub(sent);
                if budget > 0 {
                    Self::Round {
                        window,
                        budget,
                        ends,
                    }
                } else if now >= ends {
                    Self::Open
                } else {
                    Self::Waiting {
                        window,
                        until: ends,
                    }
                }
            }
            Self::Waiting { .. } | Self::Open => self,
        }
    }

    /// Begins the next round when the wait is over.
    pub(crate) fn tick(self, now: Instant, rtt: Duration) -> Self {
        match self {
            Self::Waiting { window, until } if now >= until => {
                Self::round(window.saturating_mul(2), now, rtt)
            }
            Self::Round { .. } | Self::Waiting { .. } | Self::Open => self,
        }
    }

    /// Whether anything may be sent.
    pub(crate) const fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    /// What may be sent before the window has to be looked at again.
    pub(crate) const fn budget(self) -> Option<Volume> {
        match self {
            Self::Round { budget, .. } => Some(budget),
            Self::Waiting { .. } | Self::Open => None,
        }
    }

    /// When the wait is over.
    pub(crate) const fn due(self) -> Option<Instant> {
        match self {
            Self::Waiting { until, .. } => Some(until),
            Self::Round { .. } | Self::Open => None,
        }
    }
}
