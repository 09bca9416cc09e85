//! What appliances report to the backend, and what they get back.
//!
//! # Tokens
//! A backend signs what a client may fetch; the client appends the token to every URL as its query:
//!
//! ```text
//! pb=<playback id>&px=<path prefix>&exp=<unix ms>&kid=<key id>&sig=<signature>
//! ```
//!
//! - All values are percent-encoded as in a URL's query; parameters may come in any order, unknown ones (CMCD) are
//!   ignored, a repeated one spoils the token.
//! - `px` is relative to the appliance's base URL, without a slash at its start. It holds paths that equal it, or
//!   begin with it and a slash (`demo` and `demo/` hold `demo/stream.mpd` and not `demo2/stream.mpd`). Empty holds all.
//! - `exp` is wall time; at that millisecond the token has ended.
//! - `sig` is the Ed25519 signature (RFC 8032), in base64url without padding, by the key `kid` over the text
//!   `nearcast-token/1\n{pb}\n{px}\n{exp}\n{kid}` with the decoded values and no newline at its end. A value that
//!   holds a newline spoils the token.
//!
//! Appliances answer 401 `token_missing` or `token_malformed`; 403 `token_expired`, `token_wrong_path`,
//! `token_unknown_key` or `token_bad_signature`. They learn the verifying keys from [`ReportReceipt`].

use alloc::string::String;
use alloc::vec::Vec;

use nearcast_units::Ratio;
use serde::{Deserialize, Serialize};

use crate::play::{HttpProtocol, SiteKind};

/// `POST /v1/appliances/{id}/report`, on change and every few seconds. Authenticated by the bootstrap
/// secret as `Authorization: Bearer …`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplianceReport {
    /// Where it stands, for people.
    pub site: String,
    /// What kind of site.
    pub kind: SiteKind,
    /// Where it stands, for distance: degrees latitude and longitude.
    pub position_deg: (f64, f64),
    /// Absolute URL clients are to use.
    pub base_url: String,
    /// Protocols it speaks there, preferred first.
    pub protocols: Vec<HttpProtocol>,
    /// IP addresses clients may use without a name look-up.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Client prefixes it serves, in CIDR notation.
    pub prefixes: Vec<String>,
    /// How it is.
    pub health: Health,
    /// Path prefixes of the titles it stores, relative to its base URL (`demo/`).
    pub files: Vec<String>,
}

/// How an appliance is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Share of its capacity in use.
    pub load: Ratio,
    /// Rate it can still give, bits per second.
    pub free_capacity_bps: u64,
    /// Share of its requests in the last minute that failed by its own fault.
    pub error_rate: Ratio,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReceipt {
    /// Keys that verify the tokens of clients.
    pub verifying_keys: Vec<VerifyingKey>,
    /// When to report again at the latest.
    pub next_report_ms: u64,
}

/// An Ed25519 public key that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingKey {
    /// Identifier, named in each token.
    pub id: String,
    /// 32 bytes in base64.
    pub public_key_base64: String,
    /// From when it is valid, wall time.
    pub not_before_unix_ms: u64,
    /// Until when it is valid, wall time.
    pub not_after_unix_ms: u64,
}
