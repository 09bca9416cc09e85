//! The streaming player SDK: plays a title from whichever edge serves it best, and goes on elsewhere when an
//! edge fails.
//!
//! A [`Player`] plays one [`Source`]: a backend's title, a manifest URL, or a manifest path on several edges.
//! It needs a tokio runtime and nothing else; without sinks it is headless.
//!
//! - What happens comes as [`Events`], how things are as [`PlayerSnapshot`], what was done as a
//!   [`SessionReport`]. Every error has a stable code; [`CODES`] and [`EVENTS`] explain all of them.
//! - Dropping the last clone of a [`Player`] ends everything it does; [`Player::close`] also tells the backend.
//! - Every queue, wait and retry is bounded; encoded media stays below the memory cap.
//! - The decisions are `nearcast-core`'s, and can be replayed from a recording
//!   ([`PlayerBuilder::record`]).
//!
//! ```no_run
//! use nearcast_player::{Player, Source};
//!
//! # async fn example() -> Result<(), nearcast_player::PlayerError> {
//! let source = Source::Url("https://edge.example/title/stream.mpd".to_owned());
//! let player = Player::builder(source).start()?;
//! let mut events = player.events();
//! while let Some(event) = events.next().await {
//!     println!("{:?} {}", event.at, event.kind.name());
//! }
//! let report = player.close().await?;
//! println!("{} stalls", report.stall_count);
//! # Ok(())
//! # }
//! ```
//!
//! Feature `video`: decodes pictures, and every sound but AAC-LC, by FFmpeg's libraries.

mod backend;
mod builder;
mod clock;
mod codes;
mod control;
mod cues;
mod decode;
mod driver;
mod edges;
mod error;
mod event;
mod machine;
mod network;
mod player;
mod playhead;
mod policy;
mod pump;
mod qoe;
mod record;
mod report;
mod sink;
mod snapshot;
mod source;
mod store;
mod telemetry;
mod transport;

pub use backend::{Backend, BackendError, BackendOptions, GrantPath};
pub use builder::PlayerBuilder;
pub use codes::{CODES, CodeEntry, EVENTS, EventEntry, explain};
pub use error::PlayerError;
pub use event::{EventKind, Events, PlayerEvent, state_name};
pub use network::{HttpVersion, Network, NetworkOptions};
pub use player::Player;
pub use playhead::Playhead;
pub use record::RecordedLine;
#[cfg(feature = "video")]
pub use sink::FrameSink;
pub use sink::{
    AudioFormat, AudioSink, CueSink, FrameDelivery, FrameInfo, SampleSink, TrackFormat,
};
pub use snapshot::PlayerSnapshot;
pub use source::Source;

pub use nearcast_core::abr;
pub use nearcast_core::{
    AbrRule, BreakerState, Decision, DecisionKind, EdgeId, EdgeSnapshot, Memory, PlayState,
    RungSnapshot, SessionError, Snapshot, StallCause, TrackSnapshot, TransferSnapshot,
};
pub use nearcast_media::{Cue, CueAlign, CueLine, Sample, TrackInfo};
#[cfg(feature = "video")]
pub use nearcast_media::{FrameScaler, RgbImage, VideoFrame, ffmpeg_license};
pub use nearcast_protocol::manifest::TrackKind;
pub use nearcast_protocol::play::{Refusal, TitleSummary};
pub use nearcast_protocol::report::SessionReport;
pub use nearcast_units::{BitRate, ByteCount, MediaTime, Seed};
