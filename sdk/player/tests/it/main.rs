//! The player against small servers on loopback.
#![cfg(test)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one thing among many"
)]

mod backend;
mod commands;
mod decoding;
mod edge;
mod playback;
mod policy;
mod sinks;
