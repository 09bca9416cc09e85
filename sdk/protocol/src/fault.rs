//! The one vocabulary of faults: `POST /control/faults` on an edge's admin port, scenario files and the
//! player's `K` key all speak it.

use alloc::string::String;
use alloc::vec::Vec;

use nearcast_units::Ratio;
use serde::{Deserialize, Serialize};

/// `POST /control/faults`: changes what is wrong with an appliance, from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultOrder {
    /// Removes all earlier faults and restores the link first.
    #[serde(default)]
    pub clear: bool,
    /// Faults to add.
    #[serde(default)]
    pub faults: Vec<FaultRule>,
}

/// One fault and what it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// Requests it applies to; faults of the link apply to all.
    #[serde(default)]
    pub on: FaultSelector,
}

/// Which requests a fault applies to; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultSelector {
    /// The path contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// Applies to this many matching requests, then no more; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The link passes at most this rate; `None` removes the limit.
    Rate {
        /// Bits per second.
        rate_bps: Option<u64>,
    },
    /// The link delays every answer by this much.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Black hole: nothing is sent any more, nothing is refused, connections stay open.
    Stop,
    /// The appliance dies: TCP connections are reset and then refused, QUIC falls silent.
    Kill,
    /// Bodies arrive at this rate only, however little that is.
    Trickle {
        /// Bits per second.
        rate_bps: u64,
    },
    /// The connection is reset once this share of the body was sent.
    Reset {
        /// Share of the body that is sent before.
        after: Ratio,
    },
    /// The body ends early, in good order, after this share.
    Truncate {
        /// Share of the body that is sent.
        after: Ratio,
    },
    /// One byte in a thousand of the body is flipped.
    Corrupt,
    /// The request is answered with this status.
    Status {
        /// HTTP status, 400 to 599.
        status: u16,
        /// `Retry-After`, seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// The answer begins this much later.
    LateFirstByte {
        /// Milliseconds.
        delay_ms: u64,
    },
}

/// What a fault did, kept by the appliance: a fault that never happened can be told from one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultReceipt {
    /// The fault.
    pub fault: Fault,
    /// When it took effect, wall time.
    pub at_unix_ms: u64,
    /// Path of the request it hit; `None` for faults of the link.
    pub path: Option<String>,
    /// Offset in the object at which it took effect.
    pub offset: Option<u64>,
}
