//! The presentation clock: start, stall, pause, seek, end. Decides when media time passes.

use alloc::string::ToString;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{Instant, MediaTime};

use super::{Init, KINDS, Session, slot};
use crate::action::{Action, CancelReason, ClockOrder};
use crate::event::{DecisionKind, PlayState, SessionError, StallCause, seconds};
use crate::input::Epoch;

/// Media wanted before playback starts or goes on: enough to hand the first samples on and to ride
/// over one slow request. One segment is enough even when it is shorter.
const START_LEVEL: Duration = Duration::from_millis(1_500);
/// Samples go to sinks at most this far ahead of the playhead (design decision "Hand-over").
const LEAD: Duration = Duration::from_secs(2);

impl Session {
    pub(super) fn set_paused(&mut self, paused: bool) {
        if paused != self.paused {
            match self.paused_since.take() {
                Some(since) => self.paused_for += self.now.since(since),
                None => self.paused_since = Some(self.now),
            }
        }
        self.paused = paused;
        if paused && self.state == PlayState::Playing {
            self.hold_clock();
            self.set_state(PlayState::Paused);
        } else if !paused && self.state == PlayState::Paused {
            self.set_state(PlayState::Seeking);
        }
    }

    pub(super) fn hold_clock(&mut self) {
        self.recorder.clock_held(self.playhead());
        self.clock.hold(self.now);
        self.actions.push_back(Action::Clock(ClockOrder::Hold));
    }

    fn start_clock(&mut self) {
        self.clock.start(self.now, self.rate);
        let at = self.playhead();
        self.recorder.clock_started(at);
        self.actions.push_back(Action::Clock(ClockOrder::Start {
            epoch: self.epoch,
            at,
            rate: self.rate,
        }));
    }

    pub(super) fn anchor(&mut self, epoch: Epoch, position: MediaTime) {
        if epoch == self.epoch && self.clock.is_running() {
            if position > self.playhead() {
                self.progress_at = self.now;
            }
            // No sink shows what it was not given.
            let end = self.playable_end().or_else(|| self.final_end());
            self.clock
                .anchor(self.now, end.map_or(position, |end| position.min(end)));
        }
    }

    pub(super) fn underrun(&mut self, epoch: Epoch) {
        if epoch == self.epoch && self.state == PlayState::Playing {
            self.stall(StallCause::Sink);
        }
    }

    /// Returns the end of what can be shown: the shortest track decides; `None` when no track limits it.
    fn playable_end(&self) -> Option<MediaTime> {
        let playhead = self.playhead();
        self.tracks
            .iter()
            .filter(|track| track.counts() && !track.complete() && !self.is_absent(track.kind))
            .map(|track| playhead + self.handed_on_level(track.kind))
            .min()
    }

    /// Whether the period under the playhead has no such track: nothing waits for it there.
    fn is_absent(&self, kind: TrackKind) -> bool {
        let Some(timeline) = &self.timeline else {
            return true;
        };
        let period = timeline.period_at(self.playhead());
        period < self.track(kind).period && timeline.tracks(period, kind).next().is_none()
    }

    /// Returns the end of the presentation once all tracks are complete.
    fn final_end(&self) -> Option<MediaTime> {
        let counting = || {
            self.tracks
                .iter()
                .filter(|track| track.counts() || track.kind != TrackKind::Text && track.over)
        };
        let done = self.timeline.is_some() && counting().all(crate::schedule::TrackState::complete);
        done.then(|| {
            counting()
                .filter_map(|track| track.buffered.back())
                .map(|last| last.end)
                .max()
                .unwrap_or(self.playhead())
        })
    }

    pub(super) fn playback_deadline(&self) -> Option<Instant> {
        let ends = self.playable_end().into_iter().chain(self.final_end());
        let shown = self
            .tracks
            .iter()
            .filter_map(|track| track.buffered.front().filter(|front| front.handed_on))
            .map(|front| front.end + Duration::from_millis(500));
        ends.chain(shown)
            .filter_map(|at| self.clock.reaches(self.now, at))
            .min()
    }

