//! The appliance's side of the control plane: when to report, which keys hold, whom to admit.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::appliance::{ReportReceipt, VerifyingKey};
use nearcast_units::Instant;

/// Whether a playback may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// The control plane is lost, and this playback was not served before that.
    ControlPlaneLost,
}

/// What the backend said last.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    keys: Vec<VerifyingKey>,
    /// When the last receipt ceases to be trusted; `None` before the first.
    lost_at: Option<Instant>,
    report_due: Instant,
    last_report: Instant,
    /// Playbacks served, and when last.
    playbacks: BTreeMap<String, Instant>,
}

impl ControlPlane {
    /// Before the backend says otherwise.
    const INTERVAL: Duration = Duration::from_secs(2);
    /// Even if the backend wants fewer: a lost report must not make the appliance look old.
    const INTERVAL_MAX: Duration = Duration::from_secs(60);
    /// Changes closer together than this go in one report.
    const INTERVAL_MIN: Duration = Duration::from_millis(250);
    /// The control plane is lost after this many intervals without a receipt.
    const MISSED_MAX: u32 = 3;
    /// Each costs some hundred bytes; more viewers than one appliance serves at a time.
    const PLAYBACKS_MAX: usize = 20_000;
    /// A backend publishes the current key, the next and the last.
    const KEYS_MAX: usize = 16;

    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            keys: Vec::new(),
            lost_at: None,
            report_due: now,
            last_report: now,
            playbacks: BTreeMap::new(),
        }
    }

    pub(crate) const fn report_due(&self) -> Instant {
        self.report_due
    }

    /// A report is being sent.
    pub(crate) fn handle_report_sent(&mut self, now: Instant) {
        self.last_report = now;
        self.report_due = now + Self::INTERVAL;
    }

    /// Something changed that the backend should know.
    pub(crate) fn handle_change(&mut self) {
        let soon = self.last_report + Self::INTERVAL_MIN;
        self.report_due = self.report_due.min(soon);
    }

    pub(crate) fn handle_receipt(&mut self, now: Instant, receipt: ReportReceipt) {
        let interval = Duration::from_millis(receipt.next_report_ms)
            .clamp(Self::INTERVAL_MIN, Self::INTERVAL_MAX);
        // A change may have asked for an earlier one meanwhile.
        if self.report_due == self.last_report + Self::INTERVAL {
            self.report_due = self.last_report + interval;
        }
        self.lost_at = Some(now + interval * Self::MISSED_MAX);
        self.keys = receipt.verifying_keys;
        self.keys.truncate(Self::KEYS_MAX);
    }

    pub(crate) fn key(&self, id: &str, unix_ms: u64) -> Option<&VerifyingKey> {
        self.keys
            .iter()
            .find(|key| key.id == id && holds(key, unix_ms))
    }

    pub(crate) fn has_key(&self, unix_ms: u64) -> bool {
        self.keys.iter().any(|key| holds(key, unix_ms))
    }

    pub(crate) fn is_lost(&self, now: Instant) -> bool {
        self.lost_at.is_none_or(|at| now >= at)
    }

    /// Admits a playback whose token is good.
    pub(crate) fn admit(&mut self, now: Instant, playback_id: &str) -> Admission {
        let lost = self.is_lost(now);
        if let Some(seen) = self.playbacks.get_mut(playback_id) {
            *seen = now;
            return Admission::Admitted;
        }
        if lost {
            return Admission::ControlPlaneLost;
        }
        if self.playbacks.len() >= Self::PLAYBACKS_MAX {
            let oldest = self.playbacks.iter().min_by_key(|(_, seen)| **seen);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.playbacks.remove(&oldest);
            }
        }
        self.playbacks.insert(String::from(playback_id), now);
        Admission::Admitted
    }
}

fn holds(key: &VerifyingKey, unix_ms: u64) -> bool {
    (key.not_before_unix_ms..key.not_after_unix_ms).contains(&unix_ms)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;

    const T0: Instant = Instant::ZERO;

    fn receipt(next_report_ms: u64) -> ReportReceipt {
        ReportReceipt {
            verifying_keys: vec![VerifyingKey {
                id: "k1".into(),
                public_key_base64: String::new(),
                not_before_unix_ms: 100,
                not_after_unix_ms: 200,
            }],
            next_report_ms,
        }
    }

    fn at(ms: u64) -> Instant {
        T0 + Duration::from_millis(ms)
    }

    #[test]
    fn a_lost_control_plane_keeps_old_sessions_and_refuses_new_ones() {
        let mut control = ControlPlane::new(T0);
        assert_eq!(control.admit(T0, "early"), Admission::ControlPlaneLost);
        control.handle_receipt(T0, receipt(1000));
        assert_eq!(control.admit(at(2999), "old"), Admission::Admitted);
        assert_eq!(control.admit(at(3000), "new"), Admission::ControlPlaneLost);
        assert_eq!(control.admit(at(9000), "old"), Admission::Admitted);
        control.handle_receipt(at(9000), receipt(1000));
        assert_eq!(control.admit(at(9000), "new"), Admission::Admitted);
    }

    #[test]
    fn reports_follow_the_backends_interval_and_changes_come_sooner() {
        let mut control = ControlPlane::new(T0);
        assert_eq!(control.report_due(), T0);
        control.handle_report_sent(T0);
        assert_eq!(control.report_due(), at(2000));
        control.handle_receipt(at(10), receipt(5000));
        assert_eq!(control.report_due(), at(5000));
        control.handle_change();
        assert_eq!(control.report_due(), at(250));
        control.handle_report_sent(at(250));
        control.handle_receipt(at(260), receipt(0));
        assert_eq!(control.report_due(), at(500), "not more often than that");
    }

    #[test]
    fn a_key_holds_within_its_validity() {
        let mut control = ControlPlane::new(T0);
        control.handle_receipt(T0, receipt(1000));
        let found: Vec<bool> = [99, 100, 199, 200]
            .into_iter()
            .map(|unix_ms| control.key("k1", unix_ms).is_some())
            .collect();
        assert_eq!(found, [false, true, true, false]);
        assert!(control.key("k2", 150).is_none());
        assert!(control.has_key(150) && !control.has_key(200));
    }

    #[test]
    fn playbacks_are_bounded_and_the_idlest_goes_first() {
        let mut control = ControlPlane::new(T0);
        control.handle_receipt(T0, receipt(60_000));
        for n in 0..=ControlPlane::PLAYBACKS_MAX {
            control.admit(at(u64::try_from(n).unwrap()), &format!("p{n}"));
        }
        assert_eq!(control.playbacks.len(), ControlPlane::PLAYBACKS_MAX);
        assert!(!control.playbacks.contains_key("p0"));
    }
}
