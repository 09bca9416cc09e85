//! Playbacks and the stream slots they hold.
//!
//! A playback with intent to watch holds one of the account's slots from its grant until it ends, or until
//! it has shown no sign of life for a while. When all slots are taken, a device that starts again takes
//! over its own slot: an app that crashed must not lock its owner out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_units::Instant;
use serde::{Deserialize, Serialize};

/// One playback of a title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playback {
    /// Whose.
    pub account: String,
    /// On which device.
    pub device_id: String,
    /// Of which title.
    pub title: String,
    /// The client's name for the request that began it.
    pub request_id: Option<String>,
    /// Whether it counts as a stream.
    pub slot: Slot,
    /// Last sign of life.
    pub seen: Instant,
}

/// Whether a playback counts as a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// A preview or prefetch: never counts.
    Uncounted,
    /// Counts until then, or until it is released.
    Held {
        /// When it stops counting unless there is a sign of life before.
        until: Instant,
    },
    /// Ended.
    Released,
    /// The device began another playback when no slot was free.
    TakenOver,
}

impl Slot {
    fn is_held(self, now: Instant) -> bool {
        matches!(self, Self::Held { until } if now < until)
    }
}

/// All slots of the account are taken, by other devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllSlotsTaken;

/// All playbacks, by id and by account.
#[derive(Clone, Debug)]
pub(crate) struct Playbacks {
    by_id: BTreeMap<String, Playback>,
    by_account: BTreeMap<String, BTreeSet<String>>,
    slot_ttl: Duration,
    playback_ttl: Duration,
    count_max: usize,
}

impl Playbacks {
    pub(crate) const fn new(slot_ttl: Duration, playback_ttl: Duration, count_max: usize) -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_account: BTreeMap::new(),
            slot_ttl,
            playback_ttl,
            count_max,
        }
    }

    /// Returns a playback that can still be refreshed.
    pub(crate) fn find(&self, now: Instant, id: &str) -> Option<&Playback> {
        self.by_id
            .get(id)
            .filter(|playback| now.since(playback.seen) < self.playback_ttl)
    }

    /// Finds the playback that an earlier copy of the same request began.
    pub(crate) fn find_request(&self, now: Instant, wanted: &Playback) -> Option<&str> {
        wanted.request_id.as_ref()?;
        self.of_account(&wanted.account)
            .find(|(_, playback)| {
                playback.request_id == wanted.request_id
                    && playback.device_id == wanted.device_id
                    && playback.title == wanted.title
                    && now.since(playback.seen) < self.playback_ttl
            })
            .map(|(id, _)| id)
    }

    /// Says whether a device could begin a stream, and whose slot it would take over.
    pub(crate) fn free_slot(
        &self,
        now: Instant,
        wanted: &Playback,
        streams_max: u32,
    ) -> Result<Option<String>, AllSlotsTaken> {
        if self.has_room(now, &wanted.account, streams_max) {
            return Ok(None);
        }
        self.of_account(&wanted.account)
            .filter(|(_, playback)| {
                playback.slot.is_held(now) && playback.device_id == wanted.device_id
            })
            .min_by_key(|(_, playback)| playback.seen)
            .filter(|_| streams_max > 0)
            .map(|(id, _)| Some(id.to_string()))
            .ok_or(AllSlotsTaken)
    }

    /// Marks a playback whose device began another one.
    pub(crate) fn take_over(&mut self, id: &str) -> Option<&Playback> {
        let playback = self.by_id.get_mut(id)?;
        playback.slot = Slot::TakenOver;
        Some(playback)
    }

    /// Returns a slot that is held from `now`.
    pub(crate) fn new_slot(&self, now: Instant) -> Slot {
        Slot::Held {
            until: now + self.slot_ttl,
        }
    }

    /// Adds a playback; returns the ids of those that had to go for it.
    pub(crate) fn insert(&mut self, now: Instant, id: &str, playback: Playback) -> Vec<String> {
        let mut gone = Vec::new();
        if self.by_id.len() >= self.count_max {
            gone = self.prune(now);
        }
        while self.by_id.len() >= self.count_max.max(1) && !self.by_id.contains_key(id) {
            let Some(oldest) = self
                .by_id
                .iter()
                .min_by_key(|(_, playback)| playback.seen)
                .map(|(id, _)| id.clone())
            else {
                break;
            };
            self.remove(&oldest);
            gone.push(oldest);
        }
        self.by_account
            .entry(playback.account.clone())
            .or_default()
            .insert(id.to_string());
        self.by_id.insert(id.to_string(), playback);
        gone
    }

    /// Records that the client refreshed: the slot is held on, or taken again when there is room.
    pub(crate) fn refresh(
        &mut self,
        now: Instant,
        id: &str,
        streams_max: u32,
    ) -> Result<Option<&Playback>, AllSlotsTaken> {
        let Some(playback) = self.by_id.get(id) else {
            return Ok(None);
        };
        let slot = match playback.slot {
            Slot::Uncounted => Slot::Uncounted,
            held if held.is_held(now) => self.new_slot(now),
            Slot::Held { .. } | Slot::Released | Slot::TakenOver => {
                if !self.has_room(now, &playback.account, streams_max) {
                    return Err(AllSlotsTaken);
                }
                self.new_slot(now)
            }
        };
        let playback = self.by_id.get_mut(id);
        Ok(playback.map(|playback| {
            playback.slot = slot;
            playback.seen = now;
            &*playback
        }))
    }

    /// Records a sign of life; returns whether the playback is known.
    pub(crate) fn handle_sign_of_life(&mut self, now: Instant, id: &str) -> bool {
        let slot_ttl = self.slot_ttl;
        let Some(playback) = self.by_id.get_mut(id) else {
            return false;
        };
        if playback.slot.is_held(now) {
            playback.slot = Slot::Held {
                until: now + slot_ttl,
            };
        }
        playback.seen = playback.seen.max(now);
        true
    }

    /// Records that a playback ended; returns it when that freed a slot.
    pub(crate) fn release(&mut self, id: &str) -> Option<&Playback> {
        let playback = self.by_id.get_mut(id)?;
        let held = matches!(playback.slot, Slot::Held { .. });
        held.then(|| {
            playback.slot = Slot::Released;
            &*playback
        })
    }

    /// Removes what can no longer be refreshed; returns the ids.
    pub(crate) fn prune(&mut self, now: Instant) -> Vec<String> {
        let ended: Vec<String> = self
            .by_id
            .iter()
            .filter(|(_, playback)| now.since(playback.seen) >= self.playback_ttl)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ended {
            self.remove(id);
        }
        ended
    }

    /// Returns how many streams play.
    pub(crate) fn streams(&self, now: Instant) -> usize {
        self.by_id
            .values()
            .filter(|playback| playback.slot.is_held(now))
            .count()
    }

    fn has_room(&self, now: Instant, account: &str, streams_max: u32) -> bool {
        let held = self
            .of_account(account)
            .filter(|(_, playback)| playback.slot.is_held(now))
            .count();
        u32::try_from(held).is_ok_and(|held| held < streams_max)
    }

    fn of_account(&self, account: &str) -> impl Iterator<Item = (&str, &Playback)> {
        self.by_account
            .get(account)
            .into_iter()
            .flatten()
            .filter_map(|id| self.by_id.get(id).map(|playback| (id.as_str(), playback)))
    }

    fn remove(&mut self, id: &str) {
        let Some(playback) = self.by_id.remove(id) else {
            return;
        };
        if let Some(ids) = self.by_account.get_mut(&playback.account) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_account.remove(&playback.account);
            }
        }
    }
}
