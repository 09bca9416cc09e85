//! What comes next: which object of which track, init segments and indices in time.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant, MediaTime};

use super::replace::ASK_AGAIN;
use super::rung::{Chosen, Grounds};
use super::{Init, KINDS, Session};
use crate::event::{DecisionKind, Event, PlayState, seconds};
use crate::schedule::Fetching;
use crate::timeline::{Place, needs_init};

/// Subtitles are fetched this far ahead at most.
const TEXT_AHEAD: Duration = Duration::from_secs(30);
/// Indices and init segments are small; what they are taken to weigh.
pub(super) const SMALL: ByteCount = ByteCount::new(4 << 10);

impl Session {
    pub(super) fn plan(&mut self) {
        if self.timeline.is_none() || self.is_over() {
            return;
        }
        self.review_replacements();
        self.fetch_missing_inits();
        for kind in KINDS {
            self.hand_on(kind);
        }
        // What was handed on may be what playback waits for.
        self.drive_playback();
        if self.is_over() {
            return;
        }
        self.abandon_for_lower();
        let playhead = self.playhead();
        let audio_first = self.track(TrackKind::Audio).level(playhead)
            <= self.track(TrackKind::Video).level(playhead);
        let order = if audio_first {
            [TrackKind::Audio, TrackKind::Video]
        } else {
            [TrackKind::Video, TrackKind::Audio]
        };
        let over = |session: &Self| session.tracks.each_ref().map(|track| track.over);
        // Where a track ends, less of it is enough to be shown, and sound does not wait for the picture: nothing else
        // would say so.
        for _ in 0..=KINDS.len() {
            let before = over(self);
            for kind in order {
                self.plan_track(kind);
            }
            self.plan_track(TrackKind::Text);
            if over(self) == before || self.is_over() {
                break;
            }
            for kind in KINDS {
                self.hand_on(kind);
            }
            self.drive_playback();
        }
        if !self.is_over() {
            self.plan_probe();
        }
    }

    /// Init segments of everything buffered or on its way.
    fn fetch_missing_inits(&mut self) {
        for kind in KINDS {
            let track = self.track(kind);
            let buffered = track
                .buffered
                .iter()
                .filter(|one| !one.handed_on)
                .map(|one| one.key)
                .next();
            let wanted = [track.fetching.map(|fetching| fetching.key), buffered];
            for key in wanted.into_iter().flatten() {
                self.want_init(kind, key);
            }
        }
    }

    pub(super) fn want_init(&mut self, kind: TrackKind, key: RepresentationKey) {
        let needed = self
            .timeline
            .as_ref()
            .and_then(|timeline| timeline.representation(key))
            .is_some_and(needs_init);
        if needed && !self.inits.contains_key(&key) {
            self.inits.insert(key, Init::Fetching);
            self.begin_fetch(ObjectKey::Init(key), Some(kind), SMALL);
        }
    }

    /// Begins the next segment of a track if there is room and nothing of it is on its way.
    fn plan_track(&mut self, kind: TrackKind) {
        // A period may end here and the next begin; there are few.
        for _ in 0..8 {
            if self.track(kind).over || self.track(kind).is_busy() || self.is_over() {
                return;
            }
            self.track_mut(kind).skip_buffered();
            let Some(chosen) = self.track(kind).chosen else {
                self.next_period(kind);
                continue;
            };
            if self.runs_ahead(kind) {
                return;
            }
            let period = self.track(kind).period;
            if !self.has_room(kind) {
                return self.plan_replacement(kind, period, chosen);
            }
            let choice = self.choose_representation(kind, period, chosen);
            if let Some(Chosen::Replace(by, why)) = choice {
                return self.replace(kind, by, why);
            }
            let Some(Chosen::Next(chosen_key, grounds)) = choice else {
                if kind == TrackKind::Text {
                    self.step_over_missing_cues();
                    continue;
                }
                // One rung after the other turned out not to be had here. When nothing is left to be shown they are
                // looked for once more: one has come back, or the last that is missed again ends playback.
                let dry = self.track(kind).level(self.playhead()).is_zero();
                if dry && self.wrongs.look_again_for(period, chosen) {
                    continue;
                }
                return;
            };
            let next = self.track(kind).next;
            let Some(key) = self.within_memory(kind, chosen_key, next) else {
                return;
            };
            let grounds = if key == chosen_key {
                grounds
            } else {
                Grounds::rule("no higher rung's segment fits into memory")
            };
            let Some(timeline) = &self.timeline else {
                return;
            };
            match timeline.place(key, next) {
                Place::IndexMissing => return self.want_index(kind, key),
                Place::PeriodOver => self.next_period(kind),
                Place::Segment { index, segment } => {
                    let size = timeline.size(key, &segment);
                    let end = segment.start + segment.duration;
                    self.begin_segment(kind, key, index, (segment.start, end), size, grounds);
                    return;
                }
            }
        }
    }

    /// With a full buffer nothing is left to do but to better what is there.
    fn plan_replacement(&mut self, kind: TrackKind, period: u16, track: u16) {
        let lowest = RepresentationKey {
            period,
            track,
            representation: 0,
        };
        if !self.may_replace(kind, lowest, self.top_rung(kind, period, track)) {
            return;
        }
        match self.choose_representation(kind, period, track) {
            Some(Chosen::Replace(by, why)) => self.replace(kind, by, why),
            Some(Chosen::Next(..)) => self.policy.wait(self.now + ASK_AGAIN),
            None => {}
        }
    }

