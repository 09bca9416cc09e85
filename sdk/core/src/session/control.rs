//! The grant, the manifest and the choice of tracks: what must be known before anything can be planned.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, Outline, RepresentationKey, Segment, TrackKind};
use nearcast_units::{ByteCount, Instant, MediaTime};

use super::{GrantState, KINDS, Session};
use crate::action::Action;
use crate::event::{DecisionKind, Event, PlayState, SessionError};
use crate::input::Grant;
use crate::timeline::Timeline;

/// Between two requests to a backend that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A backend that wants to be asked more often than this is not taken at its word.
const REFRESH_MIN: Duration = Duration::from_secs(5);
/// The driver answers sooner than this, whatever happens.
const ASK_LOST: Duration = Duration::from_secs(20);
/// What a manifest is taken to weigh before it is there.
const MANIFEST_SIZE: ByteCount = ByteCount::new(16 << 10);

impl Session {
    pub(super) fn load(&mut self) {
        if self.loaded_at.is_some() {
            return;
        }
        self.loaded_at = Some(self.now);
        self.progress_at = self.now;
        self.recorder.loaded(self.now);
        self.set_state(PlayState::Starting);
        self.ask_grant(false);
    }

    fn ask_grant(&mut self, refresh: bool) {
        self.grant = GrantState::Asked {
            since: self.now,
            refresh,
        };
        self.recorder.grant_asked(self.now);
        self.actions.push_back(Action::RequestGrant { refresh });
    }

    pub(super) fn granted(&mut self, grant: &Grant) {
        let refreshed = matches!(
            self.grant,
            GrantState::Asked { refresh: true, .. } | GrantState::Held { .. }
        );
        self.recorder.grant_ended(self.now, None);
        self.grant = GrantState::Held {
            refresh_at: grant
                .refresh_after
                .map(|after| self.now + after.max(REFRESH_MIN)),
        };
        self.edges.offer(&grant.edges);
        self.progress_at = self.now;
        for fetch in &mut self.fetches {
            fetch.rejected.clear();
            if let crate::fetch::FetchState::Waiting { until } = &mut fetch.state {
                *until = self.now;
            }
        }
        if refreshed {
            self.decide(
                DecisionKind::Refresh,
                "new tokens and edges".into(),
                "the grant was refreshed",
                &[],
            );
        }
        if grant.edges.is_empty() && self.timeline.is_none() {
            self.fail(SessionError {
                code: "play.no_edges".into(),
                message: "the backend names no edge that has this title; try again later".into(),
            });
        }
    }

    pub(super) fn grant_failed(
        &mut self,
        error: SessionError,
        refused: bool,
        retry_after: Option<Duration>,
    ) {
        let GrantState::Asked { refresh, since } = self.grant else {
            return;
        };
        self.recorder.grant_ended(self.now, Some(&error.code));
        if refused && !refresh {
            return self.fail(error);
        }
        let tries = self.recorder.grant_failures().min(5);
        let backoff = (ASK_AGAIN * (1 << tries)).min(ASK_AGAIN_MAX);
        let wait = retry_after
            .unwrap_or(backoff)
            .max(ASK_AGAIN.saturating_sub(self.now.since(since)));
        self.last_failure = Some(error);
        self.grant = GrantState::Waiting {
            until: self.now + wait,
            refresh,
        };
    }

    /// An edge did not accept the token: a new one is asked for, once for all who wait. Returns whether
    /// one will come.
    pub(super) fn token_rejected(&mut self) -> bool {
        match self.grant {
            GrantState::Held {
                refresh_at: Some(_),
            } => {
                let why = "an edge did not accept the token";
                self.decide(DecisionKind::Refresh, "ask the backend".into(), why, &[]);
                self.ask_grant(true);
                true
            }
            GrantState::Asked { .. } | GrantState::Waiting { .. } => true,
            GrantState::Absent | GrantState::Held { refresh_at: None } => false,
        }
    }

    pub(super) fn control_deadline(&self) -> Option<Instant> {
        match self.grant {
            GrantState::Absent => None,
            GrantState::Asked { since, .. } => Some(since + ASK_LOST),
            GrantState::Waiting { until, .. } => Some(until),
            GrantState::Held { refresh_at } => refresh_at,
        }
    }

