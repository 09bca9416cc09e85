//! The terminal half in a real pty, against a terminal double.

mod decode;
mod graphics;
mod pty;
mod terminal;
