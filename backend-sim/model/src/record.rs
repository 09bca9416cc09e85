//! What has to outlive the process.

use alloc::string::String;

use nearcast_protocol::play::HistoryEntry;
use serde::{Deserialize, Serialize};

use crate::playback::Playback;
use crate::session::Session;

/// What the caller must do after a `handle_*` call.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Keep this under the key, in place of what was there.
    Store {
        /// Where.
        key: String,
        /// What.
        record: Record,
    },
    /// Forget what is kept under the key.
    Forget {
        /// Where.
        key: String,
    },
}

/// Something that outlives the process; [`Backend::restore`](crate::Backend::restore) takes it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A session.
    Session {
        /// Its access token.
        token: String,
        /// The rest.
        session: Session,
    },
    /// A playback.
    Playback {
        /// Its identifier.
        id: String,
        /// The rest.
        playback: Playback,
    },
    /// A viewing position.
    History {
        /// Whose.
        account: String,
        /// Which and where.
        entry: HistoryEntry,
    },
}

impl Record {
    /// Returns the key it is kept under.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Session { token, .. } => session_key(token),
            Self::Playback { id, .. } => playback_key(id),
            Self::History { account, entry } => history_key(account, &entry.title),
        }
    }
}

pub(crate) fn session_key(token: &str) -> String {
    alloc::format!("session/{token}")
}

pub(crate) fn playback_key(id: &str) -> String {
    alloc::format!("playback/{id}")
}

pub(crate) fn history_key(account: &str, title: &str) -> String {
    alloc::format!("history/{account}/{title}")
}
