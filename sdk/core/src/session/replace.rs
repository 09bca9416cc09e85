//! Better pictures for what is buffered: where the policy finds that worth more than going on, a segment is fetched
//! again at another rung and takes the place of the one that is there.

use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_units::{ByteCount, Instant};

use super::{Init, KINDS, Session};
use crate::abr::AbrContext;
use crate::action::{Action, CancelReason};
use crate::event::{DecisionKind, PlayState};
use crate::fetch::Fetch;
use crate::input::FetchId;
use crate::schedule::{Buffered, REPLACE_AHEAD, Replacing};
use crate::timeline::{Place, needs_init};

/// With a full buffer the policy is asked again after so long at most.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A buffered segment, and what is fetched in its place.
pub(super) struct Replacement {
    held: Buffered,
    key: RepresentationKey,
    index: u32,
    size: ByteCount,
}

impl Session {
    /// Segments of this ladder that could be replaced, the earliest first; none while the sinks are to show the first
    /// picture, which would have to wait for them once more.
    fn could_be_replaced(
        &self,
        kind: TrackKind,
        lowest: RepresentationKey,
    ) -> impl Iterator<Item = &Buffered> {
        let from = self.playhead() + REPLACE_AHEAD;
        let plays = self.state == PlayState::Playing;
        self.track(kind).buffered.iter().filter(move |held| {
            plays
                && held.start >= from
                && (held.key.period, held.key.track) == (lowest.period, lowest.track)
        })
    }

    /// Whether the policy is to be asked although there is no room for another segment.
    pub(super) fn may_replace(
        &self,
        kind: TrackKind,
        lowest: RepresentationKey,
        top: usize,
    ) -> bool {
        kind == self.leading()
            && self.lock.is_none()
            && self.policy.replaces()
            && !self.policy.waits(self.now)
            && self
                .could_be_replaced(kind, lowest)
                .any(|held| usize::from(held.key.representation) < top)
    }

    /// Fills in what is buffered and could be replaced.
    pub(super) fn tell_buffered(
        &self,
        context: &mut AbrContext,
        kind: TrackKind,
        lowest: RepresentationKey,
    ) {
        context.buffered.clear();
        let (Some(timeline), true) = (&self.timeline, self.policy.replaces()) else {
            return;
        };
        let playhead = self.playhead();
        let top = context.ladder.len().saturating_sub(1);
        for held in self.could_be_replaced(kind, lowest) {
            let duration = held.end.since(held.start);
            context.buffered.push(crate::abr::SegmentBuffered {
                rung: usize::from(held.key.representation).min(top),
                open_for: held.start.since(playhead + REPLACE_AHEAD),
                duration,
            });
            for (rung, one) in context.ladder.iter().enumerate() {
                let size = match timeline.place(at_rung(lowest, rung), held.start) {
                    Place::Segment { segment, .. } => {
                        timeline.size(at_rung(lowest, rung), &segment)
                    }
                    Place::IndexMissing | Place::PeriodOver => one.bitrate.bytes_in(duration),
                };
                context.sizes.push(size);
            }
        }
    }

    /// Returns what the policy named by its place among those that could be replaced, if it can be fetched now.
    pub(super) fn replacement(
        &mut self,
        kind: TrackKind,
        lowest: RepresentationKey,
        (segment, rung): (usize, usize),
    ) -> Option<Replacement> {
        let key = at_rung(lowest, rung);
        let held = self.could_be_replaced(kind, lowest).nth(segment).copied()?;
        if held.key == key || self.is_doubtful(key, held.start) {
            return None;
        }
        let timeline = self.timeline.as_ref()?;
        let (index, size) = match timeline.place(key, held.start) {
            Place::Segment { index, segment } => (index, timeline.size(key, &segment)),
            Place::IndexMissing => {
                self.want_index(kind, key);
                return None;
            }
            Place::PeriodOver => return None,
        };
        self.fits(size).then_some(Replacement {
            held,
            key,
            index,
            size,
        })
    }

