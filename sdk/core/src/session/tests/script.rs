//! A session over edges of which the test says what they answer, at once.

use alloc::boxed::Box;
use alloc::vec;

use nearcast_protocol::manifest::{Outline, Period, SegmentIndex, Track};

use super::{answered, grant};
use crate::action::AttemptSpec;
use crate::input::{EdgeId, Grant, TransportEvent, Validators};
use crate::session::*;
use crate::timeline::tests::{representation, segments};

/// What an edge answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All of it.
    Whole,
    /// A status that is no success.
    Status(u16),
    /// Nothing: the attempt stays open.
    Nothing,
}

pub(super) struct Script {
    pub(super) session: Session,
    pub(super) now: Instant,
    answer: Box<dyn FnMut(&AttemptSpec) -> Answer>,
    parse: Box<dyn FnMut(ObjectKey) -> Option<Input>>,
    /// Every attempt, and when it began.
    pub(super) started: Vec<(Instant, AttemptSpec)>,
    /// Attempts that were not answered.
    pub(super) open: Vec<AttemptSpec>,
    pub(super) handed: Vec<(Epoch, ObjectKey)>,
    /// Objects that were handed on while they arrived, and when.
    pub(super) parts: Vec<(Instant, ObjectKey)>,
    pub(super) events: Vec<Event>,
}

impl Script {
    pub(super) fn new(
        edges: u32,
        config: Config,
        answer: impl FnMut(&AttemptSpec) -> Answer + 'static,
        parse: impl FnMut(ObjectKey) -> Option<Input> + 'static,
    ) -> Self {
        let mut script = Self {
            session: Session::new(config),
            now: Instant::ZERO,
            answer: Box::new(answer),
            parse: Box::new(parse),
            started: Vec::new(),
            open: Vec::new(),
            handed: Vec::new(),
            parts: Vec::new(),
            events: Vec::new(),
        };
        script.tell(Input::Load);
        script.tell(Input::Granted(Grant {
            refresh_after: None,
            ..grant(edges)
        }));
        script
    }

    pub(super) fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.session.handle(self.now, input);
            while let Some(action) = self.session.poll_action() {
                match action {
                    Action::StartAttempt(spec) => {
                        self.started.push((self.now, spec.clone()));
                        inputs.extend(self.reply(spec));
                    }
                    Action::CancelAttempt { attempt, .. } => {
                        self.open.retain(|spec| spec.attempt != attempt)
                    }
                    Action::Parse { object, .. } => inputs.extend((self.parse)(object)),
                    Action::Prepare { epoch } => inputs.push_back(Input::Prepared { epoch }),
                    Action::HandOn { epoch, object, .. } => self.handed.push((epoch, object)),
                    Action::HandOnPart { object, .. } => self.parts.push((self.now, object)),
                    Action::AskPolicy { .. }
                    | Action::RequestGrant { .. }
                    | Action::Verify { .. }
                    | Action::Release { .. }
                    | Action::Flush { .. }
                    | Action::EndOfTrack { .. }
                    | Action::Clock(_)
                    | Action::ResetNetwork => {}
                }
            }
            while let Some(event) = self.session.poll_event() {
                self.events.push(event);
            }
            self.session.check_invariants().unwrap();
        }
    }

    fn reply(&mut self, spec: AttemptSpec) -> Vec<Input> {
        match (self.answer)(&spec) {
            Answer::Whole => answered(&spec).collect(),
            Answer::Status(status) => vec![refusal(&spec, status)],
            Answer::Nothing => {
                self.open.push(spec);
                Vec::new()
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut steps = 0;
        while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            steps += 1;
            assert!(steps < 100_000, "spins at {:?}", self.now);
            self.tell(Input::Timeout);
        }
        self.now = end;
        self.tell(Input::Timeout);
    }

    /// Answers what is open, and from now on everything, in another way.
    pub(super) fn serve(&mut self, answer: impl FnMut(&AttemptSpec) -> Answer + 'static) {
        self.answer = Box::new(answer);
        for spec in core::mem::take(&mut self.open) {
            for input in self.reply(spec) {
                self.tell(input);
            }
        }
    }

    /// Takes out the open attempt at an object.
    pub(super) fn take(&mut self, object: ObjectKey) -> AttemptSpec {
        let at = self.open.iter().position(|spec| spec.object == object);
        self.open.remove(at.unwrap())
    }

    /// Answers the open attempt at an object with a status that is no success.
    pub(super) fn refuse(&mut self, object: ObjectKey, status: u16) {
        let spec = self.take(object);
        self.tell(refusal(&spec, status));
    }

    /// Says one thing of an attempt.
    pub(super) fn say(&mut self, spec: &AttemptSpec, event: TransportEvent) {
        self.tell(Input::Transport {
            attempt: spec.attempt,
            event,
        });
    }

    /// Edges that were asked for an object, in order.
    pub(super) fn asked(&self, object: ObjectKey) -> Vec<EdgeId> {
        let asked = self
            .started
            .iter()
            .filter(|(_, spec)| spec.object == object);
        asked.map(|(_, spec)| spec.edge).collect()
    }

    pub(super) fn error(&self) -> Option<&str> {
        let PlayState::Failed(error) = &self.session.state else {
            return None;
        };
        Some(&error.code)
    }
}