    pub(super) fn drive_control(&mut self) {
        match self.grant {
            GrantState::Waiting { until, refresh } if self.now >= until => self.ask_grant(refresh),
            GrantState::Asked { since, refresh } if self.now.since(since) >= ASK_LOST => {
                self.ask_grant(refresh)
            }
            GrantState::Held {
                refresh_at: Some(at),
            } if self.now >= at => {
                self.decide(
                    DecisionKind::Refresh,
                    "ask the backend".into(),
                    "the tokens will expire soon",
                    &[],
                );
                self.ask_grant(true);
            }
            GrantState::Absent
            | GrantState::Asked { .. }
            | GrantState::Waiting { .. }
            | GrantState::Held { .. } => {}
        }
        let known = self.timeline.is_some()
            || self.parsing.contains(&ObjectKey::Manifest)
            || self
                .fetches
                .iter()
                .any(|fetch| fetch.object == ObjectKey::Manifest);
        if !known && self.edges.iter().next().is_some() && !self.is_over() {
            self.begin_fetch(ObjectKey::Manifest, None, MANIFEST_SIZE);
        }
    }

    pub(super) fn manifest_parsed(&mut self, outline: Outline) {
        self.parsing.retain(|object| *object != ObjectKey::Manifest);
        if self.timeline.is_some() {
            return;
        }
        let timeline = match Timeline::new(outline) {
            Ok(timeline) => timeline,
            Err(what) => {
                return self.fail(SessionError {
                    code: "manifest.unusable".into(),
                    message: alloc::format!("{what}; the title must be packaged again"),
                });
            }
        };
        self.progress_at = self.now;
        let start = match timeline.duration() {
            // A position to resume from that lies at the very end starts over.
            Some(duration)
                if self.config.start_at + Duration::from_secs(1)
                    >= MediaTime::from_duration(duration) =>
            {
                MediaTime::ZERO
            }
            _ => self.config.start_at.max(
                timeline
                    .outline()
                    .periods
                    .first()
                    .map_or(MediaTime::ZERO, |first| first.start),
            ),
        };
        self.clock = crate::clock::PlayClock::held(start);
        let period = timeline.period_at(start);
        self.timeline = Some(timeline);
        for kind in KINDS {
            self.enter_period(kind, period);
            self.track_mut(kind).next = start;
        }
        self.recorder.outline(self.timeline.as_ref());
        self.events.push_back(Event::TracksKnown);
    }

    /// Chooses a kind's track in a period by what the viewer wants.
    pub(super) fn enter_period(&mut self, kind: TrackKind, period: u16) {
        let Some(timeline) = &self.timeline else {
            return;
        };
        let chosen = timeline.choose_track(period, kind, &self.track(kind).wish);
        let over = period >= timeline.periods();
        let track = self.track_mut(kind);
        track.period = period;
        track.chosen = chosen;
        track.over = over || (chosen.is_none() && kind == TrackKind::Text);
    }

    pub(super) fn index_parsed(
        &mut self,
        key: RepresentationKey,
        segments: Vec<Segment>,
        init: bool,
    ) {
        self.parsing
            .retain(|object| *object != ObjectKey::Index(key));
        let Some(timeline) = &mut self.timeline else {
            return;
        };
        if let Err(what) = timeline.set_index(key, segments, init) {
            let error = SessionError {
                code: "manifest.unusable".into(),
                message: alloc::format!("{what}; the title must be packaged again"),
            };
            return self.do_without(ObjectKey::Index(key), error);
        }
        self.progress_at = self.now;
        self.recorder.outline(self.timeline.as_ref());
    }

    /// A manifest that one edge gives and nobody can read may be good on another edge.
    pub(super) fn parse_failed(&mut self, object: ObjectKey, error: SessionError) {
        self.parsing.retain(|one| *one != object);
        let givers = self.recorder.contributors(object);
        let suspects = self.suspects.entry(object).or_default();
        for giver in givers {
            if !suspects.contains(&giver) {
                suspects.push(giver);
            }
        }
        let others = self.edges.usable(self.now, object, suspects).count();
        if others == 0 || suspects.len() >= PARSE_TRIES {
            return self.do_without(object, error);
        }
        self.decide(
            DecisionKind::Failover,
            object_name(object).to_string(),
            "what came cannot be parsed: another edge is asked",
            &[],
        );
        self.last_failure = Some(error);
    }
}

/// So many edges giving the same nonsense means that the title is broken, not the edges.
const PARSE_TRIES: usize = 2;

pub(super) const fn object_name(object: ObjectKey) -> &'static str {
    match object {
        ObjectKey::Manifest => "manifest",
        ObjectKey::Index(_) => "index",
        ObjectKey::Init(_) => "init",
        ObjectKey::Media(..) => "media",
        ObjectKey::Probe => "probe",
    }
}
