//! Makes the title that the demo plays and the tests check, with the program `ffmpeg`.
//!
//! The title proves by itself what was played: every frame carries its number and its rung, once for people and
//! once as a [`barcode`]; every second begins with a tone and a [flash](picture::is_flash_lit). Six rungs of H.264,
//! AAC in two languages and WebVTT in two languages lie beside one DASH and one HLS manifest that name the same files.
//!
//! Invariants:
//! - A title directory is complete or absent: everything is made beside it and renamed at the end.
//! - What was asked for is kept in the directory, so that a second call with the same wishes costs nothing.
//! - Every rung's measured rate is within [`RATE_TOLERANCE`] of what the manifests declare, or making it fails.
//! - Equal wishes on equal FFmpeg versions give equal bytes: noise comes from a fixed seed.
//!
//! ```no_run
//! use nearcast_title::{Progress, TitleConfig, make};
//!
//! let config = TitleConfig::new("target/media/title");
//! let title = make(&config, &mut |progress| {
//!     if let Progress::Making { percent } = progress {
//!         println!("{percent} %");
//!     }
//! })?;
//! assert!(title.dash.ends_with("stream.mpd"));
//! # Ok::<(), nearcast_title::TitleError>(())
//! ```

mod config;
mod encoder;
mod make;
mod manifest;
mod segments;
mod subtitles;

pub mod barcode;
pub mod image;
pub mod picture;
pub mod sound;

pub use config::{
    FRAMES_PER_SECOND, LADDER, LANGUAGES, Language, RATE_TOLERANCE, Rung, SEGMENT_SECONDS,
    TitleConfig,
};
pub use make::{MadeRung, Progress, Title, TitleError, make, take_or_make};
