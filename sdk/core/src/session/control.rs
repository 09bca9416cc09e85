//! The grant, the manifest and the choice of tracks: what must be known before anything can be planned.

use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{
    ObjectKey, Outline, RepresentationKey, Segment, SegmentIndex, TrackKind,
};
use nearcast_units::{ByteCount, Instant, MediaTime};

use super::{GrantState, KINDS, Session};
use crate::action::Action;
use crate::edge::RETRY_AFTER_MAX;
use crate::event::{DecisionKind, Event, PlayState, SessionError};
use crate::input::Grant;
use crate::timeline::Timeline;

/// Between two requests to a backend that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// The same while a viewer waits for the beginning, which does not last.
const ASK_AGAIN_AT_START_MAX: Duration = Duration::from_secs(2);
/// A backend that wants to be asked more often than this is not taken at its word.
const REFRESH_MIN: Duration = Duration::from_secs(5);
/// While no edge answers, the backend is asked for others this often.
const ASK_WHILE_DOWN: Duration = Duration::from_secs(10);
/// The driver answers sooner than this, whatever happens.
const ASK_LOST: Duration = Duration::from_secs(20);
/// What a manifest is taken to weigh before it is there.
const MANIFEST_SIZE: ByteCount = ByteCount::new(16 << 10);

/// What an edge that does not accept a token means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// It was asked with a token that was replaced since.
    Replaced,
    /// A new one comes, or is asked for by now.
    Coming,
    /// The backend gives no new one.
    Refused(SessionError),
    /// The token is new, or there is no other: the edge is at fault.
    AtFault,
}

impl Session {
    pub(super) fn load(&mut self) {
        if self.loaded_at.is_some() {
            return;
        }
        self.loaded_at = Some(self.now);
        self.progress_at = self.now;
        self.paused_since = self.paused.then_some(self.now);
        self.paused_for = Duration::ZERO;
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
        self.grant_failures = 0;
        self.grant_number = self.grant_number.saturating_add(1);
        self.granted_at = self.now;
        self.granted_length = grant.length.or(self.granted_length);
        self.refused = None;
        self.wrongs.other_edges();
        self.grant = GrantState::Held {
            refresh_at: grant
                .refresh_after
                .map(|after| self.now + after.max(REFRESH_MIN)),
        };
        // A refresh that names nobody is no reason to leave edges that serve.
        if !refreshed || !grant.edges.is_empty() {
            self.edges.offer(&grant.edges);
        }
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
        // What was granted still serves; once it does not, the refusal is the reason.
        self.refused = refused.then(|| error.clone());
        let most = if refresh {
            ASK_AGAIN_MAX
        } else {
            ASK_AGAIN_AT_START_MAX
        };
        let backoff = (ASK_AGAIN * (1 << self.grant_failures.min(5))).min(most);
        self.grant_failures = self.grant_failures.saturating_add(1);
        // Many clients of one backend do not come back at once.
        let backoff = backoff.mul_f64(0.75 + 0.5 * self.rng.next_f64());
        let wait = retry_after
            .map_or(backoff, |wanted| wanted.min(RETRY_AFTER_MAX))
            .max(ASK_AGAIN.saturating_sub(self.now.since(since)));
        self.last_failure = Some(error);
        self.grant = GrantState::Waiting {
            until: self.now + wait,
            refresh,
        };
    }

    /// An edge did not accept the token of a grant: a new one is asked for, once for all who wait.
    pub(super) fn token_rejected(&mut self, grant: u32) -> Token {
        if grant < self.grant_number {
            return Token::Replaced;
        }
        match self.grant {
            GrantState::Held {
                refresh_at: Some(_),
            } if self
                .token_asked_at
                .is_none_or(|at| self.now.since(at) >= REFRESH_MIN) =>
            {
                self.token_asked_at = Some(self.now);
                self.refresh("an edge did not accept the token");
                Token::Coming
            }
            GrantState::Asked { .. } | GrantState::Waiting { .. } => {
                self.refused.clone().map_or(Token::Coming, Token::Refused)
            }
            GrantState::Absent | GrantState::Held { .. } => Token::AtFault,
        }
    }

    fn refresh(&mut self, why: &str) {
        self.decide(DecisionKind::Refresh, "ask the backend".into(), why, &[]);
        self.ask_grant(true);
    }

