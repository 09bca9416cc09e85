//! The session as drivers see it: actions and events, whatever the order of inputs.

mod memory;
mod missing;
mod odd;
mod part;
mod probe;
mod queue;
mod race;
mod script;
mod wrong;

use alloc::vec;

use nearcast_protocol::manifest::{Outline, Period, SegmentIndex, Track};
use nearcast_units::{Rng, Seed};
use proptest::prelude::*;

use super::*;
use crate::abr::AbrDecision;
use crate::action::AttemptSpec;
use crate::config::AbrRule;
use crate::input::{AskId, EdgeOffer, Failure, Grant, Protocol, TransportEvent, Validators};
use crate::timeline::tests::{representation, segments};

fn outline() -> Outline {
    let known = SegmentIndex::Known(segments(8, Duration::from_secs(4)));
    let spoken = |kind, language: Option<&str>, representations| Track {
        kind,
        language: language.map(Into::into),
        label: None,
        role: None,
        default: false,
        representations,
    };
    let track = |kind, representations| spoken(kind, None, representations);
    let sound = |language| {
        let representations = vec![representation("a", 96, known.clone())];
        spoken(TrackKind::Audio, Some(language), representations)
    };
    let video = vec![
        representation("v0", 300, known.clone()),
        representation("v1", 1000, SegmentIndex::Deferred),
        representation("v2", 3000, known.clone()),
    ];
    Outline {
        duration: Some(Duration::from_secs(32)),
        periods: vec![Period {
            start: MediaTime::ZERO,
            duration: None,
            tracks: vec![
                track(TrackKind::Video, video),
                sound("en"),
                sound("sv"),
                track(TrackKind::Text, vec![representation("t", 1, known.clone())]),
            ],
        }],
    }
}

fn grant(edges: u32) -> Grant {
    let edges = (0..edges)
        .map(|rank| EdgeOffer {
            name: alloc::format!("e{rank}"),
            rank,
        })
        .collect();
    Grant {
        edges,
        refresh_after: Some(Duration::from_secs(20)),
        length: None,
    }
}

/// A driver that chance moves: it answers what was asked in any order, or not at all.
struct Chance {
    rng: Rng,
    session: Session,
    now: Instant,
    attempts: Vec<(AttemptSpec, u64)>,
    verify: Vec<FetchId>,
    handed: Vec<(Epoch, ObjectKey)>,
    parse: Vec<ObjectKey>,
    prepare: Vec<Epoch>,
    parts: Vec<(Epoch, ObjectKey)>,
    asked: Vec<AskId>,
}

impl Chance {
    fn new(number: u64) -> Self {
        let seed = Seed::new(number);
        let rules = [AbrRule::Horizon, AbrRule::Dynamic, AbrRule::RobustMpc];
        let config = Config {
            seed,
            race_width: 2,
            abr: rules[usize::try_from(number % 3).unwrap()],
            custom_policy: number.is_multiple_of(4),
            ..Config::default()
        };
        Self {
            rng: seed.split("chance").rng(),
            session: Session::new(config),
            now: Instant::ZERO,
            attempts: Vec::new(),
            verify: Vec::new(),
            handed: Vec::new(),
            parse: Vec::new(),
            prepare: Vec::new(),
            parts: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn pick(&mut self, among: usize) -> usize {
        usize::try_from(self.rng.below(u64::try_from(among).unwrap())).unwrap()
    }

    fn tell(&mut self, input: Input) {
        // Every input survives being written down.
        let text = serde_json::to_string(&input).unwrap();
        assert_eq!(serde_json::from_str::<Input>(&text).unwrap(), input);
        self.session.handle(self.now, input);
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::StartAttempt(spec) => self.attempts.push((spec.clone(), spec.from)),
                Action::CancelAttempt { attempt, .. } => {
                    self.attempts.retain(|(spec, _)| spec.attempt != attempt)
                }
                Action::Verify { fetch, .. } => self.verify.push(fetch),
                Action::Parse { object, .. } => self.parse.push(object),
                Action::HandOn { epoch, object, .. } => self.handed.push((epoch, object)),
                Action::HandOnPart { epoch, object, .. } => self.parts.push((epoch, object)),
                Action::Prepare { epoch } => self.prepare.push(epoch),
                Action::AskPolicy { ask, .. } => self.asked.push(ask),
                Action::RequestGrant { .. }
                | Action::Release { .. }
                | Action::Flush { .. }
                | Action::EndOfTrack { .. }
                | Action::Clock(_)
                | Action::ResetNetwork => {}
            }
        }
        while self.session.poll_event().is_some() {}
        self.session.check_invariants().unwrap();
    }

