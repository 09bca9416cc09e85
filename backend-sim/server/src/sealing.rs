//! The keys that clients seal play requests with (RFC 9458), and the replay window.
//!
//! A key is offered, then accepted until it ends, then kept a while longer only to say so: that answer is
//! sealed with the old key, so the fresh key in it can be trusted. (In the clear it could not: whoever sits
//! on the path could put their own key there.) Each accepted request is remembered by its encapsulated key
//! for as long as its key is accepted, so no request is ever taken twice; when that memory is full the key
//! ends early. After a restart the memory is gone, so stored keys come back as ended ones.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nearcast_protocol::play::SealingKey;
use nearcast_units::Instant;
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{KeyConfig, Server, ServerResponse, SymmetricSuite};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::clock::unix_ms;
use crate::signing::NoRandomness;

/// Spans and limits of sealing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingConfig {
    /// How long a key is offered before a new one is made.
    pub rotate_after: Duration,
    /// How long a key is accepted. Above `rotate_after`, so that a key that was just given is good for a while.
    pub accept: Duration,
    /// How long an ended key still gets an answer with the fresh one.
    pub answer: Duration,
    /// Requests remembered for each key; 32 bytes each. When there are more, the key ends.
    pub replay_window_max: usize,
}

impl Default for SealingConfig {
    fn default() -> Self {
        Self {
            rotate_after: Duration::from_secs(12 * 3600),
            accept: Duration::from_secs(24 * 3600),
            answer: Duration::from_secs(7 * 24 * 3600),
            replay_window_max: 100_000,
        }
    }
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSealingKey {
    pub(crate) id: u8,
    pub(crate) made: Instant,
    /// What the key pair is derived from.
    pub(crate) seed: [u8; 32],
}

/// A sealed request that was opened.
pub(crate) struct Opened {
    /// The request in binary HTTP (RFC 9292).
    pub(crate) request: Vec<u8>,
    /// What seals the answer.
    pub(crate) reply: ServerResponse,
    /// Names the request in the replay window.
    pub(crate) mark: Mark,
    /// Whether its key is still accepted; if not, the answer is a fresh key.
    pub(crate) accepted: bool,
}

/// Names a sealed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    key_id: u8,
    encapsulated_key: [u8; ENCAPSULATED_KEY_LENGTH],
}

/// A sealed request that could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// No key has its key id any more.
    KeyUnknown,
    /// It is cut off, made for another suite, or was changed on the way.
    Unreadable,
}

/// Whether a request was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Never: it may take effect.
    New,
    /// It may not.
    Replayed,
    /// The window is full, so nobody can tell; its key has ended now.
    WindowFull,
}

/// All keys, oldest first; at least one.
pub(crate) struct SealingKeys {
    config: SealingConfig,
    random: SystemRandom,
    keys: Vec<Key>,
}

struct Key {
    stored: StoredSealingKey,
    server: Server,
    config_base64: String,
    state: State,
}

enum State {
    /// Accepted until its time is over; remembers what it has accepted.
    Accepted {
        seen: BTreeSet<[u8; ENCAPSULATED_KEY_LENGTH]>,
    },
    /// Ended early.
    Ended,
}

impl SealingKeys {
    /// Takes stored keys as ended ones, and makes a new one.
    pub(crate) fn new(
        now: Instant,
        config: SealingConfig,
        stored: Vec<StoredSealingKey>,
    ) -> Result<Self, NoRandomness> {
        let mut keys = Self {
            config,
            random: SystemRandom::new(),
            keys: stored
                .into_iter()
                .filter_map(|stored| Key::read(stored, State::Ended))
                .collect(),
        };
        keys.keys.sort_by_key(|key| key.stored.made);
        keys.make(now)?;
        Ok(keys)
    }

    /// Makes a new key when it is time, and forgets old ones; returns whether the keys have changed.
    pub(crate) fn rotate(&mut self, now: Instant) -> Result<bool, NoRandomness> {
        let count = self.keys.len();
        let end = self.config.accept + self.config.answer;
        self.keys.retain(|key| now.since(key.stored.made) < end);
        let due = self.keys.last().is_none_or(|key| {
            now.since(key.stored.made) >= self.config.rotate_after
                || matches!(key.state, State::Ended)
        });
        if due {
            self.make(now)?;
        }
        Ok(due || self.keys.len() != count)
    }