    /// Whether the backend was asked and has not answered.
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.grant, GrantState::Asked { .. })
    }

    /// The backend may be reached again.
    pub(super) const fn ask_soon(&mut self) {
        if let GrantState::Waiting { until, .. } = &mut self.grant {
            *until = self.now;
        }
    }

    /// Returns when the backend is asked for other edges because none of these answers.
    fn ask_for_others_at(&self) -> Option<Instant> {
        (self.edges_down
            && matches!(
                self.grant,
                GrantState::Held {
                    refresh_at: Some(_)
                }
            ))
        .then(|| self.granted_at + ASK_WHILE_DOWN)
    }

    /// An answer to what was asked then is waited for until now.
    pub(super) fn asked_until(since: Instant) -> Instant {
        since + ASK_LOST
    }

    pub(super) fn control_deadline(&self) -> Option<Instant> {
        match self.grant {
            GrantState::Absent => None,
            GrantState::Asked { since, .. } => Some(Self::asked_until(since)),
            GrantState::Waiting { until, .. } => Some(until),
            GrantState::Held { refresh_at } => {
                refresh_at.into_iter().chain(self.ask_for_others_at()).min()
            }
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
            } if self.now >= at => self.refresh("the tokens will expire soon"),
            GrantState::Held { .. }
                if self.ask_for_others_at().is_some_and(|at| self.now >= at) =>
            {
                self.refresh("no edge answers: there may be others");
            }
            GrantState::Absent
            | GrantState::Asked { .. }
            | GrantState::Waiting { .. }
            | GrantState::Held { .. } => {}
        }
        let known = self.timeline.is_some()
            || self.is_parsing(ObjectKey::Manifest)
            || self
                .fetches
                .iter()
                .any(|fetch| fetch.object == ObjectKey::Manifest);
        if !known && self.edges.iter().next().is_some() && !self.is_over() {
            self.begin_fetch(ObjectKey::Manifest, None, MANIFEST_SIZE);
        }
    }

    pub(super) fn is_parsing(&self, object: ObjectKey) -> bool {
        self.parsing.iter().any(|one| one.object == object)
    }

    pub(super) fn manifest_parsed(&mut self, outline: Outline) {
        let was_asked = self.is_parsing(ObjectKey::Manifest);
        self.parsing.retain(|one| one.object != ObjectKey::Manifest);
        // Before the session is loaded nobody asked for it.
        if self.timeline.is_some() || self.loaded_at.is_none() {
            return;
        }
        // Of one that was taken for lost nobody knows any more who gave it.
        if was_asked && self.doubts_edition(&outline) {
            return;
        }
        self.take_manifest(outline);
    }

    /// From here on it is known what is played.
    pub(super) fn take_manifest(&mut self, outline: Outline) {
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
        self.select_early();
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
        // Subtitles that are wanted may come in a later period.
        let unwanted = kind == TrackKind::Text && track.wish.language.is_none();
        track.over = over || (chosen.is_none() && unwanted);
    }

    pub(super) fn index_parsed(
        &mut self,
        key: RepresentationKey,
        segments: Vec<Segment>,
        init: bool,
    ) {
        self.parsing
            .retain(|one| one.object != ObjectKey::Index(key));
        let Some(timeline) = &mut self.timeline else {
            return;
        };
        // What is known already is what buffered segments lie by.
        let indexed = timeline.representation(key).map(|one| &one.index);
        if matches!(indexed, Some(SegmentIndex::Known(_))) {
            return;
        }
        if let Err(what) = timeline.set_index(key, segments, init) {
            let error = SessionError {
                code: "manifest.unusable".into(),
                message: alloc::format!("{what}; the title must be packaged again"),
            };
            return self.do_without(ObjectKey::Index(key), error);
        }
        self.wrongs.found(ObjectKey::Index(key));
        self.progress_at = self.now;
        self.recorder.outline(self.timeline.as_ref());
    }
}

pub(super) const fn object_name(object: ObjectKey) -> &'static str {
    match object {
        ObjectKey::Manifest => "manifest",
        ObjectKey::Index(_) => "index",
        ObjectKey::Init(_) => "init",
        ObjectKey::Media(..) => "media",
        ObjectKey::Probe => "probe",
    }
}