    /// Nothing happens but that time passes: the session does not ask to be woken again and again for nothing.
    fn idle(&mut self) {
        let mut woken = 0;
        let end = self.now + Duration::from_secs(2);
        while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.tell(Input::Timeout);
            woken += 1;
            assert!(woken < 100, "spins at {:?}", self.now);
        }
    }

    fn transport(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let index = self.pick(self.attempts.len());
        let (spec, next) = self.attempts[index].clone();
        let total = 40_000;
        let event = match self.rng.below(12) {
            0 => TransportEvent::Connected {
                cold: true,
                protocol: Protocol::H2,
                rtt: None,
            },
            1 => TransportEvent::RequestSent,
            2 | 3 => TransportEvent::Headers {
                status: if self.rng.below(4) == 0 {
                    [403, 404, 500, 503][self.pick(4)]
                } else {
                    200
                },
                from: next,
                validators: Validators {
                    total: (self.rng.below(8) > 0).then_some(total),
                    digest: (self.rng.below(3) == 0)
                        .then(|| ["x", "x", "x", "y"][self.pick(4)].into()),
                },
                retry_after: None,
            },
            4..=7 => {
                let to = (next + self.rng.below(20_000)).min(spec.to.unwrap_or(total));
                self.attempts[index].1 = to;
                TransportEvent::Progress { from: next, to }
            }
            8 | 9 => TransportEvent::Complete,
            _ => TransportEvent::Failed(
                [
                    Failure::Reset,
                    Failure::Refused,
                    Failure::Mismatch,
                    Failure::Dns,
                    Failure::Truncated,
                    Failure::Internal,
                ][self.pick(6)]
                .clone(),
            ),
        };
        if matches!(event, TransportEvent::Complete | TransportEvent::Failed(_)) {
            self.attempts.remove(index);
        }
        self.tell(Input::Transport {
            attempt: spec.attempt,
            event,
        });
    }

    fn command(&mut self) {
        let command = match self.rng.below(9) {
            0 => Command::Pause,
            1 | 2 => Command::Play,
            3 => Command::Seek {
                to: MediaTime::from_micros(
                    i64::try_from(self.rng.below(40_000_000)).unwrap() - 2_000_000,
                ),
            },
            4 => Command::LockRung {
                rung: (self.rng.below(2) == 0).then_some(1),
            },
            5 => Command::SelectText {
                track: (self.rng.below(2) == 0).then_some(0),
            },
            6 => Command::NetworkChanged {
                network: (self.rng.below(2) == 0).then(|| "n".into()),
            },
            7 => Command::SelectAudio {
                track: u16::try_from(self.rng.below(2)).unwrap(),
            },
            _ => Command::Background {
                hidden: self.rng.below(2) == 0,
            },
        };
        self.tell(Input::Command(command));
    }

    fn step(&mut self) {
        match self.rng.below(21) {
            0 => {
                let edges = u32::try_from(self.rng.below(4)).unwrap() + 1;
                self.tell(Input::Granted(grant(edges)));
            }
            1 => self.command(),
            2 => {
                let epoch = Epoch(u32::try_from(self.rng.below(4)).unwrap());
                let position =
                    MediaTime::from_micros(i64::try_from(self.rng.below(32_000_000)).unwrap());
                self.tell(Input::Anchor { epoch, position });
            }
            3 => match self.prepare.pop() {
                Some(epoch) => self.tell(Input::Prepared { epoch }),
                None => self.tell(Input::Underrun { epoch: Epoch(0) }),
            },
            4 => {
                if let Some(&(epoch, object)) = self.parts.last() {
                    let until =
                        MediaTime::from_micros(i64::try_from(self.rng.below(32_000_000)).unwrap());
                    self.tell(Input::Playable {
                        epoch,
                        object,
                        until,
                    });
                }
                if self.rng.below(3) == 0 {
                    self.handed.append(&mut self.parts);
                }
                if let Some((epoch, object)) = self.handed.pop()
                    && self.rng.below(6) == 0
                {
                    self.tell(Input::Undecodable {
                        epoch,
                        object,
                        code: "media.malformed".into(),
                    });
                }
            }
            5 | 6 => {
                if let Some(fetch) = self.verify.pop() {
                    let intact = self.rng.below(5) > 0;
                    self.tell(Input::Verified { fetch, intact });
                }
            }
            7 | 8 => match self.parse.pop() {
                Some(object) if self.rng.below(8) == 0 => {
                    let code = ["manifest.malformed", "player.internal"][self.pick(2)].into();
                    self.tell(Input::ParseFailed {
                        object,
                        code,
                        message: "no".into(),
                    });
                }
                Some(ObjectKey::Manifest) => self.tell(Input::ManifestParsed(outline())),
                Some(ObjectKey::Index(key)) => {
                    let segments = segments(8, Duration::from_secs(4));
                    self.tell(Input::IndexParsed {
                        key,
                        segments,
                        init: true,
                    });
                }
                _ => {}
            },
            9..=11 => {
                if let Some(due) = self.session.next_deadline() {
                    self.now = self.now.max(due);
                }
                self.tell(Input::Timeout);
            }
            12 => {
                if let Some(ask) = self.asked.pop() {
                    let decision = match self.rng.below(4) {
                        0 => AbrDecision::Wait {
                            span: Duration::from_millis(self.rng.below(20_000)),
                        },
                        1 => AbrDecision::Replace {
                            segment: self.pick(3),
                            rung: self.pick(4),
                        },
                        _ => AbrDecision::Next { rung: self.pick(4) },
                    };
                    self.tell(Input::PolicyAnswered { ask, decision });
                }
            }
            _ => {
                self.now = self.now + Duration::from_millis(self.rng.below(150));
                self.transport();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_order_of_inputs_breaks_an_invariant(seed: u64) {
        let mut chance = Chance::new(seed);
        chance.tell(Input::Load);
        chance.tell(Input::Granted(grant(3)));
        for _ in 0..400 {
            chance.step();
        }
        chance.idle();
        let report = chance.session.report(chance.now);
        // Sinks here say what they like; no more is played than there is.
        prop_assert!(report.bytes.wasted <= report.fetches.iter().flat_map(|one| &one.attempts).map(|one| one.bytes).sum());
        prop_assert!(report.stalled_s <= report.wall_s + 0.001);
    }
}

#[test]
fn a_refusal_ends_the_session_with_its_code() {
    let mut session = Session::new(Config::default());
    session.handle(Instant::ZERO, Input::Load);
    session.handle(
        Instant::ZERO,
        Input::GrantFailed {
            code: "play.plan_required".into(),
            message: "no".into(),
            refused: true,
            retry_after: None,
        },
    );
    assert!(session.is_over());
    assert_eq!(
        session
            .report(Instant::ZERO)
            .error
            .map(|error| error.code)
            .as_deref(),
        Some("play.plan_required")
    );
}

#[test]
fn an_outage_of_the_backend_is_waited_out_with_back_off() {
    let mut session = Session::new(Config::default());
    session.handle(Instant::ZERO, Input::Load);
    assert!(matches!(
        session.poll_action(),
        Some(Action::RequestGrant { refresh: false })
    ));
    let failed = Input::GrantFailed {
        code: "backend.unreachable".into(),
        message: "no".into(),
        refused: false,
        retry_after: None,
    };
    session.handle(Instant::ZERO, failed);
    assert_eq!(session.poll_action(), None);
    let due = session.next_deadline().unwrap();
    session.handle(due, Input::Timeout);
    assert!(matches!(
        session.poll_action(),
        Some(Action::RequestGrant { refresh: false })
    ));
}

#[test]
fn time_that_goes_back_is_harmless() {
    let mut session = Session::new(Config::default());
    let later = Instant::ZERO + Duration::from_secs(5);
    session.handle(later, Input::Load);
    session.handle(Instant::ZERO, Input::Granted(grant(1)));
    assert!(session.next_deadline().is_some_and(|due| due > later));
}

/// A session whose edges answer everything at once and whose sinks say nothing.
struct Served {
    session: Session,
    now: Instant,
    prepare: Vec<Epoch>,
    /// The application's policy; `None` never answers.
    policy: fn(&AbrContext) -> Option<AbrDecision>,
    asked: usize,
    /// Decisions about who chooses the rung.
    policy_said: Vec<String>,
    /// Rungs of the pictures asked for.
    rungs: Vec<u16>,
    /// How many of them were said to be compared with others.
    compared: usize,
}

impl Served {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::asking(config, |_| None)
    }

    /// A session whose application chooses rungs by this policy, if the configuration says so.
    fn asking(config: Config, policy: fn(&AbrContext) -> Option<AbrDecision>) -> Self {
        let mut served = Self {
            session: Session::new(config),
            now: Instant::ZERO,
            prepare: Vec::new(),
            policy,
            asked: 0,
            policy_said: Vec::new(),
            rungs: Vec::new(),
            compared: 0,
        };
        served.tell(Input::Load);
        served.tell(Input::Granted(grant(1)));
        served
    }

    fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.session.handle(self.now, input);
            while let Some(action) = self.session.poll_action() {
                match action {
                    Action::StartAttempt(spec) => {
                        if let ObjectKey::Media(key, _) = spec.object
                            && key.track == 0
                        {
                            self.rungs.push(key.representation);
                        }
                        inputs.extend(answered(&spec));
                    }
                    Action::AskPolicy { ask, context, .. } => {
                        self.asked += 1;
                        let decision = (self.policy)(&context);
                        inputs.extend(
                            decision.map(|decision| Input::PolicyAnswered { ask, decision }),
                        );
                    }
                    Action::Parse {
                        object: ObjectKey::Manifest,
                        ..
                    } => inputs.push_back(Input::ManifestParsed(outline())),
                    Action::Prepare { epoch } => self.prepare.push(epoch),
                    Action::Parse { .. }
                    | Action::RequestGrant { .. }
                    | Action::CancelAttempt { .. }
                    | Action::Verify { .. }
                    | Action::HandOn { .. }
                    | Action::HandOnPart { .. }
                    | Action::Release { .. }
                    | Action::Flush { .. }
                    | Action::EndOfTrack { .. }
                    | Action::Clock(_)
                    | Action::ResetNetwork => {}
                }
            }
            while let Some(event) = self.session.poll_event() {
                if let Event::Decision(decision) = event {
                    let scored = !decision.scores.is_empty();
                    self.compared += usize::from(scored && decision.kind == DecisionKind::Rung);
                    if decision.kind == DecisionKind::Policy {
                        self.policy_said.push(decision.why);
                    }
                }
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.tell(Input::Timeout);
    }
}

/// All that is heard of an attempt that goes well.
fn answered(spec: &AttemptSpec) -> impl Iterator<Item = Input> {
    let (attempt, from) = (spec.attempt, spec.from);
    let to = spec.to.unwrap_or(40_000);
    let validators = Validators {
        total: Some(40_000),
        ..Validators::default()
    };
    [
        TransportEvent::Headers {
            status: 200,
            from,
            validators,
            retry_after: None,
        },
        TransportEvent::Progress { from, to },
        TransportEvent::Complete,
    ]
    .into_iter()
    .map(move |event| Input::Transport { attempt, event })
}

#[test]
fn playback_starts_when_the_first_picture_is_decoded() {
    let mut served = Served::new();
    assert_eq!(served.prepare, [Epoch(0)], "asked once");
    assert_eq!(served.session.state, PlayState::Starting);
    served.wait(Duration::from_millis(30));
    served.tell(Input::Prepared { epoch: Epoch(0) });
    assert_eq!(served.session.state, PlayState::Playing);
    let startup_s = served.session.report(served.now).startup_s;
    assert_eq!(startup_s, Some(0.03));
}

#[test]
fn a_decoder_that_takes_long_is_not_waited_for() {
    let mut served = Served::new();
    let due = served.session.next_deadline().unwrap();
    served.wait(
        due.since(served.now)
            .saturating_sub(Duration::from_millis(1)),
    );
    assert_eq!(served.session.state, PlayState::Starting);
    served.wait(Duration::from_millis(1));
    assert_eq!(served.session.state, PlayState::Playing);
}

#[test]
fn media_that_cannot_be_decoded_never_plays() {
    let mut served = Served::new();
    for _ in 0..8 {
        let Some(epoch) = served.prepare.pop() else {
            break;
        };
        let object = ObjectKey::Media(
            RepresentationKey {
                period: 0,
                track: 0,
                representation: 0,
            },
            0,
        );
        let code = "media.malformed".into();
        served.tell(Input::Undecodable {
            epoch,
            object,
            code,
        });
        // An answer about what was forgotten since comes too late.
        served.tell(Input::Prepared { epoch });
        assert_ne!(served.session.state, PlayState::Playing);
    }
}

#[test]
fn what_is_left_at_the_very_end_is_shown_at_once() {
    let mut served = Served::new();
    served.tell(Input::Prepared { epoch: Epoch(0) });
    // Less than playback begins with elsewhere.
    let to = MediaTime::from_micros(31_000_000);
    served.tell(Input::Command(Command::Seek { to }));
    let epoch = served.prepare.pop().unwrap();
    served.tell(Input::Prepared { epoch });
    assert_eq!(served.session.state, PlayState::Playing);
}

#[test]
fn a_session_that_wakes_late_takes_nothing_for_seen_that_was_not_there() {
    let mut served = Served::with(Config {
        buffer_goal: Duration::from_secs(8),
        ..Config::default()
    });
    served.tell(Input::Prepared { epoch: Epoch(0) });
    let buffered = served.session.snapshot(served.now).video_level;
    served.now = served.now + buffered + Duration::from_secs(20);
    served.tell(Input::Timeout);
    let position = served.session.snapshot(served.now).position;
    assert_eq!(position, MediaTime::from_duration(buffered));
}

#[test]
fn a_refresh_that_is_refused_ends_playback_once_the_old_tokens_do_not_serve() {
    let mut session = Session::new(Config::default());
    let mut now = Instant::ZERO;
    session.handle(now, Input::Load);
    session.handle(now, Input::Granted(grant(1)));
    let reject = |session: &mut Session, now| {
        let mut started = None;
        while let Some(action) = session.poll_action() {
            if let Action::StartAttempt(spec) = action {
                started = Some(spec.attempt);
            }
        }
        let event = TransportEvent::Headers {
            status: 403,
            from: 0,
            validators: Validators::default(),
            retry_after: None,
        };
        let attempt = started.unwrap();
        session.handle(now, Input::Transport { attempt, event });
    };
    reject(&mut session, now);
    session.handle(
        now,
        Input::GrantFailed {
            code: "play.too_many_streams".into(),
            message: "no".into(),
            refused: true,
            retry_after: None,
        },
    );
    assert!(!session.is_over(), "the old tokens may serve elsewhere");
    now = now + Duration::from_secs(2);
    session.handle(now, Input::Timeout);
    reject(&mut session, now);
    let error = session.report(now).error;
    assert_eq!(
        error.map(|error| error.code).as_deref(),
        Some("play.too_many_streams")
    );
}

/// A session whose rungs the application chooses.
fn customised(policy: fn(&AbrContext) -> Option<AbrDecision>) -> Served {
    let config = Config {
        custom_policy: true,
        ..Config::default()
    };
    Served::asking(config, policy)
}

#[test]
fn the_application_chooses_rungs_where_it_has_a_policy() {
    let served = customised(|context| {
        assert!(!context.ahead.is_empty() && context.sizes.len() >= context.ladder.len());
        Some(AbrDecision::Next {
            rung: context.ladder.len() - 1,
        })
    });
    assert!(served.asked >= 3 && served.policy_said.is_empty());
    let highest = served.rungs.iter().max().copied();
    assert!(served.rungs.len() >= 3 && highest > Some(0));
    assert!(
        served.rungs.iter().all(|rung| Some(*rung) == highest),
        "{:?}",
        served.rungs
    );
    assert_eq!(served.compared, 0, "what it holds of others is not known");
}

#[test]
fn a_policy_that_does_not_answer_is_waited_for_a_moment_and_then_replaced() {
    let mut served = customised(|_| None);
    assert_eq!((served.asked, served.rungs.len()), (1, 0));
    let due = served.session.next_deadline().unwrap();
    assert!(due.since(served.now) <= Duration::from_millis(100));
    served.wait(Duration::from_millis(100));
    assert_eq!(served.rungs.len(), 1);
    assert!(served.policy_said[0].contains("did not answer in time"));
    for _ in 0..4 {
        served.wait(Duration::from_millis(100));
    }
    // It is not asked for each segment, and playback does not wait for it any more.
    assert_eq!(served.asked, 3);
    assert!(served.rungs.len() > 4, "{:?}", served.rungs);
}

#[test]
fn what_cannot_be_done_is_refused_and_the_built_in_policy_decides() {
    let nonsense: [fn(&AbrContext) -> Option<AbrDecision>; 4] = [
        |context| {
            Some(AbrDecision::Next {
                rung: context.ladder.len(),
            })
        },
        |_| {
            Some(AbrDecision::Wait {
                span: Duration::MAX,
            })
        },
        |_| {
            Some(AbrDecision::Wait {
                span: Duration::ZERO,
            })
        },
        |_| {
            Some(AbrDecision::Replace {
                segment: 7,
                rung: 0,
            })
        },
    ];
    for policy in nonsense {
        let served = customised(policy);
        assert!(
            served.policy_said[0].contains("cannot be done"),
            "{:?}",
            served.policy_said
        );
        assert_eq!(served.asked, 3);
        assert!(served.rungs.len() > 3);
        assert_eq!(served.compared, served.rungs.len());
    }
}

#[test]
fn an_answer_to_another_question_is_dropped() {
    let mut served = customised(|_| None);
    let decision = AbrDecision::Next { rung: 0 };
    served.tell(Input::PolicyAnswered {
        ask: AskId(99),
        decision,
    });
    assert_eq!(served.rungs.len(), 0);
    served.tell(Input::PolicyAnswered {
        ask: AskId(0),
        decision,
    });
    assert_eq!(served.rungs, [0]);
}
