//! The player against small servers on loopback.

mod edge;
mod playback;
mod sinks;
