//! One rule over one recorded network, by the semantics of two published simulators: what rung choices are
//! worth, comparable with published results to the last digit that those print.
//!
//! Fluid and exact: a transfer is the integral of the recorded rate, and time jumps from one happening to the
//! next. Nothing here knows edges, connections or the session of `nearcast-core`.
//!
//! Units are those of the recordings, as `f64`: milliseconds, kbit/s (which is bits per millisecond) and bits.
//! Names end in them.

mod cursor;
mod hindsight;
mod movie;
mod optimum;
mod rule;
pub mod rules;
mod session;

pub use cursor::{Cursor, Share};
pub use hindsight::{Hindsight, State};
pub use movie::{Movie, MovieError};
pub use nearcast_scenario::{Network, NetworkError, Period};
pub use optimum::{Effort, Optimum, optimum};
pub use rule::{Delivered, Pace, Progress, Rule, Slice, Step, Verdict, View};
pub use session::{PENSIEVE_RATE, PENSIEVE_RTT_MS, Played, Profile, SessionError, Setup, run};
