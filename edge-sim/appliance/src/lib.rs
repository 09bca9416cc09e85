//! A sans-IO model of an edge appliance.
//!
//! [`Appliance`] answers what one machine would do: which requests it serves and how badly (faults), how it
//! is (load, errors), what it reports to the backend and when, and whether it still admits sessions. A real
//! server and the simulator drive the same value.
//!
//! It holds no bytes, sockets or clock: monotonic time and wall time are handed in. Faults and receipts follow
//! [`fault`], tokens `nearcast_protocol::appliance`.
//!
//! ```
//! use nearcast_appliance::{Appliance, ApplianceConfig, BodyEnd, Moment, Target};
//! use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule, FaultSelector};
//! use nearcast_units::Ratio;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Moment::default();
//! let mut appliance = Appliance::new(now, ApplianceConfig::named("a"));
//! let reset = FaultRule {
//!     id: None,
//!     fault: Fault::Reset,
//!     on: FaultSelector { count: Some(1), after: Some(Ratio::new(0.5)?), ..FaultSelector::default() },
//! };
//! appliance.handle_order(now, FaultOrder::add([reset]))?;
//! let target = Target::at("demo/1.m4s", 0, 1000);
//! assert_eq!(appliance.decide(now, target).end, BodyEnd::Reset { after: 500 });
//! assert_eq!(appliance.decide(now, target).end, BodyEnd::Complete);
//! # Ok(())
//! # }
//! ```
#![no_std]

extern crate alloc;

mod appliance;
mod board;
#[cfg(feature = "bodies")]
pub mod bodies;
mod control;
mod disposition;
pub mod fault;
mod load;
mod object;
mod refusal;
pub mod token;

pub use appliance::{Action, Appliance, ApplianceConfig, Moment};
pub use board::{Asked, FaultBoard, OrderError};
pub use disposition::{
    Answer, BodyEnd, Disposition, Effect, LinkChange, Slowed, Spoil, Spoilt, StatusFault, Target,
    corrupts,
};
pub use load::Outcome;
pub use object::ObjectName;
pub use refusal::Refusal;