    pub(super) fn drive_playback(&mut self) {
        let playhead = self.playhead();
        for kind in KINDS {
            while let Some(shown) = self.track_mut(kind).pop_shown(playhead) {
                self.recorder.segment_shown(
                    kind,
                    shown.key,
                    self.timeline.as_ref(),
                    shown.end.since(shown.start),
                );
                self.actions
                    .push_back(Action::Release { fetch: shown.fetch });
                self.progress_at = self.now;
            }
        }
        match self.state {
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_) => {
                self.start_if_ready()
            }
            PlayState::Playing => {
                if let Some(end) = self.final_end() {
                    if playhead >= end {
                        self.recorder.clock_held(end);
                        self.finish();
                    }
                } else if self.playable_end().is_some_and(|end| playhead >= end) {
                    self.stall(self.stall_cause());
                }
            }
            PlayState::Idle
            | PlayState::Paused
            | PlayState::Ended
            | PlayState::Failed(_)
            | PlayState::Stopped => {}
        }
    }

    fn finish(&mut self) {
        for kind in KINDS {
            let left: alloc::vec::Vec<_> = self.track_mut(kind).buffered.drain(..).collect();
            for segment in left {
                self.recorder.segment_shown(
                    kind,
                    segment.key,
                    self.timeline.as_ref(),
                    segment.end.since(segment.start),
                );
                self.actions.push_back(Action::Release {
                    fetch: segment.fetch,
                });
            }
        }
        self.stop(PlayState::Ended);
    }

    fn start_if_ready(&mut self) {
        if self.timeline.is_none() {
            return;
        }
        let playhead = self.playhead();
        let waits = |track: &&crate::schedule::TrackState| {
            let kind = track.kind;
            let absent = track.chosen.is_none() && track.fetching.is_none();
            kind != TrackKind::Text
                && !absent
                && !track.complete()
                && !self.is_absent(kind)
                && self.handed_on_level(kind) < START_LEVEL.min(self.segment_at(kind, playhead))
        };
        let ready = !self.tracks.iter().any(|track| waits(&track));
        // Where nothing is to be shown, what comes next is; a hole in the title is no reason to wait.
        let next_start = |track: &crate::schedule::TrackState| {
            let next = track
                .buffered
                .iter()
                .find(|segment| segment.end > playhead)?;
            (next.start > playhead && next.handed_on).then_some(next.start)
        };
        let holes: Option<alloc::vec::Vec<MediaTime>> =
            self.tracks.iter().filter(waits).map(next_start).collect();
        if let Some(to) = holes.and_then(|starts| starts.into_iter().max()) {
            self.clock = crate::clock::PlayClock::held(to);
            let chosen = alloc::format!("go on at {:.1} s", to.as_secs_f64());
            let why = "the title has nothing to show before";
            self.decide(DecisionKind::Playback, chosen, why, &[]);
            return self.start_if_ready();
        }
        let something = self
            .tracks
            .iter()
            .any(|track| track.kind != TrackKind::Text && (track.counts() || track.complete()));
        if !ready || !something {
            return;
        }
        if self.paused {
            if self.state != PlayState::Starting || self.recorder.startup_at().is_none() {
                self.set_state(PlayState::Paused);
            }
            return;
        }
        let was_stalled = matches!(self.state, PlayState::Stalled(_));
        let level = self
            .track(TrackKind::Video)
            .level(playhead)
            .max(self.track(TrackKind::Audio).level(playhead));
        self.start_clock();
        self.set_state(PlayState::Playing);
        let why = if was_stalled {
            "enough media is buffered again"
        } else {
            "enough media is buffered"
        };
        self.decide(
            DecisionKind::Playback,
            "start".into(),
            why,
            &[("buffer_s", seconds(level))],
        );
    }

    /// Level of what the sinks may have: segments handed on with their init.
    fn handed_on_level(&self, kind: TrackKind) -> Duration {
        let track = self.track(kind);
        let playhead = self.playhead();
        let last = track
            .buffered
            .iter()
            .take_while(|segment| segment.handed_on)
            .last()
            .map_or(playhead, |last| last.end);
        track.contiguous_end(playhead).min(last).since(playhead)
    }

    /// Duration of the segment under the playhead: segments shorter than the level wanted are enough.
    fn segment_at(&self, kind: TrackKind, playhead: MediaTime) -> Duration {
        self.track(kind)
            .buffered
            .iter()
            .find(|segment| segment.end > playhead)
            .map_or(START_LEVEL, |segment| segment.end.since(segment.start))
    }

    pub(super) fn stall_cause(&self) -> StallCause {
        if self.edges_down {
            return StallCause::AllEdgesDown;
        }
        // A transfer that was handed over, or has no byte for long: the edge; else the line.
        let edge = self
            .fetches
            .iter()
            .any(|fetch| fetch.failures > 0 || fetch.handover.is_some());
        if edge {
            StallCause::Edge
        } else {
            StallCause::Throughput
        }
    }

    fn stall(&mut self, cause: StallCause) {
        self.hold_clock();
        let state = if self.paused {
            PlayState::Paused
        } else {
            PlayState::Stalled(cause)
        };
        self.set_state(state);
        self.decide(DecisionKind::Playback, "stall".into(), cause.code(), &[]);
    }

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
        if self.clock.is_running() {
            self.hold_clock();
        }
        self.clock = crate::clock::PlayClock::held(to);
        for kind in KINDS {
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
            return;
        }
        if let Some(fetching) = self.track_mut(kind).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        self.drop_from(kind, MediaTime::from_micros(i64::MIN));
        // Within a period the viewer's choice stays, even where its language does not tell it.
        if self.track(kind).period != period || self.track(kind).over {
            let chosen = self
                .track(kind)
                .chosen
                .filter(|_| self.track(kind).period == period);
            self.enter_period(kind, period);
            let track = self.track_mut(kind);
            track.chosen = chosen.or(track.chosen);
            track.over = track.chosen.is_none() && kind == TrackKind::Text;
        }
        self.track_mut(kind).next = to;
    }

    /// Drops buffered segments that begin at or after `from`; the next one fetched begins where they did.
    pub(super) fn drop_from(&mut self, kind: TrackKind, from: MediaTime) {
        let drops = self
            .track(kind)
            .buffered
            .back()
            .is_some_and(|last| last.start >= from);
        // What is on its way lies behind what is dropped, and would come before it is here again.
        if drops && let Some(fetching) = self.track_mut(kind).fetching.take() {
            self.track_mut(kind).next = fetching.start;
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        while let Some(dropped) = self.track_mut(kind).pop_from(from) {
            self.actions.push_back(Action::Release {
                fetch: dropped.fetch,
            });
            // What was handed on and then not wanted any more is the viewer's choice, not waste.
            if !dropped.handed_on {
                self.recorder.wasted_fetch(dropped.fetch);
            }
            let track = self.track_mut(kind);
            track.next = dropped.start;
            track.period = dropped.key.period;
            track.chosen = Some(dropped.key.track);
            track.over = false;
        }
    }

    /// What was handed on from `from` on is forgotten by the sinks and handed on again.
    fn flush(&mut self, kind: Option<TrackKind>, from: MediaTime) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.actions.push_back(Action::Flush {
            epoch: self.epoch,
            track: kind,
            from,
        });
        for one in KINDS {
            if kind.is_none_or(|kind| kind == one) {
                self.handed_init[slot(one)] = None;
                let track = self.track_mut(one);
                track.end_said = false;
                for segment in &mut track.buffered {
                    if segment.end > from {
                        segment.handed_on = false;
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

    /// Changes a track from the next segment boundary on that leaves time to fetch.
    fn select_track(&mut self, kind: TrackKind, choice: Option<u16>) {
        let Some(timeline) = &self.timeline else {
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
        if self.track(kind).chosen == index && self.track(kind).period == period {
            return;
        }
        // From the first boundary that leaves half a second; text changes at once.
        let margin = if kind == TrackKind::Text {
            Duration::ZERO
        } else {
            Duration::from_millis(500)
        };
        let boundary = self
            .track(kind)
            .buffered
            .iter()
            .find(|segment| kind != TrackKind::Text && segment.end > playhead + margin)
            .map_or(playhead, |segment| segment.end);
        if let Some(fetching) = self.track_mut(kind).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        let from = if kind == TrackKind::Text {
            MediaTime::from_micros(i64::MIN)
        } else {
            boundary
        };
        self.drop_from(kind, from);
        self.flush(Some(kind), boundary);
        let name = wish
            .as_ref()
            .map_or("none".to_string(), |(language, _, label)| {
                label
                    .clone()
                    .or_else(|| language.clone())
                    .unwrap_or_else(|| "unnamed".to_string())
            });
        let track = self.track_mut(kind);
        match wish {
            Some((language, role, _)) => track.wish = crate::timeline::TrackWish { language, role },
            None => track.wish = crate::timeline::TrackWish::default(),
        }
        track.period = period;
        track.chosen = index;
        track.next = boundary;
        track.over = index.is_none();
        track.last = None;
        let inputs = [("from_s", boundary.as_secs_f64())];
        self.decide(
            DecisionKind::Rung,
            name,
            "the viewer chose another track",
            &inputs,
        );
    }

    /// What was handed on cannot be used: the same object from another edge, unless it is broken everywhere.
    pub(super) fn undecodable(&mut self, epoch: Epoch, object: ObjectKey, code: &str) {
        let Some(kind) = object.representation().and_then(|key| self.kind_of(key)) else {
            return;
        };
        let givers = self.recorder.contributors(object);
        let suspects = self.suspects.entry(object).or_default();
        for giver in givers {
            if !suspects.contains(&giver) {
                suspects.push(giver);
            }
        }
        let from = match object {
            ObjectKey::Init(key) => {
                // One that is on its way again already is not the one that was broken.
                let Some(&Init::Ready(fetch)) = self.inits.get(&key) else {
                    return;
                };
                self.inits.remove(&key);
                self.actions.push_back(Action::Release { fetch });
                self.track(kind)
                    .buffered
                    .iter()
                    .find(|segment| segment.key == key)
                    .map(|segment| segment.start)
            }
            ObjectKey::Media(key, index) => {
                let found = self
                    .track(kind)
                    .buffered
                    .iter()
                    .find(|one| one.key == key && one.index == index);
                found.map(|segment| segment.start)
            }
            ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Probe => None,
        };
        let Some(from) = from else { return };
        if epoch > self.epoch {
            return;
        }
        // What is on its way lies behind the broken piece: alone it would look like a hole in the title.
        if let Some(fetching) = self.track_mut(kind).fetching.take() {
            self.abandon(fetching.fetch, CancelReason::Abandoned);
        }
        if self.broken_too_often(object) {
            let message = "the same piece of media is broken wherever it is fetched from; the title must be packaged again";
            let error = SessionError {
                code: code.into(),
                message: message.into(),
            };
            self.drop_from(kind, from);
            self.flush(Some(kind), from);
            return self.do_without(object, error);
        }
        self.decide(
            DecisionKind::Failover,
            super::control::object_name(object).to_string(),
            "what came cannot be decoded: another edge is asked",
            &[("from_s", from.as_secs_f64())],
        );
        self.drop_from(kind, from);
        self.flush(Some(kind), from);
    }

    pub(super) fn kind_of(
        &self,
        key: nearcast_protocol::manifest::RepresentationKey,
    ) -> Option<TrackKind> {
        Some(self.timeline.as_ref()?.outline().track(key)?.kind)
    }

    /// Returns how soon something is needed: the level of the track, as long as the clock runs.
    pub(super) fn slack(&self, kind: TrackKind) -> Duration {
        let level = self.track(kind).level(self.playhead());
        if self.clock.is_running() {
            level
        } else {
            level.min(LEAD)
        }
    }
}
