//! Sealed requests: encapsulated HTTP over HPKE (RFC 9458 and RFC 9292).
//!
//! A sealed request hides what is asked and needs no TLS handshake. The key came over TLS with the session,
//! or inside an earlier sealed answer; one that comes in the clear is never used.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhttp::{Message, Mode};
use nearcast_protocol::play::SealingKey;
use ohttp::hpke::{Aead, Kdf};
use ohttp::{ClientRequest, ClientResponse, KeyConfig, SymmetricSuite};
use url::Url;

/// Media type of a sealed request.
pub(super) const REQUEST_TYPE: &str = "message/ohttp-req";
/// Media type of a sealed answer.
pub(super) const ANSWER_TYPE: &str = "message/ohttp-res";

/// What is asked, before it is sealed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a> {
    pub(super) url: &'a Url,
    pub(super) token: &'a str,
    pub(super) body: &'a [u8],
}

/// A sealed request on its way.
pub(super) struct Sealed {
    /// What goes over the wire.
    pub(super) body: Vec<u8>,
    opener: ClientResponse,
}

/// An opened answer.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Seals a POST with JSON.
///
/// # Errors
///
/// What is wrong with the key.
pub(super) fn seal(key: &SealingKey, plain: Plain<'_>) -> Result<Sealed, String> {
    let config = STANDARD
        .decode(&key.key_config_base64)
        .map_err(|error| error.to_string())?;
    let client = client_for(&config)?;
    let mut message = Message::request(
        b"POST".to_vec(),
        plain.url.scheme().as_bytes().to_vec(),
        plain.url.authority().as_bytes().to_vec(),
        plain.url.path().as_bytes().to_vec(),
    );
    message.put_header("authorization", format!("Bearer {}", plain.token));
    message.put_header("content-type", "application/json");
    message.write_content(plain.body);
    let mut encoded = Vec::new();
    message
        .write_bhttp(Mode::KnownLength, &mut encoded)
        .map_err(|error| error.to_string())?;
    let (body, opener) = client
        .encapsulate(&encoded)
        .map_err(|error| error.to_string())?;
    Ok(Sealed { body, opener })
}

/// Opens the answer to a sealed request.
///
/// # Errors
///
/// Why it is no answer to that request.
pub(super) fn open(opener: ClientResponse, body: &[u8]) -> Result<Opened, String> {
    let encoded = opener
        .decapsulate(body)
        .map_err(|error| error.to_string())?;
    let message =
        Message::read_bhttp(&mut Cursor::new(&encoded[..])).map_err(|error| error.to_string())?;
    let status = message
        .control()
        .status()
        .ok_or("it is no HTTP answer")?
        .code();
    let retry_after = message.header().get(b"retry-after");
    Ok(Opened {
        status,
        retry_after: retry_after.and_then(|value| String::from_utf8(value.to_vec()).ok()),
        body: message.content().to_vec(),
    })
}

/// Takes the first key with a suite we know. `ohttp` takes the first suite of a key unseen, and panics when
/// it has none that is supported.
fn client_for(list: &[u8]) -> Result<ClientRequest, String> {
    let usable = |config: &KeyConfig| {
        KDFS.iter().any(|&kdf| {
            AEADS
                .iter()
                .any(|&aead| config.select(SymmetricSuite::new(kdf, aead)).is_ok())
        })
    };
    let configs = KeyConfig::decode_list(list).map_err(|error| error.to_string())?;
    let mut config = configs
        .into_iter()
        .find(usable)
        .ok_or("no key of a kind this player knows")?;
    ClientRequest::from_config(&mut config).map_err(|error| error.to_string())
}

const KDFS: [Kdf; 3] = [Kdf::HkdfSha256, Kdf::HkdfSha384, Kdf::HkdfSha512];
const AEADS: [Aead; 3] = [Aead::Aes128Gcm, Aead::Aes256Gcm, Aead::ChaCha20Poly1305];

impl Sealed {
    pub(super) fn into_parts(self) -> (Vec<u8>, ClientResponse) {
        (self.body, self.opener)
    }
}

#[cfg(test)]
mod tests {
    use bhttp::StatusCode;
    use ohttp::Server;
    use ohttp::hpke::Kem;

    use super::*;

    fn server() -> (Server, SealingKey) {
        let suites = vec![SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm)];
        let config = KeyConfig::new(7, Kem::X25519Sha256, suites).unwrap();
        let list = KeyConfig::encode_list(&[&config]).unwrap();
        let key = SealingKey {
            key_config_base64: STANDARD.encode(list),
            expires_at_unix_ms: u64::MAX,
            url: "http://127.0.0.1:1/v1/sealed".to_owned(),
        };
        (Server::new(config).unwrap(), key)
    }

    #[test]
    fn what_is_sealed_opens_at_the_server_and_back() {
        let (server, key) = server();
        let url = Url::parse("https://backend.example:8443/v1/play").unwrap();
        let plain = Plain {
            url: &url,
            token: "secret",
            body: br#"{"title":"t"}"#,
        };
        let (body, opener) = seal(&key, plain).unwrap().into_parts();
        assert!(!body.windows(6).any(|window| window == b"secret"));

        let (encoded, answerer) = server.decapsulate(&body).unwrap();
        let request = Message::read_bhttp(&mut Cursor::new(&encoded[..])).unwrap();
        assert_eq!(request.control().path(), Some(&b"/v1/play"[..]));
        assert_eq!(
            request.control().authority(),
            Some(&b"backend.example:8443"[..])
        );
        assert_eq!(
            request.header().get(b"authorization"),
            Some(&b"Bearer secret"[..])
        );

        let mut answer = Message::response(StatusCode::try_from(429_u64).unwrap());
        answer.put_header("retry-after", "7");
        answer.write_content(b"{}");
        let mut encoded = Vec::new();
        answer.write_bhttp(Mode::KnownLength, &mut encoded).unwrap();
        let opened = open(opener, &answerer.encapsulate(&encoded).unwrap()).unwrap();
        assert_eq!(
            (opened.status, opened.retry_after.as_deref()),
            (429, Some("7"))
        );
        assert_eq!(opened.body, b"{}");
    }

    #[test]
    fn nonsense_is_refused_on_both_ways() {
        let (_, mut key) = server();
        let url = Url::parse("https://backend.example/v1/play").unwrap();
        let plain = Plain {
            url: &url,
            token: "",
            body: b"",
        };
        let opener = seal(&key, plain).unwrap().into_parts().1;
        assert!(
            open(
                opener,
                b"not sealed at all, but long enough to be a nonce and a tag"
            )
            .is_err()
        );
        let opener = seal(&key, plain).unwrap().into_parts().1;
        assert!(open(opener, b"").is_err());
        let good = STANDARD.decode(&key.key_config_base64).unwrap();
        let mut unknown_suite = good.clone();
        let last = unknown_suite.len() - 1;
        unknown_suite[last] = 0xff;
        let cut = good[..last].to_vec();
        for config in [Vec::new(), b"abc".to_vec(), unknown_suite, cut] {
            key.key_config_base64 = STANDARD.encode(&config);
            assert!(seal(&key, plain).is_err(), "{config:?}");
        }
        key.key_config_base64 = "not base64 !".to_owned();
        assert!(seal(&key, plain).is_err());
    }
}
