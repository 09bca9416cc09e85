//! A sans-IO model of the paths between appliances and a viewer.
//!
//! [`Network`] is the model for virtual time: links with a rate and a delay, flows (transport
//! connections) whose route crosses some of them, transfers (answers) on a flow. Links are fluid and shared
//! max-min fair between flows, a flow's share equally between its transfers. A flow starts slowly: see
//! [`SlowStart`]. All arithmetic is on integers, so that a run repeats to the nanosecond everywhere.
//!
//! [`Pacer`] is the model for real time, where real sockets bring their own congestion control: it
//! says how much may be sent now, or when to ask again.
//!
//! [`PacketLink`] is one direction of a link packet by packet, for real packets or datagrams: rate, delay, jitter,
//! loss, reordering, duplication, a queue and an MTU.
//!
//! Invariants: bytes sent = bytes arrived + bytes under way + bytes given up; no link passes more than its rate;
//! what arrives on one flow arrives in the order it was sent.
//!
//! ```
//! use core::time::Duration;
//! use nearcast_link::{Arrival, LinkConfig, Network, Transport};
//! use nearcast_units::{BitRate, ByteCount, Instant};
//!
//! # fn main() -> Result<(), nearcast_link::Refused> {
//! let mut network = Network::new(None); // no slow start
//! let edge = network.add_link(LinkConfig {
//!     rate: Some(BitRate::from_kbps(8_000)),
//!     delay: Duration::from_millis(20),
//! });
//! let last_mile = network.add_link(LinkConfig::default());
//! let flow = network.open_flow(Instant::ZERO, &[edge, last_mile], Transport::Tcp)?;
//! let transfer = network.send(Instant::ZERO, flow, ByteCount::new(100_000));
//!
//! let mut arrived = ByteCount::ZERO;
//! let mut now = Instant::ZERO;
//! while let Some(due) = network.next_deadline() {
//!     now = due;
//!     network.handle_timeout(now);
//!     while let Some(arrival) = network.poll_arrival() {
//!         if let Arrival::Bytes { transfer: of, bytes, .. } = arrival {
//!             assert_eq!(of, transfer);
//!             arrived += bytes;
//!         }
//!     }
//! }
//! assert_eq!(arrived, ByteCount::new(100_000));
//! assert_eq!(now, Instant::ZERO + Duration::from_millis(120)); // 100 ms at 8 Mbit/s, and the delay
//! # Ok(())
//! # }
//! ```
#![no_std]

extern crate alloc;

mod network;
mod pacer;
mod packet;
mod sharing;
mod window;

pub use network::{
    Arrival, FlowId, LinkConfig, LinkId, LinkState, Network, Refused, TransferId, Transport,
};
pub use pacer::Pacer;
pub use packet::{Admission, LossBursts, PacketConfig, PacketCounters, PacketLink, PacketLoss};
pub use window::SlowStart;
