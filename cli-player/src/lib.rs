//! The terminal player: the program `nearcast`.

pub mod commands;
#[cfg(feature = "video")]
mod frames;
mod screen;
pub mod sound;
mod system;
pub mod tui;
