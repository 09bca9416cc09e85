//! Units of time, data and rate.
//!
//! Every quantity of the player has one type and one unit, so that a mistake of a factor 8 or 1000 does
//! not compile. No clock is read here: [`Instant`] is a number that a driver hands in.
//!
//! ```
//! use nearcast_units::{BitRate, ByteCount};
//! use core::time::Duration;
//!
//! let rate = ByteCount::new(250_000).rate_over(Duration::from_secs(1));
//! assert_eq!(rate, Some(BitRate::from_bps(2_000_000)));
//! ```
#![no_std]

mod data;
mod random;
mod time;

pub use data::{BitRate, ByteCount, Ratio, RatioError};
pub use random::{Rng, Seed};
pub use time::{Instant, MediaTime};
