//! How far each viewer is with each title.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;

use nearcast_protocol::play::{HistoryEntry, HistoryList, HistoryUpdate};

use crate::catalogue::Title;

/// A viewing position that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// No such title.
    #[error("there is no title {0:?}")]
    TitleUnknown(String),
    /// The access token is old or unknown.
    #[error("the access token is old or unknown; open a new session")]
    SessionExpired,
}

/// Viewing positions by account and title.
#[derive(Clone, Debug)]
pub struct History {
    by_account: BTreeMap<String, BTreeMap<String, HistoryEntry>>,
    count_max: usize,
}

impl History {
    /// Makes an empty history that keeps `count_max` positions for each account.
    #[must_use]
    pub const fn new(count_max: usize) -> Self {
        Self {
            by_account: BTreeMap::new(),
            count_max,
        }
    }

    /// Records a position; returns the entry, and the title that had to go for it.
    pub fn record(
        &mut self,
        now_unix_ms: u64,
        account: &str,
        title: &Title,
        update: &HistoryUpdate,
    ) -> (HistoryEntry, Option<String>) {
        let position_ms = update.position_ms.min(title.duration_ms);
        let entry = HistoryEntry {
            title: title.id.clone(),
            position_ms,
            duration_ms: title.duration_ms,
            finished: is_finished(position_ms, title.duration_ms),
            watched_at_unix_ms: now_unix_ms,
            language: update
                .language
                .clone()
                .filter(|language| language.len() <= LANGUAGE_LENGTH_MAX),
        };
        let gone = self.insert(account, entry.clone());
        (entry, gone)
    }

    /// Puts an entry back that was stored; returns the title that had to go for it.
    pub fn insert(&mut self, account: &str, entry: HistoryEntry) -> Option<String> {
        let entries = self.by_account.entry(account.to_string()).or_default();
        let mut gone = None;
        if entries.len() >= self.count_max.max(1) && !entries.contains_key(&entry.title) {
            gone = entries
                .values()
                .min_by_key(|entry| entry.watched_at_unix_ms)
                .map(|entry| entry.title.clone());
            if let Some(title) = &gone {
                entries.remove(title);
            }
        }
        entries.insert(entry.title.clone(), entry);
        gone
    }

    /// Returns what an account has watched, latest first.
    #[must_use]
    pub fn list(&self, account: &str) -> HistoryList {
        let mut entries: Vec<HistoryEntry> = self
            .by_account
            .get(account)
            .map(|entries| entries.values().cloned().collect())
            .unwrap_or_default();
        entries.sort_by_key(|entry| Reverse(entry.watched_at_unix_ms));
        HistoryList { entries }
    }

    /// Returns where to go on: 0 when not begun or finished.
    #[must_use]
    pub fn resume_position_ms(&self, account: &str, title: &str) -> u64 {
        self.by_account
            .get(account)
            .and_then(|entries| entries.get(title))
            .filter(|entry| !entry.finished)
            .map_or(0, |entry| entry.position_ms)
    }
}

/// Credits are no reason to go on there: the last three hundredths count as the end.
fn is_finished(position_ms: u64, duration_ms: u64) -> bool {
    u128::from(position_ms) * 100 >= u128::from(duration_ms) * 97
}

/// The longest tags in use have some 35 characters (RFC 5646 section 4.4.1).
const LANGUAGE_LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn title(id: &str) -> Title {
        Title {
            id: id.to_string(),
            duration_ms: 100_000,
            ..Title::default()
        }
    }

    fn at(position_ms: u64) -> HistoryUpdate {
        HistoryUpdate {
            position_ms,
            language: None,
        }
    }

    #[test]
    fn a_viewer_goes_on_where_they_left_off_unless_they_saw_it_all() {
        let mut history = History::new(10);
        assert_eq!(history.resume_position_ms("a", "t"), 0);
        history.record(1, "a", &title("t"), &at(61_000));
        assert_eq!(history.resume_position_ms("a", "t"), 61_000);
        assert_eq!(history.resume_position_ms("b", "t"), 0);
        history.record(2, "a", &title("t"), &at(97_000));
        assert_eq!(history.resume_position_ms("a", "t"), 0);
        assert!(history.list("a").entries[0].finished);
    }

    #[test]
    fn a_position_beyond_the_end_is_the_end() {
        let mut history = History::new(10);
        let (entry, _) = history.record(1, "a", &title("t"), &at(u64::MAX));
        assert_eq!(entry.position_ms, 100_000);
        assert!(entry.finished);
    }

    #[test]
    fn the_latest_comes_first_and_the_oldest_goes() {
        let mut history = History::new(2);
        history.record(1, "a", &title("x"), &at(1));
        history.record(2, "a", &title("y"), &at(1));
        history.record(3, "a", &title("x"), &at(2));
        let (_, gone) = history.record(4, "a", &title("z"), &at(1));
        assert_eq!(gone.as_deref(), Some("y"));
        let titles: Vec<String> = history
            .list("a")
            .entries
            .into_iter()
            .map(|entry| entry.title)
            .collect();
        assert_eq!(titles, ["z", "x"]);
    }
}