fn refusal(spec: &AttemptSpec, status: u16) -> Input {
    Input::Transport {
        attempt: spec.attempt,
        event: TransportEvent::Headers {
            status,
            from: 0,
            validators: Validators::default(),
            retry_after: None,
        },
    }
}

/// A success, of an object of so many bytes.
pub(super) fn success(from: u64, total: Option<u64>) -> TransportEvent {
    TransportEvent::Headers {
        status: 200,
        from,
        validators: Validators {
            total,
            ..Validators::default()
        },
        retry_after: None,
    }
}

/// So many segments of 4 s.
pub(super) fn known(segments_count: u32) -> SegmentIndex {
    SegmentIndex::Known(segments(segments_count, Duration::from_secs(4)))
}

/// A title of pictures alone, a rung for each index.
pub(super) fn pictures(rungs: &[SegmentIndex]) -> Outline {
    let ladder = rungs.iter().zip([300, 1_000, 3_000]).zip(0..);
    let representations = ladder
        .map(|((index, kbps), nth)| representation(&alloc::format!("v{nth}"), kbps, index.clone()))
        .collect();
    Outline {
        duration: Some(Duration::from_secs(160)),
        periods: vec![Period {
            start: MediaTime::ZERO,
            duration: None,
            tracks: vec![Track {
                kind: TrackKind::Video,
                language: None,
                label: None,
                role: None,
                default: false,
                representations,
            }],
        }],
    }
}

/// The same, with a track more.
pub(super) fn with_track(
    mut outline: Outline,
    kind: TrackKind,
    language: &str,
    index: SegmentIndex,
) -> Outline {
    let track = Track {
        kind,
        language: Some(language.into()),
        label: None,
        role: None,
        default: false,
        representations: vec![representation(language, 1, index)],
    };
    let first = outline.periods.first_mut();
    first.unwrap().tracks.push(track);
    outline
}

/// A parser that reads the manifest, and every index.
pub(super) fn reads(outline: Outline) -> impl FnMut(ObjectKey) -> Option<Input> {
    move |object| match object {
        ObjectKey::Manifest => Some(Input::ManifestParsed(outline.clone())),
        ObjectKey::Index(key) => Some(Input::IndexParsed {
            key,
            segments: segments(40, Duration::from_secs(4)),
            init: true,
        }),
        ObjectKey::Init(_) | ObjectKey::Media(..) | ObjectKey::Probe => None,
    }
}

/// A rung of the picture.
pub(super) const fn v(representation: u16) -> RepresentationKey {
    of_track(0, representation)
}

pub(super) const fn of_track(track: u16, representation: u16) -> RepresentationKey {
    RepresentationKey {
        period: 0,
        track,
        representation,
    }
}

/// Edges that have everything but these.
pub(super) fn lacks<const N: usize>(objects: [ObjectKey; N]) -> impl FnMut(&AttemptSpec) -> Answer {
    move |spec| {
        if objects.contains(&spec.object) {
            Answer::Status(404)
        } else {
            Answer::Whole
        }
    }
}
