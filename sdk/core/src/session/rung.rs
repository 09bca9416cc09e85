//! Which representation of a track comes next. The rules themselves are `abr`.

use core::time::Duration;

use nearcast_protocol::manifest::{Representation, RepresentationKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, MediaTime};

use super::Session;
use super::ask::Question;
use super::policy::Answer;
use super::replace::Replacement;
use crate::abr::{AbrChoice, AbrContext, AbrDecision};
use crate::event::PlayState;
use crate::timeline::{Place, capped};

/// Whatever the cap on memory, playback needs a segment of each track to go on when less than this is left.
const DRY: Duration = Duration::from_secs(2);
/// Share of the rate that sound may take beside the picture, and what it begins with before anything was measured.
const SOUND_SHARE: f64 = 0.2;
const SOUND_FIRST: BitRate = BitRate::from_kbps(128);
/// Share of the remembered rate that playback begins with. The picture comes hardly later than at the lowest rung, and where the
/// line has become ten times slower since, playback begins late but goes on, which it does not with a tenth (`memory.rs` in the tests of
/// `tests/sim`).
const FIRST_SHARE: f64 = 0.05;
const FIRST_BY_MEMORY: &str =
    "the first segment may need a twentieth of the rate that this network is remembered for";

const NEAREST: &str = "the nearest to what was chosen that can be had now";

/// What is fetched next of a track, and why.
pub(super) enum Chosen {
    /// The next segment, at this rung.
    Next(RepresentationKey, Grounds),
    /// A buffered segment again, at another rung.
    Replace(Replacement, &'static str),
}

impl Chosen {
    /// What can be had instead of what was wanted, or that itself.
    fn next(there: RepresentationKey, wanted: RepresentationKey, mut grounds: Grounds) -> Self {
        if there != wanted {
            grounds.why = NEAREST;
        }
        Self::Next(there, grounds)
    }
}

/// What the choice of a rung rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grounds {
    /// In words.
    pub(super) why: &'static str,
    /// Whether the policy compared the rungs for it.
    pub(super) compared: bool,
}

impl Grounds {
    /// Whatever the policy may hold of it.
    pub(super) const fn rule(why: &'static str) -> Self {
        Self {
            why,
            compared: false,
        }
    }
}

/// The highest rung whose next segment needs no more than a share of this rate.
fn first_rung(context: &AbrContext, remembered: BitRate) -> usize {
    let rate = remembered.scaled(FIRST_SHARE);
    let plays = context.ahead.first().map_or(DRY, |next| next.duration);
    let fits = |rung: &usize| context.size_ahead(0, *rung) <= rate.bytes_in(plays);
    let rungs = 0..=context.sustained(rate);
    rungs.rev().find(fits).unwrap_or(0)
}

/// The representation of this rung of the ladder that begins with `lowest`.
fn at_rung(lowest: RepresentationKey, rung: usize) -> Option<RepresentationKey> {
    let representation = u16::try_from(rung).ok()?;
    Some(RepresentationKey {
        representation,
        ..lowest
    })
}

impl Session {
    /// Chooses what comes next of a track; `None` where nothing does now.
    pub(super) fn choose_representation(
        &mut self,
        kind: TrackKind,
        period: u16,
        track: u16,
    ) -> Option<Chosen> {
        let ladder = self.timeline.as_ref()?.ladder(period, track);
        let lowest = RepresentationKey {
            period,
            track,
            representation: 0,
        };
        if kind != self.leading() {
            let rung = self.rung_beside_picture(kind, ladder, self.last_rung(kind, period, track));
            let grounds = Grounds::rule("as much as the picture leaves room for");
            return self.nearest(kind, at_rung(lowest, rung)?, grounds);
        }
        if kind == TrackKind::Video
            && let Some(lower) = self.given_up_for
            && lower.period == period
            && lower.track == track
            && !self.is_missing(kind, lower)
        {
            let why = "a higher rung was given up for this one";
            return Some(Chosen::Next(lower, Grounds::rule(why)));
        }
        if let Some(lock) = self.lock.filter(|_| kind == TrackKind::Video) {
            let lock = usize::from(lock).min(ladder.len().saturating_sub(1));
            let grounds = Grounds::rule("the viewer locked this rung");
            return self.nearest(kind, at_rung(lowest, lock)?, grounds);
        }
        let level = self.track(kind).level(self.playhead());
        if self.policy.waits(self.now) && !level.is_zero() {
            return None;
        }
        // Where nothing is shown and nothing is buffered, playback begins anew, whatever was shown before.
        let fresh =
            matches!(self.state, PlayState::Starting | PlayState::Seeking) && level.is_zero();
        let last = self.last_rung(kind, period, track).filter(|_| !fresh);
        let top = self.top_rung(kind, period, track);
        let question = Question {
            kind,
            lowest,
            top,
            last: last.map(|last| last.min(top)),
            from: self.track(kind).next,
        };
        let mut context = core::mem::take(&mut self.told);
        self.tell_policy(&mut context, &question);
        let chosen = self.choose_by_policy(&mut context, &question);
        self.told = context;
        chosen
    }

