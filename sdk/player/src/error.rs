//! What the application sees when something does not work.

use nearcast_core::SessionError;

use crate::backend::BackendError;

/// Why a player could not be made, took no command, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlayerError {
    /// A player was started outside a tokio runtime.
    #[error("a player needs a tokio runtime: start it from asynchronous code")]
    NoRuntime,
    /// What is to be played makes no sense.
    #[error("nothing can be played from this source: {reason}")]
    InvalidSource {
        /// What is wrong with it.
        reason: String,
    },
    /// An option makes no sense.
    #[error("option `{option}` cannot be used: {reason}")]
    InvalidOption {
        /// Its name, as the builder's method.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The player has ended and takes no more commands.
    #[error("the player has ended")]
    Closed,
    /// Commands come faster than the player can take them; the command was not carried out.
    #[error("the player has too many commands waiting")]
    Busy,
    /// The backend refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Playback failed.
    #[error(transparent)]
    Playback(#[from] SessionError),
}

impl PlayerError {
    /// Returns the stable code that telemetry and bindings depend on; [`crate::CODES`] explains it.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NoRuntime => "player.no_runtime",
            Self::InvalidSource { .. } => "player.invalid_source",
            Self::InvalidOption { .. } => "player.invalid_option",
            Self::Closed => "player.closed",
            Self::Busy => "player.busy",
            Self::Backend(error) => error.code(),
            Self::Playback(error) => &error.code,
        }
    }
}
