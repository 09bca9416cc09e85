//! What becomes of answers: when they begin, how they are held back, cut and spoilt, and what of them arrives.

use std::time::Duration;

use nearcast_appliance::token::TokenError;
use nearcast_appliance::{Answer, BodyEnd, Effect, Outcome, Spoil, StatusFault, Target};
use nearcast_core::{Failure, TransportEvent, Validators};
use nearcast_link::{Arrival, LinkState, TransferId};
use nearcast_units::{ByteCount, Instant};

use super::attempt::{Phase, Step};
use super::{Attempt, Due, Got, Heard, World, Wrong};

/// Redirects that the player follows.
const REDIRECTS_MAX: u32 = 5;
/// What came so lately is not read yet when a session is told of a body, by chance: sockets, threads and clocks are no
/// steadier. Over sockets and over packets, parts of 0.2 s of a steady body differ by 2 % in the mean.
const READ_LATE: Duration = Duration::from_millis(7);
/// A captive portal's page.
const PORTAL_BYTES: u64 = 300;

/// What an appliance answers in place of what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TurnedAway {
    status: u16,
    retry_after_s: Option<u32>,
}

/// Whether an answer is what was asked for, however wrong it says what that is.
const fn is_of_object(answer: Answer) -> bool {
    matches!(
        answer,
        Answer::Good | Answer::Longer | Answer::WrongRange | Answer::StaleManifest
    )
}

impl World {
    /// Returns with which status an appliance turns a request away that nothing is wrong with otherwise.
    pub(super) fn turns_away(&mut self, now: Instant, id: Attempt) -> Option<TurnedAway> {
        self.backend.as_ref()?;
        let attempt = self.attempts.get(&id)?;
        let model = &mut self.edges[attempt.edge];
        let moment = model.moment(now);
        let token = attempt.token.as_ref().ok_or(TokenError::Missing);
        let path = attempt.label.path();
        if let Some(refused) = model.appliance.refuses(moment, path, token) {
            return Some(TurnedAway {
                status: refused.status(),
                retry_after_s: refused.retry_after_s(),
            });
        }
        (!model.appliance.stores(path)).then_some(TurnedAway {
            status: 404,
            retry_after_s: None,
        })
    }

