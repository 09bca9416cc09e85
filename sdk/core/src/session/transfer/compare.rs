//! A body is slow and playback can wait: whether its edge is to blame, or the line.
//!
//! What other edges bring at the same time tells at once. In doubt one of them is asked for a little of the same object
//! beside the slow body, which goes on. An edge that is to blame is left, and the line is still known to carry what it did.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::{BitRate, ByteCount};

use crate::action::CancelReason;
use crate::edge::Edge;
use crate::event::{DecisionKind, PlayState};
use crate::fetch::{Attempt, Blame, Comparison, Fetch, FetchState, Finding, HeldTo, Phase, Role};
use crate::input::{AttemptId, EdgeId, FetchId};
use crate::session::Session;
use crate::throughput::Forecast;

/// Playback is to be left with this much when a slow body ends, or it is helped.
const LEFT_OVER: Duration = Duration::from_secs(2);
/// The probe asks for what the slow body brings in this time, within these: enough to get past slow start. It ends as soon
/// as the question is answered.
const PROBE_LASTS: Duration = Duration::from_millis(400);
const PROBE_MIN: ByteCount = ByteCount::new(64 << 10);
const PROBE_MAX: ByteCount = ByteCount::new(192 << 10);
/// For an edge that is far away it may ask for so much, where that one may have been slow from the beginning: there is time.
const PROBE_FAR_MAX: ByteCount = ByteCount::new(384 << 10);
/// A comparison that shows that the line is slow holds for this long.
const LINE_SLOW: Duration = Duration::from_secs(20);
/// One that shows nothing is repeated after this long.
const COMPARE_AGAIN: Duration = Duration::from_secs(4);
/// An edge that may have been slow from the beginning is compared where this much is left to be played when its body ends: the
/// comparison takes up to 0.8 s of it.
const SAFE: Duration = Duration::from_millis(3_500);
/// Again after this long, doubled each time that told nothing, or only that one more edge is no faster.
const DOUBT_AGAIN: Duration = Duration::from_secs(4);
const DOUBLINGS_MAX: u32 = 6;
/// A rate carries a rung that is not shown yet where it is this much above the rung's own.
const ROOM_ABOVE: f64 = 1.25;
/// A body that has come for this long, and so much of it, says something about its edge.
const TELLS_AFTER: Duration = Duration::from_millis(500);
const TELLS_FROM: ByteCount = ByteCount::new(64 << 10);
/// Who brings this much more than the slow body, at the same time, does not share a slow line with it.
const CLEARLY: f64 = 2.0;
/// A body below this share of what was expected is slow.
const SLOW_SHARE: f64 = 0.4;
/// A rest that takes longer than this is worth being continued elsewhere.
const WORTH_LEAVING: Duration = Duration::from_secs(1);

impl Session {
    /// Whether a slow body, left alone, would bring playback near its end.
    pub(super) fn time_is_short(&self, fetch: &Fetch, id: AttemptId) -> bool {
        self.leaves_less_than(LEFT_OVER, fetch, id)
    }

    /// Whether a body, as it goes now, would leave playback with less than this.
    pub(in crate::session) fn leaves_less_than(
        &self,
        left: Duration,
        fetch: &Fetch,
        id: AttemptId,
    ) -> bool {
        let needs = fetch
            .attempts
            .iter()
            .find(|one| one.id == id)
            .and_then(|one| one.recent.rate(self.now)?.time_for(fetch.rest()));
        needs.is_none_or(|needs| needs + left > self.spare(fetch))
    }

    /// Finds out whose fault it is that a body has become slow.
    pub(super) fn compare(&mut self, fetch: &mut Fetch, id: AttemptId) {
        let slow = fetch.attempts.iter().find(|one| one.id == id);
        if let Some(usual) = slow.and_then(|slow| slow.expected) {
            self.compare_held_to(fetch, id, HeldTo::Usual(usual));
        }
    }

