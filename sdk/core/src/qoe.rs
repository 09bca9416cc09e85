//! Writes down what happened and turns it into the session report and its QoE numbers. Decides nothing.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, TrackKind};
use nearcast_protocol::report::{
    AttemptReport, ByteReport, ContentReport, DecisionReport, EdgeReport, FailoverReport,
    FetchReport, LadderReport, Quantiles, SCHEMA, SegmentReport, SessionReport, StallReport,
};
use nearcast_units::{Instant, MediaTime};

use crate::event::{Decision, PlayState};
use crate::fetch::{Attempt, Fetch, Handover, Role};
use crate::input::FetchId;
use crate::schedule::TrackState;
use crate::session::Session;
use crate::timeline::Timeline;

/// The story of one session.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    origin: Option<Instant>,
    startup: Option<Instant>,
    held_since: Option<Instant>,
    stalled_since: Option<Instant>,
    running_from: Option<MediaTime>,
    played: Duration,
    stalls: Vec<StallReport>,
    segments: Vec<SegmentReport>,
    shown: Vec<(f64, Duration)>,
    fetches: Vec<FetchReport>,
    fetch_ids: BTreeMap<FetchId, usize>,
    control: Option<(usize, Instant)>,
    failovers: Vec<FailoverReport>,
    awaited: BTreeMap<FetchId, usize>,
    decisions: Vec<DecisionReport>,
    buffer: Vec<(f64, f64, f64)>,
    bytes: ByteReport,
    ladder: Vec<LadderReport>,
}

/// Two hours at one row each half second; what comes later is left out.
const BUFFER_ROWS_MAX: usize = 15_000;
const BUFFER_EVERY_S: f64 = 0.5;
/// Far more than a film needs; keeps a session of days within memory.
const RECORDS_MAX: usize = 50_000;
/// An object that no edge gives for hours is tried every few seconds.
const ATTEMPTS_MAX: usize = 200;
/// Rate term, stall weight and switch term of the linear QoE (see `SessionReport::qoe_lin`).
const STALL_WEIGHT: f64 = 4.3;

impl Recorder {
    pub(crate) fn loaded(&mut self, now: Instant) {
        self.origin = Some(now);
    }

    fn since_origin(&self, at: Instant) -> f64 {
        self.origin
            .map_or(0.0, |origin| at.since(origin).as_secs_f64())
    }

    /// What attempts that have ended brought, by what it was for.
    pub(crate) const fn bytes(&self) -> &ByteReport {
        &self.bytes
    }

    pub(crate) const fn startup_at(&self) -> Option<Instant> {
        self.startup
    }

    pub(crate) const fn held_since(&self) -> Option<Instant> {
        self.held_since
    }

    pub(crate) const fn stall_count(&self) -> usize {
        self.stalls.len()
    }

    pub(crate) const fn failover_count(&self) -> usize {
        self.failovers.len()
    }

    /// Counts start-up and stalls from changes of state.
    pub(crate) fn state(&mut self, now: Instant, from: &PlayState, to: &PlayState) {
        if *to == PlayState::Playing && self.startup.is_none() {
            self.startup = Some(now);
        }
        if let PlayState::Stalled(cause) = to {
            self.stalled_since = Some(now);
            let at_s = self.since_origin(now);
            self.stalls.push(StallReport {
                at_s,
                duration_s: 0.0,
                cause: cause.code().into(),
            });
        }
        if matches!(from, PlayState::Stalled(_))
            && let (Some(since), Some(stall)) = (self.stalled_since.take(), self.stalls.last_mut())
        {
            stall.duration_s = now.since(since).as_secs_f64();
        }
        let held = matches!(to, PlayState::Stalled(_) | PlayState::Seeking);
        self.held_since = if held {
            self.held_since.or(Some(now))
        } else {
            None
        };
    }

    pub(crate) fn clock_started(&mut self, at: MediaTime) {
        self.running_from = Some(at);
    }

