//! Which fault hits which request, and what came of it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::{BitRate, Rng, Seed};

use crate::disposition::{
    Answer, BodyEnd, Disposition, Effect, Hit, LinkChange, Spoil, Target, is_end,
};
use crate::fault::{Fault, FaultOrder, FaultReceipt, FaultRule, FaultSelector, ObjectKind, Scope};

/// Which orders were known when a body was decided on: see [`Appliance::revise`](crate::Appliance::revise).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    removals: u64,
    rules: u64,
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
    /// An older edition of something that has none.
    #[error(
        "only manifests have older editions: a stale_manifest needs `\"on\": {{\"object\": \"manifest\"}}`"
    )]
    NoManifest,
    /// More rules at once than an appliance keeps.
    #[error("at most {max} fault rules at once; send `clear: true` first", max = FaultBoard::RULES_MAX)]
    TooMany,
}

/// The rules in force and the receipts of those that took effect. Appliances have one each; whatever else answers
/// requests may have one, too.
#[derive(Clone, Debug, Default)]
pub struct FaultBoard {
    seed: Seed,
    rules: Vec<Rule>,
    /// Faults of the link that have happened, in order.
    on_link: Vec<FaultRule>,
    /// How many rules there were and how often some were removed.
    known: Asked,
    /// Rules with lower numbers than this are gone, and of each name those below its own.
    gone: u64,
    gone_by_id: BTreeMap<String, u64>,
    receipts: VecDeque<Kept>,
    /// Names of rules that have a receipt, at most [`FIRST_MAX`](Self::FIRST_MAX).
    told_of: BTreeSet<Option<String>>,
    /// How many receipts were dropped.
    dropped: u64,
}

/// A receipt, and whether it is the first of its rule's name, which stays.
#[derive(Clone, Debug)]
struct Kept {
    receipt: FaultReceipt,
    is_first: bool,
}

/// A rule with its number, counted over all rules there ever were.
#[derive(Clone, Debug)]
struct Rule {
    number: u64,
    rule: FaultRule,
    /// Where its chance comes from.
    chance: Rng,
}

impl FaultBoard {
    /// More rules than any scenario has at one edge, so that a runaway script is told.
    pub const RULES_MAX: usize = 256;
    /// Older receipts are dropped, but for the first of each name: enough for an hour of one hit per second.
    pub const RECEIPTS_MAX: usize = 4096;
    /// Names of which the first receipt stays: far more than rules at once, and so few that the latest receipts have room.
    const FIRST_MAX: usize = 4 * Self::RULES_MAX;

    /// Makes an empty board; where rules hit with some probability, chance comes from this seed.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Takes an order. Returns what becomes of the link, step by step: `None` is that it is restored.
    ///
    /// # Errors
    /// When it cannot be carried out; nothing of it was.
    pub fn apply(
        &mut self,
        unix_ms: u64,
        order: FaultOrder,
    ) -> Result<Vec<Option<LinkChange>>, OrderError> {
        for rule in &order.faults {
            if let Fault::Status { status, .. } = rule.fault
                && !(400..=599).contains(&status)
            {
                return Err(OrderError::Status { status });
            }
            if rule.fault == Fault::StaleManifest && rule.on.object != Some(ObjectKind::Manifest) {
                return Err(OrderError::NoManifest);
            }
        }
        let goes = |id: &Option<String>| {
            order.clear || id.as_ref().is_some_and(|id| order.remove.contains(id))
        };
        let kept = self
            .rules
            .iter()
            .filter(|rule| !goes(&rule.rule.id))
            .count();
        if kept + order.faults.len() > Self::RULES_MAX {
            return Err(OrderError::TooMany);
        }
        let mut changes = Vec::new();
        if order.clear || !order.remove.is_empty() {
            self.known.removals += 1;
            if order.clear {
                self.gone = self.known.rules;
                self.gone_by_id.clear();
            }
            let names = order.remove.iter().map(|id| (id.clone(), self.known.rules));
            self.gone_by_id.extend(names);
            self.rules.retain(|rule| !goes(&rule.rule.id));
            let before = self.on_link.len();
            self.on_link.retain(|rule| !goes(&rule.id));
            if order.clear || self.on_link.len() < before {
                changes.push(None);
                let left = self.on_link.iter();
                changes.extend(left.map(|rule| LinkChange::of(&rule.fault)));
            }
        }
        for rule in order.faults {
            let change = LinkChange::of(&rule.fault);
            if change.is_some() && rule.on == FaultSelector::EVERYTHING {
                self.record(unix_ms, &rule.id, &rule.fault, None, None);
                changes.push(change);
                self.takes_link(rule);
                continue;
            }
            if rule.fault.scope() == Scope::Control {
                self.record(unix_ms, &rule.id, &rule.fault, None, None);
            }
            let number = self.known.rules;
            self.known.rules += 1;
            self.rules.push(Rule {
                number,
                rule,
                chance: self.seed.split_index(number).rng(),
            });
        }
        Ok(changes)
    }

