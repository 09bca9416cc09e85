//! Tokens: everything about them but the signature's arithmetic, which the caller brings.
//!
//! The format is documented in `nearcast_protocol::appliance`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The playback it was made for.
    pub playback_id: String,
    /// Which paths it opens, relative to the base URL.
    pub path_prefix: String,
    /// When it ends, wall time.
    pub expires_at_unix_ms: u64,
    /// The key that signed it.
    pub key_id: String,
}

impl Claims {
    /// Returns the text that is signed.
    #[must_use]
    pub fn signed_text(&self) -> String {
        format!(
            "nearcast-token/1\n{}\n{}\n{}\n{}",
            self.playback_id, self.path_prefix, self.expires_at_unix_ms, self.key_id
        )
    }

    /// Whether a path, relative to the base URL, is opened.
    #[must_use]
    pub fn opens(&self, path: &str) -> bool {
        let prefix = self.path_prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    /// Checks what it says against a request; the signature must be checked before by the caller.
    ///
    /// # Errors
    /// When it has ended or opens other paths.
    pub fn check(&self, path: &str, unix_ms: u64) -> Result<(), TokenError> {
        if unix_ms >= self.expires_at_unix_ms {
            return Err(TokenError::Expired);
        }
        if !self.opens(path) {
            return Err(TokenError::WrongPath);
        }
        Ok(())
    }
}

/// A token and its signature, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it says.
    pub claims: Claims,
    /// Base64url without padding.
    pub signature: String,
}

/// Why a request was refused by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("the request has no token")]
    Missing,
    /// A parameter is missing, repeated or unreadable.
    #[error("the token is not readable")]
    Malformed,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It opens other paths.
    #[error("the token is for another path")]
    WrongPath,
    /// No valid key has its key id.
    #[error("the token's key is not known here")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("the token's signature is wrong")]
    BadSignature,
}

impl TokenError {
    /// Returns the stable code of the error answer.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed => "token_malformed",
            Self::Expired => "token_expired",
            Self::WrongPath => "token_wrong_path",
            Self::UnknownKey => "token_unknown_key",
            Self::BadSignature => "token_bad_signature",
        }
    }

    /// Returns the HTTP status: 401 for no token, 403 for one that does not open this.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Malformed => 401,
            Self::Expired | Self::WrongPath | Self::UnknownKey | Self::BadSignature => 403,
        }
    }
}

/// Longer queries are refused unread: a token has some 300 characters, CMCD as many.
const QUERY_MAX: usize = 8192;

impl Token {
    /// Reads the token out of a request's query.
    ///
    /// # Errors
    /// [`TokenError::Missing`] when none of its parameters is there, [`TokenError::Malformed`] when not all are
    /// there once and readable.
    pub fn parse(query: &str) -> Result<Self, TokenError> {
        const NAMES: [&str; 5] = ["pb", "px", "exp", "kid", "sig"];
        if query.len() > QUERY_MAX {
            return Err(TokenError::Malformed);
        }
        let mut values: [Option<String>; 5] = [const { None }; 5];
        for (name, value) in pairs(query) {
            let Some(index) = NAMES.iter().position(|known| *known == name) else {
                continue;
            };
            let value = decode(value).filter(|value| !value.contains('\n'));
            if values[index].is_some() || value.is_none() {
                return Err(TokenError::Malformed);
            }
            values[index] = value;
        }
        match values {
            [None, None, None, None, None] => Err(TokenError::Missing),
            [
                Some(playback_id),
                Some(path_prefix),
                Some(expires),
                Some(key_id),
                Some(signature),
            ] => Ok(Self {
                claims: Claims {
                    playback_id,
                    path_prefix,
                    expires_at_unix_ms: number(&expires).ok_or(TokenError::Malformed)?,
                    key_id,
                },
                signature,
            }),
            _ => Err(TokenError::Malformed),
        }
    }
}

/// Returns one parameter of a query, decoded.
#[must_use]
pub fn parameter(query: &str, wanted: &str) -> Option<String> {
    let (_, value) = pairs(query).find(|(name, _)| *name == wanted)?;
    decode(value)
}

/// Decodes percent-encoding; `None` when it is not UTF-8 in the end or an escape is broken.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = hex(bytes.next()?)?;
                let low = hex(bytes.next()?)?;
                high * 16 + low
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A number as it is written when signed: digits, no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "CMCD=bl%3D1000&pb=p%201&px=demo%2F&exp=1000&kid=k1&sig=AAAA";

    #[test]
    fn a_token_is_read_between_other_parameters() {
        let token = Token::parse(QUERY).unwrap();
        assert_eq!(token.signature, "AAAA");
        assert_eq!(
            token.claims.signed_text(),
            "nearcast-token/1\np 1\ndemo/\n1000\nk1"
        );
        assert_eq!(parameter(QUERY, "CMCD").as_deref(), Some("bl=1000"));
    }

    #[test]
    fn what_is_not_a_token_is_told_from_none() {
        assert_eq!(Token::parse(""), Err(TokenError::Missing));
        assert_eq!(Token::parse("CMCD=bl%3D1"), Err(TokenError::Missing));
        for bad in [
            "pb=p",
            "pb=p&px=&exp=1&kid=k",
            "pb=p&pb=q&px=&exp=1&kid=k&sig=A",
            "pb=p&px=&exp=-1&kid=k&sig=A",
            "pb=p&px=&exp=01&kid=k&sig=A",
            "pb=p&px=&exp=99999999999999999999&kid=k&sig=A",
            "pb=p%0Aq&px=&exp=1&kid=k&sig=A",
            "pb=p%&px=&exp=1&kid=k&sig=A",
            "pb=%ff&px=&exp=1&kid=k&sig=A",
        ] {
            assert_eq!(Token::parse(bad), Err(TokenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let mut claims = Token::parse(QUERY).unwrap().claims;
        for prefix in ["demo", "demo/"] {
            claims.path_prefix = prefix.into();
            assert!(claims.opens("demo/stream.mpd"), "{prefix}");
            assert!(!claims.opens("demo2/stream.mpd"), "{prefix}");
            assert!(!claims.opens("other"), "{prefix}");
        }
        claims.path_prefix = String::new();
        assert!(claims.opens("other"));
    }

    #[test]
    fn a_token_ends_at_its_millisecond() {
        let claims = Token::parse(QUERY).unwrap().claims;
        assert_eq!(claims.check("demo/a", 999), Ok(()));
        assert_eq!(claims.check("demo/a", 1000), Err(TokenError::Expired));
        assert_eq!(claims.check("b", 999), Err(TokenError::WrongPath));
    }
}
