//! The backend over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod binary;
mod calls;
mod faults;
mod refusals;
mod restart;
mod sealed;
mod support;
