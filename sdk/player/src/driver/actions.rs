//! Does what the session asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nearcast_core::abr::{AbrContext, Transfer};
use nearcast_core::{
    Action, AskId, AttemptId, AttemptSpec, ClockOrder, Epoch, Failure, FetchId, Input,
    TransportEvent,
};
use nearcast_manifest::{Index, Manifest, ManifestError, parse};
use nearcast_protocol::manifest::{ObjectKey, RepresentationKey, SegmentIndex, TrackKind};
use nearcast_units::Instant;
use ring::digest::{SHA256, digest};

use super::inbox::{Job, Live};
use super::{Arriving, Driver};
use crate::control::{Granter, take_fixed};
use crate::edges::locate;
use crate::pump::{Facts, Handed, Place};
use crate::transport::{self, Window};

impl Driver {
    pub(super) fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::RequestGrant { refresh } => self.request_grant(refresh),
            Action::StartAttempt(spec) => self.start_attempt(&spec),
            Action::CancelAttempt {
                attempt,
                drop_connections,
            } => {
                let ended = self.live.end(attempt);
                if let Some(live) = ended.filter(|_| drop_connections)
                    && let Some(origin) = self.book.origin(live.edge)
                {
                    self.network.net().drop_edge(origin);
                }
            }
            Action::Verify { fetch, digest } => self.verify(fetch, digest),
            Action::Parse { fetch, object } => self.parse(fetch, object),
            Action::HandOn {
                epoch,
                fetch,
                object,
                track,
            } => self.hand_on(epoch, fetch, object, track),
            Action::HandOnPart {
                fetch,
                object,
                track,
                ..
            } => self.hand_on_part(fetch, object, track),
            Action::Release { fetch } => {
                self.live.end_all_for(fetch);
                self.arriving.remove(&fetch);
                self.store.release(fetch);
            }
            Action::Flush { epoch, track, from } => {
                self.epoch = epoch;
                self.playhead.enter(epoch);
                self.arriving
                    .retain(|_, one| track.is_some_and(|track| track != one.track));
                self.drained
                    .retain(|kind| track.is_some_and(|flushed| flushed != *kind));
                self.pump.flush(epoch, track, from);
                self.stale = true;
            }
            Action::EndOfTrack { epoch, track } => {
                if epoch == self.epoch {
                    self.pump.end_of_track(track);
                }
            }
            Action::Prepare { epoch } => self.preparing = Some(epoch),
            Action::Clock(ClockOrder::Start { epoch, at, rate }) => {
                self.epoch = epoch;
                self.preparing = None;
                self.playhead.start(now, epoch, at, rate);
                self.pump.start(epoch, at);
                self.stale = true;
            }
            Action::Clock(ClockOrder::Hold) => {
                self.playhead.hold(now);
                self.pump.hold();
                self.stale = true;
            }
            Action::AskPolicy {
                ask,
                context,
                transfers,
                ..
            } => self.ask_policy(ask, context, transfers),
            Action::ResetNetwork => self.network.net().network_changed(),
        }
    }

    /// Says so once the first picture is decoded. What could not be taken apart was said before.
    pub(super) fn tell_prepared(&mut self) {
        let video = self.pump.outputs().video.as_ref();
        let waits =
            self.pump.decodes(TrackKind::Video) && video.is_some_and(|video| !video.is_ready());
        if let Some(epoch) = self.preparing.take_if(|_| !waits) {
            self.pending.push_back(Input::Prepared { epoch });
        }
    }

    fn ask_policy(&mut self, ask: AskId, context: Box<AbrContext>, transfers: Vec<Transfer>) {
        let Some(policy) = &self.policy else { return };
        let answer = policy.ask(context, transfers);
        let decision = None;
        let crashed = Job::PolicyAnswered { ask, decision };
        self.inbox.spawn_job(crashed, async move {
            let decision = answer.await.ok();
            Job::PolicyAnswered { ask, decision }
        });
    }

    fn request_grant(&mut self, refresh: bool) {
        if let Granter::Fixed(source) = &self.granter {
            self.fixed = self.book.take_fixed(source);
            let (input, event) = take_fixed(self.fixed.clone());
            self.tell(event);
            self.pending.push_back(input);
            return;
        }
        let asking = self.granter.clone().ask(refresh);
        let crashed = crate::backend::BackendError::BadAnswer {
            call: "play",
            reason: "its answer could not be handled".to_owned(),
        };
        self.inbox.spawn_job(Job::Granted(Err(crashed)), async {
            Job::Granted(asking.await)
        });
    }

    fn start_attempt(&mut self, spec: &AttemptSpec) {
        let AttemptSpec {
            attempt,
            fetch,
            object,
            edge,
            probe,
            ..
        } = *spec;
        let request = self.manifest_name.as_deref().and_then(|name| {
            let location = locate(self.manifest.as_ref(), name, object)?;
            let window = Window::new(location.range, spec)?;
            let allowed = self.network.protocols();
            Some((
                self.book
                    .request(edge, self.manifest.as_ref(), &location, allowed)?,
                window,
            ))
        });
        let Some((request, window)) = request else {
            return self.cannot_fetch(attempt);
        };
        tracing::trace!(
            fetch_id = fetch.0,
            edge = self.book.name(edge),
            "an attempt begins"
        );
        let net = self.network.net().clone();
        let task = transport::run(net, attempt, request, window, self.inbox.notes());
        let task = self.inbox.spawn_attempt(task);
        self.live.insert(
            attempt,
            Live {
                fetch,
                probe,
                edge,
                task,
            },
        );
    }

    pub(super) fn cannot_fetch(&mut self, attempt: AttemptId) {
        let event = TransportEvent::Failed(Failure::Internal);
        self.pending.push_back(Input::Transport { attempt, event });
    }

    fn verify(&mut self, fetch: FetchId, promised: String) {
        let bytes = self.store.join(fetch).unwrap_or_default();
        let crashed = Job::Verified {
            fetch,
            intact: false,
        };
        self.inbox.spawn_work(crashed, move || {
            let intact = STANDARD.encode(digest(&SHA256, &bytes)) == promised;
            Job::Verified { fetch, intact }
        });
    }

    fn parse(&mut self, fetch: FetchId, object: ObjectKey) {
        let bytes = self.store.join(fetch).unwrap_or_default();
        match (object, self.manifest.as_mut()) {
            (ObjectKey::Manifest, _) => {
                self.is_playlist = is_playlist(&bytes);
                // A large one takes tens of milliseconds.
                let name = self.manifest_name.clone().unwrap_or_default();
                self.inbox.spawn_work(Job::ParseCrashed(object), move || {
                    Job::Parsed(Box::new(parse(&bytes, &name)))
                });
            }
            (ObjectKey::Index(key), Some(manifest)) => match manifest.index_reader(key) {
                Ok(reader) if bytes.len() > AT_ONCE_MAX => {
                    self.inbox
                        .spawn_work(Job::ParseCrashed(object), move || Job::IndexRead {
                            key,
                            read: reader.read(&bytes).map(Box::new),
                        });
                }
                Ok(reader) => self.index_read(key, reader.read(&bytes).map(Box::new)),
                Err(error) => self.pending.push_back(parse_failed(object, &error)),
            },
            (
                ObjectKey::Index(_) | ObjectKey::Init(_) | ObjectKey::Media(..) | ObjectKey::Probe,
                _,
            ) => {
                let message = "this object cannot be parsed".to_owned();
                self.pending.push_back(Input::ParseFailed {
                    object,
                    code: "player.internal".to_owned(),
                    message,
                });
            }
        }
    }

    pub(super) fn index_read(
        &mut self,
        key: RepresentationKey,
        read: Result<Box<Index>, ManifestError>,
    ) {
        let Some(manifest) = &mut self.manifest else {
            return;
        };
        let input = match read.and_then(|index| manifest.take_index(*index)) {
            Ok(segments) => {
                let representation = manifest.outline.representation(key);
                Input::IndexParsed {
                    key,
                    segments,
                    init: representation.is_some_and(|one| one.init),
                }
            }
            Err(error) => parse_failed(ObjectKey::Index(key), &error),
        };
        self.pending.push_back(input);
    }

    pub(super) fn manifest_parsed(&mut self, parsed: Result<Manifest, ManifestError>) {
        // Where things lie is told by the one that the session took.
        if self.session.has_title() {
            return;
        }
        let manifest = match parsed {
            Ok(manifest) => manifest,
            Err(error) => {
                self.pending
                    .push_back(parse_failed(ObjectKey::Manifest, &error));
                return;
            }
        };
        // Further places become further edges before anything of the title is asked for.
        if let Some(offers) = self
            .book
            .take_pathways(&manifest, &self.fixed)
            .filter(|_| !self.fixed.is_empty())
        {
            self.fixed = offers;
            let (input, event) = take_fixed(self.fixed.clone());
            self.tell(event);
            self.pending.push_back(input);
        }
        self.pending
            .push_back(Input::ManifestParsed(manifest.outline.clone()));
        self.manifest = Some(manifest);
    }

    /// From now on the sinks get what comes of a segment as it comes.
    fn hand_on_part(&mut self, fetch: FetchId, object: ObjectKey, track: TrackKind) {
        let Some(facts) = self.facts(object) else {
            return;
        };
        self.pump.hand_on_part(track, object, facts);
        self.arriving.insert(fetch, Arriving { track, handed: 0 });
        self.hand_more(fetch);
    }

    /// Passes on what has come of a segment since.
    pub(super) fn hand_more(&mut self, fetch: FetchId) {
        let Some(arriving) = self.arriving.get_mut(&fetch) else {
            return;
        };
        if let Some(more) = self.store.tail(fetch, arriving.handed) {
            arriving.handed += more.len() as u64;
            self.pump.hand_more(arriving.track, more);
        }
    }

    fn hand_on(&mut self, epoch: Epoch, fetch: FetchId, object: ObjectKey, track: TrackKind) {
        self.hand_more(fetch);
        if self.arriving.remove(&fetch).is_some() {
            return self.pump.hand_rest(track);
        }
        let (Some(bytes), Some(facts)) = (self.store.join(fetch), self.facts(object)) else {
            tracing::debug!(?object, "nothing to hand on");
            self.pending.push_back(Input::Undecodable {
                epoch,
                object,
                code: "player.internal".to_owned(),
            });
            return;
        };
        self.pump.hand_on(
            track,
            Handed {
                object,
                bytes,
                facts,
            },
        );
    }

    /// What the manifest says about an object's representation.
    fn facts(&self, object: ObjectKey) -> Option<Facts> {
        let representation = self
            .manifest
            .as_ref()?
            .outline
            .representation(object.representation()?)?;
        let place = match (object, &representation.index) {
            (ObjectKey::Media(_, index), SegmentIndex::Known(segments)) => {
                Place::of(segments, usize::try_from(index).ok()?)
            }
            _ => None,
        };
        Some(Facts {
            id: representation.id.clone(),
            bitrate: representation.bitrate,
            container: representation.container,
            media_offset_us: representation.media_offset_us,
            origin_unknown: self.is_playlist,
            place,
        })
    }
}

/// A playlist or index so short is read in less time than handing it to another thread takes.
const AT_ONCE_MAX: usize = 64 << 10;

/// Whether a manifest that can be parsed is an HLS playlist.
fn is_playlist(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(b"#EXTM3U")
}

fn parse_failed(object: ObjectKey, error: &ManifestError) -> Input {
    Input::ParseFailed {
        object,
        code: error.code().to_owned(),
        message: error.to_string(),
    }
}
