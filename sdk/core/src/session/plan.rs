//! What comes next: which object of which track at which rung, init segments and indices in time.

use alloc::string::String;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, Representation, RepresentationKey, TrackKind};
use nearcast_units::{BitRate, ByteCount, Instant, MediaTime};

use super::{Init, KINDS, Session, slot};
use crate::abr::AbrContext;
use crate::action::{Action, CancelReason};
use crate::event::{DecisionKind, Event, PlayState, seconds};
use crate::fetch::{FetchState, Phase, Role};
use crate::schedule::Fetching;
use crate::timeline::{Place, capped, needs_init};

/// Whatever the cap on memory, playback needs a segment of each track to go on when less than this is left.
const DRY: Duration = Duration::from_secs(2);
/// Subtitles are fetched this far ahead at most.
const TEXT_AHEAD: Duration = Duration::from_secs(30);
/// Indices and init segments are small; what they are taken to weigh.
const SMALL: ByteCount = ByteCount::new(4 << 10);
/// Share of the rate that sound may take beside the picture, and what it begins with before anything was measured.
const SOUND_SHARE: f64 = 0.2;
const SOUND_FIRST: BitRate = BitRate::from_kbps(128);
/// A transfer younger than this is not given up for a lower rung.
const ABANDON_AFTER: Duration = Duration::from_millis(900);
/// While nothing is shown, a transfer that ends within this is worth the wait.
const WAITS_MORE: Duration = Duration::from_millis(1_500);

impl Session {
    pub(super) fn plan(&mut self) {
        if self.timeline.is_none() || self.is_over() {
            return;
        }
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
        for kind in order {
            self.plan_track(kind);
        }
        self.plan_track(TrackKind::Text);
        self.plan_probe();
    }

    /// Hands on what is complete, in order, each with its init segment before it.
    fn hand_on(&mut self, kind: TrackKind) {
        let epoch = self.epoch;
        while let Some(next) = self
            .track(kind)
            .buffered
            .iter()
            .position(|segment| !segment.handed_on)
        {
            let Some(segment) = self.track(kind).buffered.get(next).copied() else {
                return;
            };
            if !self.track(kind).is_next_in_line(&segment) {
                return;
            }
            if !self.hand_on_init(kind, segment.key) {
                return;
            }
            let object = ObjectKey::Media(segment.key, segment.index);
            self.actions.push_back(Action::HandOn {
                epoch,
                fetch: segment.fetch,
                object,
                track: kind,
            });
            if let Some(segment) = self.track_mut(kind).buffered.get_mut(next) {
                segment.handed_on = true;
            }
        }
        self.hand_on_part(kind);
        let track = self.track(kind);
        if track.complete()
            && !track.end_said
            && (track.chosen.is_some() || !track.buffered.is_empty())
        {
            self.track_mut(kind).end_said = true;
            self.actions
                .push_back(Action::EndOfTrack { epoch, track: kind });
        }
    }

