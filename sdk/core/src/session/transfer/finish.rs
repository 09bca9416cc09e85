//! All bytes of an object are there: compared with its digest, kept, passed on, or fetched again.

use alloc::vec::Vec;

use nearcast_protocol::manifest::ObjectKey;
use nearcast_units::ByteCount;

use crate::action::{Action, CancelReason};
use crate::fetch::{Fetch, FetchState, Role};
use crate::input::{AttemptId, Failure, FetchId};
use crate::schedule::Buffered;
use crate::session::{Init, Parsing, Session, WORK_LOST};

impl Session {
    /// All bytes are there: ends what else runs for them, and compares where a digest is known.
    pub(super) fn finish_transfer(&mut self, fetch: &mut Fetch) -> bool {
        let left: Vec<AttemptId> = fetch.attempts.iter().map(|one| one.id).collect();
        for id in left {
            let Some(attempt) = fetch.attempts.iter().find(|one| one.id == id) else {
                continue;
            };
            let silent = self.edges.get(attempt.edge).is_some_and(|edge| {
                attempt.silent(self.now, edge) || attempt.trickles(self.now, edge)
            });
            match attempt.role {
                Role::Racer => self.cancel(fetch, id, CancelReason::LostRace),
                Role::Primary if silent => self.end_silent(fetch, id),
                Role::Primary | Role::Helper | Role::Probe => {
                    self.cancel(fetch, id, CancelReason::NotNeeded);
                }
            }
        }
        if let Some(digest) = fetch.digest.clone() {
            fetch.state = FetchState::Verifying {
                until: self.now + WORK_LOST,
            };
            self.actions.push_back(Action::Verify {
                fetch: fetch.id,
                digest,
            });
            return true;
        }
        self.deliver(fetch);
        false
    }

    pub(in crate::session) fn verified(&mut self, id: FetchId, intact: bool) {
        let Some(index) = self
            .fetches
            .iter()
            .position(|one| one.id == id && matches!(one.state, FetchState::Verifying { .. }))
        else {
            // It took so long that it was taken as it is.
            let mut buffered = self.tracks.iter().flat_map(|track| &track.buffered);
            let late = buffered.find(|one| one.fetch == id && !intact).copied();
            if let Some(late) = late {
                let object = ObjectKey::Media(late.key, late.index);
                self.undecodable(self.epoch, object, Failure::Corrupt.code());
            }
            return;
        };
        let mut fetch = self.fetches.swap_remove(index);
        self.progress_at = self.now;
        if intact {
            self.deliver(&fetch);
            return;
        }
        self.fetch_again(&mut fetch, &Failure::Corrupt);
    }

    /// A fetch was begun again under another name.
    pub(in crate::session) fn rename(&mut self, old: FetchId, new: FetchId) {
        for track in &mut self.tracks {
            if let Some(fetching) = &mut track.fetching
                && fetching.fetch == old
            {
                fetching.fetch = new;
            }
            if let Some(by) = track.replacing.as_mut().filter(|by| by.fetch == old) {
                by.fetch = new;
            }
        }
    }

    /// All bytes of an object are there and right.
    pub(super) fn deliver(&mut self, fetch: &Fetch) {
        self.recorder
            .fetch_done(self.now, fetch, self.timeline.as_ref());
        self.wrongs.given(fetch, self.now);
        self.wrongs.found(fetch.object);
        self.progress_at = self.now;
        // What still waits for an edge that failed keeps the reason; a success elsewhere does not explain it.
        if self.fetches.iter().all(|other| other.failures == 0) {
            self.last_failure = None;
        }
        match fetch.object {
            ObjectKey::Manifest | ObjectKey::Index(_) => {
                self.parsing.push(Parsing {
                    object: fetch.object,
                    until: self.now + WORK_LOST,
                });
                self.actions.push_back(Action::Parse {
                    fetch: fetch.id,
                    object: fetch.object,
                });
                self.actions.push_back(Action::Release { fetch: fetch.id });
            }
            ObjectKey::Init(key) => {
                let (fetch, since) = (fetch.id, self.epoch);
                self.inits.insert(key, Init::Ready { fetch, since });
            }
            ObjectKey::Media(key, index) => {
                let Some(kind) = fetch.track else { return };
                if let Some(timeline) = &mut self.timeline {
                    timeline.learn_size(key, index, ByteCount::new(fetch.received));
                }
                let replacing = self.track(kind).replacing;
                if replacing.is_some_and(|by| by.fetch == fetch.id) {
                    return self.replaced(kind, index, fetch);
                }
                let epoch = self.epoch;
                let track = self.track_mut(kind);
                let Some(fetching) = track
                    .fetching
                    .take_if(|fetching| fetching.fetch == fetch.id)
                else {
                    self.actions.push_back(Action::Release { fetch: fetch.id });
                    return;
                };
                track.put(Buffered {
                    fetch: fetch.id,
                    key,
                    index,
                    start: fetching.start,
                    end: fetching.end,
                    bytes: ByteCount::new(fetch.received),
                    handed_on: fetching.part.is_some(),
                    since: fetching.part.map_or(epoch, |part| part.since),
                });
                if fetching.part.is_some() {
                    self.actions.push_back(Action::HandOn {
                        epoch,
                        fetch: fetch.id,
                        object: fetch.object,
                        track: kind,
                    });
                }
            }
            ObjectKey::Probe => {}
        }
    }
}