    pub(crate) fn clock_held(&mut self, at: MediaTime) {
        if let Some(from) = self.running_from.take() {
            self.played += at.since(from);
        }
    }

    pub(crate) fn outline(&mut self, timeline: Option<&Timeline>) {
        let Some(timeline) = timeline else { return };
        let kinds = [TrackKind::Video, TrackKind::Audio];
        let ladder = kinds
            .into_iter()
            .find_map(|kind| timeline.tracks(0, kind).next())
            .map(|(_, track)| track.representations.as_slice())
            .unwrap_or_default();
        self.ladder = ladder
            .iter()
            .map(|one| LadderReport {
                representation: one.id.clone(),
                bitrate_bps: one.bitrate.as_bps(),
            })
            .collect();
    }

    pub(crate) fn grant_asked(&mut self, now: Instant) {
        if self.fetches.len() >= RECORDS_MAX {
            return;
        }
        let id = u64::try_from(self.fetches.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.control = Some((self.fetches.len(), now));
        self.fetches.push(FetchReport {
            id,
            kind: "play".into(),
            ..FetchReport::default()
        });
    }

    pub(crate) fn grant_ended(&mut self, now: Instant, code: Option<&str>) {
        let Some((index, since)) = self.control.take() else {
            return;
        };
        let attempt = AttemptReport {
            edge: "backend".into(),
            start_s: self.since_origin(since),
            end_s: self.since_origin(now),
            result: if code.is_some() { "failed" } else { "ok" }.into(),
            code: code.map(ToString::to_string),
            ..AttemptReport::default()
        };
        if let Some(fetch) = self.fetches.get_mut(index) {
            fetch.attempts.push(attempt);
        }
    }

    pub(crate) fn fetch_begins(&mut self, fetch: &Fetch, timeline: Option<&Timeline>) {
        let representation = representation_id(fetch, timeline);
        let kind = match (fetch.object, fetch.track) {
            (ObjectKey::Manifest, _) => "manifest",
            (ObjectKey::Index(_), _) => "index",
            (ObjectKey::Init(_), _) => "init",
            (ObjectKey::Media(..), Some(TrackKind::Text)) => "subtitle",
            (ObjectKey::Media(..), _) => "media",
            (ObjectKey::Probe, _) => "probe",
        };
        self.push_fetch(
            fetch.id,
            kind,
            fetch.track,
            representation,
            segment(fetch, timeline),
        );
    }

    pub(crate) fn probe_begins(&mut self, fetch: &Fetch, timeline: Option<&Timeline>) {
        let representation = representation_id(fetch, timeline);
        self.push_fetch(
            fetch.id,
            "probe",
            None,
            representation,
            segment(fetch, timeline),
        );
    }

    fn push_fetch(
        &mut self,
        id: FetchId,
        kind: &str,
        track: Option<TrackKind>,
        representation: Option<String>,
        segment: Option<u64>,
    ) {
        if self.fetches.len() >= RECORDS_MAX {
            return;
        }
        self.fetch_ids.insert(id, self.fetches.len());
        let number = u64::try_from(self.fetches.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.fetches.push(FetchReport {
            id: number,
            kind: kind.into(),
            track: track.map(|track| track_name(track).into()),
            representation,
            segment,
            attempts: Vec::new(),
        });
    }

    pub(crate) fn attempt_ended(
        &mut self,
        now: Instant,
        fetch: &Fetch,
        attempt: &Attempt,
        edge: &str,
        result: &str,
        code: Option<&str>,
    ) {
        let probe = attempt.role == Role::Probe;
        let report = AttemptReport {
            edge: edge.into(),
            protocol: attempt.protocol.map(|protocol| protocol.name().into()),
            offset: attempt.from,
            bytes: attempt.bytes.get(),
            wasted_bytes: if probe { 0 } else { attempt.wasted.get() },
            hedge: attempt.hedge,
            cold: attempt.cold,
            start_s: self.since_origin(attempt.started_at),
            first_byte_s: attempt.first_byte_at.map(|at| self.since_origin(at)),
            end_s: self.since_origin(now),
            result: result.into(),
            code: code.map(ToString::to_string),
        };
        if probe {
            self.bytes.probe = self.bytes.probe.saturating_add(attempt.bytes.get());
        } else {
            self.bytes.wasted = self.bytes.wasted.saturating_add(attempt.wasted.get());
            let new = (attempt.bytes - attempt.wasted).get();
            let purpose = if fetch.object == ObjectKey::Manifest {
                &mut self.bytes.manifest
            } else {
                &mut self.bytes.media
            };
            *purpose = purpose.saturating_add(new);
        }
        if let Some(index) = self.awaited.get(&fetch.id)
            && let Some(failover) = self.failovers.get_mut(*index)
        {
            failover.wasted_bytes = failover.wasted_bytes.saturating_add(attempt.wasted.get());
        }
        if let Some(fetch) = self
            .fetch_ids
            .get(&fetch.id)
            .and_then(|index| self.fetches.get_mut(*index))
            && fetch.attempts.len() < ATTEMPTS_MAX
        {
            fetch.attempts.push(report);
        }
    }

    /// Everything a fetch brought was for nothing. Probes never are: they measure.
    pub(crate) fn wasted_fetch(&mut self, id: FetchId) {
        let index = self.fetch_ids.get(&id);
        let Some(fetch) = index.and_then(|index| self.fetches.get_mut(*index)) else {
            return;
        };
        if fetch.kind == "probe" {
            return;
        }
        let purpose = if fetch.kind == "manifest" {
            &mut self.bytes.manifest
        } else {
            &mut self.bytes.media
        };
        for attempt in &mut fetch.attempts {
            let lost = attempt.bytes.saturating_sub(attempt.wasted_bytes);
            attempt.wasted_bytes = attempt.bytes;
            self.bytes.wasted = self.bytes.wasted.saturating_add(lost);
            *purpose = purpose.saturating_sub(lost);
        }
    }

    pub(crate) fn handover_begins(
        &mut self,
        fetch: &Fetch,
        handover: &Handover,
        from: &str,
        to: &str,
    ) {
        if self.failovers.len() >= RECORDS_MAX {
            return;
        }
        let record = FailoverReport {
            at_s: self.since_origin(handover.at),
            track: fetch.track.map(|track| track_name(track).into()),
            from: from.into(),
            to: to.into(),
            reason: handover.reason.into(),
            offset: handover.offset,
            detected_s: handover.detected_at.since(handover.at).as_secs_f64(),
            first_byte_s: None,
            wasted_bytes: handover.wasted.get(),
        };
        // The same hand-over went on to yet another edge: one story, told to its end.
        if let Some(index) = self.awaited.get(&fetch.id)
            && let Some(known) = self.failovers.get_mut(*index)
            && known.first_byte_s.is_none()
        {
            known.to = record.to;
            return;
        }
        self.awaited.insert(fetch.id, self.failovers.len());
        self.failovers.push(record);
    }

    pub(crate) fn handed_over(&mut self, now: Instant, fetch: FetchId, handover: &Handover) {
        if let Some(record) = self
            .awaited
            .get(&fetch)
            .and_then(|index| self.failovers.get_mut(*index))
        {
            record
                .first_byte_s
                .get_or_insert(now.since(handover.at).as_secs_f64());
        }
    }

    pub(crate) fn fetch_done(&mut self, now: Instant, fetch: &Fetch, timeline: Option<&Timeline>) {
        let ObjectKey::Media(key, index) = fetch.object else {
            return;
        };
        let Some(timeline) = timeline else { return };
        let Some(representation) = timeline.representation(key) else {
            return;
        };
        let duration = match &representation.index {
            nearcast_protocol::manifest::SegmentIndex::Known(segments) => usize::try_from(index)
                .ok()
                .and_then(|index| segments.get(index))
                .map_or(Duration::ZERO, |one| one.duration),
            nearcast_protocol::manifest::SegmentIndex::Deferred => Duration::ZERO,
        };
        if self.segments.len() >= RECORDS_MAX {
            return;
        }
        self.segments.push(SegmentReport {
            track: fetch.track.map_or("", track_name).into(),
            index: timeline.ordinal(key, index),
            representation: representation.id.clone(),
            bitrate_bps: representation.bitrate.as_bps(),
            duration_s: duration.as_secs_f64(),
            bytes: fetch.received,
            requested_s: self.since_origin(fetch.started_at),
            first_byte_s: self.since_origin(fetch.first_byte_at.unwrap_or(now)),
            done_s: self.since_origin(now),
        });
    }

    pub(crate) fn segment_shown(
        &mut self,
        kind: TrackKind,
        key: RepresentationKey,
        timeline: Option<&Timeline>,
        duration: Duration,
    ) {
        let video = timeline.is_some_and(|timeline| {
            timeline
                .tracks(key.period, TrackKind::Video)
                .next()
                .is_some()
        });
        let counts = if video {
            kind == TrackKind::Video
        } else {
            kind == TrackKind::Audio
        };
        let bitrate = timeline
            .and_then(|timeline| timeline.representation(key))
            .map(|one| one.bitrate.as_f64());
        if self.shown.len() >= RECORDS_MAX {
            return;
        }
        if let (true, Some(bitrate)) = (counts, bitrate) {
            self.shown.push((bitrate, duration));
        }
    }

    pub(crate) fn decision(&mut self, now: Instant, decision: &Decision) {
        if self.decisions.len() < RECORDS_MAX {
            self.decisions.push(DecisionReport {
                at_s: self.since_origin(now),
                kind: decision.kind.name().into(),
                chosen: decision.chosen.clone(),
                why: decision.why.clone(),
                inputs: decision.inputs.clone(),
                scores: decision.scores.clone(),
            });
        }
    }

    pub(crate) fn sample_buffer(
        &mut self,
        now: Instant,
        tracks: &[TrackState; 3],
        playhead: MediaTime,
    ) {
        let at = self.since_origin(now);
        let due = self
            .buffer
            .last()
            .is_none_or(|(last, _, _)| at - last >= BUFFER_EVERY_S);
        if due && self.buffer.len() < BUFFER_ROWS_MAX {
            let [video, audio, _] = tracks;
            self.buffer.push((
                at,
                video.level(playhead).as_secs_f64(),
                audio.level(playhead).as_secs_f64(),
            ));
        }
    }
}

fn representation_id(fetch: &Fetch, timeline: Option<&Timeline>) -> Option<String> {
    let key = fetch.object.representation()?;
    Some(timeline?.representation(key)?.id.clone())
}

fn segment(fetch: &Fetch, timeline: Option<&Timeline>) -> Option<u64> {
    match fetch.object {
        ObjectKey::Media(key, index) => Some(timeline?.ordinal(key, index)),
        ObjectKey::Manifest | ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Probe => None,
    }
}

pub(crate) const fn track_name(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Text => "text",
    }
}

impl Session {
    /// Joins the recorder's story with what is under way at `now`.
    pub(crate) fn build_report(&self, now: Instant) -> SessionReport {
        let recorder = self.recorder();
        let snapshot = self.snapshot(now);
        let playhead = snapshot.position;
        let running = recorder
            .running_from
            .map_or(Duration::ZERO, |from| playhead.since(from));
        let mut stalls = recorder.stalls.clone();
        if let (Some(since), Some(stall)) = (recorder.stalled_since, stalls.last_mut()) {
            stall.duration_s = now.since(since).as_secs_f64();
        }
        // An empty sum of floats is -0.0.
        let stalled_s = stalls.iter().map(|stall| stall.duration_s).sum::<f64>() + 0.0;
        let mut shown = recorder.shown.clone();
        shown.extend(self.shown_so_far(playhead));
        let changes: Vec<f64> = shown
            .windows(2)
            .filter_map(|pair| match pair {
                [(one, _), (next, _)] => Some((next - one).abs()),
                _ => None,
            })
            .filter(|change| *change > 0.0)
            .collect();
        let duration: f64 = shown
            .iter()
            .map(|(_, duration)| duration.as_secs_f64())
            .sum();
        let weighted: f64 = shown
            .iter()
            .map(|(bitrate, duration)| bitrate * duration.as_secs_f64())
            .sum();
        let quality: f64 = shown.iter().map(|(bitrate, _)| bitrate / 1e6).sum();
        let change: f64 = changes.iter().sum();
        let switches = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        SessionReport {
            schema: SCHEMA.to_string(),
            content: ContentReport {
                source: String::new(),
                duration_s: snapshot.duration.map(|duration| duration.as_secs_f64()),
                ladder: recorder.ladder.clone(),
            },
            wall_s: recorder.since_origin(now),
            startup_s: recorder.startup.map(|at| recorder.since_origin(at)),
            played_s: (recorder.played + running).as_secs_f64(),
            stall_count: u64::try_from(stalls.len()).unwrap_or(u64::MAX),
            stalls,
            stalled_s,
            segments: recorder.segments.clone(),
            fetches: self.fetches_so_far(now),
            mean_bitrate_bps: if duration > 0.0 {
                weighted / duration
            } else {
                0.0
            },
            switches: u64::from(switches),
            mean_switch_bps: if switches > 0 {
                change / f64::from(switches)
            } else {
                0.0
            },
            edges: self.edge_reports(now),
            failovers: recorder.failovers.clone(),
            decisions: recorder.decisions.clone(),
            buffer: recorder.buffer.clone(),
            bytes: ByteReport {
                extra: self.extra.get(),
                ..recorder.bytes.clone()
            },
            qoe_lin: quality - STALL_WEIGHT * stalled_s - change / 1e6,
            ended: snapshot.state == PlayState::Ended,
            error: self.error_report(),
            ..SessionReport::default()
        }
    }

