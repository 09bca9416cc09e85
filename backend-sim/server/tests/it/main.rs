//! The backend over real sockets.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod binary;
mod calls;
mod refusals;
mod restart;
mod sealed;
mod support;
