//! The session report. `REPORT.md` beside the crate's sources is what follows; a test looks for every field in it.
#![doc = include_str!("../REPORT.md")]

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The value of [`SessionReport::schema`].
pub const SCHEMA: &str = "nearcast.report/1";

/// Everything one playback did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Who played.
    pub player: PlayerName,
    /// What was played.
    pub content: ContentReport,
    /// Wall time from the play intent to the end.
    pub wall_s: f64,
    /// From the play intent to the first frame; `None` when there was none.
    pub startup_s: Option<f64>,
    /// Media time shown.
    pub played_s: f64,
    /// Times playback stopped for want of media.
    pub stalls: Vec<StallReport>,
    /// Length of `stalls`.
    pub stall_count: u64,
    /// Sum of their durations.
    pub stalled_s: f64,
    /// Media segments in the order they were completed.
    pub segments: Vec<SegmentReport>,
    /// Every object asked for, with every attempt.
    pub fetches: Vec<FetchReport>,
    /// Mean declared bit rate of played video segments, by duration; of audio when there is no video.
    pub mean_bitrate_bps: f64,
    /// Rung changes between consecutive video segments.
    pub switches: u64,
    /// Mean absolute bit rate change over `switches`, zero without any.
    pub mean_switch_bps: f64,
    /// Every edge known.
    pub edges: Vec<EdgeReport>,
    /// Hand-overs from a failing edge in the middle of an object.
    pub failovers: Vec<FailoverReport>,
    /// What was decided, and why.
    pub decisions: Vec<DecisionReport>,
    /// Each half second: time, video buffer level, audio buffer level.
    pub buffer: Vec<(f64, f64, f64)>,
    /// Counts of decoded frames; zeros when nothing was decoded, as without a frame sink.
    pub frames: FrameReport,
    /// Bytes by purpose.
    pub bytes: ByteReport,
    /// Linear QoE: Mbit/s of each played video segment, minus 4.3 per stalled second, minus absolute
    /// changes in Mbit/s (Yin et al., SIGCOMM 2015, with Pensieve's weights).
    pub qoe_lin: f64,
    /// CPU seconds of the process; `None` in the simulator.
    pub cpu_s: Option<f64>,
    /// Peak resident memory of the process; `None` in the simulator.
    pub peak_rss_bytes: Option<u64>,
    /// Whether the machine was too loaded for the timings to be trusted, or stood still.
    pub busy: bool,
    /// Whether playback came to the end of the title: it neither failed, nor was it stopped before. Reports of older players do not
    /// say.
    #[serde(default)]
    pub ended: bool,
    /// Why playback failed; `None` when it did not.
    pub error: Option<ErrorReport>,
}

/// Who played.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlayerName {
    /// Program.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContentReport {
    /// Title or manifest, without any token.
    pub source: String,
    /// Length; `None` when unknown.
    pub duration_s: Option<f64>,
    /// Video representations by ascending bit rate (audio when there is no video).
    pub ladder: Vec<LadderReport>,
}

/// One rung.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LadderReport {
    /// Its identifier in the manifest.
    pub representation: String,
    /// Declared bit rate.
    pub bitrate_bps: u64,
}

/// Playback stopped for want of media.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StallReport {
    /// When.
    pub at_s: f64,
    /// For how long.
    pub duration_s: f64,
    /// Why: `throughput`, `edge_silent`, `all_edges_down` or `sink`.
    pub cause: String,
}

/// A media segment that was completed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SegmentReport {
    /// `video`, `audio` or `text`.
    pub track: String,
    /// Index in the track, counted over all periods.
    pub index: u64,
    /// Identifier in the manifest.
    pub representation: String,
    /// Declared bit rate.
    pub bitrate_bps: u64,
    /// Media time it covers.
    pub duration_s: f64,
    /// Its size.
    pub bytes: u64,
    /// When the first attempt began.
    pub requested_s: f64,
    /// When the first byte came.
    pub first_byte_s: f64,
    /// When the last byte came.
    pub done_s: f64,
}

