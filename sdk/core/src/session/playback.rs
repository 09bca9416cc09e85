//! The presentation clock: start, stall, pause, seek, end. Decides when media time passes.

use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, TrackKind};
use nearcast_units::{Instant, MediaTime};

use super::ask::READY_BEFORE;
use super::{KINDS, Session, Sinks};
use crate::action::{Action, ClockOrder};
use crate::event::{DecisionKind, PlayState, StallCause, seconds};
use crate::input::Epoch;
use crate::schedule::{Fetching, GAP};

/// Media wanted before playback starts or goes on: enough to hand the first samples on and to ride
/// over one slow request. One segment is enough even when it is shorter.
pub(super) const START_LEVEL: Duration = Duration::from_millis(1_500);
/// A decoder takes some 20 ms for the first picture. One that takes longer than this is too slow anyway, and
/// sound need not wait for it.
const PREPARE_MAX: Duration = Duration::from_millis(400);
/// What a track has when playback waits for it.
const WAITED_FOR: Duration = Duration::from_millis(200);
/// Samples go to sinks at most this far ahead of the playhead (design decision "Hand-over").
const LEAD: Duration = Duration::from_secs(2);

impl Session {
    pub(super) fn set_paused(&mut self, paused: bool) {
        if paused != self.paused {
            if paused {
                self.paused_since = Some(self.now);
            } else if let Some(since) = self.paused_since.take() {
                self.paused_for += self.now.since(since);
            }
        }
        self.paused = paused;
        match self.state {
            PlayState::Playing if paused => {
                self.hold_clock();
                self.set_state(PlayState::Paused);
            }
            // Whoever pauses does not wait.
            PlayState::Stalled(_) if paused => self.set_state(PlayState::Paused),
            PlayState::Paused if !paused => {
                let playhead = self.playhead();
                let dry = self.tracks.iter().any(|track| {
                    track.counts() && !track.complete() && track.level(playhead).is_zero()
                });
                self.set_state(if dry && self.recorder.startup_at().is_some() {
                    PlayState::Stalled(self.stall_cause())
                } else {
                    PlayState::Seeking
                });
            }
            PlayState::Idle
            | PlayState::Starting
            | PlayState::Playing
            | PlayState::Paused
            | PlayState::Seeking
            | PlayState::Stalled(_)
            | PlayState::Ended
            | PlayState::Failed(_)
            | PlayState::Stopped => {}
        }
    }

    pub(super) fn hold_clock(&mut self) {
        self.recorder.clock_held(self.playhead());
        self.clock.hold(self.now);
        self.actions.push_back(Action::Clock(ClockOrder::Hold));
    }

    fn start_clock(&mut self) {
        self.sinks = Sinks::Unasked;
        self.clock.start(self.now, self.rate);
        let at = self.playhead();
        self.recorder.clock_started(at);
        self.actions.push_back(Action::Clock(ClockOrder::Start {
            epoch: self.epoch,
            at,
            rate: self.rate,
        }));
    }

    pub(super) fn prepared(&mut self, epoch: Epoch) {
        if epoch == self.epoch && matches!(self.sinks, Sinks::Asked { .. }) {
            self.sinks = Sinks::Prepared;
        }
    }

    /// The sinks have samples of a segment that still arrives.
    pub(super) fn playable(&mut self, epoch: Epoch, object: ObjectKey, until: MediaTime) {
        let arrives = |one: &Fetching| ObjectKey::Media(one.key, one.index) == object;
        for track in &mut self.tracks {
            if let Some(fetching) = track.fetching.as_mut().filter(|one| arrives(one))
                && let Some(part) = &mut fetching.part
                && epoch >= part.since
            {
                part.until = part.until.max(until).min(fetching.end);
            }
        }
    }

