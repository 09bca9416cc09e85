//! The backend over real sockets.

mod binary;
mod calls;
mod refusals;
mod restart;
mod sealed;
mod support;
