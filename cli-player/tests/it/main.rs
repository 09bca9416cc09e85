//! The terminal half in a real pty, against a terminal double.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails here"
)]

mod decode;
mod graphics;
mod help;
mod play;
mod pty;
mod terminal;
