//! Requests that are turned away by who makes them, before anything goes wrong with them on purpose.

use crate::token::TokenError;

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its token does not open what it asks for.
    Token(TokenError),
    /// The control plane is lost, and what it said before does not say whether this playback may be served.
    ControlPlaneLost,
}

impl Refusal {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Token(error) => error.status(),
            Self::ControlPlaneLost => 503,
        }
    }

    /// Returns what the client is told to wait, in seconds.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Token(_) => None,
            // Some of the backend's intervals.
            Self::ControlPlaneLost => Some(5),
        }
    }
}
