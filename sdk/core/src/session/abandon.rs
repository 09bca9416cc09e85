//! When a video segment on its way is given up for a lower rung: where it would come after the buffer ends. The policy
//! judges, or a rule of thumb for one that judges only what comes next.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{Representation, RepresentationKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant};

use super::Session;
use super::ask::Question;
use crate::abr::{AbrDecision, UnderWay};
use crate::action::CancelReason;
use crate::event::{DecisionKind, PlayState, seconds};
use crate::fetch::{Attempt, Fetch, FetchState, Phase, Role};
use crate::schedule::{Fetching, GAP};
use crate::timeline::capped;

/// A transfer younger than this is not given up for a lower rung.
const ABANDON_AFTER: Duration = Duration::from_millis(900);
/// While nothing is shown, a transfer that ends within this is worth the wait.
const WAITS_MORE: Duration = Duration::from_millis(1_500);
/// The policy looks at a transfer so often: a plan costs up to a millisecond.
const REVIEW_EVERY: Duration = Duration::from_millis(200);

/// A transfer that could be given up.
struct Slow {
    fetching: Fetching,
    started_at: Instant,
    first_byte_at: Instant,
    /// What the next one will wait for, too.
    answered_in: Duration,
    received: u64,
    total: u64,
    /// Of its last moments.
    rate: BitRate,
}

