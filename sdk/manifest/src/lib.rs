//! DASH and HLS text to the manifest model.
//!
//! [`parse`] turns an MPD or a playlist into an [`Outline`], which decisions are made on, and [`Locations`],
//! which say where each object lies; the two are joined by
//! [`ObjectKey`](nearcast_protocol::manifest::ObjectKey). Where the manifest leaves segments to another object
//! (an HLS media playlist, a `sidx`), [`Manifest::load_index`] takes that object in.
//!
//! What holds of every manifest that parses:
//! - segments ascend, do not overlap and are not empty; representations ascend in bit rate;
//! - every time is computed from absolute ticks, so nothing drifts;
//! - what is not supported is refused by name ([`ManifestError::code`] begins with `unsupported.`). Where
//!   only some tracks are of an unsupported kind and others can stand in, they are left out and listed in
//!   [`Manifest::refused`];
//! - input is bounded before it is parsed, repeats before they are expanded, and nothing panics.
//!
//! Known limits: video-on-demand only; an HLS presentation keeps one audio group and the first pathway;
//! an HLS discontinuity is refused, because segments behind it would need a media offset of their own.
//!
//! ```
//! use nearcast_manifest::{Target, parse};
//! use nearcast_protocol::manifest::{ObjectKey, RepresentationKey};
//!
//! let mpd = r#"<MPD type="static" mediaPresentationDuration="PT8S"><Period>
//!   <AdaptationSet mimeType="video/mp4"><Representation id="v1" bandwidth="400000" codecs="avc1.64001e">
//!     <SegmentTemplate media="$RepresentationID$/$Number$.m4s" initialization="$RepresentationID$/init.mp4"
//!       duration="4"/>
//!   </Representation></AdaptationSet></Period></MPD>"#;
//! let manifest = parse(mpd.as_bytes(), "demo/stream.mpd")?;
//! let key = RepresentationKey { period: 0, track: 0, representation: 0 };
//! let second = manifest.locations.locate(ObjectKey::Media(key, 1)).unwrap();
//! assert_eq!(second.target, Target::Path("demo/v1/2.m4s".to_owned()));
//! # Ok::<(), nearcast_manifest::ManifestError>(())
//! ```

mod address;
mod codecs;
mod dash;
mod error;
mod hls;
mod language;
mod limits;
mod locations;
mod manifest;
mod sidx;
mod template;
mod timeline;

pub use address::{ByteRange, Location, Target};
pub use error::ManifestError;
pub use limits::{MANIFEST_BYTES_MAX, SEGMENTS_MAX, SEGMENTS_TOTAL_MAX};
pub use locations::Locations;
pub use manifest::{Index, IndexReader, Manifest, Pathway, Refused, parse};

#[cfg(doc)]
use nearcast_protocol::manifest::Outline;
