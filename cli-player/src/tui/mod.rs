//! The terminal screen: state in, cells and bytes out.
//!
//! [`state`] says what there is to show, [`update`](update()) turns a key into a [`Command`], [`view`](view())
//! draws the state; all three are free of I/O. [`graphics`] turns a picture into bytes for the kind of
//! terminal that [`graphics::detect`] found. [`terminal`] owns the terminal's modes and gives them back
//! whatever happens; [`run`](run()) is the loop that joins the parts.
//!
//! Nothing here knows the player: the loop takes channels of state and pictures and gives a channel of
//! commands.

pub mod graphics;
mod keys;
mod picture;
mod run;
pub mod state;
pub mod terminal;
mod update;
mod view;
mod writer;

pub use keys::Key;
pub use picture::{Picture, PictureError, PixelSize};
pub use run::{End, Feeds, Options, TuiError, run};
pub use state::{Playback, ViewState};
pub use update::{Command, update};
pub use view::{picture_area, view};
