//! Who chooses the rung: a policy that is built in, or one of the application, which is asked and may be late or answer
//! nonsense. Then the built-in one answers in its place, and an event says so.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{Instant, MediaTime};

use super::{Owner, Session};
use crate::abr::{AbrChoice, AbrContext, AbrDecision, AbrPolicy, Transfer, UnderWay};
use crate::action::Action;
use crate::config::AbrRule;
use crate::event::DecisionKind;
use crate::input::AskId;

/// So long the application's policy may think: less than a segment's first byte usually takes.
const PATIENCE: Duration = Duration::from_millis(100);
/// One that was late, or wrong, so often in a row is not asked for a while: playback must not wait for each segment.
const MISSES_MAX: u32 = 3;
const NOT_ASKED_FOR: Duration = Duration::from_secs(30);
/// Transfers that the application's policy has not heard of yet: those of one segment and its replacements.
const HEARD_MAX: usize = 16;

/// The policy, and what was asked of the application's.
#[derive(Debug)]
pub(super) struct Policy {
    built_in: Box<dyn AbrPolicy>,
    /// `None` where the application has none.
    custom: Option<Custom>,
    /// Nothing is fetched before, as long as there is something to play.
    wait_until: Instant,
}

#[derive(Debug, Default)]
struct Custom {
    asked: Option<Asked>,
    next_ask: u32,
    /// What it is told with the next question.
    transfers: Vec<Transfer>,
    misses: u32,
    not_before: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    ask: AskId,
    /// What was asked about: the segment that begins here. Another one is another question.
    about: MediaTime,
    until: Instant,
    answer: Option<AbrDecision>,
}

/// What was chosen.
pub(super) struct Answer {
    pub(super) choice: AbrChoice,
    /// Whether the policy's scores are what it rests on: the application's policy tells none.
    pub(super) compared: bool,
}

impl Policy {
    pub(super) fn new(rule: AbrRule, custom: bool) -> Self {
        Self {
            built_in: rule.policy(),
            custom: custom.then(Custom::default),
            wait_until: Instant::ZERO,
        }
    }

    pub(super) fn transferred(&mut self, transfer: &Transfer) {
        self.built_in.transferred(transfer);
        if let Some(custom) = &mut self.custom
            && custom.transfers.len() < HEARD_MAX
        {
            custom.transfers.push(*transfer);
        }
    }

    /// Looks at a transfer under way. The application's policy is not asked about them.
    pub(super) fn review(
        &mut self,
        context: &AbrContext,
        under_way: &UnderWay,
    ) -> Option<AbrChoice> {
        self.built_in.review(context, under_way)
    }

    /// Whether that says when a transfer is to be given up.
    pub(super) fn reviews(&self) -> bool {
        self.built_in.reviews()
    }

    /// Whether the application has one.
    pub(super) const fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Whether it may want to replace what is buffered.
    pub(super) fn replaces(&self) -> bool {
        self.custom.is_some() || self.built_in.replaces()
    }

    /// Chooses whatever the application may hold of it.
    pub(super) fn by_built_in(&mut self, context: &AbrContext) -> Answer {
        Answer {
            choice: self.built_in.decide(context),
            compared: true,
        }
    }

    /// Returns what the built-in policy's last decision held of each rung.
    pub(super) fn scores(&self) -> &[f64] {
        self.built_in.scores()
    }

    /// Returns until when an answer of the application is waited for, or a policy wants to wait.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let asked = self.custom.as_ref().and_then(|custom| custom.asked);
        // One whose time is over is settled with the next question.
        let asked = asked.filter(|asked| asked.answer.is_none() && asked.until > now);
        let waits = (now < self.wait_until).then_some(self.wait_until);
        asked
            .map(|asked| asked.until)
            .into_iter()
            .chain(waits)
            .min()
    }

    /// Returns whom it waits for, and until when.
    pub(super) fn wait_for(&self, now: Instant) -> Option<(Owner, Instant)> {
        let until = self.deadline(now)?;
        let asked = self.custom.as_ref().and_then(|custom| custom.asked);
        let owner = if asked.is_some_and(|asked| asked.until == until) {
            Owner::Application
        } else {
            Owner::Time
        };
        Some((owner, until))
    }

    /// Nothing is fetched for so long, unless there is nothing left to play.
    pub(super) fn wait(&mut self, until: Instant) {
        self.wait_until = until;
    }

    pub(super) fn waits(&self, now: Instant) -> bool {
        now < self.wait_until
    }

    /// Takes the application's answer; one to another question is dropped.
    pub(super) fn answered(&mut self, ask: AskId, decision: AbrDecision) {
        let asked = self
            .custom
            .as_mut()
            .and_then(|custom| custom.asked.as_mut());
        if let Some(asked) = asked.filter(|asked| asked.ask == ask) {
            asked.answer = Some(decision);
        }
    }
}

impl Session {
    /// Chooses for the segment that begins at `about`; `None` while the application's policy thinks.
    pub(super) fn ask_policy(&mut self, context: &AbrContext, about: MediaTime) -> Option<Answer> {
        let now = self.now;
        let Some(custom) = &mut self.policy.custom else {
            return Some(self.policy.by_built_in(context));
        };
        let mut wrong = None;
        match custom.asked.filter(|asked| asked.about == about) {
            Some(Asked {
                answer: Some(decision),
                ..
            }) => {
                custom.asked = None;
                if is_possible(context, decision) {
                    custom.misses = 0;
                    let why = "the application's policy chose it";
                    return Some(Answer {
                        choice: AbrChoice { decision, why },
                        compared: false,
                    });
                }
                wrong = Some("it answered what cannot be done: the built-in policy decides");
            }
            Some(asked) if now < asked.until => return None,
            Some(_) => {
                custom.asked = None;
                wrong = Some("it did not answer in time: the built-in policy decides");
            }
            None if now >= custom.not_before => {
                let ask = AskId(custom.next_ask);
                custom.next_ask += 1;
                let until = now + PATIENCE;
                custom.asked = Some(Asked {
                    ask,
                    about,
                    until,
                    answer: None,
                });
                let transfers = core::mem::take(&mut custom.transfers);
                let context = Box::new(context.clone());
                self.actions.push_back(Action::AskPolicy {
                    ask,
                    context,
                    transfers,
                    until,
                });
                return None;
            }
            None => {}
        }
        if let Some(why) = wrong {
            custom.misses += 1;
            let gives_up = custom.misses >= MISSES_MAX;
            if gives_up {
                custom.misses = 0;
                custom.not_before = now + NOT_ASKED_FOR;
            }
            let name = self.policy.built_in.name().to_string();
            self.decide(DecisionKind::Policy, name, why, &[]);
            if gives_up {
                let why = "the application's policy failed three times: it is not asked for 30 s";
                let name = self.policy.built_in.name().to_string();
                self.decide(DecisionKind::Policy, name, why, &[]);
            }
        }
        Some(self.policy.by_built_in(context))
    }
}

/// Whether a decision names what is there.
fn is_possible(context: &AbrContext, decision: AbrDecision) -> bool {
    match decision {
        AbrDecision::Next { rung } => rung < context.ladder.len(),
        AbrDecision::Wait { span } => !span.is_zero() && span <= context.buffer,
        AbrDecision::Replace { segment, rung } => {
            let held = context.buffered.get(segment);
            rung < context.ladder.len() && held.is_some_and(|held| held.rung != rung)
        }
    }
}