    /// Asks the sinks for what is shown first; returns whether to start now, and why.
    fn is_prepared(&mut self) -> Option<&'static str> {
        match self.sinks {
            Sinks::Prepared => Some("enough media is buffered"),
            Sinks::Asked { until } if self.now >= until => {
                Some("enough media is buffered, and the decoder is too slow to wait for")
            }
            Sinks::Asked { .. } => None,
            Sinks::Unasked => {
                self.sinks = Sinks::Asked {
                    until: self.now + PREPARE_MAX,
                };
                self.actions
                    .push_back(Action::Prepare { epoch: self.epoch });
                None
            }
        }
    }

    pub(super) fn anchor(&mut self, epoch: Epoch, position: MediaTime) {
        if epoch == self.epoch && self.clock.is_running() {
            if position > self.playhead() {
                self.progress_at = self.now;
            }
            // No sink shows what it was not given, or what was given back.
            let position = position.max(self.begins_at());
            let end = self.shown_until;
            self.clock
                .anchor(self.now, end.map_or(position, |end| position.min(end)));
        }
    }

    /// Returns where the earliest of what the sinks may have begins; the playhead where that lies before it.
    fn begins_at(&self) -> MediaTime {
        let given = self.tracks.iter().filter_map(|track| {
            let arriving = track.fetching.filter(|one| one.part.is_some());
            let first = track.buffered.front().map(|first| first.start);
            first.or(arriving.map(|one| one.start))
        });
        given.fold(self.playhead(), MediaTime::min)
    }

    pub(super) fn underrun(&mut self, epoch: Epoch) {
        if epoch == self.epoch && self.state == PlayState::Playing {
            self.stall(StallCause::Sink);
        }
    }

    /// A session that hears of something late does not take for seen what was not there to be shown.
    pub(super) fn clamp_clock(&mut self) {
        if let Some(end) = self.shown_until.filter(|end| *end < self.playhead()) {
            self.clock.anchor(self.now, end);
        }
    }

    /// Remembers how far the clock may run until something is heard again.
    pub(super) fn limit_clock(&mut self) {
        self.shown_until = if self.clock.is_running() {
            self.playable_end().or_else(|| self.final_end())
        } else {
            None
        };
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
        // One that ends a little before its period does not keep the next one waiting.
        let period = timeline.period_at(self.playhead() + GAP);
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
        let playhead = self.playhead();
        let soon_dry = self.tracks.iter().filter_map(|track| {
            let arrives = track.fetching.is_some_and(|one| one.part.is_none());
            let soon = track.buffered_end(playhead) - READY_BEFORE;
            (track.counts() && arrives && soon > playhead).then_some(soon)
        });
        let shown = self
            .tracks
            .iter()
            .filter_map(|track| track.buffered.front().filter(|front| front.handed_on))
            .map(|front| front.end + Duration::from_millis(500));
        let prepared = match self.sinks {
            Sinks::Asked { until } if until > self.now => Some(until),
            Sinks::Unasked | Sinks::Asked { .. } | Sinks::Prepared => None,
        };
        ends.chain(soon_dry)
            .chain(shown)
            .filter_map(|at| self.clock.reaches(self.now, at))
            .chain(prepared)
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
                && !self.ends_at_hole(kind)
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
        let Some(why) = self.is_prepared() else {
            return;
        };
        let level = self
            .track(TrackKind::Video)
            .level(playhead)
            .max(self.track(TrackKind::Audio).level(playhead));
        self.start_clock();
        self.set_state(PlayState::Playing);
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
        let part = track.fetching.and_then(|fetching| fetching.part);
        if part.is_some() && track.buffered.iter().all(|segment| segment.handed_on) {
            return track.level(playhead);
        }
        // Of rungs that are cut differently one may lie within another.
        let end = track
            .buffered
            .iter()
            .take_while(|segment| segment.handed_on)
            .map(|segment| segment.end)
            .max()
            .unwrap_or(playhead);
        track.contiguous_end(playhead).min(end).since(playhead)
    }

    /// Whether all that can be shown before a hole in the title is there: there will not be more of it.
    fn ends_at_hole(&self, kind: TrackKind) -> bool {
        let track = self.track(kind);
        let playhead = self.playhead();
        let level = track.level(playhead);
        let behind = playhead + level + GAP;
        !level.is_zero()
            && self.handed_on_level(kind) == level
            && track.next > behind
            && track
                .fetching
                .is_none_or(|fetching| fetching.start > behind)
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
        // What playback waits for was handed over, or nothing of it has come for long: the edge; else the line.
        let playhead = self.playhead();
        let edge = self
            .fetches
            .iter()
            .filter(|fetch| {
                fetch
                    .track
                    .is_some_and(|kind| self.track(kind).level(playhead) < WAITED_FOR)
            })
            .any(|fetch| {
                let silent = |attempt: &crate::fetch::Attempt| {
                    self.edges
                        .get(attempt.edge)
                        .is_some_and(|edge| attempt.silent(self.now, edge))
                };
                fetch.failures > 0 || fetch.handover.is_some() || fetch.attempts.iter().any(silent)
            });
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
