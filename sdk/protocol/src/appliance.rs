//! What appliances report to the backend, and what they get back.

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
