//! What is to happen later, in one order: by time, then by when it became known.

use std::collections::BTreeMap;

use nearcast_units::Instant;

/// Things that are due later.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    due: BTreeMap<(Instant, u64), T>,
    sequence: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            sequence: 0,
        }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn add(&mut self, when: Instant, what: T) {
        self.sequence += 1;
        self.due.insert((when, self.sequence), what);
    }

    /// Returns when the next thing is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Returns the next thing that is due by now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
