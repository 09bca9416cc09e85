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