    /// An edge that has been slow from the beginning looks like a slow line, and what it gives is all that is known: where that
    /// does not carry what could be shown, one other edge is measured beside it, once playback can do without what this takes
    /// of the line.
    pub(super) fn doubt_edge(&mut self, fetch: &mut Fetch) {
        let [body] = fetch.attempts.as_slice() else {
            return;
        };
        let plays = self.state == PlayState::Playing && !self.hidden;
        let in_use = body.role == Role::Primary && self.edges.current() == Some(body.edge);
        if !plays || !in_use || self.now < self.compare_at || fetch.state != FetchState::Active {
            return;
        }
        let (Some(rate), Some(wanted)) = (self.brought(body), self.wanted_rate(fetch)) else {
            return;
        };
        let edge = self.edges.get(body.edge);
        let rate = rate.max(edge.and_then(Edge::usual_rate).unwrap_or_default());
        let lasts = rate.time_for(fetch.rest());
        let id = body.id;
        if rate >= wanted
            || !body.is_open(self.now)
            || lasts.is_none_or(|lasts| lasts < WORTH_LEAVING)
            || self.leaves_less_than(SAFE, fetch, id)
            || !self.extra_allowed(PROBE_MIN)
            || self.edges.line_is_known_to_limit(self.now, rate)
        {
            return;
        }
        let (rate, line) = (wanted, rate);
        self.compare_held_to(fetch, id, HeldTo::Wanted { rate, line });
    }

    /// The rate that carries the highest rung that may be shown; `None` of objects that have no rungs to choose from.
    fn wanted_rate(&self, fetch: &Fetch) -> Option<BitRate> {
        let ObjectKey::Media(key, _) = fetch.object else {
            return None;
        };
        let kind = fetch.track.filter(|kind| *kind == self.leading())?;
        let top = self.top_rung(kind, key.period, key.track);
        let lock = self.lock.map_or(top, usize::from).min(top);
        let ladder = self.timeline.as_ref()?.ladder(key.period, key.track);
        let is_shown = usize::from(key.representation) >= lock;
        let room = if is_shown { 1.0 } else { ROOM_ABOVE };
        Some(ladder.get(lock)?.bitrate.scaled(room))
    }

    fn compare_held_to(&mut self, fetch: &mut Fetch, id: AttemptId, held_to: HeldTo) {
        if self.comparison.is_some() {
            return;
        }
        let Some(slow) = fetch.attempts.iter().find(|one| one.id == id) else {
            return;
        };
        let Some(rate) = self.brought(slow) else {
            return;
        };
        let slow_edge = slow.edge;
        if let Some((blame, other, others_rate)) = self.concurrent(slow_edge, rate) {
            let comparison = Comparison::new(
                (id, slow_edge),
                (id, other),
                (slow.usual, held_to),
                self.arriving.clone(),
            );
            let finding = Finding {
                blame,
                before: rate.as_f64(),
                slow: rate.as_f64(),
                other: others_rate.as_f64(),
            };
            self.found(&comparison, finding, Some(fetch));
            return;
        }
        let bytes = rate.bytes_in(PROBE_LASTS).clamp(PROBE_MIN, PROBE_MAX);
        let bytes = if self.extra_allowed(bytes) {
            bytes
        } else {
            PROBE_MIN
        };
        let (usual, recent) = (slow.usual, self.arriving.clone());
        let among = match held_to {
            HeldTo::Usual(_) => self.compared_with(fetch, slow_edge, bytes),
            HeldTo::Wanted { .. } => self.asked_beside(fetch, slow_edge, bytes),
        };
        let Some((other, expected)) = among else {
            return;
        };
        let bytes = match held_to {
            HeldTo::Usual(_) => bytes,
            HeldTo::Wanted { .. } => {
                let round_trip = self
                    .edges
                    .get(other)
                    .map(|edge| edge.expected_ttfb(self.now));
                let shows = Comparison::shows_after(rate, round_trip.unwrap_or_default());
                bytes.max(shows.min(PROBE_FAR_MAX))
            }
        };
        let name = self.edges.name(other).to_string();
        if !self.extra_allowed(bytes) {
            let why = match held_to {
                HeldTo::Usual(_) => "slow, but the budget for comparing it is used up",
                HeldTo::Wanted { .. } => {
                    "slow, but the budget does not carry yet what comparing it takes"
                }
            };
            if matches!(held_to, HeldTo::Wanted { .. }) {
                self.compare_at = self.now + DOUBT_AGAIN;
            }
            self.decide(DecisionKind::Blame, "nobody".to_string(), why, &[]);
            return;
        }
        let inputs = [("slow_bps", rate.as_f64()), held_to.input()];
        let why = match held_to {
            HeldTo::Usual(_) => "the body is slower than usual: is it the edge, or the line?",
            HeldTo::Wanted { .. } => {
                "slow from the beginning, and nobody was measured beside it: is it the edge, or the line?"
            }
        };
        let scores = self.scores_of(&expected);
        self.decide_among(DecisionKind::Probe, name, why, &inputs, scores);
        let probe = self.begin_probe(other, fetch.object, bytes.get());
        self.comparison = Some(Comparison::new(
            (id, slow_edge),
            (probe, other),
            (usual, held_to),
            recent,
        ));
    }