/// What is fetched instead, and why.
struct Instead {
    key: RepresentationKey,
    id: String,
    why: &'static str,
    inputs: [(&'static str, f64); 3],
}

impl Session {
    /// Gives up a transfer that would end after the buffer does, where a lower rung would end before.
    pub(super) fn abandon_for_lower(&mut self) {
        let Some(slow) = self.could_be_given_up() else {
            return;
        };
        let instead = if self.policy.reviews() {
            self.by_policy(&slow)
        } else {
            self.by_rule_of_thumb(&slow)
        };
        let Some(instead) = instead else { return };
        let Instead {
            key,
            id,
            why,
            inputs,
        } = instead;
        self.decide(DecisionKind::Abandon, id, why, &inputs);
        self.abandon(slow.fetching.fetch, CancelReason::LowerRung);
        let track = self.track_mut(TrackKind::Video);
        track.fetching = None;
        track.go_back_to(slow.fetching.start, slow.fetching.key);
        self.given_up_for = Some(key);
    }

    /// Returns the transfer on its way where playback may come to wait for it. One that may be in slow start gets faster by itself,
    /// and what is fetched instead would begin with it again.
    fn could_be_given_up(&self) -> Option<Slow> {
        let fetching = self.track(TrackKind::Video).fetching?;
        let plays = matches!(
            self.state,
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_) | PlayState::Playing
        );
        // What is on screen already is not begun again.
        if fetching.key.representation == 0
            || self.lock.is_some()
            || fetching.part.is_some()
            || !plays
        {
            return None;
        }
        let fetch = self.fetches.iter().find(|one| one.id == fetching.fetch)?;
        let [attempt] = fetch.attempts.as_slice() else {
            return None;
        };
        let late = self.leaves_less_than(Duration::ZERO, fetch, attempt.id);
        let in_time = self.state == PlayState::Playing && !late;
        if in_time || self.may_be_the_edge(fetch, attempt) {
            return None;
        }
        if attempt.role != Role::Primary
            || fetch.state != FetchState::Active
            || !matches!(attempt.phase, Phase::Body { .. })
            || !attempt.is_open(self.now)
        {
            return None;
        }
        Some(Slow {
            fetching,
            started_at: attempt.started_at,
            first_byte_at: attempt.first_byte_at?,
            answered_in: attempt.answered_in,
            received: fetch.received,
            total: fetch
                .total
                .unwrap_or(fetch.planned.get().max(fetch.received + 1)),
            rate: attempt.recent.rate(self.now)?,
        })
    }

    /// Whether another edge may be the answer, and not a lower rung: that is found out first.
    fn may_be_the_edge(&self, fetch: &Fetch, attempt: &Attempt) -> bool {
        let compared = self.comparison.as_ref();
        if compared.is_some_and(|one| one.slow.0 == attempt.id) {
            return true;
        }
        let mut others = self
            .edges
            .usable(self.now, fetch.object, &[])
            .filter(|(id, _)| *id != attempt.edge);
        self.now >= self.line_slow_until
            && self
                .edges
                .get(attempt.edge)
                .is_some_and(|edge| attempt.is_slow_unexplained(self.now, edge))
            && others.next().is_some()
    }

    /// Lower rungs that can be had, the lowest first.
    fn lower_rungs(&self, slow: &Slow) -> Vec<(RepresentationKey, &Representation)> {
        let key = slow.fetching.key;
        let ladder = self
            .timeline
            .as_ref()
            .map(|timeline| timeline.ladder(key.period, key.track));
        (0..key.representation)
            .map(|representation| RepresentationKey {
                representation,
                ..key
            })
            .zip(ladder.unwrap_or_default())
            .filter(|(key, _)| !self.is_doubtful(*key, slow.fetching.start))
            .collect()
    }

    fn by_policy(&mut self, slow: &Slow) -> Option<Instead> {
        if self.now < self.reviewed_at + REVIEW_EVERY {
            return None;
        }
        self.reviewed_at = self.now;
        let key = slow.fetching.key;
        let timeline = self.timeline.as_ref()?;
        let top = capped(timeline.ladder(key.period, key.track), self.cap);
        let before = self.track(TrackKind::Video).buffered.back();
        let last = before
            .filter(|one| one.end + GAP >= slow.fetching.start)
            .map(|one| usize::from(one.key.representation));
        let mut context = core::mem::take(&mut self.told);
        let question = Question {
            kind: TrackKind::Video,
            lowest: RepresentationKey {
                representation: 0,
                ..key
            },
            top: top.max(usize::from(key.representation)),
            last,
            from: slow.fetching.start,
        };
        self.tell_policy(&mut context, &question);
        let under_way = UnderWay {
            rung: usize::from(key.representation),
            received: ByteCount::new(slow.received),
            total: ByteCount::new(slow.total),
            elapsed: self.now.since(slow.started_at),
        };
        let choice = self.policy.review(&context, &under_way);
        self.told = context;
        let choice = choice?;
        let AbrDecision::Next { rung } = choice.decision else {
            return None;
        };
        let lower = self.lower_rungs(slow);
        let within = |(key, _): &&(RepresentationKey, &Representation)| {
            usize::from(key.representation) <= rung
        };
        let (key, one) = lower.iter().rfind(within).or(lower.first())?;
        Some(Instead {
            key: *key,
            id: one.id.clone(),
            why: choice.why,
            inputs: [
                (
                    "buffer_s",
                    seconds(self.track(TrackKind::Video).level(self.playhead())),
                ),
                ("needs_s", seconds(slow.needs()?)),
                ("rate_bps", slow.rate.as_f64()),
            ],
        })
    }

    fn by_rule_of_thumb(&self, slow: &Slow) -> Option<Instead> {
        if self.now.since(slow.first_byte_at) < ABANDON_AFTER {
            return None;
        }
        let level = self.track(TrackKind::Video).level(self.playhead());
        let needs = slow.needs()?;
        // Who waits already waits a little longer for the better picture.
        let patience = if self.state == PlayState::Playing {
            level
        } else {
            WAITS_MORE
        };
        if needs <= patience {
            return None;
        }
        let span = slow.fetching.end.since(slow.fetching.start);
        // The highest lower rung that would be there in time, else the lowest.
        let lower = self.lower_rungs(slow);
        let takes = |one: &Representation| {
            let body = slow.rate.time_for(one.bitrate.bytes_in(span))?;
            Some(slow.answered_in + body)
        };
        let in_time = lower
            .iter()
            .rfind(|(_, one)| takes(one).is_some_and(|takes| takes < patience));
        let (key, one) = in_time.or(lower.first())?;
        let takes = takes(one)?;
        // Starting over must gain clearly, or it only throws bytes away.
        if takes.as_secs_f64() > needs.as_secs_f64() * 0.6 {
            return None;
        }
        Some(Instead {
            key: *key,
            id: one.id.clone(),
            why: "the transfer would end after the buffer does",
            inputs: [
                ("buffer_s", seconds(level)),
                ("needs_s", seconds(needs)),
                ("lower_needs_s", seconds(takes)),
            ],
        })
    }
}

impl Slow {
    /// How long the rest takes at the rate of the last moments.
    fn needs(&self) -> Option<Duration> {
        let rest = ByteCount::new(self.total.saturating_sub(self.received));
        self.rate.time_for(rest)
    }
}
