//! Which fault hits which request, and what came of it.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::fault::{Fault, FaultOrder, FaultReceipt, FaultRule};
use nearcast_units::{BitRate, Ratio};

/// What a request is about to be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Path relative to the base URL.
    pub path: &'a str,
    /// Offset of the answer's body in the object, in bytes.
    pub first: u64,
    /// Length of the answer's body in bytes; zero when it has none.
    pub length: u64,
}

/// How an answer goes wrong; [`Disposition::default`] is a good one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disposition {
    /// The answer begins this much later.
    pub late: Duration,
    /// It is this status and has none of the body.
    pub status: Option<StatusFault>,
    /// The body arrives at this rate at most.
    pub rate: Option<BitRate>,
    /// The bytes that [`corrupts`] names are flipped.
    pub corrupt: bool,
    /// How the body ends.
    pub end: BodyEnd,
}

/// An error answer in place of a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFault {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u32>,
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
}

/// Whether a corrupt body of `length` bytes has its byte at `index` flipped: one in each thousand, and one in
/// the middle of a shorter body.
#[must_use]
pub fn corrupts(index: u64, length: u64) -> bool {
    index % 1000 == (length / 2).min(500)
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

/// An order that cannot be carried out; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A status that is no error.
    #[error("a status fault needs a status from 400 to 599, not {status}")]
    Status {
        /// What was asked for.
        status: u16,
    },
    /// More rules at once than an appliance keeps.
    #[error("at most {max} fault rules at once; send `clear: true` first", max = FaultBoard::RULES_MAX)]
    TooMany,
}

/// The rules in force and the receipts of those that took effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultBoard {
    rules: Vec<FaultRule>,
    receipts: VecDeque<FaultReceipt>,
}

impl FaultBoard {
    /// More rules than any scenario has, so that a runaway script is told.
    pub(crate) const RULES_MAX: usize = 64;
    /// Older receipts are dropped: enough for an hour of one hit per second.
    pub(crate) const RECEIPTS_MAX: usize = 4096;

    /// Takes an order; returns the faults of the link in it, and `None` first when the link is to be restored.
    pub(crate) fn apply(
        &mut self,
        unix_ms: u64,
        order: FaultOrder,
    ) -> Result<Vec<Option<Fault>>, OrderError> {
        let (of_link, of_requests): (Vec<FaultRule>, Vec<FaultRule>) = order
            .faults
            .into_iter()
            .partition(|rule| is_of_link(&rule.fault));
        for rule in &of_requests {
            if let Fault::Status { status, .. } = rule.fault
                && !(400..=599).contains(&status)
            {
                return Err(OrderError::Status { status });
            }
        }
        let kept = if order.clear { 0 } else { self.rules.len() };
        if kept + of_requests.len() > Self::RULES_MAX || of_link.len() > Self::RULES_MAX {
            return Err(OrderError::TooMany);
        }
        self.rules.truncate(kept);
        self.rules.extend(of_requests);
        let mut changes: Vec<Option<Fault>> = order.clear.then_some(None).into_iter().collect();
        for rule in of_link {
            self.record(unix_ms, rule.fault.clone(), None, None);
            changes.push(Some(rule.fault));
        }
        Ok(changes)
    }

    pub(crate) fn decide(&mut self, unix_ms: u64, target: Target<'_>) -> Disposition {
        let mut answer = Disposition::default();
        let mut hits = Vec::new();
        // The first status wins, and a request without a body does not use up a fault of bodies.
        let status = self.rules.iter().position(|rule| {
            matches!(rule.fault, Fault::Status { .. }) && applies(rule, target.path)
        });
        for (index, rule) in self.rules.iter_mut().enumerate() {
            let hit = match rule.fault {
                Fault::Status { .. } => status == Some(index),
                Fault::LateFirstByte { .. } => true,
                Fault::Trickle { .. }
                | Fault::Reset { .. }
                | Fault::Truncate { .. }
                | Fault::Corrupt => status.is_none() && target.length > 0,
                Fault::Rate { .. } | Fault::Delay { .. } | Fault::Stop | Fault::Kill => false,
            };
            if hit && applies(rule, target.path) {
                rule.on.count = rule.on.count.map(|left| left.saturating_sub(1));
                answer.add(&rule.fault, target.length);
                hits.push(rule.fault.clone());
            }
        }
        self.rules.retain(|rule| rule.on.count != Some(0));
        for fault in hits {
            let offset = match fault {
                Fault::Trickle { .. } => Some(target.first),
                Fault::Corrupt => Some(target.first + (target.length / 2).min(500)),
                // These take effect later, if the client stays: see `handle_cut`.
                Fault::Reset { .. } | Fault::Truncate { .. } => continue,
                Fault::Status { .. }
                | Fault::LateFirstByte { .. }
                | Fault::Rate { .. }
                | Fault::Delay { .. }
                | Fault::Stop
                | Fault::Kill => None,
            };
            self.record(unix_ms, fault, Some(target.path), offset);
        }
        answer
    }

