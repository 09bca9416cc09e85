//! Sessions, titles, play requests, play grants and refusals: what a client and a backend say.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// `POST /v1/session`: who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The account's name at the backend.
    pub account: String,
    /// A stable identifier of the device.
    pub device_id: String,
    /// Platform as the licence rules name it (`linux`, `ios`, `android_tv`…).
    pub platform: String,
}

/// The answer to [`SessionRequest`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGrant {
    /// Sent as `Authorization: Bearer …` from now on.
    pub access_token: String,
    /// When the access token ends, wall time.
    pub expires_at_unix_ms: u64,
    /// The key that play requests are sealed with; `None` when the backend does not offer sealing.
    pub sealing: Option<SealingKey>,
}

impl core::fmt::Debug for SessionGrant {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionGrant")
            .field("expires_at_unix_ms", &self.expires_at_unix_ms)
            .field("sealing", &self.sealing)
            .finish_non_exhaustive()
    }
}

/// A key configuration for sealed play requests (RFC 9458 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKey {
    /// `application/ohttp-keys` in base64.
    pub key_config_base64: String,
    /// When the key ends, wall time.
    pub expires_at_unix_ms: u64,
    /// Where sealed requests go: an absolute `http://` URL.
    pub url: String,
}

/// One title of `GET /v1/titles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleSummary {
    /// Identifier, as used in a play request.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Length.
    pub duration_ms: u64,
    /// One or two sentences; may be empty.
    #[serde(default)]
    pub description: String,
}

/// `GET /v1/titles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TitleList {
    /// What can be watched here and now.
    pub titles: Vec<TitleSummary>,
}

/// Why a grant is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// To watch now: counts as a stream.
    #[default]
    Play,
    /// A moving preview.
    Preview,
    /// To be ready before the viewer decides.
    Prefetch,
    /// One this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// `POST /v1/play`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayRequest {
    /// The title's identifier.
    pub title: String,
    /// What the device can play.
    pub capabilities: Capabilities,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
    /// Names this request, at most 64 characters: the same one sent twice by one session (sealed and over
    /// TLS at once, say) is one playback and one stream. `None` is always a new playback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What the device can play.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Codecs by their four characters (`avc1`, `mp4a`…).
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Tallest picture in lines; `None` is no limit.
    #[serde(default)]
    pub height_max: Option<u32>,
    /// DRM systems by name; empty when none.
    #[serde(default)]
    pub drm_systems: Vec<String>,
}

/// Permission to play, and from where. Answers a play or refresh request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayGrant {
    /// Names this playback at the backend.
    pub playback_id: String,
    /// What is played.
    pub title: TitleSummary,
    /// Manifest paths relative to any appliance.
    pub manifests: ManifestPaths,
    /// At most [`APPLIANCES_MAX`], best first.
    pub appliances: Vec<ApplianceOffer>,
    /// Path of a file with every segment's size, for manifests that hold none.
    #[serde(default)]
    pub sizes: Option<String>,
    /// The same ranking as a content-steering document.
    #[serde(default)]
    pub steering: Option<SteeringOffer>,
    /// When the grant was made, wall time of the backend.
    pub issued_at_unix_ms: u64,
    /// Where this viewer left off.
    #[serde(default)]
    pub resume_position_ms: u64,
    /// When to ask for a refresh, from receipt.
    pub refresh_after_ms: u64,
    /// Where telemetry goes.
    #[serde(default)]
    pub events_url: Option<String>,
    /// Where keys come from, where needed.
    #[serde(default)]
    pub license_url: Option<String>,
}

/// The most appliances a grant holds; more are ignored.
pub const APPLIANCES_MAX: usize = 10;

/// Manifest paths relative to any appliance; at least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPaths {
    /// An MPD.
    #[serde(default)]
    pub dash: Option<String>,
    /// A multivariant playlist.
    #[serde(default)]
    pub hls: Option<String>,
}

/// One appliance a client may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceOffer {
    /// Identifier.
    pub id: String,
    /// Where it stands, for people.
    pub site: String,
    /// What kind of site.
    pub kind: SiteKind,
    /// Absolute URL that paths are joined to.
    pub base_url: String,
    /// Protocols it speaks on that address, preferred first.
    pub protocols: Vec<HttpProtocol>,
    /// IP addresses; with them no name need be looked up.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The backend's order: 0 is best.
    pub rank: u32,
    /// What signs requests to it; `None` when it asks for nothing.
    #[serde(default)]
    pub token: Option<EdgeToken>,
}

