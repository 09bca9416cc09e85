//! The watchdog: what is waited for, by whom it is owed, and when waiting ends. Nothing is waited for without an end.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::Instant;

use super::control::object_name;
use super::{GrantState, Session, Sinks};
use crate::action::CancelReason;
use crate::event::{DecisionKind, PlayState, SessionError};
use crate::fetch::{FetchState, Phase};
use crate::input::{EdgeId, Failure};

/// Without progress for this long while something should move, the session helps itself.
const WATCHDOG: Duration = Duration::from_secs(8);

/// Something that the session waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What, in words.
    pub what: String,
    /// Who owes it.
    pub owner: Owner,
    /// When waiting ends, and something else is done.
    pub until: Instant,
}

/// Who owes what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The backend: edges and tokens.
    Backend,
    /// An edge: bytes.
    Edge(EdgeId),
    /// The player around the session: parsing, digests, decoders.
    Player,
    /// The application's own policy.
    Application,
    /// Nobody: time has to pass.
    Time,
}

impl Session {
    /// Returns everything that is waited for; empty where nothing is under way.
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        let mut add = |what: &str, owner, until| {
            let what = what.to_string();
            waits.push(Wait { what, owner, until });
        };
        match self.grant {
            GrantState::Asked { since, .. } => {
                add("edges and tokens", Owner::Backend, Self::asked_until(since));
            }
            GrantState::Waiting { until, .. } => add("asking again", Owner::Time, until),
            GrantState::Absent | GrantState::Held { .. } => {}
        }
        for parsing in &self.parsing {
            let what = alloc::format!("parsing of {}", object_name(parsing.object));
            add(&what, Owner::Player, parsing.until);
        }
        // Afterwards playback starts without their answer, once it can.
        if let Sinks::Asked { until } = self.sinks
            && until > self.now
        {
            add("the first picture", Owner::Player, until);
        }
        if let Some((owner, until)) = self.policy.wait_for(self.now) {
            add("the next rung", owner, until);
        }
        for fetch in &self.fetches {
            let object = object_name(fetch.object);
            match fetch.state {
                FetchState::Waiting { until } => {
                    let what = alloc::format!("an edge for {object}");
                    add(&what, Owner::Time, until);
                }
                FetchState::Verifying { until } => {
                    let what = alloc::format!("the digest of {object}");
                    add(&what, Owner::Player, until);
                }
                FetchState::Active => {
                    for attempt in &fetch.attempts {
                        let part = match attempt.phase {
                            Phase::Connecting { .. } => "a connection",
                            Phase::Waiting { .. } => "the first byte",
                            Phase::Body { .. } => "more",
                        };
                        let what = alloc::format!("{part} of {object}");
                        add(&what, Owner::Edge(attempt.edge), attempt.patience_ends());
                    }
                }
            }
        }
        waits
    }

    fn tell_wait(&self, wait: &Wait) -> String {
        let owner = match wait.owner {
            Owner::Backend => "the backend",
            Owner::Edge(edge) => self.edges.name(edge),
            Owner::Player => "the player",
            Owner::Application => "the application",
            Owner::Time => return wait.what.clone(),
        };
        alloc::format!("{} from {owner}", wait.what)
    }

    pub(super) fn watchdog_deadline(&self) -> Option<Instant> {
        let starting = self.start_by();
        let giving_up = match (&self.state, self.config.give_up) {
            (PlayState::Stalled(_) | PlayState::Seeking, Some(limit)) if !self.paused => {
                self.recorder.held_since().map(|at| at + limit)
            }
            _ => None,
        };
        let stuck = self.should_move().then(|| self.progress_at + WATCHDOG);
        let parsing = self.parsing.iter().map(|one| one.until);
        [starting, giving_up, stuck]
            .into_iter()
            .flatten()
            .chain(parsing)
            .chain(self.doubt_ends_at())
            .min()
    }

    /// Returns when the first frame is due at the latest; `None` once it was shown, and while paused.
    fn start_by(&self) -> Option<Instant> {
        if self.recorder.startup_at().is_some() || self.paused {
            return None;
        }
        Some(self.loaded_at? + self.config.start_timeout + self.paused_for)
    }

    /// Whether something is expected to move now.
    fn should_move(&self) -> bool {
        match self.state {
            PlayState::Starting | PlayState::Stalled(_) | PlayState::Seeking => true,
            PlayState::Playing => !self.fetches.is_empty(),
            PlayState::Idle
            | PlayState::Paused
            | PlayState::Ended
            | PlayState::Failed(_)
            | PlayState::Stopped => false,
        }
    }

    /// What was to be parsed and never was is fetched again, a few times.
    pub(super) fn drop_lost_parses(&mut self) {
        while let Some(lost) = self.parsing.iter().find(|one| self.now >= one.until) {
            let object = lost.object;
            let code = Failure::Internal.code().into();
            let message = "the player lost what it had to read; play the title again".into();
            self.parse_failed(object, SessionError { code, message });
        }
    }

    /// Ends waits that have lasted too long, each in its own way.
    pub(super) fn watch(&mut self) {
        if self.is_over() {
            return;
        }
        if self.start_by().is_some_and(|by| self.now >= by) {
            let error = self.last_failure.clone().unwrap_or_else(|| SessionError {
                code: "playback.start_timeout".into(),
                message: "nothing playable arrived in time; check the network and the address"
                    .into(),
            });
            return self.fail(error);
        }
        if matches!(self.state, PlayState::Stalled(_) | PlayState::Seeking)
            && !self.paused
            && let (Some(limit), Some(since)) = (self.config.give_up, self.recorder.held_since())
            && self.now.since(since) >= limit
        {
            let cause = self.stall_cause();
            let message = alloc::format!(
                "playback has stalled for {} s ({}); the last failure was {}",
                limit.as_secs(),
                cause.code(),
                self.last_failure
                    .as_ref()
                    .map_or("none", |failure| failure.code.as_str()),
            );
            return self.fail(SessionError {
                code: "playback.stalled".into(),
                message,
            });
        }
        if self.should_move() && self.now.since(self.progress_at) >= WATCHDOG {
            self.progress_at = self.now;
            let waits = self.waits();
            let inputs = [(
                "waits",
                f64::from(u32::try_from(waits.len()).unwrap_or(u32::MAX)),
            )];
            let waits: Vec<String> = waits.iter().map(|wait| self.tell_wait(wait)).collect();
            let why = alloc::format!("nothing has moved for 8 s: {}", waits.join(", "));
            let chosen = "start over".into();
            self.decide(DecisionKind::Watchdog, chosen, &why, &inputs);
            self.restart_fetches(CancelReason::Watchdog);
        }
    }
}