    /// A body was cut as decided.
    pub(crate) fn handle_cut(&mut self, unix_ms: u64, target: Target<'_>, end: BodyEnd) {
        let share = |after: u64| share_of(after, target.length);
        let (fault, after) = match end {
            BodyEnd::Complete => return,
            BodyEnd::Reset { after } => (
                Fault::Reset {
                    after: share(after),
                },
                after,
            ),
            BodyEnd::Truncate { after } => (
                Fault::Truncate {
                    after: share(after),
                },
                after,
            ),
        };
        self.record(
            unix_ms,
            fault,
            Some(target.path),
            Some(target.first.saturating_add(after)),
        );
    }

    pub(crate) fn receipts(&self) -> impl Iterator<Item = &FaultReceipt> {
        self.receipts.iter()
    }

    fn record(&mut self, at_unix_ms: u64, fault: Fault, path: Option<&str>, offset: Option<u64>) {
        if self.receipts.len() == Self::RECEIPTS_MAX {
            self.receipts.pop_front();
        }
        self.receipts.push_back(FaultReceipt {
            fault,
            at_unix_ms,
            path: path.map(String::from),
            offset,
        });
    }
}

impl Disposition {
    fn add(&mut self, fault: &Fault, length: u64) {
        match *fault {
            Fault::LateFirstByte { delay_ms } => {
                self.late = self.late.max(Duration::from_millis(delay_ms));
            }
            Fault::Status {
                status,
                retry_after_s,
            } => {
                self.status = Some(StatusFault {
                    status,
                    retry_after_s,
                });
            }
            Fault::Trickle { rate_bps } => {
                let rate = BitRate::from_bps(rate_bps);
                self.rate = Some(self.rate.map_or(rate, |other| other.min(rate)));
            }
            Fault::Corrupt => self.corrupt = true,
            Fault::Reset { after } => {
                self.end = BodyEnd::Reset {
                    after: part_of(after, length),
                };
            }
            Fault::Truncate { after } => {
                self.end = BodyEnd::Truncate {
                    after: part_of(after, length),
                };
            }
            Fault::Rate { .. } | Fault::Delay { .. } | Fault::Stop | Fault::Kill => {}
        }
    }
}

const fn is_of_link(fault: &Fault) -> bool {
    match fault {
        Fault::Rate { .. } | Fault::Delay { .. } | Fault::Stop | Fault::Kill => true,
        Fault::Trickle { .. }
        | Fault::Reset { .. }
        | Fault::Truncate { .. }
        | Fault::Corrupt
        | Fault::Status { .. }
        | Fault::LateFirstByte { .. } => false,
    }
}

