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

/// Which orders were known when a body was decided on: see [`Appliance::revise`](crate::Appliance::revise).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    clears: u64,
    rules: u64,
}

/// A fault that takes effect, now and not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The answer would begin now and does not.
    Late,
    /// What follows of the body is held back.
    Trickle {
        /// Offset in the body.
        at: u64,
    },
    /// The first byte is flipped.
    Corrupt {
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
    rules: Vec<Rule>,
    /// How many rules and how many orders to clear there have been.
    known: Asked,
    receipts: VecDeque<FaultReceipt>,
}

/// A rule with its number, counted over all rules there ever were.
#[derive(Clone, Debug)]
struct Rule {
    number: u64,
    rule: FaultRule,
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
        self.known.clears += u64::from(order.clear);
        for rule in of_requests {
            let number = self.known.rules;
            self.known.rules += 1;
            self.rules.push(Rule { number, rule });
        }
        let mut changes: Vec<Option<Fault>> = order.clear.then_some(None).into_iter().collect();
        for rule in of_link {
            self.record(unix_ms, rule.fault.clone(), None, None);
            changes.push(Some(rule.fault));
        }
        Ok(changes)
    }

    pub(crate) const fn asked(&self) -> Asked {
        self.known
    }

    pub(crate) fn decide(&mut self, unix_ms: u64, target: Target<'_>) -> Disposition {
        let mut answer = Disposition::default();
        // The first status wins, and a request without a body does not use up a fault of bodies.
        let status = self.rules.iter().position(|Rule { rule, .. }| {
            matches!(rule.fault, Fault::Status { .. }) && applies(rule, target.path)
        });
        let mut wrong = None;
        for (index, Rule { rule, .. }) in self.rules.iter_mut().enumerate() {
            let hit = match rule.fault {
                Fault::Status { .. } => status == Some(index),
                Fault::LateFirstByte { .. } => true,
                Fault::Trickle { .. }
                | Fault::Reset { .. }
                | Fault::Truncate { .. }
                | Fault::Corrupt => status.is_none() && target.length > 0,
                Fault::Rate { .. } | Fault::Delay { .. } | Fault::Stop | Fault::Kill => false,
            };
            if hit && use_up(rule, target.path) {
                answer.add(&rule.fault, target.length);
                if matches!(rule.fault, Fault::Status { .. }) {
                    wrong = Some(rule.fault.clone());
                }
            }
        }
        self.rules.retain(|rule| rule.rule.on.count != Some(0));
        // The others take effect later, if the client stays: see `handle_effect`.
        if let Some(status) = wrong {
            self.record(unix_ms, status, Some(target.path), None);
        }
        answer
    }

    /// Decides again on a body of which so much was sent: orders that came after it was asked count for it too.
    pub(crate) fn revise(
        &mut self,
        target: Target<'_>,
        sent: u64,
        before: Disposition,
        asked: Asked,
    ) -> Disposition {
        let mut answer = if asked.clears == self.known.clears {
            before
        } else {
            Disposition::default()
        };
        for Rule { number, rule } in &mut self.rules {
            let of_bodies = matches!(
                rule.fault,
                Fault::Trickle { .. }
                    | Fault::Reset { .. }
                    | Fault::Truncate { .. }
                    | Fault::Corrupt
            );
            let hit = of_bodies && target.length > 0 && *number >= asked.rules;
            if hit && use_up(rule, target.path) {
                answer.add(&rule.fault, target.length);
            }
        }
        self.rules.retain(|rule| rule.rule.on.count != Some(0));
        // What has left cannot be called back.
        match &mut answer.end {
            BodyEnd::Complete => {}
            BodyEnd::Reset { after } | BodyEnd::Truncate { after } => *after = (*after).max(sent),
        }
        answer
    }

    /// A fault took effect as decided.
    pub(crate) fn handle_effect(
        &mut self,
        unix_ms: u64,
        target: Target<'_>,
        decided: &Disposition,
        effect: Effect,
    ) {
        let share = |after: u64| share_of(after, target.length);
        let (fault, at) = match (effect, decided.end) {
            (Effect::Late, _) => {
                let delay_ms = u64::try_from(decided.late.as_millis()).unwrap_or(u64::MAX);
                (Fault::LateFirstByte { delay_ms }, None)
            }
            (Effect::Trickle { at }, _) => {
                let rate_bps = decided.rate.map_or(u64::MAX, BitRate::as_bps);
                (Fault::Trickle { rate_bps }, Some(at))
            }
            (Effect::Corrupt { at }, _) => (Fault::Corrupt, Some(at)),
            (Effect::Cut, BodyEnd::Complete) => return,
            (Effect::Cut, BodyEnd::Reset { after }) => {
                let share = share(after);
                (Fault::Reset { after: share }, Some(after))
            }
            (Effect::Cut, BodyEnd::Truncate { after }) => {
                let share = share(after);
                (Fault::Truncate { after: share }, Some(after))
            }
        };
        let offset = at.map(|at| target.first.saturating_add(at));
        self.record(unix_ms, fault, Some(target.path), offset);
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

/// Whether a rule applies; then it does so one time fewer.
fn use_up(rule: &mut FaultRule, path: &str) -> bool {
    let applies = applies(rule, path);
    if applies {
        rule.on.count = rule.on.count.map(|left| left.saturating_sub(1));
    }
    applies
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
        board.handle_effect(9, BODY, &answer, Effect::Cut);
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
    fn what_was_decided_leaves_a_receipt_when_it_takes_effect_and_where() {
        let mut board = board(vec![
            Fault::Trickle { rate_bps: 800 },
            Fault::LateFirstByte { delay_ms: 30 },
            Fault::Corrupt,
        ]);
        let answer = board.decide(5, BODY);
        assert_eq!(board.receipts().count(), 0);
        for (unix_ms, effect) in [
            (6, Effect::Late),
            (7, Effect::Trickle { at: 0 }),
            (8, Effect::Corrupt { at: 500 }),
        ] {
            board.handle_effect(unix_ms, BODY, &answer, effect);
        }
        let receipts: Vec<_> = board
            .receipts()
            .map(|receipt| (receipt.at_unix_ms, receipt.fault.clone(), receipt.offset))
            .collect();
        assert_eq!(
            receipts,
            [
                (6, Fault::LateFirstByte { delay_ms: 30 }, None),
                (7, Fault::Trickle { rate_bps: 800 }, Some(1000)),
                (8, Fault::Corrupt, Some(1500)),
            ]
        );
    }

    #[test]
    fn a_body_under_way_takes_later_orders_and_each_rule_once() {
        let mut board = FaultBoard::default();
        let asked = board.asked();
        let good = board.decide(1, BODY);
        let mut once = order(vec![Fault::Trickle { rate_bps: 800 }, Fault::Corrupt]);
        once.faults[1].on.count = Some(1);
        assert!(board.apply(2, once).is_ok());
        let worse = board.revise(BODY, 700, good, asked);
        assert!(worse.corrupt && worse.rate == Some(BitRate::from_bps(800)));
        // The same rules once more change nothing, and the one that was for one body is used up.
        let asked = board.asked();
        assert_eq!(board.revise(BODY, 900, worse.clone(), asked), worse);
        assert!(!board.decide(3, BODY).corrupt);
        // A share that has left already ends it at once.
        let quarter = Ratio::new(0.25).unwrap();
        assert!(
            board
                .apply(4, order(vec![Fault::Reset { after: quarter }]))
                .is_ok()
        );
        let cut = board.revise(BODY, 900, worse, asked);
        assert_eq!(cut.end, BodyEnd::Reset { after: 900 });
        assert!(cut.corrupt);
    }

    #[test]
    fn a_body_under_way_is_healed_by_clearing_and_not_by_another_order() {
        let mut board = board(vec![Fault::Trickle { rate_bps: 800 }, Fault::Corrupt]);
        let asked = board.asked();
        let bad = board.decide(1, BODY);
        let late = Fault::LateFirstByte { delay_ms: 30 };
        assert!(board.apply(2, order(vec![late])).is_ok());
        assert_eq!(board.revise(BODY, 10, bad.clone(), asked), bad);
        let mut clear = order(vec![Fault::Trickle { rate_bps: 1600 }]);
        clear.clear = true;
        assert!(board.apply(3, clear).is_ok());
        let healed = board.revise(BODY, 10, bad, asked);
        assert!(!healed.corrupt);
        assert_eq!(healed.rate, Some(BitRate::from_bps(1600)));
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
