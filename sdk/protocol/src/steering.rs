//! The content-steering document (HLS content steering, DASH-IF "Content Steering for DASH" 0.9.0), so
//! that other players can use the backend's ranking.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// `GET /v1/steering/{playback_id}`. Field names are the standard's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub struct SteeringManifest {
    /// Always 1.
    pub version: u32,
    /// Seconds until it is to be asked for again.
    pub ttl: u32,
    /// Where to ask again; `None` is the same URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_uri: Option<String>,
    /// Pathways (appliance ids), best first.
    pub pathway_priority: Vec<String>,
}

/// `GET /v1/steering/{playback_id}/explain`: why the ranking is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteeringExplanation {
    /// The playback it is for.
    pub playback_id: String,
    /// The client's address as the backend sees it.
    pub client_address: String,
    /// The client's network in CIDR notation, if the catalogue knows it.
    #[serde(default)]
    pub client_network: Option<String>,
    /// The title's file prefix that an appliance has to store.
    pub files: String,
    /// Every appliance that was looked at: those offered by rank, then the others by id.
    pub appliances: Vec<ApplianceVerdict>,
}

/// What steering thought of one appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceVerdict {
    /// The appliance.
    pub id: String,
    /// Where it stands, for people.
    pub site: String,
    /// Its place in the list, 0 is best; `None` when it is not offered.
    pub rank: Option<u32>,
    /// `offered`, `not_among_best`, `report_too_old`, `files_missing` or `client_not_served`.
    pub verdict: String,
    /// The longest of its prefixes that holds the client's address, in CIDR notation.
    pub prefix: Option<String>,
    /// Great-circle distance to the client's network; `None` when that is not known.
    pub distance_km: Option<u32>,
    /// Health in tenths: free share of its capacity times the share of requests it answers well.
    pub health_tenths: u32,
    /// Whether it is too full or too faulty to come before any other.
    pub impaired: bool,
    /// Age of its last report.
    pub report_age_ms: u64,
    /// The reason in words.
    pub why: String,
}
