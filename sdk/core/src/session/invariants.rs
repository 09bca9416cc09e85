//! What holds after every step.

use alloc::string::String;
use core::time::Duration;

use super::Session;
use crate::event::PlayState;

impl Session {
    /// Checks what must hold after each step; tests, simulations and fuzzing call it.
    ///
    /// # Errors
    /// Says in words what does not hold.
    pub fn check_invariants(&self) -> Result<(), String> {
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
            if fetch.attempts.is_empty() && fetch.state == crate::fetch::FetchState::Active {
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
