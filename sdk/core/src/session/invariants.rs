//! What holds after every step.

use alloc::string::String;
use core::time::Duration;

use nearcast_units::ByteCount;

use super::Session;
use crate::event::PlayState;
use crate::fetch::{Fetch, FetchState, Role};

impl Session {
    /// Checks what must hold after each step; tests, simulations and fuzzing call it.
    ///
    /// # Errors
    /// Says in words what does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_bytes()?;
        if self.is_over() {
            return if self.fetches.is_empty() {
                Ok(())
            } else {
                Err("a session that is over still fetches".into())
            };
        }
        self.check_waits()?;
        for track in &self.tracks {
            if let Some(fetching) = track.fetching
                && !self.fetches.iter().any(|fetch| fetch.id == fetching.fetch)
            {
                return Err(alloc::format!(
                    "{:?} waits for a fetch that is not there",
                    track.kind
                ));
            }
            if track.replacing.is_some_and(|by| {
                track.fetching.is_some() || !self.fetches.iter().any(|fetch| fetch.id == by.fetch)
            }) {
                return Err(alloc::format!(
                    "{:?} replaces by a fetch that is not there, or beside another",
                    track.kind
                ));
            }
            let ordered = track
                .buffered
                .iter()
                .zip(track.buffered.iter().skip(1))
                .all(|(one, next)| (one.start, one.end) < (next.start, next.end));
            if !ordered {
                return Err(alloc::format!("{:?} segments are out of order", track.kind));
            }
        }
        for fetch in &self.fetches {
            if fetch.total.is_some_and(|total| fetch.received > total) {
                return Err(alloc::format!(
                    "{:?} has more bytes than the object",
                    fetch.object
                ));
            }
            if fetch.attempts.is_empty() && fetch.state == FetchState::Active {
                return Err(alloc::format!(
                    "{:?} has no attempt and does not wait",
                    fetch.object
                ));
            }
            let twins = self
                .fetches
                .iter()
                .filter(|other| other.object == fetch.object && !other.is_probe())
                .count();
            if !fetch.is_probe() && twins > 1 {
                return Err(alloc::format!(
                    "{:?} is fetched twice at once",
                    fetch.object
                ));
            }
            self.check_attempts(fetch)?;
        }
        Ok(())
    }

    /// All that came is in each of the accounts: those of the edges, the report and the budget.
    fn check_bytes(&self) -> Result<(), String> {
        let ended = self.recorder.bytes();
        let of_edges: ByteCount = self.edges.iter().map(|(_, edge)| edge.bytes).sum();
        let (mut came, mut twice) = (ended.media + ended.manifest, ended.wasted + ended.probe);
        for attempt in self.fetches.iter().flat_map(|fetch| &fetch.attempts) {
            let bytes = attempt.bytes.get();
            let again = match attempt.role {
                Role::Probe => bytes,
                Role::Primary | Role::Racer | Role::Helper => attempt.wasted.get(),
            };
            if again > bytes {
                return Err(alloc::format!("{attempt:?} wasted more than it brought"));
            }
            came += bytes - again;
            twice += again;
        }
        came += twice;
        let counted = (self.useful + self.extra).get();
        if (of_edges.get(), counted) != (came, came) {
            return Err(alloc::format!(
                "{came} bytes came, {of_edges:?} by the edges' accounts, {counted} by the budget's"
            ));
        }
        if self.extra.get() > twice {
            return Err(alloc::format!(
                "help cost {:?}, and only {twice} bytes were not of use",
                self.extra
            ));
        }
        Ok(())
    }

    /// Nothing is asked for twice at once but by a race and by help, each from an edge of its own, and help that is a guess ends
    /// with its budget.
    fn check_attempts(&self, fetch: &Fetch) -> Result<(), String> {
        let alone = fetch
            .attempts
            .iter()
            .filter(|one| one.role == Role::Primary);
        if alone.count() > 1 {
            return Err(alloc::format!(
                "{:?} is asked for twice, and neither attempt helps",
                fetch.object
            ));
        }
        for (nth, attempt) in fetch.attempts.iter().enumerate() {
            let others = fetch.attempts.iter().skip(nth + 1);
            if others.clone().any(|other| other.edge == attempt.edge) {
                return Err(alloc::format!(
                    "{:?} is asked for twice from {:?}",
                    fetch.object,
                    attempt.edge
                ));
            }
            if attempt.from > fetch.received {
                return Err(alloc::format!("{attempt:?} leaves a hole"));
            }
        }
        let guesses =
            fetch.state == FetchState::Active && fetch.judge_guess(self.now, &self.edges).is_some();
        if guesses && !self.extra_allowed(ByteCount::ZERO) {
            return Err(alloc::format!(
                "help against slowness of {:?} goes on beyond its budget",
                fetch.object
            ));
        }
        Ok(())
    }

    /// Where playback waits, it waits for something; and no wait is longer than it should be, or without a deadline
    /// that ends it.
    fn check_waits(&self) -> Result<(), String> {
        let waits = self.waits();
        let held = matches!(
            self.state,
            PlayState::Starting | PlayState::Seeking | PlayState::Stalled(_)
        );
        if held && !self.paused && waits.is_empty() {
            return Err("playback waits, and nothing is on its way".into());
        }
        let Some(first) = waits.iter().min_by_key(|wait| wait.until) else {
            return Ok(());
        };
        if first.until < self.now {
            return Err(alloc::format!("{first:?} is overdue"));
        }
        let due = self.next_deadline();
        if due.is_none_or(|due| due > first.until.max(self.now + LEAST)) {
            return Err(alloc::format!("{first:?} is not looked after: {due:?}"));
        }
        Ok(())
    }
}

/// The least that a deadline lies ahead.
const LEAST: Duration = Duration::from_millis(1);