    /// Whom to compare with, and what all that it could have been are expected to take: who is expected to be best, of those that may be
    /// used next if there are any.
    fn compared_with(
        &mut self,
        fetch: &Fetch,
        slow: EdgeId,
        bytes: ByteCount,
    ) -> Option<(EdgeId, Vec<(EdgeId, Duration)>)> {
        let mut not = fetch.edges_tried();
        not.push(slow);
        let few = not.len();
        not.extend(self.edges.left(self.now));
        self.among(fetch, bytes, &not)
            .or_else(|| self.among(fetch, bytes, &not[..few]))
    }

    /// The same where the edge may have been slow from the beginning: who is known not to be faster is not asked again.
    fn asked_beside(
        &mut self,
        fetch: &Fetch,
        slow: EdgeId,
        bytes: ByteCount,
    ) -> Option<(EdgeId, Vec<(EdgeId, Duration)>)> {
        let mut not = fetch.edges_tried();
        not.push(slow);
        not.extend(self.edges.not_to_ask(self.now));
        self.among(fetch, bytes, &not)
    }

    fn among(
        &mut self,
        fetch: &Fetch,
        bytes: ByteCount,
        not: &[EdgeId],
    ) -> Option<(EdgeId, Vec<(EdgeId, Duration)>)> {
        let (now, object) = (self.now, fetch.object);
        let expected = self.edges.expectations(now, object, bytes, not);
        let other = self.edges.choose_helper(now, object, bytes, not)?;
        Some((other, expected))
    }

    /// What comes from the edge of a body in all while that comes.
    fn brought(&self, body: &Attempt) -> Option<BitRate> {
        body.brought(self.now, self.edges.get(body.edge)?)
    }

    /// What a body that comes from another edge at the same time tells.
    fn concurrent(&self, slow: EdgeId, rate: BitRate) -> Option<(Blame, EdgeId, BitRate)> {
        let others = self.fetches.iter().flat_map(|fetch| &fetch.attempts);
        let telling = others.filter(|one| {
            let told = one
                .first_byte_at
                .is_some_and(|at| self.now.since(at) >= TELLS_AFTER);
            one.edge != slow
                && told
                && one.bytes >= TELLS_FROM
                && matches!(one.phase, Phase::Body { .. })
        });
        let judged = |one: &Attempt| {
            let others_rate = self.brought(one)?;
            let share = others_rate.as_f64() / one.expected?.as_f64().max(1.0);
            let blame = if others_rate.as_f64() > rate.as_f64() * CLEARLY {
                Blame::Edge
            } else if share < SLOW_SHARE {
                Blame::Line
            } else {
                return None;
            };
            Some((blame, one.edge, others_rate))
        };
        telling.filter_map(judged).next()
    }