    /// Begins to fetch it.
    pub(super) fn replace(&mut self, kind: TrackKind, by: Replacement, why: &'static str) {
        let Replacement {
            held,
            key,
            index,
            size,
        } = by;
        self.want_init(kind, key);
        let fetch = self.begin_fetch(ObjectKey::Media(key, index), Some(kind), size);
        self.track_mut(kind).replacing = Some(Replacing {
            fetch,
            key,
            instead_of: held.fetch,
        });
        let name = |key: RepresentationKey| {
            let timeline = self.timeline.as_ref();
            timeline
                .and_then(|timeline| timeline.representation(key))
                .map_or("?", |one| one.id.as_str())
        };
        let chosen = alloc::format!("{} instead of {}", name(key), name(held.key));
        let inputs = [
            ("at_s", held.start.as_secs_f64()),
            (
                "size_bytes",
                f64::from(u32::try_from(size.get()).unwrap_or(u32::MAX)),
            ),
        ];
        self.decide(DecisionKind::Replace, chosen, why, &inputs);
    }

    /// The replacement is here: it takes its place, unless that is about to be shown.
    pub(super) fn replaced(&mut self, kind: TrackKind, index: u32, fetch: &Fetch) {
        let playhead = self.playhead();
        let epoch = self.epoch;
        let Some(by) = self.track_mut(kind).replacing.take() else {
            return;
        };
        let lacks_init = !self.timeline.as_ref().is_some_and(|timeline| {
            let needs = timeline.representation(by.key).is_some_and(needs_init);
            !needs || matches!(self.inits.get(&by.key), Some(Init::Ready { .. }))
        });
        let track = self.track_mut(kind);
        let held = track.replaceable(playhead, &by).filter(|_| !lacks_init);
        let Some(old) = held else {
            return self.drop_replacement(by.fetch);
        };
        let from = track.swap(&by, index, ByteCount::new(fetch.received), epoch);
        self.recorder.wasted_fetch(old.fetch);
        self.actions.push_back(Action::Release { fetch: old.fetch });
        if old.handed_on {
            self.flush(Some(kind), from.max(old.start));
        }
    }

    pub(super) fn is_replacement(&self, id: FetchId) -> bool {
        let mut all = self.tracks.iter().filter_map(|track| track.replacing);
        all.any(|by| by.fetch == id)
    }

    /// Forgets a replacement that did not come; what is buffered stays.
    pub(super) fn drop_replacement(&mut self, id: FetchId) {
        for track in &mut self.tracks {
            track.replacing.take_if(|by| by.fetch == id);
        }
        self.recorder.wasted_fetch(id);
        self.actions.push_back(Action::Release { fetch: id });
    }

    /// Gives up replacements whose place is about to be shown, or is not there any more.
    pub(super) fn review_replacements(&mut self) {
        let playhead = self.playhead();
        for kind in KINDS {
            let track = self.track_mut(kind);
            let Some(by) = track.replacing else { continue };
            if track.replaceable(playhead, &by).is_none() {
                track.replacing = None;
                self.abandon(by.fetch, CancelReason::Superseded);
            }
        }
    }

    /// Returns when a replacement comes too late.
    pub(super) fn replacement_deadline(&self) -> Option<Instant> {
        let playhead = self.playhead();
        let ends = self.tracks.iter().filter_map(|track| {
            let held = track.replaceable(playhead, track.replacing.as_ref()?)?;
            let late = held.start - REPLACE_AHEAD + Duration::from_micros(1);
            self.clock.reaches(self.now, late)
        });
        ends.min()
    }
}

fn at_rung(lowest: RepresentationKey, rung: usize) -> RepresentationKey {
    RepresentationKey {
        representation: u16::try_from(rung).unwrap_or(u16::MAX),
        ..lowest
    }
}
