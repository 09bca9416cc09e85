//! What is silent beside something that delivers: its edge is at fault, unless a queue on a slow line keeps it back.

use alloc::string::ToString;
use core::time::Duration;

use nearcast_units::ByteCount;

use crate::action::CancelReason;
use crate::event::DecisionKind;
use crate::fetch::{Attempt, Fetch, Phase, Role};
use crate::input::AttemptId;
use crate::session::Session;
use crate::session::control::object_name;

/// Who brought something so lately is not silent: longer than a queue of a tenth of a megabyte takes on a line of 1 Mbit/s
/// (`run tests/scenarios/failures/crowded-last-mile.toml --mode packet`).
const BRINGS_WITHIN: Duration = Duration::from_secs(1);

impl Session {
    /// Ends an attempt that was silent while another one delivered; its edge is left for that, but for what was held up.
    pub(super) fn end_silent(&mut self, fetch: &mut Fetch, id: AttemptId) {
        if !self.is_held_up(fetch, id) {
            return self.cancel(fetch, id, CancelReason::Silent);
        }
        let why = "what it did not bring waits for its turn on a slow line: its edge is not left";
        let name = object_name(fetch.object).to_string();
        self.decide(DecisionKind::Hedge, name, why, &[]);
        self.cancel(fetch, id, CancelReason::NotNeeded);
        if let Some(next) = fetch.attempts.iter_mut().find(|one| one.to.is_none()) {
            next.role = Role::Primary;
        }
    }

    /// Whether an attempt of which nothing has come yet waits in a queue: the line is known to be slow, or that is just being found out,
    /// and its edge brings something else meanwhile.
    fn is_held_up(&self, fetch: &Fetch, id: AttemptId) -> bool {
        let Some(late) = fetch.attempts.iter().find(|one| one.id == id) else {
            return false;
        };
        let line_is_slow = self.now < self.line_slow_until && self.line_slow_rate.is_some();
        let compared = self.comparison.as_ref();
        let is_compared = compared.is_some_and(|one| one.slow.1 == late.edge && one.slow.0 != id);
        let brings = |one: &Attempt| {
            matches!(one.phase, Phase::Body { .. })
                && self.now.since(one.last_byte_at()) < BRINGS_WITHIN
        };
        let mut others = self.fetches.iter().flat_map(|one| &one.attempts);
        late.bytes == ByteCount::ZERO
            && (line_is_slow || is_compared)
            && others.any(|one| one.edge == late.edge && one.id != id && brings(one))
    }
}
