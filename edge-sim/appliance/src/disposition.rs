//! How one answer goes wrong.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each of these is about a few of many faults"
)]

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, Ratio};

use crate::fault::{Fault, FaultRule, Scope};
use crate::object::ObjectName;

/// What a request is about to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Path relative to the base URL.
    pub path: &'a str,
    /// What lies there.
    pub object: ObjectName<'a>,
    /// Who asks: a playback identifier, say; empty where nobody says.
    pub client: &'a str,
    /// Offset of the answer's body in the object, in bytes.
    pub first: u64,
    /// Length of the answer's body in bytes; zero when it has none.
    pub length: u64,
}

impl<'a> Target<'a> {
    /// Makes the target that lies at a path, asked for by nobody in particular.
    #[must_use]
    pub fn at(path: &'a str, first: u64, length: u64) -> Self {
        Self {
            path,
            object: ObjectName::of_path(path),
            client: "",
            first,
            length,
        }
    }
}

/// How an answer goes wrong; [`Disposition::default`] is a good one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disposition {
    /// The answer begins this much later.
    pub late: Duration,
    /// What it is.
    pub answer: Answer,
    /// The body arrives at a rate at most.
    pub slowed: Option<Slowed>,
    /// The body's bytes are wrong.
    pub spoilt: Option<Spoilt>,
    /// How the body ends.
    pub end: BodyEnd,
    /// The name of the rule that the answer is by.
    pub(crate) answered_by: Option<String>,
    /// The rules that made it so, for receipts.
    pub(crate) hits: Vec<Hit>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    #[default]
    Good,
    /// A status in place of a good one, without the body.
    Status(StatusFault),
    /// What a token gets whose time is over.
    TokenExpired,
    /// 200, and a page of HTML.
    Portal,
    /// A redirect to itself.
    RedirectLoop,
    /// Another range than the one that was asked for.
    WrongRange,
    /// Said to be compressed.
    GzipBomb,
    /// Said to be half as long as it is.
    Longer,
    /// The manifest of an older edition, in which the title ends halfway.
    StaleManifest,
}

/// An error answer in place of a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFault {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u32>,
}

/// A body that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowed {
    /// From this byte of it on.
    pub after: u64,
    /// To this rate.
    pub rate: BitRate,
}

/// A body that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoilt {
    /// From this byte of it on.
    pub after: u64,
    /// How.
    pub how: Spoil,
}

/// How bytes are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// Those that [`corrupts`] names are flipped.
    Flipped,
    /// All are zero.
    Zeros,
    /// All are 0xFF, which is in no UTF-8 text.
    NoText,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyEnd {
    /// As it should.
    #[default]
    Complete,
    /// The connection is reset once this many bytes of the body were sent.
    Reset {
        /// Bytes.
        after: u64,
    },
    /// It ends, in good order, after this many bytes.
    Truncate {
        /// Bytes.
        after: u64,
    },
    /// Nothing more comes after this many bytes.
    Hang {
        /// Bytes.
        after: u64,
    },
    /// After this many bytes something happens to the link; what becomes of the body, the link decides.
    Link {
        /// Bytes.
        after: u64,
        /// What happens.
        change: LinkChange,
    },
}

/// A part of a disposition that takes effect, now and not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer would begin now and does not.
    Late,
    /// What follows of the body is held back.
    Slowed {
        /// Offset in the body.
        at: u64,
    },
    /// The first byte is wrong.
    Spoilt {
        /// Offset in the body.
        at: u64,
    },
    /// The body is cut as [`Disposition::end`] says.
    Cut,
}

/// Whether a corrupt body of `length` bytes has its byte at `index` flipped: one in each thousand, and one in
/// the middle of a shorter body.
#[must_use]
pub fn corrupts(index: u64, length: u64) -> bool {
    index % 1000 == (length / 2).min(500)
}

impl Spoil {
    /// Returns what becomes of the byte at `index` of `length` wrong ones; `None` where it stays as it is.
    #[must_use]
    pub fn spoils(self, byte: u8, index: u64, length: u64) -> Option<u8> {
        match self {
            Self::Flipped => corrupts(index, length).then_some(!byte),
            Self::Zeros => Some(0),
            Self::NoText => Some(0xFF),
        }
    }
}

/// A change of the link in front of the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It is up, with these values, as at the start.
    Restore {
        /// `None` is no limit.
        rate: Option<BitRate>,
        /// One way.
        delay: Duration,
    },
    /// It passes at most this; `None` is no limit.
    Rate(Option<BitRate>),
    /// It delays answers by this.
    Delay(Duration),
    /// It is a black hole.
    Stop,
    /// It is dead: TCP is reset and refused, QUIC silent.
    Kill,
}

