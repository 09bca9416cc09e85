//! Manifests as packagers write them, as standards allow them, and as attackers send them.

mod dash;
mod fixtures;
mod hls;
mod hostile;
mod packagers;
mod property;