    /// Draws the conclusion of a comparison that is over.
    pub(super) fn settle_comparison(&mut self) {
        let finding = self
            .comparison
            .as_ref()
            .and_then(|comparison| comparison.finding(self.now));
        let Some(finding) = finding else { return };
        let Some(comparison) = self.comparison.take() else {
            return;
        };
        let of = |session: &Self, attempt: AttemptId| -> Option<FetchId> {
            let mut fetches = session.fetches.iter();
            let fetch = fetches.find(|one| one.attempts.iter().any(|one| one.id == attempt))?;
            Some(fetch.id)
        };
        if let Some(probe) = of(self, comparison.other.0) {
            self.abandon(probe, CancelReason::Abandoned);
        }
        let slow = of(self, comparison.slow.0);
        let index = slow.and_then(|id| self.fetches.iter().position(|fetch| fetch.id == id));
        let Some(index) = index else {
            return self.found(&comparison, finding, None);
        };
        let mut fetch = self.fetches.swap_remove(index);
        self.found(&comparison, finding, Some(&mut fetch));
        self.fetches.push(fetch);
    }

    /// Takes what a comparison showed; `fetch` is the slow one, if it is still on its way.
    fn found(&mut self, comparison: &Comparison, finding: Finding, fetch: Option<&mut Fetch>) {
        let (slow, other) = (comparison.slow, comparison.other.1);
        self.remember(other, &finding);
        self.conclude(slow.1, comparison.held_to, finding);
        if finding.blame != Blame::Edge {
            return;
        }
        let rate = BitRate::from_bps(1).scaled(finding.slow);
        self.leave_slow(slow.1, rate, other, comparison.usual);
        let Some(fetch) = fetch else { return };
        // What is left of it comes sooner from elsewhere; nothing is fetched twice but the joint.
        let needs = rate.time_for(fetch.rest()).unwrap_or(Duration::MAX);
        let alone = fetch.attempts.len() == 1 && fetch.attempts.iter().any(|one| one.id == slow.0);
        if alone && needs > WORTH_LEAVING && self.edges.current() != Some(slow.1) {
            self.cancel(fetch, slow.0, CancelReason::Slow);
            self.go_on(fetch);
        }
    }

    /// Keeps what need not be found out again for a while.
    fn remember(&mut self, other: EdgeId, finding: &Finding) {
        match finding.blame {
            Blame::Line => self.edges.line_limits(self.now, finding.together()),
            Blame::Both => self.edges.was_asked(self.now, other, true),
            Blame::Nobody => self.edges.was_asked(self.now, other, false),
            Blame::Edge => {}
        }
        self.untold = match finding.blame {
            Blame::Line | Blame::Edge => 0,
            Blame::Both | Blame::Nobody => (self.untold + 1).min(DOUBLINGS_MAX),
        };
        self.compare_at = self.now + DOUBT_AGAIN * (1 << self.untold);
    }

    /// Says whose fault it is, and how long that is believed.
    fn conclude(&mut self, slow: EdgeId, held_to: HeldTo, finding: Finding) {
        let name = |session: &Self, id: EdgeId| session.edges.name(id).to_string();
        let (chosen, why) = match finding.blame {
            Blame::Edge => {
                let why = "another edge brought far more at the same time: the edge is slow";
                (name(self, slow), why)
            }
            Blame::Line => {
                let why = "another edge only shared what this one brought: the line is slow";
                ("line".to_string(), why)
            }
            Blame::Both => {
                let why = "the line had room, but another edge is no faster";
                ("nobody".to_string(), why)
            }
            Blame::Nobody => {
                let why =
                    "the comparison was over too soon, the edge came back, or the line gets more";
                ("nobody".to_string(), why)
            }
        };
        if let HeldTo::Usual(_) = held_to {
            self.has_become_slow(slow, finding);
        }
        let inputs = [
            held_to.input(),
            ("before_bps", finding.before),
            ("slow_bps", finding.slow),
            ("other_bps", finding.other),
        ];
        self.decide(DecisionKind::Blame, chosen, why, &inputs);
    }

