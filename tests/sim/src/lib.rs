//! Sessions in virtual time: the same `nearcast-core` session that the player drives, over the links of
//! `nearcast-link`, without sockets, threads or a clock. One world holds any number of clients, each behind a last mile,
//! which share what the appliances have. One seed decides everything; the same set-up
//! gives the same log, byte for byte.
//!
//! The model: a connection costs two round trips (TCP and TLS 1.3), a warm one none; a request takes one
//! way to the appliance and its answer comes over the link; objects have a size and no payload. What appliances and the
//! backend do is decided by their own models, which the real servers drive, too. Links are fluid. Where packets are lost, each
//! connection has a congestion window, round trip by round trip, as QUIC's with CUBIC is where losses keep it small (TCP with delayed
//! acknowledgements brings a quarter less); a handshake packet that is lost costs a second, a request that is lost a round trip and
//! 0.2 s (RFC 6298). Bursts of loss hit the packets of a round one after the other, and one round's losses are one to the window;
//! handshakes and requests are lost as often as packets are in the mean. Jitter is drawn for each request, and its mean is in the round trips of windows.
//! That packets overtake each other, come twice or find a queue full, a fluid link does not see.
//!
//! [`trace`] is apart from that: sessions of one rule over one recorded network, as published simulators run them. So is [`hostile`]: a
//! session without a world, which is told whatever bytes say.

mod agenda;
mod client;
mod driver;
pub mod hostile;
pub mod player;
pub mod replay;
pub mod scenario;
mod setup;
mod title;
pub mod trace;
mod world;

pub use driver::{Outcome, Simulation, WorldOutcome};
pub use setup::{
    BackendSetup, Bursts, Change, ClientSetup, EdgeSetup, Impairment, LinkName, LinkSchedule,
    LinkStep, Setup, TimedCommand, TimedOrder, Trap, Watch, WorldSetup,
};
pub use title::SimTitle;
pub use world::Sprung;
