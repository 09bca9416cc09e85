//! The whole system from outside: the programs as they are shipped, real media, real sockets on loopback.
//!
//! Every test has a [`room::Room`] of its own, with the programs it started and what they wrote. When a test
//! fails its room is kept and named, so that logs, reports and frames can be read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "all of this is tests, their helpers too"
)]

// What tests are made of.
mod access;
mod edges;
mod frames;
mod network;
mod play;
mod program;
mod room;
mod title;
mod web;

// What must hold.
mod arch;
mod bad_input;
mod control;
mod demo;
mod faults;
mod foreign_server;
mod lab;
mod manifests;
mod objects;
mod outage;
mod processes;
mod protocols;
mod recorded;
mod refusals;
mod screen;
mod settings;
mod shaka;
mod simulated;
mod sound;
