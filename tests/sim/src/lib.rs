//! Sessions in virtual time: the same `nearcast-core` session that the player drives, over the links of
//! `nearcast-link`, without sockets, threads or a clock. One world holds any number of clients, each behind a last mile,
//! which share what the appliances have. One seed decides everything; the same set-up
//! gives the same log, byte for byte.
//!
//! The model: a connection costs two round trips (TCP and TLS 1.3), a warm one none; a request takes one
//! way to the appliance and its answer comes over the link; objects have a size and no payload.
//!
//! [`trace`] is apart from that: sessions of one rule over one recorded network, as published simulators run them. So is [`hostile`]: a
//! session without a world, which is told whatever bytes say.

mod agenda;
mod client;
mod driver;
pub mod hostile;
pub mod player;
mod setup;
mod title;
pub mod trace;
mod world;

pub use driver::{Outcome, Simulation, WorldOutcome};
pub use setup::{
    Change, ClientSetup, EdgeSetup, LinkName, LinkSchedule, LinkStep, Setup, TimedCommand,
    TimedOrder, Trap, Watch, WorldSetup,
};
pub use title::SimTitle;
pub use world::Sprung;