    /// How long it is believed whose fault it is that a body has become slow.
    fn has_become_slow(&mut self, slow: EdgeId, finding: Finding) {
        self.line_slow_rate = (finding.blame == Blame::Line).then(|| finding.together());
        match finding.blame {
            Blame::Edge => {}
            Blame::Line => {
                self.line_slow_until = self.now + LINE_SLOW;
                self.edges.line_slowed(self.now, slow);
            }
            Blame::Both => self.line_slow_until = self.now + COMPARE_AGAIN,
            Blame::Nobody => self.line_slow_until = self.now + COMPARE_AGAIN / 2,
        }
    }

    /// A helper is faster than what it helped, and goes on alone: the edge is slow.
    pub(super) fn helper_is_faster(&mut self, fetch: &Fetch, slow: AttemptId) {
        let (Some(slow), Some(helper)) = pair(fetch, slow) else {
            return;
        };
        let rate = |one: &Attempt| one.recent.rate(self.now).unwrap_or_default();
        let (slow_rate, others_rate) = (rate(slow), rate(helper));
        let (edge, other, usual) = (slow.edge, helper.edge, slow.usual);
        let finding = Finding {
            blame: Blame::Edge,
            before: slow_rate.as_f64(),
            slow: slow_rate.as_f64(),
            other: others_rate.as_f64(),
        };
        let expected = slow.expected.unwrap_or_default();
        self.conclude(edge, HeldTo::Usual(expected), finding);
        self.leave_slow(edge, slow_rate, other, usual);
    }

    /// An edge is to blame: it is left, unless nobody else can be gone to.
    fn leave_slow(&mut self, slow: EdgeId, rate: BitRate, other: EdgeId, usual: Option<Forecast>) {
        if !self.edges.blame(self.now, (slow, rate), other, usual) {
            let name = self.edges.name(slow).to_string();
            let why = "slow, but kept: the others rest, or were gone back to a moment ago";
            self.decide(DecisionKind::Edge, name, why, &[]);
        }
    }

    /// A helper is not faster: where it was to help against slowness, the line is slow and not the edge.
    pub(super) fn help_ends(&mut self, fetch: &Fetch, helper: AttemptId) {
        let Some(helper) = fetch.attempts.iter().find(|one| one.id == helper) else {
            return;
        };
        let name = self.edges.name(helper.edge).to_string();
        let chosen = alloc::format!("without {name}");
        let slow = fetch.attempts.iter().find(|one| one.role == Role::Primary);
        let against = helper.helps_against.filter(|late| !late.is_silence());
        let (Some(_), Some(slow)) = (against, slow) else {
            let why = "the edge in use came back";
            return self.decide(DecisionKind::Hedge, chosen, why, &[]);
        };
        let rate = |one: &Attempt| one.recent.rate(self.now).unwrap_or_default().as_f64();
        let finding = Finding {
            blame: Blame::Line,
            before: 0.0,
            slow: rate(slow),
            other: rate(helper),
        };
        let (edge, usual) = (slow.edge, slow.expected.unwrap_or_default());
        let why = "another edge is no faster: the line is slow";
        self.decide(DecisionKind::Hedge, chosen, why, &[]);
        self.conclude(edge, HeldTo::Usual(usual), finding);
    }
}

/// An attempt and its helper.
fn pair(fetch: &Fetch, helped: AttemptId) -> (Option<&Attempt>, Option<&Attempt>) {
    let helped = fetch.attempts.iter().find(|one| one.id == helped);
    let helper = fetch.attempts.iter().find(|one| one.role == Role::Helper);
    (helped, helper)
}
