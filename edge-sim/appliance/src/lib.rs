//! A sans-IO model of an edge appliance.
//!
//! [`Appliance`] answers what one machine would do: which requests it serves and how badly (faults), how it
//! is (load, errors), what it reports to the backend and when, and whether it still admits sessions. A real
//! server and the simulator drive the same value.
//!
//! It holds no bytes, sockets or clock: monotonic time and wall time are handed in. Faults and receipts follow
//! `nearcast_protocol::fault`, tokens `nearcast_protocol::appliance`.
//!
//! ```
//! use nearcast_appliance::{Appliance, ApplianceConfig, BodyEnd, Moment, Target};
//! use nearcast_protocol::fault::{Fault, FaultOrder, FaultRule, FaultSelector};
//! use nearcast_units::Ratio;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Moment::default();
//! let mut appliance = Appliance::new(now, ApplianceConfig::named("a"));
//! let reset = FaultRule {
//!     fault: Fault::Reset { after: Ratio::new(0.5)? },
//!     on: FaultSelector { count: Some(1), ..FaultSelector::default() },
//! };
//! appliance.handle_order(now, FaultOrder { clear: false, faults: vec![reset] })?;
//! let target = Target { path: "demo/1.m4s", first: 0, length: 1000 };
//! assert_eq!(appliance.decide(now, target).end, BodyEnd::Reset { after: 500 });
//! assert_eq!(appliance.decide(now, target).end, BodyEnd::Complete);
//! # Ok(())
//! # }
//! ```
#![no_std]

extern crate alloc;

mod appliance;
mod control;
mod faults;
mod load;
pub mod token;

pub use appliance::{Action, Appliance, ApplianceConfig, Moment};
pub use control::Admission;
pub use faults::{
    Asked, BodyEnd, Disposition, Effect, LinkChange, OrderError, StatusFault, Target, corrupts,
};
pub use load::Outcome;