    /// The same where nobody but the policy decides, or what is remembered of the network, before it can tell anything.
    fn choose_by_policy(
        &mut self,
        context: &mut AbrContext,
        question: &Question,
    ) -> Option<Chosen> {
        let &Question {
            kind,
            lowest,
            top,
            last,
            from,
        } = question;
        if last.is_none()
            && !self.policy.is_custom()
            && let Some(rate) = self.edges.recalled_rate()
        {
            let rung = first_rung(context, rate);
            return self.nearest(kind, at_rung(lowest, rung)?, Grounds::rule(FIRST_BY_MEMORY));
        }
        let mut answer = self.ask_policy(context, from);
        if let Some(Answer {
            choice:
                AbrChoice {
                    decision: AbrDecision::Replace { segment, rung },
                    why,
                },
            ..
        }) = answer
        {
            if let Some(by) = self.replacement(kind, lowest, (segment, rung.min(top))) {
                return Some(Chosen::Replace(by, why));
            }
            // It cannot be had, or not now: what would come next?
            context.buffered.clear();
            answer = Some(self.policy.by_built_in(context));
        }
        let Answer { choice, compared } = answer?;
        let rung = match choice.decision {
            AbrDecision::Next { rung } => rung.min(top),
            AbrDecision::Wait { span } => {
                self.policy.wait(self.now + span);
                return None;
            }
            // Nothing was offered to be replaced.
            AbrDecision::Replace { .. } => last.unwrap_or(0),
        };
        let wanted = at_rung(lowest, rung)?;
        // A rung whose index is not here yet costs a round trip: kept to the last one while it is fetched.
        let begin = at_rung(lowest, self.rung_with_index(kind, wanted, last, rung))?;
        let grounds = Grounds {
            why: choice.why,
            compared,
        };
        let there = self.nearest_there(kind, begin)?;
        Some(Chosen::next(there, wanted, grounds))
    }

    /// Chooses this representation or, where it cannot be had, the nearest to it.
    fn nearest(
        &self,
        kind: TrackKind,
        wanted: RepresentationKey,
        grounds: Grounds,
    ) -> Option<Chosen> {
        let there = self.nearest_there(kind, wanted)?;
        Some(Chosen::next(there, wanted, grounds))
    }

    /// Returns this representation or, where that lacks what comes next or lacked segment after segment lately, the next one
    /// below it; above it, and so above the cap, only where nothing below it can be had.
    fn nearest_there(
        &self,
        kind: TrackKind,
        wanted: RepresentationKey,
    ) -> Option<RepresentationKey> {
        let at = self.track(kind).next;
        let ladder = self.timeline.as_ref()?.ladder(wanted.period, wanted.track);
        let rungs = u16::try_from(ladder.len()).unwrap_or(u16::MAX);
        let key = |representation| RepresentationKey {
            representation,
            ..wanted
        };
        let mut below = (0..=wanted.representation).rev().map(key);
        let mut above = (wanted.representation + 1..rungs).map(key);
        let there = |key: &RepresentationKey| !self.is_missing_at(*key, at);
        let sound = |key: &RepresentationKey| !self.is_doubtful(*key, at);
        let found = below.clone().find(sound).or_else(|| below.find(there));
        let higher = || above.clone().find(sound);
        found.or_else(higher).or_else(|| above.find(there))
    }