/// An object asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FetchReport {
    /// Counts fetches from 1.
    pub id: u64,
    /// `play`, `manifest`, `playlist`, `index`, `init`, `media`, `subtitle`, `key` or `probe`.
    pub kind: String,
    /// `video`, `audio` or `text`; `None` when it belongs to none.
    pub track: Option<String>,
    /// Identifier in the manifest.
    pub representation: Option<String>,
    /// Place in the track, counted over all periods.
    pub segment: Option<u64>,
    /// In the order they ended; then those still running.
    pub attempts: Vec<AttemptReport>,
}

/// One try at an object on one edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttemptReport {
    /// The edge.
    pub edge: String,
    /// `h3`, `h2`, `http1`; `None` when no connection was made.
    pub protocol: Option<String>,
    /// First byte asked for, within the object.
    pub offset: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Of these, bytes not handed on.
    pub wasted_bytes: u64,
    /// Whether it ran beside another attempt for the same bytes.
    pub hedge: bool,
    /// Whether a connection had to be made for it.
    pub cold: bool,
    /// When it began.
    pub start_s: f64,
    /// When its first body byte came.
    pub first_byte_s: Option<f64>,
    /// When it ended.
    pub end_s: f64,
    /// `ok`, `failed`, `cancelled`, or `running` when the session ended first.
    pub result: String,
    /// The error's code when it failed, the reason when it was cancelled.
    pub code: Option<String>,
}

/// One edge over the whole session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EdgeReport {
    /// The edge.
    pub id: String,
    /// Time to first byte.
    pub ttfb_ms: Quantiles,
    /// Estimated throughput; `None` when never measured.
    pub throughput_bps: Option<u64>,
    /// Body bytes received from it.
    pub bytes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Breaker: `closed`, `open` or `half_open`.
    pub state: String,
}

/// A distribution in two numbers; `None` when nothing was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
}

/// An object that was taken over from a failing edge by another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FailoverReport {
    /// The last byte from the failing edge (the start of the attempt when none came).
    pub at_s: f64,
    /// Which track; `None` for a manifest.
    pub track: Option<String>,
    /// The failing edge.
    pub from: String,
    /// The edge that took over.
    pub to: String,
    /// What was wrong, the failing attempt's code: `edge_silent`, `edge_slow` or an error's.
    pub reason: String,
    /// Offset in the object at which the other edge went on.
    pub offset: u64,
    /// When it was noticed, from `at_s`.
    pub detected_s: f64,
    /// When the other edge's first byte came, from `at_s`; `None` when none came.
    pub first_byte_s: Option<f64>,
    /// Bytes that were received and not handed on because of it.
    pub wasted_bytes: u64,
}

/// A decision and its reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DecisionReport {
    /// When it was decided.
    pub at_s: f64,
    /// `race`, `rung`, `replace`, `policy`, `track`, `edge`, `failover`, `hedge`, `blame`, `abandon`, `probe`, `refresh`, `playback` or
    /// `watchdog`.
    pub kind: String,
    /// What was chosen.
    pub chosen: String,
    /// The reason in words.
    pub why: String,
    /// Numbers it was based on, by name.
    pub inputs: BTreeMap<String, f64>,
    /// What each candidate was held to be worth, by name; left out where nothing was compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// Decoded frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrameReport {
    /// Decoded.
    pub decoded: u64,
    /// Missing between two decoded ones.
    pub missing: u64,
    /// Decoded twice.
    pub repeated: u64,
    /// Shown later than their time by more than one frame.
    pub late: u64,
    /// Largest distance between picture and sound; `None` when not both were played.
    pub av_offset_ms_max: Option<f64>,
}

/// Bytes by purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ByteReport {
    /// Media, init segments and indices, each byte once.
    pub media: u64,
    /// Received and not handed on: of all attempts but probes, so failovers' and the race's among them.
    pub wasted: u64,
    /// Probes.
    pub probe: u64,
    /// Of what was wasted or probed: what races, help and probes cost, which have a budget.
    pub extra: u64,
    /// Manifests and playlists.
    pub manifest: u64,
}

/// Why playback failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReport {
    /// Stable code.
    pub code: String,
    /// What happened, where, and what to do.
    pub message: String,
}