    /// While nothing is shown for want of media, what comes is handed on as it comes.
    fn hand_on_part(&mut self, kind: TrackKind) {
        let waits = matches!(
            self.state,
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_)
        );
        let track = self.track(kind);
        let Some(fetching) = track.fetching.filter(|one| one.playable.is_none()) else {
            return;
        };
        let dry = track.level(self.playhead()).is_zero()
            && track.buffered.iter().all(|segment| segment.handed_on);
        let comes = self
            .fetches
            .iter()
            .any(|fetch| fetch.id == fetching.fetch && fetch.received > 0);
        if !waits || !dry || !comes || kind == TrackKind::Text {
            return;
        }
        if !self.hand_on_init(kind, fetching.key) {
            return;
        }
        self.actions.push_back(Action::HandOnPart {
            epoch: self.epoch,
            fetch: fetching.fetch,
            object: ObjectKey::Media(fetching.key, fetching.index),
            track: kind,
        });
        if let Some(fetching) = &mut self.track_mut(kind).fetching {
            fetching.playable = Some(fetching.start);
        }
    }

    /// Hands on the init segment that a representation needs, if it was not the last; returns whether it is there.
    fn hand_on_init(&mut self, kind: TrackKind, key: RepresentationKey) -> bool {
        let wanted = self
            .timeline
            .as_ref()
            .and_then(|timeline| timeline.representation(key))
            .is_some_and(needs_init);
        if !wanted || self.handed_init[slot(kind)] == Some(key) {
            return true;
        }
        let Some(Init::Ready(fetch)) = self.inits.get(&key).copied() else {
            return false;
        };
        self.actions.push_back(Action::HandOn {
            epoch: self.epoch,
            fetch,
            object: ObjectKey::Init(key),
            track: kind,
        });
        self.handed_init[slot(kind)] = Some(key);
        true
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

    fn want_init(&mut self, kind: TrackKind, key: RepresentationKey) {
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
            if self.track(kind).over || self.track(kind).fetching.is_some() || self.is_over() {
                return;
            }
            self.track_mut(kind).skip_buffered();
            let Some(chosen) = self.track(kind).chosen else {
                return self.next_period(kind);
            };
            if !self.has_room(kind) || self.runs_ahead(kind) {
                return;
            }
            let period = self.track(kind).period;
            let Some(choice) = self.choose_representation(kind, period, chosen) else {
                return;
            };
            let (key, why) = choice;
            let next = self.track(kind).next;
            let Some(key) = self.within_memory(kind, key, next) else {
                return;
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
                    self.begin_segment(kind, key, index, (segment.start, end), size, why);
                    return;
                }
            }
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
        why: &'static str,
    ) {
        self.want_init(kind, key);
        let fetch = self.begin_fetch(ObjectKey::Media(key, index), Some(kind), size);
        let from = self.track(kind).last;
        let track = self.track_mut(kind);
        track.fetching = Some(Fetching {
            fetch,
            key,
            index,
            start,
            end,
            playable: None,
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
        if kind == TrackKind::Video || from != Some(key) {
            self.explain_rung(kind, key, why, size);
        }
    }

    fn explain_rung(
        &mut self,
        kind: TrackKind,
        key: RepresentationKey,
        why: &'static str,
        size: ByteCount,
    ) {
        let buffer = seconds(self.track(kind).level(self.playhead()));
        let rate = self.rate_for_plan().map_or(0.0, BitRate::as_f64);
        let name = self
            .timeline
            .as_ref()
            .and_then(|timeline| timeline.representation(key))
            .map_or_else(String::new, |one| one.id.clone());
        let bytes = f64::from(u32::try_from(size.get()).unwrap_or(u32::MAX));
        self.decide(
            DecisionKind::Rung,
            name,
            why,
            &[
                ("buffer_s", buffer),
                ("rate_bps", rate),
                ("size_bytes", bytes),
            ],
        );
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
    fn fits(&self, more: ByteCount) -> bool {
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

    /// The chosen representation, or where a segment of it does not fit into memory and playback needs one to go
    /// on, the best that does; `None` waits for room.
    fn within_memory(
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
        if self.track(kind).level(self.playhead()) >= DRY {
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

    /// Returns the rate that the next transfer may count on.
    pub(super) fn rate_for_plan(&self) -> Option<BitRate> {
        self.edges
            .current()
            .and_then(|id| self.edges.get(id))
            .and_then(crate::edge::Edge::rate)
            .or_else(|| self.edges.line_rate(self.now))
    }

    fn choose_representation(
        &mut self,
        kind: TrackKind,
        period: u16,
        track: u16,
    ) -> Option<(RepresentationKey, &'static str)> {
        let timeline = self.timeline.as_ref()?;
        let ladder = timeline.ladder(period, track);
        let key = |rung: usize| {
            Some(RepresentationKey {
                period,
                track,
                representation: u16::try_from(rung).ok()?,
            })
        };
        if kind != self.leading() {
            let rung = self.rung_beside_picture(kind, ladder, self.last_rung(kind, period, track));
            let rung = (0..=rung)
                .rev()
                .chain(rung..ladder.len())
                .find(|rung| key(*rung).is_some_and(|key| !self.is_missing(kind, key)))?;
            return Some((key(rung)?, "as much as the picture leaves room for"));
        }
        if kind == TrackKind::Video
            && let Some(lower) = self.given_up_for.take()
            && lower.period == period
            && lower.track == track
            && !self.is_missing(kind, lower)
        {
            return Some((lower, "a higher rung was given up for this one"));
        }
        let ladder_len = ladder.len();
        let top = if kind == TrackKind::Video {
            capped(ladder, self.cap)
        } else {
            ladder_len.saturating_sub(1)
        };
        if let Some(lock) = self.lock.filter(|_| kind == TrackKind::Video) {
            let lock = usize::from(lock).min(ladder.len().saturating_sub(1));
            let rung = (0..=lock)
                .rev()
                .chain(lock..ladder.len())
                .find(|rung| key(*rung).is_some_and(|key| !self.is_missing(kind, key)))?;
            return Some((key(rung)?, "the viewer locked this rung"));
        }
        // Where nothing is shown and nothing is buffered, playback begins anew, whatever was shown before.
        let fresh = matches!(self.state, PlayState::Starting | PlayState::Seeking)
            && self.track(kind).level(self.playhead()).is_zero();
        let last = self
            .last_rung(kind, period, track)
            .filter(|_| !fresh)
            .map(|last| last.min(top));
        let segment = self
            .track(kind)
            .buffered
            .back()
            .map_or(Duration::from_secs(4), |last| last.end.since(last.start));
        let next = self.track(kind).next;
        let size = |rung: usize| {
            let place = key(rung).map(|key| (key, timeline.place(key, next)));
            if let Some((key, Place::Segment { segment, .. })) = place {
                return timeline.size(key, &segment);
            }
            ladder
                .get(rung)
                .map_or(SMALL, |one| one.bitrate.bytes_in(segment))
        };
        let context = AbrContext {
            ladder: ladder.get(..=top)?,
            buffer: self.track(kind).level(self.clock.position(self.now)),
            goal: self.config.buffer_goal,
            segment,
            rate: self.rate_for_plan(),
            last,
            size: &size,
        };
        let choice = self.abr.choose(&context);
        let rung = choice.rung.min(top);
        // A rung whose index is not here yet costs a round trip: kept to the last one while it is fetched.
        let rung = self.rung_with_index(kind, key(rung)?, last, rung);
        // Above the cap only where nothing below it can be had.
        let rung = (0..=rung)
            .rev()
            .chain(rung..ladder_len)
            .find(|rung| key(*rung).is_some_and(|key| !self.is_missing(kind, key)))?;
        Some((key(rung)?, choice.why))
    }

    /// The track whose rungs the rule chooses: the picture, or the sound where there is none.
    fn leading(&self) -> TrackKind {
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

    fn want_index(&mut self, kind: TrackKind, key: RepresentationKey) {
        let object = ObjectKey::Index(key);
        if !self.is_parsing(object) && !self.fetches.iter().any(|fetch| fetch.object == object) {
            self.begin_fetch(object, Some(kind), SMALL);
        }
    }

    /// Gives up a transfer that would end after the buffer does, where a lower rung would end before.
    fn abandon_for_lower(&mut self) {
        let Some(fetching) = self.track(TrackKind::Video).fetching else {
            return;
        };
        let rung = usize::from(fetching.key.representation);
        let waits = matches!(
            self.state,
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_)
        );
        // What is on screen already is not begun again.
        if rung == 0
            || self.lock.is_some()
            || fetching.playable.is_some()
            || !(waits || self.state == PlayState::Playing)
        {
            return;
        }
        let Some(fetch) = self.fetches.iter().find(|fetch| fetch.id == fetching.fetch) else {
            return;
        };
        let [attempt] = fetch.attempts.as_slice() else {
            return;
        };
        let (Some(first), Some(total), Some(rate)) = (
            attempt.first_byte_at,
            fetch
                .total
                .or(Some(fetch.planned.get().max(fetch.received + 1))),
            attempt.recent.rate(self.now),
        ) else {
            return;
        };
        if self.now.since(first) < ABANDON_AFTER
            || attempt.role != Role::Primary
            || fetch.state != FetchState::Active
        {
            return;
        }
        if !matches!(attempt.phase, Phase::Body { .. }) {
            return;
        }
        let level = self.track(TrackKind::Video).level(self.playhead());
        let rest = ByteCount::new(total.saturating_sub(fetch.received));
        let Some(needs) = rate.time_for(rest) else {
            return;
        };
        // Who waits already waits a little longer for the better picture.
        let patience = if waits { WAITS_MORE } else { level };
        if needs <= patience {
            return;
        }
        let span = fetching.end.since(fetching.start);
        let Some(timeline) = &self.timeline else {
            return;
        };
        let ladder = timeline.ladder(fetching.key.period, fetching.key.track);
        // The highest lower rung that would be there in time, else the lowest.
        let in_time = |one: &Representation| {
            rate.time_for(one.bitrate.bytes_in(span))
                .is_some_and(|takes| takes < patience)
        };
        let lower = ladder.get(..rung).unwrap_or_default();
        let target = lower.iter().rposition(in_time).unwrap_or(0);
        let Some(takes) = lower
            .get(target)
            .and_then(|one| rate.time_for(one.bitrate.bytes_in(span)))
        else {
            return;
        };
        // Starting over must gain clearly, or it only throws bytes away.
        if takes.as_secs_f64() > needs.as_secs_f64() * 0.6 {
            return;
        }
        let id = lower
            .get(target)
            .map_or_else(String::new, |one| one.id.clone());
        let inputs = [
            ("buffer_s", seconds(level)),
            ("needs_s", seconds(needs)),
            ("lower_needs_s", seconds(takes)),
        ];
        self.decide(
            DecisionKind::Abandon,
            id,
            "the transfer would end after the buffer does",
            &inputs,
        );
        self.abandon(fetching.fetch, CancelReason::LowerRung);
        let track = self.track_mut(TrackKind::Video);
        track.fetching = None;
        track.next = fetching.start;
        let lower = u16::try_from(target)
            .ok()
            .map(|representation| RepresentationKey {
                representation,
                ..fetching.key
            });
        track.last = lower;
        self.given_up_for = lower;
    }

    /// Returns when a buffer will have room again, or a probe is due.
    pub(super) fn plan_deadline(&self) -> Option<Instant> {
        let playhead = self.playhead();
        let refill = self
            .tracks
            .iter()
            .filter(|track| track.chosen.is_some() && !track.over && track.fetching.is_none())
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
        refill.chain(probe).min()
    }
}
