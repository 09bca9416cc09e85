//! Takes out of the buffers what the viewer does not want any more, and goes on from there: seeks, other tracks.

use alloc::string::ToString;
use core::time::Duration;

use nearcast_protocol::manifest::TrackKind;
use nearcast_units::{Instant, MediaTime};

use super::{KINDS, Session, Sinks, slot};
use crate::action::{Action, CancelReason};
use crate::clock::PlayClock;
use crate::event::{DecisionKind, PlayState};
use crate::input::Epoch;
use crate::timeline::TrackWish;

/// What is left to fetch the first segment of another track.
const CHANGE_MARGIN: Duration = Duration::from_millis(500);

impl Session {
    pub(super) fn seek(&mut self, to: MediaTime) {
        let Some(timeline) = &self.timeline else {
            self.config.start_at = to.max(MediaTime::ZERO);
            return;
        };
        let first = timeline
            .outline()
            .periods
            .first()
            .map_or(MediaTime::ZERO, |period| period.start);
        let last = timeline.duration().map_or(to, |duration| {
            MediaTime::from_duration(duration) - Duration::from_millis(200)
        });
        let to = to.min(last).max(first);
        let was = self.state.clone();
        self.given_up_for = None;
        // What a policy waits for was about another place.
        self.policy.wait(Instant::ZERO);
        let left = self.playhead();
        if self.clock.is_running() {
            self.hold_clock();
        }
        self.clock = PlayClock::held(to);
        for kind in KINDS {
            self.note_shown(kind, left, to);
            self.reposition(kind, to);
        }
        self.flush(None, to);
        if !matches!(was, PlayState::Starting) {
            self.set_state(PlayState::Seeking);
        }
        self.decide(
            DecisionKind::Playback,
            alloc::format!("seek to {:.1} s", to.as_secs_f64()),
            "the viewer asked",
            &[],
        );
    }

    /// What was seen until `left` and is left for `to` counts with the part that was seen of it.
    fn note_shown(&mut self, kind: TrackKind, left: MediaTime, to: MediaTime) {
        for segment in self.tracks[slot(kind)].buffered.iter() {
            if segment.start < left && !(segment.start <= to && to < segment.end) {
                let part = left.min(segment.end).since(segment.start);
                self.recorder
                    .segment_shown(kind, segment.key, self.timeline.as_ref(), part);
            }
        }
    }

    /// Keeps what is buffered around `to`, drops the rest, and goes on from where the kept part ends.
    fn reposition(&mut self, kind: TrackKind, to: MediaTime) {
        let period = self
            .timeline
            .as_ref()
            .map_or(0, |timeline| timeline.period_at(to));
        let keeps = self
            .track(kind)
            .buffered
            .iter()
            .any(|segment| segment.start <= to && to < segment.end);
        if keeps {
            while self
                .track(kind)
                .buffered
                .front()
                .is_some_and(|segment| segment.end <= to)
            {
                let passed = self.track_mut(kind).buffered.pop_front();
                if let Some(passed) = passed {
                    self.actions.push_back(Action::Release {
                        fetch: passed.fetch,
                    });
                }
            }
            // A hole before the new place is not filled any more.
            if let Some(passed) = self
                .track_mut(kind)
                .fetching
                .take_if(|fetching| fetching.end <= to)
            {
                self.abandon(passed.fetch, CancelReason::Abandoned);
            }
            let track = self.track_mut(kind);
            track.next = track.next.max(to);
            return;
        }
        let all = MediaTime::from_micros(i64::MIN);
        let fetching = self.track_mut(kind).fetching.take();
        // What is shown next is on its way already.
        if let Some(needed) = fetching.filter(|one| one.start <= to && to < one.end) {
            self.drop_from(kind, all, CancelReason::Abandoned);
            let track = self.track_mut(kind);
            track.period = needed.key.period;
            track.chosen = Some(needed.key.track);
            track.next = needed.end;
            track.over = false;
            track.fetching = Some(needed);
            return;
        }
        if let Some(passed) = fetching {
            self.abandon(passed.fetch, CancelReason::Abandoned);
        }
        self.drop_from(kind, all, CancelReason::Abandoned);
        // Within a period the viewer's choice stays, even where its language does not tell it.
        if self.track(kind).period != period || self.track(kind).over {
            let chosen = self
                .track(kind)
                .chosen
                .filter(|_| self.track(kind).period == period);
            self.enter_period(kind, period);
            let track = self.track_mut(kind);
            track.chosen = chosen.or(track.chosen);
            track.over &= track.chosen.is_none();
        }
        self.track_mut(kind).next = to;
    }