    fn next_period(&mut self, kind: TrackKind) {
        let Some(timeline) = &self.timeline else {
            return;
        };
        let next = self.track(kind).period + 1;
        if next >= timeline.periods() {
            self.track_mut(kind).over = true;
            return;
        }
        let start = timeline
            .period(next)
            .map_or(MediaTime::ZERO, |period| period.start);
        self.enter_period(kind, next);
        let track = self.track_mut(kind);
        track.next = track.next.max(start);
    }

    fn begin_segment(
        &mut self,
        kind: TrackKind,
        key: RepresentationKey,
        index: u32,
        (start, end): (MediaTime, MediaTime),
        size: ByteCount,
        grounds: Grounds,
    ) {
        let from = self.track(kind).last;
        // What it rests on is known before an edge is chosen for it, which may be another one.
        if kind == TrackKind::Video || from != Some(key) {
            self.explain_rung(kind, key, grounds, size);
        }
        self.want_init(kind, key);
        let fetch = self.begin_fetch(ObjectKey::Media(key, index), Some(kind), size);
        if kind == TrackKind::Video {
            self.given_up_for = None;
        }
        let track = self.track_mut(kind);
        track.fetching = Some(Fetching {
            fetch,
            key,
            index,
            start,
            end,
            part: None,
        });
        track.next = end;
        track.last = Some(key);
        if from != Some(key) {
            self.events.push_back(Event::RepresentationSwitched {
                track: kind,
                from,
                to: key,
                at: start,
            });
        }
    }

    /// Says why this rung comes next: with the buffer and the segment's size, what is expected of the edge in use over the time that a plan looks
    /// ahead, where anything is known of it.
    fn explain_rung(
        &mut self,
        kind: TrackKind,
        key: RepresentationKey,
        grounds: Grounds,
        size: ByteCount,
    ) {
        let name = self
            .timeline
            .as_ref()
            .and_then(|timeline| timeline.representation(key))
            .map_or_else(String::new, |one| one.id.clone());
        let bytes = f64::from(u32::try_from(size.get()).unwrap_or(u32::MAX));
        let mut inputs = vec![
            ("buffer_s", seconds(self.track(kind).level(self.playhead()))),
            ("size_bytes", bytes),
        ];
        if let Some(forecast) = self.edges.forecast(self.now) {
            inputs.extend(forecast.sustained.map(|rate| ("rate_bps", rate.as_f64())));
            inputs.extend(forecast.told());
        }
        let scores = if grounds.compared {
            self.rung_scores(key)
        } else {
            BTreeMap::new()
        };
        self.decide_among(DecisionKind::Rung, name, grounds.why, &inputs, scores);
    }

    /// What the policy held of each rung of the ladder, by the names of the representations.
    fn rung_scores(&self, key: RepresentationKey) -> BTreeMap<String, f64> {
        let ladder = self
            .timeline
            .as_ref()
            .map(|timeline| timeline.ladder(key.period, key.track));
        let named = ladder.unwrap_or_default().iter().zip(self.policy.scores());
        named.map(|(one, score)| (one.id.clone(), *score)).collect()
    }

    /// Whether sound would take the line from the picture that playback waits for.
    fn runs_ahead(&self, kind: TrackKind) -> bool {
        let video = self.track(TrackKind::Video);
        kind == TrackKind::Audio
            && !self.clock.is_running()
            && !self.paused
            && video.counts()
            && !video.over
            && self.track(kind).next >= video.next
    }

    /// Whether another segment is wanted yet.
    fn has_room(&self, kind: TrackKind) -> bool {
        let goal = if kind == TrackKind::Text {
            TEXT_AHEAD
        } else {
            self.config.buffer_goal
        };
        let track = self.track(kind);
        let playhead = self.playhead();
        let ahead = track.next.since(playhead);
        ahead < goal
    }

    /// Whether so many bytes more fit into memory beside what is held and on its way.
    pub(super) fn fits(&self, more: ByteCount) -> bool {
        let held: ByteCount = self
            .tracks
            .iter()
            .map(crate::schedule::TrackState::bytes)
            .sum();
        let coming: ByteCount = self
            .fetches
            .iter()
            .map(|fetch| ByteCount::new(fetch.total.unwrap_or(fetch.planned.get())))
            .sum();
        held + coming + more <= self.config.memory_cap
    }

    /// Returns the rate that the next transfer may count on.
    pub(super) fn rate_for_plan(&self) -> Option<BitRate> {
        self.edges.forecast(self.now)?.sustained
    }

    pub(super) fn want_index(&mut self, kind: TrackKind, key: RepresentationKey) {
        let object = ObjectKey::Index(key);
        if !self.is_parsing(object) && !self.fetches.iter().any(|fetch| fetch.object == object) {
            self.begin_fetch(object, Some(kind), SMALL);
        }
    }

    /// Returns when a buffer will have room again, or a probe is due.
    pub(super) fn plan_deadline(&self) -> Option<Instant> {
        let playhead = self.playhead();
        let refill = self
            .tracks
            .iter()
            .filter(|track| track.chosen.is_some() && !track.over && !track.is_busy())
            .filter_map(|track| {
                let goal = if track.kind == TrackKind::Text {
                    TEXT_AHEAD
                } else {
                    self.config.buffer_goal
                };
                if track.next.since(playhead) < goal {
                    return None;
                }
                self.clock
                    .reaches(self.now, track.next - goal + Duration::from_micros(1))
            });
        let probe = (self.state == PlayState::Playing && !self.hidden).then_some(self.probe_at);
        refill
            .chain(probe)
            .chain(self.policy.deadline(self.now))
            .chain(self.replacement_deadline())
            .min()
    }
}