    /// The highest rung that the viewer's cap allows.
    pub(super) fn top_rung(&self, kind: TrackKind, period: u16, track: u16) -> usize {
        let timeline = self.timeline.as_ref();
        let ladder = timeline.map_or(&[][..], |timeline| timeline.ladder(period, track));
        if kind == TrackKind::Video {
            capped(ladder, self.cap)
        } else {
            ladder.len().saturating_sub(1)
        }
    }

    /// The track whose rungs the rule chooses: the picture, or the sound where there is none.
    pub(super) fn leading(&self) -> TrackKind {
        let pictures = self.timeline.as_ref().is_some_and(|timeline| {
            (0..timeline.periods())
                .any(|period| timeline.tracks(period, TrackKind::Video).next().is_some())
        });
        if pictures {
            TrackKind::Video
        } else {
            TrackKind::Audio
        }
    }

    /// Rung of the segment before; in another period the one that is nearest by bit rate.
    fn last_rung(&self, kind: TrackKind, period: u16, track: u16) -> Option<usize> {
        let last = self.track(kind).last?;
        if (last.period, last.track) == (period, track) {
            return Some(usize::from(last.representation));
        }
        let timeline = self.timeline.as_ref()?;
        let bitrate = timeline.representation(last)?.bitrate;
        let ladder = timeline.ladder(period, track);
        Some(
            ladder
                .partition_point(|one| one.bitrate <= bitrate)
                .saturating_sub(1),
        )
    }

    /// Sound is cheap beside the picture: the best rung that a fifth of the rate carries; up only with some room,
    /// so that it does not swing.
    fn rung_beside_picture(
        &self,
        kind: TrackKind,
        ladder: &[Representation],
        last: Option<usize>,
    ) -> usize {
        let sustained = |share: f64| {
            let rate = self
                .rate_for_plan()
                .map_or(SOUND_FIRST, |rate| rate.scaled(share));
            ladder
                .partition_point(|one| one.bitrate <= rate)
                .saturating_sub(1)
        };
        let most = sustained(SOUND_SHARE);
        match last {
            Some(last) if kind == TrackKind::Audio => {
                last.min(most).max(sustained(SOUND_SHARE * 0.75))
            }
            Some(last) => last,
            None => most,
        }
    }

    fn rung_with_index(
        &mut self,
        kind: TrackKind,
        wanted: RepresentationKey,
        last: Option<usize>,
        rung: usize,
    ) -> usize {
        // One that nobody has, or can read, is not waited for.
        if self.is_doubtful(wanted, self.track(kind).next) {
            return rung;
        }
        let Some(timeline) = &self.timeline else {
            return rung;
        };
        let next = self.track(kind).next;
        let Some(last) = last else { return rung };
        if timeline.place(wanted, next) == Place::IndexMissing && self.slack(kind) > Duration::ZERO
        {
            self.want_index(kind, wanted);
            return last;
        }
        rung
    }

    /// The chosen representation, or where a segment of it does not fit into memory and playback needs one to go
    /// on, the best that does; `None` waits for room.
    pub(super) fn within_memory(
        &self,
        kind: TrackKind,
        chosen: RepresentationKey,
        next: MediaTime,
    ) -> Option<RepresentationKey> {
        let timeline = self.timeline.as_ref()?;
        let size = |key: RepresentationKey| match timeline.place(key, next) {
            Place::Segment { segment, .. } => timeline.size(key, &segment),
            Place::IndexMissing | Place::PeriodOver => ByteCount::ZERO,
        };
        if self.fits(size(chosen)) {
            return Some(chosen);
        }
        // A hole that is too short to count is still waited for by what lies behind it.
        let playhead = self.playhead();
        if self.track(kind).level(playhead) >= DRY && next > playhead {
            return None;
        }
        let lower = (0..chosen.representation)
            .map(|representation| RepresentationKey {
                representation,
                ..chosen
            })
            .filter(|key| {
                !self.is_missing(kind, *key)
                    && matches!(timeline.place(*key, next), Place::Segment { .. })
            });
        let best = lower.clone().rev().find(|key| self.fits(size(*key)));
        Some(best.or_else(|| lower.clone().next()).unwrap_or(chosen))
    }
}