impl LinkChange {
    pub(crate) fn of(fault: &Fault) -> Option<Self> {
        match *fault {
            Fault::Rate { rate_bps } => Some(Self::Rate(rate_bps.map(BitRate::from_bps))),
            Fault::Delay { delay_ms } => Some(Self::Delay(Duration::from_millis(delay_ms))),
            Fault::Stop => Some(Self::Stop),
            Fault::Kill => Some(Self::Kill),
            _ => None,
        }
    }
}

/// A rule that shaped a disposition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) number: u64,
    pub(crate) id: Option<String>,
    pub(crate) fault: Fault,
    /// From which byte of the body on.
    pub(crate) after: u64,
}

impl Disposition {
    /// Returns the names of the rules that made it what it is.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        let of_hits = self.hits.iter().filter_map(|hit| hit.id.as_deref());
        of_hits.chain(self.answered_by.as_deref())
    }

    /// Adds what a rule does to a body of this length, or to what comes before it.
    pub(crate) fn add(&mut self, number: u64, rule: &FaultRule, length: u64) {
        self.add_hit(Hit {
            number,
            id: rule.id.clone(),
            fault: rule.fault.clone(),
            after: part_of(rule.on.after.unwrap_or(Ratio::ZERO), length),
        });
    }

    pub(crate) fn add_hit(&mut self, hit: Hit) {
        let after = hit.after;
        match hit.fault {
            Fault::LateFirstByte { delay_ms } => {
                self.late = self.late.max(Duration::from_millis(delay_ms));
            }
            Fault::Trickle { rate_bps } => {
                let rate = BitRate::from_bps(rate_bps);
                if self.slowed.is_none_or(|other| rate < other.rate) {
                    self.slowed = Some(Slowed { after, rate });
                }
            }
            Fault::Reset => self.end = BodyEnd::Reset { after },
            Fault::Truncate => self.end = BodyEnd::Truncate { after },
            Fault::Hang => self.end = BodyEnd::Hang { after },
            _ => {
                if let Some(how) = Spoil::of(&hit.fault) {
                    self.spoilt = Some(Spoilt { after, how });
                } else if let Some(change) = LinkChange::of(&hit.fault) {
                    self.end = BodyEnd::Link { after, change };
                }
            }
        }
        self.hits.push(hit);
    }
}

impl Answer {
    pub(crate) const fn of(fault: &Fault) -> Self {
        match *fault {
            Fault::Status {
                status,
                retry_after_s,
            } => Self::Status(StatusFault {
                status,
                retry_after_s,
            }),
            Fault::TokenExpired => Self::TokenExpired,
            Fault::Portal => Self::Portal,
            Fault::RedirectLoop => Self::RedirectLoop,
            Fault::WrongRange => Self::WrongRange,
            Fault::GzipBomb => Self::GzipBomb,
            Fault::Longer => Self::Longer,
            Fault::StaleManifest => Self::StaleManifest,
            _ => Self::Good,
        }
    }
}

impl Spoil {
    pub(crate) const fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::Corrupt => Some(Self::Flipped),
            Fault::Zeros => Some(Self::Zeros),
            Fault::BadText => Some(Self::NoText),
            _ => None,
        }
    }
}

impl BodyEnd {
    /// Returns after how many bytes of the body it comes; `None` at its length.
    #[must_use]
    pub const fn after(self) -> Option<u64> {
        match self {
            Self::Complete => None,
            Self::Reset { after }
            | Self::Truncate { after }
            | Self::Hang { after }
            | Self::Link { after, .. } => Some(after),
        }
    }

    pub(crate) fn not_before(mut self, sent: u64) -> Self {
        match &mut self {
            Self::Complete => {}
            Self::Reset { after }
            | Self::Truncate { after }
            | Self::Hang { after }
            | Self::Link { after, .. } => *after = (*after).max(sent),
        }
        self
    }
}

/// Whether a fault ends bodies.
pub(crate) fn is_end(fault: &Fault) -> bool {
    matches!(fault, Fault::Reset | Fault::Truncate | Fault::Hang) || fault.scope() == Scope::Link
}

/// A share of a body in whole bytes; a cut always leaves something off.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a length below 2^53, rounded down"
)]
fn part_of(share: Ratio, length: u64) -> u64 {
    ((length as f64 * share.get()) as u64).min(length.saturating_sub(1))
}
