//! The signature of tokens.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use nearcast_appliance::token::{Token, TokenError};
use nearcast_protocol::appliance::VerifyingKey;
use ring::signature::{ED25519, UnparsedPublicKey};

/// Checks a token's signature with the key it names.
pub(crate) fn verify(token: &Token, key: Option<&VerifyingKey>) -> Result<(), TokenError> {
    let key = key.ok_or(TokenError::UnknownKey)?;
    let public = STANDARD
        .decode(&key.public_key_base64)
        .or_else(|_| STANDARD_NO_PAD.decode(&key.public_key_base64))
        .map_err(|_| TokenError::UnknownKey)?;
    let signature = URL_SAFE_NO_PAD
        .decode(&token.signature)
        .map_err(|_| TokenError::Malformed)?;
    UnparsedPublicKey::new(&ED25519, public)
        .verify(token.claims.signed_text().as_bytes(), &signature)
        .map_err(|_| TokenError::BadSignature)
}
