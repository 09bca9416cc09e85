//! Who is signed in, on which device.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nearcast_protocol::play::SessionRequest;
use nearcast_units::Instant;
use serde::{Deserialize, Serialize};

/// One sign-in: an account on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The account.
    pub account: String,
    /// The device.
    pub device_id: String,
    /// Its platform as the licence rules name it.
    pub platform: String,
    /// When the access token ends.
    pub expires: Instant,
}

impl Session {
    /// Reads a request whose texts are of a sane length.
    pub(crate) fn of(request: &SessionRequest, expires: Instant) -> Result<Self, SessionError> {
        for (field, text) in [
            ("device_id", &request.device_id),
            ("platform", &request.platform),
        ] {
            if text.is_empty() || text.len() > TEXT_LENGTH_MAX {
                return Err(SessionError::BadField(field));
            }
        }
        Ok(Self {
            account: request.account.clone(),
            device_id: request.device_id.clone(),
            platform: request.platform.clone(),
            expires,
        })
    }
}

/// Device identifiers of all platforms are shorter.
const TEXT_LENGTH_MAX: usize = 128;

/// A sign-in that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No such account.
    #[error("there is no account {0:?}")]
    AccountUnknown(String),
    /// A field that is empty or too long.
    #[error("{0} must be 1 to 128 bytes long")]
    BadField(&'static str),
}

/// The sessions that are open, by access token.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    open: BTreeMap<String, Session>,
    count_max: usize,
}

impl Sessions {
    pub(crate) const fn new(count_max: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            count_max,
        }
    }

    /// Adds a session; returns the tokens of those that had to go for it.
    pub(crate) fn insert(&mut self, now: Instant, token: &str, session: Session) -> Vec<String> {
        let mut gone = Vec::new();
        if self.open.len() >= self.count_max && !self.open.contains_key(token) {
            gone = self.prune(now);
        }
        while self.open.len() >= self.count_max.max(1) && !self.open.contains_key(token) {
            let Some(first) = self
                .open
                .iter()
                .min_by_key(|(_, session)| session.expires)
                .map(|(token, _)| token.clone())
            else {
                break;
            };
            self.open.remove(&first);
            gone.push(first);
        }
        self.open.insert(token.to_string(), session);
        gone
    }

    /// Returns the session of a token that is still good.
    pub(crate) fn find(&self, now: Instant, token: &str) -> Option<&Session> {
        self.open.get(token).filter(|session| now < session.expires)
    }

    /// Removes what has ended; returns the tokens.
    pub(crate) fn prune(&mut self, now: Instant) -> Vec<String> {
        let ended: Vec<String> = self
            .open
            .iter()
            .filter(|(_, session)| session.expires <= now)
            .map(|(token, _)| token.clone())
            .collect();
        for token in &ended {
            self.open.remove(token);
        }
        ended
    }

    pub(crate) fn count(&self, now: Instant) -> usize {
        self.open
            .values()
            .filter(|session| now < session.expires)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn session(expires_s: u64) -> Session {
        Session {
            account: "demo".into(),
            device_id: "tv".into(),
            platform: "linux".into(),
            expires: Instant::ZERO + Duration::from_secs(expires_s),
        }
    }

    #[test]
    fn a_token_is_good_until_its_end() {
        let mut sessions = Sessions::new(10);
        assert!(sessions.insert(Instant::ZERO, "a", session(5)).is_empty());
        assert!(sessions.find(Instant::ZERO, "a").is_some());
        assert!(sessions.find(Instant::ZERO, "b").is_none());
        let end = Instant::ZERO + Duration::from_secs(5);
        assert!(sessions.find(end, "a").is_none());
        assert_eq!(sessions.prune(end), ["a"]);
    }

    #[test]
    fn when_full_the_session_that_ends_first_goes() {
        let mut sessions = Sessions::new(2);
        sessions.insert(Instant::ZERO, "a", session(9));
        sessions.insert(Instant::ZERO, "b", session(5));
        assert_eq!(sessions.insert(Instant::ZERO, "c", session(7)), ["b"]);
        assert_eq!(sessions.count(Instant::ZERO), 2);
    }
}