    /// Returns which orders are known now: see [`revise`](Self::revise).
    #[must_use]
    pub const fn asked(&self) -> Asked {
        self.known
    }

    /// Returns the rate and the delay of a link that has these when nothing is wrong: the last fault that says otherwise
    /// holds.
    pub(crate) fn on_top_of(
        &self,
        rate: Option<BitRate>,
        delay: Duration,
    ) -> (Option<BitRate>, Duration) {
        let changes = self.on_link.iter();
        let changes = changes.filter_map(|rule| LinkChange::of(&rule.fault));
        changes.fold((rate, delay), |(rate, delay), change| match change {
            LinkChange::Rate(rate) => (rate, delay),
            LinkChange::Delay(delay) => (rate, delay),
            LinkChange::Restore { .. } | LinkChange::Stop | LinkChange::Kill => (rate, delay),
        })
    }

    /// Whether a fault of what appliance and backend tell each other is in force.
    #[must_use]
    pub fn has(&self, fault: &Fault) -> bool {
        self.rules.iter().any(|rule| rule.rule.fault == *fault)
    }

    /// Whether a fault of connections is in force for all of them: nobody, no chance and no count is selected.
    #[must_use]
    pub fn has_for_all(&self, fault: &Fault) -> bool {
        self.rules.iter().any(|rule| {
            let on = &rule.rule.on;
            let for_all = on.client.is_none() && on.count.is_none() && on.probability.is_none();
            for_all && rule.rule.fault == *fault
        })
    }

    /// Returns what goes wrong with a connection that a client makes; the first rule wins. With a receipt.
    pub fn connect(&mut self, unix_ms: u64, client: &str) -> Option<Fault> {
        self.connect_where(unix_ms, client, |_| true)
    }

    /// The same for a connection to which not every fault can happen: over TCP no `udp_blocked`, say.
    pub fn connect_where(
        &mut self,
        unix_ms: u64,
        client: &str,
        can_happen: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        let hit = self.rules.iter_mut().find_map(|rule| {
            let concerns = rule.rule.fault.scope() == Scope::Connection
                && can_happen(&rule.rule.fault)
                && rule.concerns_client(client)
                && rule.strikes();
            concerns.then(|| (rule.rule.id.clone(), rule.rule.fault.clone()))
        })?;
        self.forget_used_up();
        let (id, fault) = hit;
        self.record(unix_ms, &id, &fault, Some((client, "")), None);
        Some(fault)
    }

    /// Decides what goes wrong with an answer that is about to begin.
    pub fn decide(&mut self, unix_ms: u64, target: Target<'_>) -> Disposition {
        let mut decided = Disposition::default();
        // The first answer that is none wins, and a request without a body does not use up a fault of bodies.
        let mut wrong = None;
        for rule in &mut self.rules {
            if wrong.is_none() && rule.replaces_answer() && rule.concerns(target) && rule.strikes()
            {
                wrong = Some((rule.rule.id.clone(), rule.rule.fault.clone()));
            }
        }
        for rule in &mut self.rules {
            let is_meant = match rule.rule.fault.scope() {
                Scope::Answer => matches!(rule.rule.fault, Fault::LateFirstByte { .. }),
                Scope::Body | Scope::Link => wrong.is_none() && target.length > 0,
                Scope::Connection | Scope::Control => false,
            };
            if is_meant && rule.concerns(target) && rule.strikes() {
                decided.add(rule.number, &rule.rule, target.length);
            }
        }
        self.forget_used_up();
        // The others take effect later, if the client stays: see `handle_effect`.
        if let Some((id, fault)) = wrong {
            self.record(
                unix_ms,
                &id,
                &fault,
                Some((target.client, target.path)),
                None,
            );
            decided.answer = Answer::of(&fault);
            decided.answered_by = id;
        }
        decided
    }

    /// Decides again on a body of which so much was sent: orders that came after it was asked count for it too.
    pub fn revise(
        &mut self,
        target: Target<'_>,
        sent: u64,
        before: Disposition,
        asked: Asked,
    ) -> Disposition {
        let mut decided = before;
        if decided.hits.iter().any(|hit| self.is_gone(hit)) {
            decided = self.without_gone(&decided);
        }
        for rule in &mut self.rules {
            let of_bodies = matches!(rule.rule.fault.scope(), Scope::Body | Scope::Link);
            let is_meant = of_bodies && target.length > 0 && rule.number >= asked.rules;
            if is_meant && rule.concerns(target) && rule.strikes() {
                decided.add(rule.number, &rule.rule, target.length);
            }
        }
        self.forget_used_up();
        // What has left cannot be called back.
        decided.end = decided.end.not_before(sent);
        decided
    }