    fn edge_reports(&self, now: Instant) -> Vec<EdgeReport> {
        let ms = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1e3);
        self.known_edges()
            .iter()
            .map(|(_, edge)| EdgeReport {
                id: edge.name.clone(),
                ttfb_ms: Quantiles {
                    p50: ms(edge.ttfb(50)),
                    p95: ms(edge.ttfb(95)),
                },
                throughput_bps: edge.rate().map(nearcast_units::BitRate::as_bps),
                bytes: edge.bytes.get(),
                failures: edge.failures,
                state: edge.state(now).name().into(),
            })
            .collect()
    }

    /// Fetches with the attempts that still run.
    fn fetches_so_far(&self, now: Instant) -> Vec<FetchReport> {
        let recorder = self.recorder();
        let mut fetches = recorder.fetches.clone();
        for fetch in self.live_fetches() {
            let Some(report) = recorder
                .fetch_ids
                .get(&fetch.id)
                .and_then(|index| fetches.get_mut(*index))
            else {
                continue;
            };
            for attempt in &fetch.attempts {
                report.attempts.push(AttemptReport {
                    edge: self.known_edges().name(attempt.edge).into(),
                    protocol: attempt.protocol.map(|protocol| protocol.name().into()),
                    offset: attempt.from,
                    bytes: attempt.bytes.get(),
                    wasted_bytes: attempt.wasted.get(),
                    hedge: attempt.hedge,
                    cold: attempt.cold,
                    start_s: recorder.since_origin(attempt.started_at),
                    first_byte_s: attempt.first_byte_at.map(|at| recorder.since_origin(at)),
                    end_s: recorder.since_origin(now),
                    result: "running".into(),
                    code: None,
                });
            }
        }
        fetches
    }
}
