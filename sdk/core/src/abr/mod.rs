//! Which rung comes next, and what to do beside that: wait, replace what is buffered, give up what is on its way.
//! Policies are given what they may look at and answer with a decision; they know nothing of edges or fetches.
//!
//! Built-in policies are called by the session; one of the application is asked by `Action::AskPolicy` and answers by
//! an input. All of them implement one trait, so that one suite holds them to its promises.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "arithmetic of rates and levels: the planner's units are floats, and its tables are small"
)]

mod bola;
mod buffer_based;
mod context;
mod dynamic;
mod horizon;
mod objective;
mod robust_mpc;
mod throughput;

pub use bola::Bola;
pub use buffer_based::BufferBased;
pub use context::{
    AbrChoice, AbrContext, AbrDecision, LOOK_AHEAD, Rung, SegmentAhead, SegmentBuffered, Transfer,
    UnderWay,
};
pub use dynamic::Dynamic;
pub use horizon::{Candidate, Horizon, HorizonConfig, Leaning};
pub use objective::{Objective, RungValue, Weights};
pub use robust_mpc::RobustMpc;
pub use throughput::Throughput;

use alloc::boxed::Box;
use core::fmt;

use crate::config::AbrRule;

/// Decides which rung comes next.
///
/// What every policy promises, whatever it is told and in whatever order: a rung of the ladder it was given (the lowest where nothing
/// better is known), a wait of a second at most and only where there is no room or nothing to fetch, a replacement only of what is
/// offered and by a higher rung, the same answer to the same past, and no allocation while it decides.
pub trait AbrPolicy: fmt::Debug + Send {
    /// Returns the name by which it is chosen and reported.
    fn name(&self) -> &'static str;

    /// Hears of a media segment that arrived.
    fn transferred(&mut self, _transfer: &Transfer) {}

    /// Decides what to do next.
    fn decide(&mut self, context: &AbrContext) -> AbrChoice;

    /// Looks at a transfer under way; returns the rung to fetch instead where it is to be given up. The segment under
    /// way is the first of `context.ahead`.
    fn review(&mut self, _context: &AbrContext, _under_way: &UnderWay) -> Option<AbrChoice> {
        None
    }

    /// Whether it judges transfers under way: for one that does not, the session has a rule of thumb.
    fn reviews(&self) -> bool {
        false
    }

    /// Whether it may answer with a replacement: one that never does is not asked while the buffer is full.
    fn replaces(&self) -> bool {
        false
    }

    /// Returns what the last decision held of each rung for the next segment (of the lowest sixteen in a longer ladder): the more the
    /// better, finite, in a unit of the policy's own; empty where the policy does not compare.
    fn scores(&self) -> &[f64] {
        &[]
    }
}

impl AbrRule {
    /// All that are built in.
    pub const ALL: [Self; 6] = [
        Self::Horizon,
        Self::Dynamic,
        Self::Throughput,
        Self::Bola,
        Self::BufferBased,
        Self::RobustMpc,
    ];

    /// Makes the policy.
    #[must_use]
    pub fn policy(self) -> Box<dyn AbrPolicy> {
        match self {
            Self::Horizon => Box::new(Horizon::default()),
            Self::Dynamic => Box::new(Dynamic::default()),
            Self::Bola => Box::new(Bola),
            Self::Throughput => Box::new(Throughput),
            Self::BufferBased => Box::new(BufferBased),
            Self::RobustMpc => Box::new(RobustMpc::default()),
        }
    }
}

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;