    /// A part of a disposition took effect as decided. Returns what becomes of the link.
    pub fn handle_effect(
        &mut self,
        unix_ms: u64,
        target: Target<'_>,
        decided: &Disposition,
        effect: Effect,
    ) -> Option<LinkChange> {
        let (at, is_meant): (_, fn(&Fault) -> bool) = match effect {
            Effect::Late => (None, |fault| matches!(fault, Fault::LateFirstByte { .. })),
            Effect::Slowed { at } => (Some(at), |fault| matches!(fault, Fault::Trickle { .. })),
            Effect::Spoilt { at } => (Some(at), |fault| Spoil::of(fault).is_some()),
            Effect::Cut => (decided.end.after(), |fault| is_end(fault)),
        };
        if effect == Effect::Cut && at.is_none() {
            return None;
        }
        let offset = at.map(|at| target.first.saturating_add(at));
        // Where several rules say the same, the last one has it.
        let hit = decided.hits.iter().rfind(|hit| is_meant(&hit.fault))?;
        self.record(
            unix_ms,
            &hit.id,
            &hit.fault,
            Some((target.client, target.path)),
            offset,
        );
        let (Effect::Cut, BodyEnd::Link { change, .. }) = (effect, decided.end) else {
            return None;
        };
        self.takes_link(FaultRule {
            id: hit.id.clone(),
            ..FaultRule::everywhere(hit.fault.clone())
        });
        Some(change)
    }

    /// A fault of the link is in force. Those of its name and kind before it are gone when it is, and no longer hold: a rule
    /// that hits every body leaves one, not one for each.
    fn takes_link(&mut self, rule: FaultRule) {
        self.on_link
            .retain(|other| other.id != rule.id || other.fault.name() != rule.fault.name());
        self.on_link.push(rule);
    }

    /// Returns the receipts of faults that took effect, oldest first: the last [`RECEIPTS_MAX`](Self::RECEIPTS_MAX), the
    /// first of each name of a rule among them however old it is.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &FaultReceipt> + ExactSizeIterator {
        self.receipts.iter().map(|kept| &kept.receipt)
    }

    /// Returns how many more there were that are kept no longer.
    #[must_use]
    pub const fn receipts_dropped(&self) -> u64 {
        self.dropped
    }

    fn is_gone(&self, hit: &Hit) -> bool {
        let of_its_name = hit.id.as_ref().and_then(|id| self.gone_by_id.get(id));
        hit.number < self.gone || of_its_name.is_some_and(|gone| hit.number < *gone)
    }

    /// What a body is left with when some of the rules that hit it are gone.
    fn without_gone(&self, before: &Disposition) -> Disposition {
        let mut decided = Disposition {
            answer: before.answer,
            answered_by: before.answered_by.clone(),
            ..Disposition::default()
        };
        for hit in before.hits.iter().filter(|hit| !self.is_gone(hit)) {
            decided.add_hit(hit.clone());
        }
        decided
    }

    fn forget_used_up(&mut self) {
        self.rules.retain(|rule| rule.rule.on.count != Some(0));
    }

    fn record(
        &mut self,
        at_unix_ms: u64,
        id: &Option<String>,
        fault: &Fault,
        hit: Option<(&str, &str)>,
        offset: Option<u64>,
    ) {
        if self.receipts.len() == Self::RECEIPTS_MAX {
            // The first ones are fewer than all, and gather at the front.
            let oldest = self.receipts.iter().position(|kept| !kept.is_first);
            self.receipts.remove(oldest.unwrap_or_default());
            self.dropped += 1;
        }
        let is_first = self.told_of.len() < Self::FIRST_MAX && self.told_of.insert(id.clone());
        let receipt = FaultReceipt {
            id: id.clone(),
            fault: fault.clone(),
            at_unix_ms,
            client: hit
                .map(|(client, _)| client)
                .filter(|client| !client.is_empty())
                .map(String::from),
            path: hit
                .map(|(_, path)| path)
                .filter(|path| !path.is_empty())
                .map(String::from),
            offset,
        };
        self.receipts.push_back(Kept { receipt, is_first });
    }
}

impl Rule {
    fn replaces_answer(&self) -> bool {
        self.rule.fault.scope() == Scope::Answer
            && !matches!(self.rule.fault, Fault::LateFirstByte { .. })
    }

    fn concerns_client(&self, client: &str) -> bool {
        let wanted = self.rule.on.client.as_deref();
        self.rule.on.count != Some(0) && wanted.is_none_or(|name| name == client)
    }

    fn concerns(&self, target: Target<'_>) -> bool {
        let text = self.rule.on.path_contains.as_deref();
        self.concerns_client(target.client)
            && text.is_none_or(|text| target.path.contains(text))
            && target.object.is_selected(&self.rule.on)
    }

    /// Whether chance wants it to hit what it concerns; then it does so one time fewer.
    fn strikes(&mut self) -> bool {
        let on = &mut self.rule.on;
        let hits = on
            .probability
            .is_none_or(|share| self.chance.next_f64() < share.get());
        if hits {
            on.count = on.count.map(|left| left.saturating_sub(1));
        }
        hits
    }
}

#[cfg(test)]
mod tests;
