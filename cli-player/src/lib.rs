//! The terminal player.

pub mod sound;
pub mod tui;
