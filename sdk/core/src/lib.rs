//! Every decision of the player, without sockets, clock or threads.
//!
//! A driver tells a [`Session`] what happened and when ([`Input`]), does what the session asks
//! ([`Action`]), passes on what the application may want to know ([`Event`]) and wakes the session at
//! its next deadline. The real player and the simulator drive the same session; with the same inputs
//! at the same times it takes the same decisions, bit for bit.
//!
//! Invariants:
//! - One `handle`, then drain [`Session::poll_action`] and [`Session::poll_event`], then wait until
//!   [`Session::next_deadline`].
//! - No URL, token or media byte enters: objects are named by [`nearcast_protocol::manifest::ObjectKey`],
//!   edges by [`EdgeId`], bytes by offsets and counts.
//! - While work waits there is a deadline: nothing waits for ever.
//!
//! ```
//! use nearcast_core::{Action, Config, Input, Session};
//! use nearcast_units::Instant;
//!
//! let mut session = Session::new(Config::default());
//! session.handle(Instant::ZERO, Input::Load);
//! assert!(matches!(session.poll_action(), Some(Action::RequestGrant { .. })));
//! ```
#![no_std]

extern crate alloc;

mod action;
mod config;
mod event;
mod input;
mod memory;

mod session;

pub mod abr;
mod clock;
mod edge;
mod fetch;
mod perceptron;
mod qoe;
mod schedule;
mod throughput;
mod timeline;

pub use action::{Action, AttemptSpec, CancelReason, ClockOrder};
pub use config::{AbrRule, Config};
pub use edge::{BreakerState, Remedy, remedy};
pub use event::{Decision, DecisionKind, Event, PlayState, SessionError, StallCause};
pub use input::{
    AskId, AttemptId, CertificateProblem, Command, EdgeId, EdgeOffer, Epoch, Failure, FetchId,
    Grant, Input, Protocol, TransportEvent, Validators,
};
pub use memory::Memory;
pub use session::{
    EdgeSnapshot, Owner, RungSnapshot, Session, Snapshot, TrackSnapshot, TransferSnapshot, Wait,
};
pub use throughput::{
    Forecast, HORIZONS, HORIZONS_S, QUANTILES, QUANTILES_AT, RateEstimate, SIGNS,
};