/// What kind of site an appliance stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// Inside an internet service provider.
    Isp,
    /// At an internet exchange.
    Ixp,
    /// One this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// HTTP by version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpProtocol {
    /// HTTP/3 over QUIC.
    H3,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/1.1.
    Http1,
    /// One this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// What signs requests to an appliance: appended to every URL as its query.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeToken {
    /// The query, without `?`.
    pub query: String,
    /// When it ends, wall time.
    pub expires_at_unix_ms: u64,
}

impl core::fmt::Debug for EdgeToken {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EdgeToken")
            .field("expires_at_unix_ms", &self.expires_at_unix_ms)
            .finish_non_exhaustive()
    }
}

/// Where the ranking can be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteeringOffer {
    /// Absolute URL of a content-steering document.
    pub url: String,
    /// How long the ranking holds.
    pub ttl_ms: u64,
}

/// Why a play request was refused. A refusal is an answer, not an outage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The plan does not include the title.
    PlanRequired,
    /// No licence for the viewer's country.
    RegionBlocked,
    /// No licence for the platform.
    PlatformBlocked,
    /// As many streams play as the plan allows.
    TooManyStreams,
    /// The profile's maturity setting forbids it.
    MaturityBlocked,
    /// There is no such title.
    TitleUnknown,
    /// The device cannot play any version of it.
    DeviceUnsupported,
    /// The access token is old or unknown.
    SessionExpired,
    /// The backend is too busy; `retry_after_ms` says when to ask again.
    Overloaded,
    /// One this version does not know.
    #[serde(untagged)]
    Other(String),
}

impl Refusal {
    /// Returns the stable code, as in [`Problem::code`].
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::PlanRequired => "plan_required",
            Self::RegionBlocked => "region_blocked",
            Self::PlatformBlocked => "platform_blocked",
            Self::TooManyStreams => "too_many_streams",
            Self::MaturityBlocked => "maturity_blocked",
            Self::TitleUnknown => "title_unknown",
            Self::DeviceUnsupported => "device_unsupported",
            Self::SessionExpired => "session_expired",
            Self::Overloaded => "overloaded",
            Self::Other(code) => code,
        }
    }

    /// Finds the refusal that a problem's code names; `None` when the problem is no refusal.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|refusal| refusal.code() == code)
            .cloned()
    }

    /// Every refusal this version knows.
    pub const ALL: [Self; 9] = [
        Self::PlanRequired,
        Self::RegionBlocked,
        Self::PlatformBlocked,
        Self::TooManyStreams,
        Self::MaturityBlocked,
        Self::TitleUnknown,
        Self::DeviceUnsupported,
        Self::SessionExpired,
        Self::Overloaded,
    ];
}

/// An error answer (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI for the kind of problem, `about:blank` when `code` says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// One sentence for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time and what to do.
    #[serde(default)]
    pub detail: String,
    /// Stable code; a [`Refusal`] in `snake_case` when a play request was refused.
    pub code: String,
    /// When to ask again, where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// A fresh sealing key, with code `sealing_key_expired`. It only ever comes inside a sealed answer:
    /// a key that came in the clear could be anybody's, and must not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<SealingKey>,
}

impl Problem {
    /// Makes a problem that its code describes in full.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str, detail: String) -> Self {
        Self {
            kind: about_blank(),
            title: String::from(title),
            status,
            detail,
            code: String::from(code),
            retry_after_ms: None,
            sealing: None,
        }
    }
}

fn about_blank() -> String {
    String::from("about:blank")
}

/// `PUT /v1/history/{title}`: how far the viewer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryUpdate {
    /// Where on the timeline.
    pub position_ms: u64,
    /// Language of the sound, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// `GET /v1/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryList {
    /// Latest first.
    pub entries: Vec<HistoryEntry>,
}

/// How far the viewer is with one title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The title's identifier.
    pub title: String,
    /// Where on the timeline.
    pub position_ms: u64,
    /// Length of the title.
    pub duration_ms: u64,
    /// Whether it was watched to (nearly) the end: the next play begins at the start.
    pub finished: bool,
    /// When it was last watched, wall time.
    pub watched_at_unix_ms: u64,
    /// Language of the sound, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}