    /// The answer begins, if there is to be one.
    pub(super) fn begins(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let edge = attempt.edge;
        if self.network.state(self.edges[edge].link) != LinkState::Up {
            return;
        }
        if matches!(
            attempt.phase,
            Phase::Answering | Phase::Answered | Phase::Hanging
        ) {
            return; // It was let go before its time.
        }
        attempt.phase = Phase::Answering;
        let answer = attempt.decided.answer;
        let is_good = is_of_object(answer);
        let turned_away = attempt.turned_away.filter(|_| is_good);
        let rtt = self.network.round_trip(&self.route(id.0, edge));
        let arrives = now + rtt / 2;
        if let Some(turned_away) = turned_away {
            let TurnedAway {
                status,
                retry_after_s,
            } = turned_away;
            let answered = Step::Answered(status, retry_after_s);
            return self.due.add(arrives, Due::Attempt(id, answered));
        }
        match answer {
            Answer::Good => {}
            Answer::StaleManifest => {
                self.wrong.insert(id, Wrong::Edition);
            }
            Answer::Status(StatusFault {
                status,
                retry_after_s,
            }) => {
                let answered = Step::Answered(status, retry_after_s);
                return self.due.add(arrives, Due::Attempt(id, answered));
            }
            Answer::TokenExpired => {
                let answered = Step::Answered(403, None);
                return self.due.add(arrives, Due::Attempt(id, answered));
            }
            Answer::RedirectLoop => {
                let at = arrives + rtt * REDIRECTS_MAX;
                return self.fails(at, id, Failure::RedirectLoop);
            }
            Answer::WrongRange => return self.fails(arrives, id, Failure::WrongRange),
            // The player takes nothing that is compressed.
            Answer::GzipBomb => return self.fails(arrives, id, Failure::Protocol),
            Answer::Portal => {
                self.wrong.insert(id, Wrong::Bytes);
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    (attempt.first, attempt.next, attempt.told) = (0, 0, 0);
                    (attempt.end, attempt.total) = (PORTAL_BYTES, PORTAL_BYTES);
                }
            }
            // Of a part both its range and its length are said, and they do not fit.
            Answer::Longer if self.is_part(id) => {
                return self.fails(arrives, id, Failure::WrongRange);
            }
            // HTTP/2 ends the stream where there is more than was said, with the word that it has for less.
            Answer::Longer => {
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    let half = attempt.first + (attempt.end - attempt.first) / 2;
                    attempt.total = attempt.total.min(half);
                }
            }
        }
        self.sends(now, id);
    }

    fn is_part(&self, id: Attempt) -> bool {
        let attempt = self.attempts.get(&id);
        attempt.is_some_and(|one| one.spec.from > 0 || one.spec.to.is_some())
    }

    /// Sends what is left of a body.
    fn sends(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let Some(flow) = attempt.flow else {
            return;
        };
        // What is to be slower from some byte on is sent apart: slices are longer than small bodies.
        let slower_from = attempt
            .decided
            .slowed
            .map(|slowed| attempt.first + slowed.after);
        let until = slower_from
            .filter(|from| *from > attempt.next)
            .unwrap_or(attempt.end);
        let length = ByteCount::new(until.min(attempt.end).saturating_sub(attempt.next));
        let transfer = self.network.send(now, flow, length);
        attempt.transfer = Some(transfer);
        attempt.held = None;
        self.transfers.insert(transfer, id);
        if let Some(rate) = self.loss_limit(now, id) {
            self.network.limit(now, transfer, Some(rate));
        }
        self.holds_back(now, id);
    }

    /// Holds a body back, or lets it go, as its faults have it by now.
    fn holds_back(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let at = attempt.next - attempt.first;
        let slowed = attempt.decided.slowed.filter(|slowed| at >= slowed.after);
        let rate = slowed.map(|slowed| slowed.rate);
        if attempt.transfer.is_none() || attempt.held == rate {
            return;
        }
        attempt.held = rate;
        self.limits(now, id);
        if rate.is_some() {
            self.takes_effect(now, id, Effect::Slowed { at });
        }
    }

    /// Lets a body have no more than its faults and its connection leave it.
    pub(super) fn limits(&mut self, now: Instant, id: Attempt) {
        let of_loss = self.loss_limit(now, id);
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        if let Some(transfer) = attempt.transfer {
            let most = attempt.held.into_iter().chain(of_loss).min();
            self.network.limit(now, transfer, most);
        }
    }

    /// Nothing of an attempt's connection passes any more, and nobody is told.
    pub(super) fn falls_silent(&mut self, now: Instant, id: Attempt) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if let Some(transfer) = attempt.transfer.take() {
            self.transfers.remove(&transfer);
        }
        if let Some(flow) = attempt.flow {
            self.flows.remove(&flow);
            self.close(now, flow);
        }
    }

    fn takes_effect(&mut self, now: Instant, id: Attempt, effect: Effect) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let edge = attempt.edge;
        let target = attempt.target(&self.clients[id.0].name);
        let model = &mut self.edges[edge];
        let moment = model.moment(now);
        model
            .appliance
            .handle_effect(moment, target, &attempt.decided, effect);
        self.follow(now, edge);
    }

    /// Answers under way hear of new orders.
    pub(super) fn revise(&mut self, now: Instant, edge: usize) {
        let of_edge = self.attempts.iter().filter(|(_, one)| one.edge == edge);
        let ids: Vec<Attempt> = of_edge.map(|(id, _)| *id).collect();
        for id in ids {
            let appliance = &mut self.edges[edge].appliance;
            let Some(attempt) = self.attempts.get_mut(&id) else {
                continue;
            };
            let is_asked = !matches!(attempt.phase, Phase::Connecting | Phase::Asking);
            if !is_asked || attempt.known == appliance.asked() {
                continue;
            }
            let before = std::mem::take(&mut attempt.decided);
            let sent = attempt.next - attempt.first;
            let mut target = attempt.target(&self.clients[id.0].name);
            // What is in place of an answer has none of its body.
            if !is_of_object(before.answer) || before.answer == Answer::StaleManifest {
                target = Target {
                    length: 0,
                    ..target
                };
            }
            let decided = appliance.revise(target, sent, before, attempt.known);
            attempt.known = appliance.asked();
            let used: Vec<String> = decided.rules().map(str::to_owned).collect();
            attempt.decided = decided;
            let phase = attempt.phase;
            let late = attempt.decided.late;
            let hangs = matches!(attempt.decided.end, BodyEnd::Hang { .. });
            self.settle(now, edge, &used);
            match phase {
                Phase::Late if late.is_zero() => self.begins(now, id),
                Phase::Hanging if !hangs => {
                    if let Some(attempt) = self.attempts.get_mut(&id) {
                        attempt.phase = Phase::Answered;
                    }
                    self.sends(now, id);
                }
                Phase::Answering | Phase::Answered => self.holds_back(now, id),
                Phase::Connecting | Phase::Asking | Phase::Late | Phase::Hanging => {}
            }
        }
    }

    pub(super) fn arrival(&mut self, now: Instant, arrival: Arrival, heard: &mut Vec<Heard>) {
        match arrival {
            Arrival::Bytes {
                transfer,
                bytes,
                last,
                ..
            } => self.bytes_arrived(now, transfer, bytes, last, heard),
            Arrival::Reset { flow, .. } => {
                if let Some(id) = self.flows.remove(&flow)
                    && let Some(lost) = self.attempts.remove(&id)
                {
                    if let Some(transfer) = lost.transfer {
                        self.transfers.remove(&transfer);
                    }
                    heard.push((id, TransportEvent::Failed(Failure::Reset)));
                }
            }
        }
    }

    fn bytes_arrived(
        &mut self,
        now: Instant,
        transfer: TransferId,
        bytes: ByteCount,
        last: bool,
        heard: &mut Vec<Heard>,
    ) {
        let Some(&id) = self.transfers.get(&transfer) else {
            return;
        };
        self.plays_from(now, id);
        self.tell_of_answer(id, heard);
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let (edge, first, end) = (attempt.edge, attempt.first, attempt.decided.end);
        let to = attempt.next + bytes.get();
        let wrong_from = attempt.decided.spoilt.map(|spoilt| {
            let flips = spoilt.how == Spoil::Flipped;
            let length = attempt.end.saturating_sub(first + spoilt.after);
            spoilt.after + if flips { (length / 2).min(500) } else { 0 }
        });
        self.count(now, id.0, edge, bytes);
        if let Some(at) = wrong_from
            && to > first + at
            && self.wrong.insert(id, Wrong::Bytes) != Some(Wrong::Bytes)
        {
            self.takes_effect(now, id, Effect::Spoilt { at });
        }
        if self.cut_short(now, id, to, heard) {
            return;
        }
        if let BodyEnd::Link { after, .. } = end
            && to >= first + after
        {
            self.takes_effect(now, id, Effect::Cut);
        }
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if matches!(end, BodyEnd::Link { after, .. } if to >= first + after) {
            attempt.decided.end = BodyEnd::Complete;
        }
        attempt.next = to;
        let got = Got {
            object: attempt.spec.object,
            offset: to,
            total: attempt.total,
        };
        let serves = !attempt.spec.probe;
        let rest = attempt.end > to;
        // First bytes are told of at once, and whoever is given a spoilt one is told of it.
        let is_first = attempt.told == first;
        let is_spoilt = wrong_from.is_some_and(|at| to > first + at);
        let read = if is_first || is_spoilt || last && !rest {
            to
        } else {
            to.saturating_sub(self.unread(id.0, transfer))
        };
        self.tell_of_body(id, read, heard);
        if last && rest {
            self.transfers.remove(&transfer);
            self.sends(now, id);
        } else if last {
            heard.push((id, TransportEvent::Complete));
            self.transfers.remove(&transfer);
            self.finished(id);
            self.served(now, edge, Outcome::Good);
        } else {
            self.holds_back(now, id);
        }
        if serves && !self.traps.is_empty() {
            self.spring(now, id.0, edge, got);
        }
    }

    /// Ends a body that what has just come, up to there, is the last of, though not its end; tells whether it did.
    fn cut_short(&mut self, now: Instant, id: Attempt, to: u64, heard: &mut Vec<Heard>) -> bool {
        let Some(attempt) = self.attempts.get(&id) else {
            return false;
        };
        let (edge, first, from) = (attempt.edge, attempt.first, attempt.next);
        let too_much = attempt.decided.answer == Answer::Longer && to > attempt.total;
        let cut = match attempt.decided.end {
            _ if too_much => Some((attempt.total, Some(Failure::Truncated))),
            BodyEnd::Reset { after } => Some((first + after, Some(Failure::Reset))),
            BodyEnd::Truncate { after } => Some((first + after, Some(Failure::Truncated))),
            BodyEnd::Hang { after } => Some((first + after, None)),
            BodyEnd::Complete | BodyEnd::Link { .. } => None,
        };
        let Some((at, failure)) = cut.filter(|(at, _)| to >= *at) else {
            return false;
        };
        self.tell_of_body(id, at, heard);
        self.takes_effect(now, id, Effect::Cut);
        match failure {
            Some(failure) => {
                heard.push((id, TransportEvent::Failed(failure)));
                self.cancel(now, id, false);
                self.served(now, edge, Outcome::Failed);
            }
            None => self.hangs(now, id, at.max(from)),
        }
        true
    }

    /// Draws how much of a body has come and was not read yet.
    fn unread(&mut self, client: usize, transfer: TransferId) -> u64 {
        let late = READ_LATE.mul_f64(self.clients[client].reads.next_f64());
        self.network.rate(transfer).bytes_in(late).get()
    }

    /// A session is told of an answer, once: with the first bytes of its body.
    fn tell_of_answer(&mut self, id: Attempt, heard: &mut Vec<Heard>) {
        let has_digest = self.digests;
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if attempt.phase != Phase::Answering {
            return;
        }
        attempt.phase = Phase::Answered;
        let answer = TransportEvent::Headers {
            status: 200,
            from: attempt.first,
            validators: Validators {
                total: Some(attempt.total),
                digest: has_digest.then(|| "sha-256".to_owned()),
            },
            retry_after: None,
        };
        heard.push((id, answer));
    }

    /// A session is told what has come of a body.
    fn tell_of_body(&mut self, id: Attempt, to: u64, heard: &mut Vec<Heard>) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if to > attempt.told {
            let from = std::mem::replace(&mut attempt.told, to);
            heard.push((id, TransportEvent::Progress { from, to }));
        }
    }

    /// An appliance has done with a request.
    pub(super) fn served(&mut self, now: Instant, edge: usize, outcome: Outcome) {
        if self.backend.is_some() {
            let model = &mut self.edges[edge];
            let moment = model.moment(now);
            model.appliance.handle_end(moment, outcome);
            self.follow(now, edge);
        }
    }

    /// Nothing more of a body comes.
    fn hangs(&mut self, now: Instant, id: Attempt, at: u64) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.next = at;
        attempt.phase = Phase::Hanging;
        if let Some(transfer) = attempt.transfer.take() {
            self.network.cancel(now, transfer);
            self.transfers.remove(&transfer);
        }
    }
}
