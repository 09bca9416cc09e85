//! Manifests of another edition. An edge that was not brought up to date gives one that is whole and readable, and in which
//! nothing says so, but the title has another length than the grant says.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::manifest::{ObjectKey, Outline};
use nearcast_units::Instant;

use super::account::Given;
use crate::action::CancelReason;
use crate::event::DecisionKind;
use crate::input::FetchId;
use crate::session::Session;
use crate::session::control::object_name;

/// A manifest that is believed if no better one comes.
#[derive(Debug)]
pub(super) struct Doubted {
    outline: Outline,
    /// Who gave it, and others before it.
    given: Vec<Given>,
    until: Instant,
}

/// Catalogues round, to minutes even: lengths that differ by no more than this and a fiftieth are the same.
const SLACK: Duration = Duration::from_secs(2);
const SLACK_PART: u32 = 50;
/// So long is another edge waited for: some round trips to a far one.
const DOUBT_MAX: Duration = Duration::from_secs(1);
const MANIFEST: ObjectKey = ObjectKey::Manifest;
/// What is told of an edge whose manifest another one contradicts, and the grant as well.
const STALE: &str = "edge.stale_manifest";

fn are_same(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= SLACK + one.max(other) / SLACK_PART
}

impl Session {
    /// Whether another edge is asked for a manifest because in this one the title has another length than the grant says. What
    /// is said twice is believed, for it may be the grant that is wrong, and so is what nobody else contradicts in time.
    pub(in crate::session) fn doubts_edition(&mut self, outline: &Outline) -> bool {
        let Some((granted, length)) = self.granted_length.zip(outline.duration) else {
            return false;
        };
        let before = self.wrongs.doubted.take();
        if are_same(granted, length) {
            for given in before.into_iter().flat_map(|one| one.given) {
                self.blame(&given, STALE);
            }
            return false;
        }
        let said = before.as_ref().and_then(|one| one.outline.duration);
        let (mut given, until) = before.map_or_else(
            || (Vec::new(), self.now + DOUBT_MAX),
            |one| (one.given, one.until),
        );
        let giver = self.giver(MANIFEST);
        self.wrongs.suspect(MANIFEST, giver.as_ref(), self.now);
        let suspects = self.wrongs.suspected(MANIFEST);
        let usable = self.edges.usable(self.now, MANIFEST, suspects).next();
        let is_alone = usable.is_none();
        if is_alone || said.is_some_and(|said| are_same(said, length)) {
            self.acquit(MANIFEST);
            return false;
        }
        if let Some(giver) = &giver {
            self.wrongs.hands_over(giver, STALE, self.now);
        }
        given.extend(giver);
        self.wrongs.doubted = Some(Doubted {
            outline: outline.clone(),
            given,
            until,
        });
        self.decide(
            DecisionKind::Failover,
            object_name(MANIFEST).to_string(),
            "the title has another length there than the backend says: another edge is asked",
            &[
                ("length_s", length.as_secs_f64()),
                ("granted_s", granted.as_secs_f64()),
            ],
        );
        true
    }

    pub(in crate::session) fn doubt_ends_at(&self) -> Option<Instant> {
        self.wrongs.doubted.as_ref().map(|one| one.until)
    }

    /// Nobody gives a better manifest in time.
    pub(in crate::session) fn end_doubt(&mut self) {
        if self.doubt_ends_at().is_some_and(|at| self.now >= at) {
            self.believe_doubted();
        }
    }

    /// Goes on with the manifest that was doubted, if there is one; returns whether there was.
    pub(super) fn believe_doubted(&mut self) -> bool {
        let Some(doubted) = self.wrongs.doubted.take() else {
            return false;
        };
        self.acquit(MANIFEST);
        let asked = self.fetches.iter().filter(|one| one.object == MANIFEST);
        let asked: Vec<FetchId> = asked.map(|one| one.id).collect();
        for fetch in asked {
            self.abandon(fetch, CancelReason::Superseded);
        }
        self.parsing.retain(|one| one.object != MANIFEST);
        self.decide(
            DecisionKind::Failover,
            object_name(MANIFEST).to_string(),
            "nobody gave another one in time: what was doubted is believed",
            &[],
        );
        self.take_manifest(doubted.outline);
        true
    }
}