    /// Drops buffered segments that begin at or after `from`; the next one fetched begins where they did.
    pub(super) fn drop_from(&mut self, kind: TrackKind, from: MediaTime, reason: CancelReason) {
        let drops = self
            .track(kind)
            .buffered
            .back()
            .is_some_and(|last| last.start >= from);
        // What is on its way and lies behind what is dropped would come before that is here again.
        if drops
            && let Some(fetching) = self
                .track_mut(kind)
                .fetching
                .take_if(|one| one.start >= from)
        {
            self.track_mut(kind)
                .go_back_to(fetching.start, fetching.key);
            self.abandon(fetching.fetch, reason);
        }
        while let Some(dropped) = self.track_mut(kind).pop_from(from) {
            self.actions.push_back(Action::Release {
                fetch: dropped.fetch,
            });
            // What the viewer leaves was wanted when it came.
            if reason != CancelReason::Abandoned {
                self.recorder.wasted_fetch(dropped.fetch);
            }
            self.track_mut(kind).go_back_to(dropped.start, dropped.key);
        }
    }

    /// What was handed on from `from` on is forgotten by the sinks and handed on again.
    pub(super) fn flush(&mut self, kind: Option<TrackKind>, from: MediaTime) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.sinks = Sinks::Unasked;
        self.actions.push_back(Action::Flush {
            epoch: self.epoch,
            track: kind,
            from,
        });
        let epoch = self.epoch;
        for one in KINDS {
            if kind.is_none_or(|kind| kind == one) {
                self.handed_init[slot(one)] = None;
                let track = self.track_mut(one);
                track.end_said = false;
                if let Some(fetching) = track.fetching.as_mut().filter(|one| one.end > from) {
                    fetching.part = None;
                }
                for segment in &mut track.buffered {
                    if segment.end > from {
                        segment.handed_on = false;
                        segment.since = epoch;
                    }
                }
            }
        }
    }

    pub(super) fn select_audio(&mut self, track: u16) {
        self.select_track(TrackKind::Audio, Some(track));
    }

    pub(super) fn select_text(&mut self, track: Option<u16>) {
        self.select_track(TrackKind::Text, track);
    }

    /// What was chosen before the tracks were known is done now that they are.
    pub(super) fn select_early(&mut self) {
        for kind in KINDS {
            if let Some(choice) = self.track_mut(kind).early.take() {
                self.select_track(kind, choice);
            }
        }
    }

    /// Changes a track from the next segment boundary on that leaves time to fetch.
    fn select_track(&mut self, kind: TrackKind, choice: Option<u16>) {
        let Some(timeline) = &self.timeline else {
            self.track_mut(kind).early = Some(choice);
            return;
        };
        let playhead = self.playhead();
        let period = timeline.period_at(playhead);
        let chosen = choice.and_then(|nth| timeline.tracks(period, kind).nth(usize::from(nth)));
        if choice.is_some() && chosen.is_none() {
            return;
        }
        let wish = chosen.map(|(_, track)| {
            (
                track.language.clone(),
                track.role.clone(),
                track.label.clone(),
            )
        });
        let index = chosen.map(|(index, _)| index);
        let track = self.track_mut(kind);
        track.wish = wish
            .as_ref()
            .map_or_else(TrackWish::default, |(language, role, _)| TrackWish {
                language: language.clone(),
                role: role.clone(),
            });
        if track.chosen == index && track.period == period {
            return;
        }
        // Text changes at once, sound from the first boundary that leaves half a second, or else where it ends.
        let boundary = if kind == TrackKind::Text {
            playhead
        } else {
            let end = track.buffered_end(playhead);
            track
                .buffered
                .iter()
                .map(|segment| segment.end)
                .find(|at| *at > playhead + CHANGE_MARGIN)
                .map_or(end, |at| at.min(end))
        };
        if let Some(fetching) = self.track_mut(kind).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        let from = if kind == TrackKind::Text {
            MediaTime::from_micros(i64::MIN)
        } else {
            boundary
        };
        self.drop_from(kind, from, CancelReason::Abandoned);
        self.flush(Some(kind), boundary);
        let name = wish.map_or("none".to_string(), |(language, _, label)| {
            label.or(language).unwrap_or_else(|| "unnamed".to_string())
        });
        let track = self.track_mut(kind);
        track.period = period;
        track.chosen = index;
        track.next = boundary;
        track.over = index.is_none();
        track.last = None;
        let inputs = [("from_s", boundary.as_secs_f64())];
        self.decide(
            DecisionKind::Track,
            name,
            "the viewer chose another track",
            &inputs,
        );
    }
}