    /// Returns all keys, to be stored.
    pub(crate) fn stored(&self) -> Vec<StoredSealingKey> {
        self.keys.iter().map(|key| key.stored.clone()).collect()
    }

    /// Returns the key that is offered, for requests to `url`.
    pub(crate) fn offer(&self, url: &str) -> Option<SealingKey> {
        self.keys.last().map(|key| SealingKey {
            key_config_base64: key.config_base64.clone(),
            expires_at_unix_ms: unix_ms(key.stored.made + self.config.accept),
            url: url.to_owned(),
        })
    }

    /// Opens a sealed request.
    pub(crate) fn open(&self, now: Instant, sealed: &[u8]) -> Result<Opened, OpenError> {
        let key_id = *sealed.first().ok_or(OpenError::Unreadable)?;
        let key = self
            .keys
            .iter()
            .rev()
            .find(|key| key.stored.id == key_id)
            .ok_or(OpenError::KeyUnknown)?;
        let encapsulated_key = sealed
            .get(HEADER_LENGTH..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .ok_or(OpenError::Unreadable)?;
        let (request, reply) = key
            .server
            .decapsulate(sealed)
            .map_err(|_| OpenError::Unreadable)?;
        Ok(Opened {
            request,
            reply,
            mark: Mark {
                key_id,
                encapsulated_key,
            },
            accepted: matches!(key.state, State::Accepted { .. })
                && now.since(key.stored.made) < self.config.accept,
        })
    }

    /// Remembers a request before it takes effect.
    pub(crate) fn admit(&mut self, mark: Mark) -> Admission {
        let full = self.config.replay_window_max;
        let Some(key) = self
            .keys
            .iter_mut()
            .rev()
            .find(|key| key.stored.id == mark.key_id)
        else {
            return Admission::WindowFull;
        };
        let State::Accepted { seen } = &mut key.state else {
            return Admission::WindowFull;
        };
        if seen.contains(&mark.encapsulated_key) {
            return Admission::Replayed;
        }
        if seen.len() >= full {
            key.state = State::Ended;
            return Admission::WindowFull;
        }
        seen.insert(mark.encapsulated_key);
        Admission::New
    }

    fn make(&mut self, now: Instant) -> Result<(), NoRandomness> {
        // When the window fills again and again, the oldest go: key ids are one byte and must not meet.
        let surplus = (self.keys.len() + 1).saturating_sub(KEYS_MAX);
        self.keys.drain(..surplus);
        let mut seed = [0; 32];
        self.random.fill(&mut seed).map_err(|_| NoRandomness)?;
        let id = self
            .keys
            .last()
            .map_or(1, |key| key.stored.id.wrapping_add(1));
        let stored = StoredSealingKey {
            id,
            made: now,
            seed,
        };
        let state = State::Accepted {
            seen: BTreeSet::new(),
        };
        self.keys
            .push(Key::read(stored, state).ok_or(NoRandomness)?);
        Ok(())
    }
}

/// Far below the 256 key ids there are; by time alone there are some 16.
const KEYS_MAX: usize = 64;

/// Key id, KEM, KDF and AEAD (RFC 9458 section 4.3).
const HEADER_LENGTH: usize = 7;

/// Of X25519.
const ENCAPSULATED_KEY_LENGTH: usize = 32;

impl Key {
    fn read(stored: StoredSealingKey, state: State) -> Option<Self> {
        let suites = vec![
            SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm),
            SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305),
        ];
        let config = KeyConfig::derive(stored.id, Kem::X25519Sha256, suites, &stored.seed).ok()?;
        // A list of one: the client's library takes the last of a list.
        let config_base64 = STANDARD.encode(KeyConfig::encode_list(&[&config]).ok()?);
        Some(Self {
            stored,
            server: Server::new(config).ok()?,
            config_base64,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use ohttp::ClientRequest;

    use super::*;

    const NOW: Instant = Instant::from_nanos(1_700_000_000_000_000_000);

    fn keys(replay_window_max: usize) -> SealingKeys {
        let config = SealingConfig {
            replay_window_max,
            ..SealingConfig::default()
        };
        SealingKeys::new(NOW, config, vec![]).unwrap()
    }

    fn seal(keys: &SealingKeys, request: &[u8]) -> Vec<u8> {
        let offer = keys.offer("http://x/").unwrap();
        let config = STANDARD.decode(offer.key_config_base64).unwrap();
        let client = ClientRequest::from_encoded_config_list(&config).unwrap();
        client.encapsulate(request).unwrap().0
    }

    #[test]
    fn a_request_is_opened_once() {
        let mut keys = keys(10);
        let sealed = seal(&keys, b"hello");
        let opened = keys.open(NOW, &sealed).unwrap();
        assert_eq!(opened.request, b"hello");
        assert!(opened.accepted);
        assert_eq!(keys.admit(opened.mark), Admission::New);
        let replayed = keys.open(NOW, &sealed).unwrap();
        assert_eq!(keys.admit(replayed.mark), Admission::Replayed);
    }

    #[test]
    fn a_changed_or_cut_request_is_unreadable() {
        let keys = keys(10);
        let mut sealed = seal(&keys, b"hello");
        for cut in (1..sealed.len()).step_by(5) {
            assert_eq!(
                keys.open(NOW, &sealed[..cut]).err(),
                Some(OpenError::Unreadable),
                "{cut}"
            );
        }
        assert!(keys.open(NOW, &[]).is_err());
        for place in (1..sealed.len()).step_by(5) {
            sealed[place] ^= 1;
            assert!(keys.open(NOW, &sealed).is_err(), "{place}");
            sealed[place] ^= 1;
        }
        sealed[0] = 77;
        assert_eq!(keys.open(NOW, &sealed).err(), Some(OpenError::KeyUnknown));
    }

    #[test]
    fn a_key_is_offered_then_accepted_then_answered_then_forgotten() {
        let mut keys = keys(10);
        let config = keys.config;
        let old = seal(&keys, b"x");
        let first = keys.offer("u").unwrap();
        assert_eq!(keys.rotate(NOW + config.rotate_after / 2), Ok(false));
        assert_eq!(keys.rotate(NOW + config.rotate_after), Ok(true));
        assert_ne!(
            keys.offer("u").unwrap().key_config_base64,
            first.key_config_base64
        );
        let accepted = |keys: &SealingKeys, now| keys.open(now, &old).map(|opened| opened.accepted);
        let end = NOW + config.accept;
        assert_eq!(accepted(&keys, end - Duration::from_secs(1)), Ok(true));
        assert_eq!(accepted(&keys, end), Ok(false));
        let gone = end + config.answer;
        assert_eq!(keys.rotate(gone), Ok(true));
        assert_eq!(accepted(&keys, gone), Err(OpenError::KeyUnknown));
    }

    #[test]
    fn a_full_window_ends_the_key_and_the_next_one_is_offered() {
        let mut keys = keys(1);
        for (admission, rotated) in [(Admission::New, false), (Admission::WindowFull, true)] {
            let sealed = seal(&keys, b"x");
            let mark = keys.open(NOW, &sealed).unwrap().mark;
            assert_eq!(keys.admit(mark), admission);
            assert_eq!(keys.rotate(NOW), Ok(rotated));
        }
        let sealed = seal(&keys, b"x");
        let opened = keys.open(NOW, &sealed).unwrap();
        assert!(opened.accepted);
        assert_eq!(keys.admit(opened.mark), Admission::New);
    }

    #[test]
    fn after_a_restart_old_keys_only_answer() {
        let before = keys(10);
        let sealed = seal(&before, b"x");
        let after = SealingKeys::new(NOW, SealingConfig::default(), before.stored()).unwrap();
        let opened = after.open(NOW, &sealed).unwrap();
        assert!(!opened.accepted);
        assert!(after.open(NOW, &seal(&after, b"x")).unwrap().accepted);
    }

    #[test]
    fn key_ids_do_not_meet_however_often_keys_change() {
        let mut keys = keys(10);
        for _ in 0..300 {
            keys.make(NOW).unwrap();
        }
        let ids: BTreeSet<u8> = keys.keys.iter().map(|key| key.stored.id).collect();
        assert_eq!(ids.len(), keys.keys.len());
        assert_eq!(keys.keys.len(), KEYS_MAX);
    }
}