fn applies(rule: &FaultRule, path: &str) -> bool {
    let wanted = rule.on.path_contains.as_deref();
    rule.on.count != Some(0) && wanted.is_none_or(|text| path.contains(text))
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

#[expect(
    clippy::cast_precision_loss,
    reason = "lengths are below 2^53, and a receipt needs no more digits"
)]
fn share_of(part: u64, length: u64) -> Ratio {
    Ratio::new(part as f64 / length.max(1) as f64).unwrap_or(Ratio::ONE)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use nearcast_protocol::fault::FaultSelector;

    use super::*;

    const BODY: Target<'static> = Target {
        path: "demo/v1/3.m4s",
        first: 1000,
        length: 2000,
    };

    fn order(faults: Vec<Fault>) -> FaultOrder {
        FaultOrder {
            clear: false,
            faults: faults
                .into_iter()
                .map(|fault| FaultRule {
                    fault,
                    on: FaultSelector::default(),
                })
                .collect(),
        }
    }

    fn board(faults: Vec<Fault>) -> FaultBoard {
        let mut board = FaultBoard::default();
        assert!(board.apply(1, order(faults)).is_ok());
        board
    }

    #[test]
    fn a_rule_hits_only_its_paths_and_only_as_often_as_it_says() {
        let mut board = FaultBoard::default();
        let rule = FaultRule {
            fault: Fault::Corrupt,
            on: FaultSelector {
                path_contains: Some("/v1/".into()),
                count: Some(2),
            },
        };
        let order = FaultOrder {
            clear: false,
            faults: vec![rule],
        };
        assert_eq!(board.apply(1, order), Ok(vec![]));
        let audio = Target {
            path: "demo/a1/3.m4s",
            ..BODY
        };
        let head = Target { length: 0, ..BODY };
        let hits: Vec<bool> = [BODY, audio, head, BODY, BODY]
            .into_iter()
            .map(|target| board.decide(5, target).corrupt)
            .collect();
        assert_eq!(hits, [true, false, false, true, false]);
        assert_eq!(board.receipts().count(), 2);
    }

    #[test]
    fn faults_of_bodies_add_up_and_a_status_stands_alone() {
        let half = Ratio::new(0.5).unwrap();
        let mut board = board(vec![
            Fault::Trickle { rate_bps: 800 },
            Fault::LateFirstByte { delay_ms: 30 },
            Fault::Reset { after: half },
        ]);
        let answer = board.decide(5, BODY);
        assert_eq!(answer.rate, Some(BitRate::from_bps(800)));
        assert_eq!(answer.late, Duration::from_millis(30));
        assert_eq!(answer.end, BodyEnd::Reset { after: 1000 });
        let more = order(vec![Fault::Status {
            status: 503,
            retry_after_s: Some(2),
        }]);
        assert!(board.apply(6, more).is_ok());
        let answer = board.decide(7, BODY);
        assert_eq!(answer.end, BodyEnd::Complete);
        assert_eq!(answer.rate, None);
        let status = StatusFault {
            status: 503,
            retry_after_s: Some(2),
        };
        assert_eq!(answer.status, Some(status));
    }

    #[test]
    fn a_cut_leaves_a_receipt_only_when_it_happened() {
        let mut board = board(vec![Fault::Truncate {
            after: Ratio::new(0.25).unwrap(),
        }]);
        let answer = board.decide(5, BODY);
        assert_eq!(board.receipts().count(), 0);
        board.handle_cut(9, BODY, answer.end);
        let receipt = board.receipts().next().cloned().unwrap();
        assert_eq!(receipt.offset, Some(1500));
        assert_eq!(receipt.at_unix_ms, 9);
        assert_eq!(receipt.path.as_deref(), Some(BODY.path));
        assert_eq!(
            receipt.fault,
            Fault::Truncate {
                after: Ratio::new(0.25).unwrap()
            }
        );
    }

    #[test]
    fn a_cut_at_the_whole_body_still_cuts() {
        let mut board = board(vec![Fault::Reset { after: Ratio::ONE }]);
        assert_eq!(board.decide(5, BODY).end, BodyEnd::Reset { after: 1999 });
    }

    #[test]
    fn every_corrupt_body_has_a_flipped_byte_and_long_ones_one_in_a_thousand() {
        for length in [1_u64, 2, 999, 1000, 1500] {
            assert!((0..length).any(|index| corrupts(index, length)), "{length}");
        }
        assert_eq!((0..100_000).filter(|&i| corrupts(i, 100_000)).count(), 100);
    }

    #[test]
    fn clearing_restores_the_link_first_and_bad_orders_change_nothing() {
        let mut board = board(vec![Fault::Corrupt]);
        let mut again = order(vec![Fault::Kill]);
        again.clear = true;
        assert_eq!(board.apply(2, again), Ok(vec![None, Some(Fault::Kill)]));
        assert_eq!(board.decide(3, BODY), Disposition::default());
        let good = Fault::Status {
            status: 200,
            retry_after_s: None,
        };
        assert_eq!(
            board.apply(4, order(vec![Fault::Corrupt, good])),
            Err(OrderError::Status { status: 200 })
        );
        assert_eq!(board.decide(5, BODY), Disposition::default());
        let many = vec![Fault::Corrupt; FaultBoard::RULES_MAX + 1];
        assert_eq!(board.apply(6, order(many)), Err(OrderError::TooMany));
    }
}
