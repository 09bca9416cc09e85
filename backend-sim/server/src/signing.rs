//! The keys that sign edge tokens.
//!
//! Appliances learn verifying keys with the answers to their reports, so a new key is told for a while
//! before it signs, and an old one verifies until its last token has ended.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nearcast_protocol::appliance::VerifyingKey;
use nearcast_protocol::play::EdgeToken;
use nearcast_units::Instant;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};

use crate::clock::unix_ms;

/// Spans of signing keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningConfig {
    /// How long a key signs before a new one is made.
    pub(crate) rotate_after: Duration,
    /// How long a key is told to appliances before it signs: several reports.
    pub(crate) lead: Duration,
    /// How long a token is good, at most.
    pub(crate) token_ttl: Duration,
}

/// A key as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSigningKey {
    pub(crate) made: Instant,
    pub(crate) pkcs8: Vec<u8>,
}

/// The key could not be made: the system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// All keys that sign or verify, oldest first; at least one.
pub(crate) struct SigningKeys {
    config: SigningConfig,
    random: SystemRandom,
    keys: Vec<SigningKey>,
}

struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
    stored: StoredSigningKey,
}

impl SigningKeys {
    /// Takes stored keys and makes one if there is none. What cannot be read is left out.
    pub(crate) fn new(
        now: Instant,
        config: SigningConfig,
        stored: Vec<StoredSigningKey>,
    ) -> Result<Self, NoRandomness> {
        let mut keys = Self {
            config,
            random: SystemRandom::new(),
            keys: stored.into_iter().filter_map(SigningKey::read).collect(),
        };
        keys.keys.sort_by_key(|key| key.stored.made);
        keys.rotate(now)?;
        Ok(keys)
    }

    /// Makes a new key when it is time; returns whether the keys have changed.
    pub(crate) fn rotate(&mut self, now: Instant) -> Result<bool, NoRandomness> {
        let count = self.keys.len();
        let end = self.config.rotate_after + self.config.lead + self.config.token_ttl;
        self.keys.retain(|key| now.since(key.stored.made) < end);
        let due = self
            .keys
            .last()
            .is_none_or(|key| now.since(key.stored.made) >= self.config.rotate_after);
        if due {
            self.keys.push(SigningKey::make(now, &self.random)?);
        }
        Ok(due || self.keys.len() != count)
    }

    /// Returns all keys, to be stored.
    pub(crate) fn stored(&self) -> Vec<StoredSigningKey> {
        self.keys.iter().map(|key| key.stored.clone()).collect()
    }

    /// Returns the keys that verify tokens, for appliances.
    pub(crate) fn verifying_keys(&self) -> Vec<VerifyingKey> {
        let end = self.config.rotate_after + self.config.lead + self.config.token_ttl;
        self.keys
            .iter()
            .map(|key| VerifyingKey {
                id: key.id.clone(),
                public_key_base64: STANDARD.encode(key.pair.public_key()),
                // A minute earlier, for appliances whose clocks are behind.
                not_before_unix_ms: unix_ms(key.stored.made - Duration::from_secs(60)),
                not_after_unix_ms: unix_ms(key.stored.made + end),
            })
            .collect()
    }

    /// Makes a token for a playback and a path prefix; `None` when there is no key, which cannot be after
    /// [`new`](Self::new).
    pub(crate) fn token(
        &self,
        now: Instant,
        playback_id: &str,
        path_prefix: &str,
        expires: Instant,
    ) -> Option<EdgeToken> {
        let key = self
            .keys
            .iter()
            .rev()
            .find(|key| now.since(key.stored.made) >= self.config.lead)
            .or_else(|| self.keys.first())?;
        let expires_at_unix_ms = unix_ms(expires);
        let kid = &key.id;
        let text =
            format!("nearcast-token/1\n{playback_id}\n{path_prefix}\n{expires_at_unix_ms}\n{kid}");
        let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(text.as_bytes()));
        let (pb, px) = (encoded(playback_id), encoded(path_prefix));
        Some(EdgeToken {
            query: format!("pb={pb}&px={px}&exp={expires_at_unix_ms}&kid={kid}&sig={signature}"),
            expires_at_unix_ms,
        })
    }
}

impl SigningKey {
    fn make(now: Instant, random: &SystemRandom) -> Result<Self, NoRandomness> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(random).map_err(|_| NoRandomness)?;
        Self::read(StoredSigningKey {
            made: now,
            pkcs8: pkcs8.as_ref().to_vec(),
        })
        .ok_or(NoRandomness)
    }

    fn read(stored: StoredSigningKey) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&stored.pkcs8).ok()?;
        let id = pair
            .public_key()
            .as_ref()
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Self { id, pair, stored })
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    const NOW: Instant = Instant::from_nanos(1_700_000_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const CONFIG: SigningConfig = SigningConfig {
        rotate_after: HOUR,
        lead: Duration::from_secs(60),
        token_ttl: Duration::from_secs(300),
    };

    fn keys(stored: Vec<StoredSigningKey>) -> SigningKeys {
        SigningKeys::new(NOW, CONFIG, stored).unwrap()
    }

    fn key_id(keys: &SigningKeys, now: Instant) -> String {
        let token = keys.token(now, "p", "demo/", now).unwrap();
        let (_, rest) = token.query.split_once("kid=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    }

    #[test]
    fn a_token_is_verified_as_the_protocol_says() {
        let keys = keys(vec![]);
        let token = keys.token(NOW, "p1", "films/a b/", NOW + HOUR).unwrap();
        let key = &keys.verifying_keys()[0];
        let (head, signature) = token.query.split_once("&sig=").unwrap();
        let exp = token.expires_at_unix_ms;
        assert_eq!(exp, 1_700_003_600_000);
        assert_eq!(
            head,
            format!("pb=p1&px=films%2Fa%20b%2F&exp={exp}&kid={}", key.id)
        );
        let text = format!("nearcast-token/1\np1\nfilms/a b/\n{exp}\n{}", key.id);
        let public = STANDARD.decode(&key.public_key_base64).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let verifier = UnparsedPublicKey::new(&ED25519, public);
        assert!(verifier.verify(text.as_bytes(), &signature).is_ok());
        assert!(verifier.verify(b"other", &signature).is_err());
    }

    #[test]
    fn a_new_key_is_told_before_it_signs_and_an_old_one_outlives_its_tokens() {
        let mut keys = keys(vec![]);
        let first = key_id(&keys, NOW);
        assert_eq!(keys.rotate(NOW + HOUR / 2), Ok(false));
        let turn = NOW + HOUR;
        assert_eq!(keys.rotate(turn), Ok(true));
        assert_eq!(keys.verifying_keys().len(), 2);
        assert_eq!(key_id(&keys, turn), first);
        let later = turn + CONFIG.lead;
        assert_ne!(key_id(&keys, later), first);
        // The last token of the first key was made just before `later`.
        let last_token_end = later + CONFIG.token_ttl;
        let told = &keys.verifying_keys()[0];
        assert_eq!(told.id, first);
        assert!(told.not_after_unix_ms >= unix_ms(last_token_end));
        assert_eq!(keys.rotate(last_token_end), Ok(true));
        assert_eq!(keys.verifying_keys().len(), 1);
    }

    #[test]
    fn stored_keys_sign_again() {
        let before = keys(vec![]);
        let after = keys(before.stored());
        assert_eq!(key_id(&before, NOW), key_id(&after, NOW));
        let broken = StoredSigningKey {
            made: NOW,
            pkcs8: vec![1, 2, 3],
        };
        assert_eq!(keys(vec![broken]).verifying_keys().len(), 1);
    }
}
