//! Manifests as packagers write them, as standards allow them, and as attackers send them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail them"
)]

mod dash;
mod fixtures;
mod hls;
mod hostile;
mod packagers;
mod property;
