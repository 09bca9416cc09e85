//! The terminal player: the program `nearcast`.

mod addresses;
pub mod commands;
#[cfg(feature = "video")]
mod frames;
mod screen;
pub mod sound;
mod system;
pub mod tui;
