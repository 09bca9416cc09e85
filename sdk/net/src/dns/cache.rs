//! Names once found, for their time and, where nobody answers, beyond it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::ask::Answer;

/// How long after its end an answer may still be used (RFC 8767 §5: one to three days).
const STALE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Names kept; far above what one viewer's edges need.
const NAMES_MAX: usize = 256;

/// Addresses with their time.
#[derive(Default)]
pub(super) struct NameCache {
    names: BTreeMap<String, Known>,
}

struct Known {
    addresses: Vec<IpAddr>,
    /// Until when the answer is believed.
    until: Instant,
    /// Until when failing name servers are left alone and the expired answer is used.
    left_alone: Instant,
}

impl NameCache {
    /// Returns what is to be used without asking.
    pub(super) fn usable(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = self.names.get(host)?;
        if now < known.until {
            return Some(known.addresses.clone());
        }
        self.stale(host, now).filter(|_| now < known.left_alone)
    }

    /// Returns what may be used when nobody answers.
    pub(super) fn stale(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = self.names.get(host)?;
        (now < known.until + STALE_LIMIT).then(|| known.addresses.clone())
    }

    pub(super) fn take(&mut self, host: &str, answer: Answer) {
        let now = Instant::now();
        self.insert(host, answer.addresses(), now, now + answer.believed_for());
    }

    fn insert(&mut self, host: &str, addresses: Vec<IpAddr>, now: Instant, until: Instant) {
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(host) {
            let oldest = self.names.iter().min_by_key(|(_, known)| known.until);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        let known = Known {
            addresses,
            until,
            left_alone: now,
        };
        self.names.insert(host.to_owned(), known);
    }

    /// Notes that the name servers failed. The answer's own end stays: failing does not make it younger.
    pub(super) fn leave_alone(&mut self, host: &str, until: Instant) {
        if let Some(known) = self.names.get_mut(host) {
            known.left_alone = until;
        }
    }

    pub(super) fn remove(&mut self, host: &str) {
        self.names.remove(host);
    }
}

#[cfg(test)]
mod tests {
    use super::super::STALE_FOR;
    use super::*;
    use std::net::Ipv4Addr;

    fn address(last: u8) -> Vec<IpAddr> {
        vec![Ipv4Addr::new(192, 0, 2, last).into()]
    }

    #[test]
    fn an_answer_is_fresh_until_its_time_is_over_and_stale_for_a_day() {
        let t0 = Instant::now();
        let end = t0 + Duration::from_secs(60);
        let mut cache = NameCache::default();
        cache.insert("a", address(1), t0, end);
        assert_eq!(
            cache.usable("a", end - Duration::from_millis(1)),
            Some(address(1))
        );
        assert_eq!(cache.usable("a", end), None);
        assert_eq!(cache.stale("a", end), Some(address(1)));
        assert_eq!(cache.stale("a", end + STALE_LIMIT), None);
        assert_eq!(cache.usable("b", t0), None);
    }

    #[test]
    fn failing_name_servers_do_not_make_an_answer_younger() {
        let t0 = Instant::now();
        let mut cache = NameCache::default();
        cache.insert("a", address(1), t0, t0);
        let mut now = t0;
        while now < t0 + STALE_LIMIT {
            assert_eq!(cache.usable("a", now), None);
            cache.leave_alone("a", now + STALE_FOR);
            assert_eq!(cache.usable("a", now), Some(address(1)));
            now += STALE_FOR;
        }
        assert_eq!(cache.stale("a", now), None);
        cache.leave_alone("a", now + STALE_FOR);
        assert_eq!(cache.usable("a", now), None, "its day is over");
    }

    #[test]
    fn the_cache_is_bounded_and_loses_the_oldest() {
        let t0 = Instant::now();
        let mut cache = NameCache::default();
        for n in 0..=NAMES_MAX {
            let until = t0 + Duration::from_secs(u64::try_from(n).unwrap() + 1);
            cache.insert(&format!("host{n}"), address(1), t0, until);
        }
        assert_eq!(cache.names.len(), NAMES_MAX);
        assert_eq!(cache.usable("host0", t0), None);
        assert!(cache.usable("host1", t0).is_some());
    }
}
