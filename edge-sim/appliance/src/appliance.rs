//! One appliance.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use nearcast_protocol::appliance::{ApplianceReport, Health, ReportReceipt, VerifyingKey};
use nearcast_protocol::play::{HttpProtocol, SiteKind};
use nearcast_units::{BitRate, ByteCount, Instant, Ratio, Seed};

use crate::board::{Asked, FaultBoard, OrderError};
use crate::control::{Admission, ControlPlane};
use crate::disposition::{Disposition, Effect, LinkChange, Target};
use crate::fault::{Fault, FaultOrder, FaultReceipt};
use crate::load::{LoadMeter, Outcome};
use crate::refusal::Refusal;
use crate::token::{Claims, TokenError};

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// On the monotonic clock.
    pub at: Instant,
    /// Wall time.
    pub unix_ms: u64,
}

/// What an appliance is.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplianceConfig {
    /// Identifier.
    pub id: String,
    /// Where it stands, for people.
    pub site: String,
    /// What kind of site.
    pub kind: SiteKind,
    /// Degrees latitude and longitude.
    pub position_deg: (f64, f64),
    /// Absolute URL clients are to use, ending in a slash.
    pub base_url: String,
    /// Protocols it speaks there, preferred first.
    pub protocols: Vec<HttpProtocol>,
    /// IP addresses of the base URL's host.
    pub addresses: Vec<String>,
    /// Client prefixes it serves, in CIDR notation.
    pub prefixes: Vec<String>,
    /// What counts as full load. Not a limit: that is the link's.
    pub capacity: BitRate,
    /// The link's rate when nothing is wrong; `None` is no limit.
    pub rate: Option<BitRate>,
    /// The link's delay, one way, when nothing is wrong.
    pub delay: Duration,
    /// Whether there is a backend to report to; without one nobody is turned away.
    pub has_backend: bool,
    /// Where the chance of faults comes from that strike with some probability.
    pub seed: Seed,
}

impl ApplianceConfig {
    /// Makes one with a name, 1 Gbit/s of capacity, a perfect link and no backend.
    #[must_use]
    pub fn named(id: &str) -> Self {
        Self {
            id: String::from(id),
            site: String::from(id),
            kind: SiteKind::Isp,
            position_deg: (0.0, 0.0),
            base_url: String::new(),
            protocols: Vec::new(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            capacity: BitRate::from_kbps(1_000_000),
            rate: None,
            delay: Duration::ZERO,
            has_backend: false,
            seed: Seed::default(),
        }
    }
}

/// What the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send [`Appliance::report`] to the backend, and hand its receipt to
    /// [`handle_receipt`](Appliance::handle_receipt). A report that fails is not repeated: the next one comes.
    Report,
    /// Change the link.
    Link(LinkChange),
}

/// One appliance: see the crate's documentation.
#[derive(Clone, Debug)]
pub struct Appliance {
    config: ApplianceConfig,
    /// Path prefixes of what it stores, sorted.
    files: Vec<String>,
    faults: FaultBoard,
    load: LoadMeter,
    control: ControlPlane,
    reported: Option<Health>,
    /// Bounded: drained after each call, and a call adds at most one per rule of an order.
    actions: VecDeque<Action>,
}

impl Appliance {
    /// Makes an appliance that stores nothing yet.
    #[must_use]
    pub fn new(now: Moment, config: ApplianceConfig) -> Self {
        Self {
            load: LoadMeter::new(config.capacity),
            control: ControlPlane::new(now.at),
            files: Vec::new(),
            faults: FaultBoard::new(config.seed),
            reported: None,
            actions: VecDeque::new(),
            config,
        }
    }

    /// Returns what it is.
    #[must_use]
    pub const fn config(&self) -> &ApplianceConfig {
        &self.config
    }

    /// What it stores has changed: path prefixes relative to the base URL (`demo/`), an empty one for everything.
    pub fn handle_files(&mut self, now: Moment, mut files: Vec<String>) {
        files.sort_unstable();
        files.dedup();
        if files != self.files {
            self.files = files;
            self.control.handle_change();
        }
        self.handle_timeout(now);
    }

    /// Whether a path lies under a stored prefix.
    #[must_use]
    pub fn stores(&self, path: &str) -> bool {
        self.files
            .iter()
            .any(|prefix| path.starts_with(prefix.as_str()))
    }

    /// Takes an order of faults; those of the link leave as actions.
    ///
    /// # Errors
    /// When it cannot be carried out; nothing of it was.
    pub fn handle_order(&mut self, now: Moment, order: FaultOrder) -> Result<(), OrderError> {
        for change in self.faults.apply(now.unix_ms, order)? {
            let restored = LinkChange::Restore {
                rate: self.config.rate,
                delay: self.config.delay,
            };
            self.actions
                .push_back(Action::Link(change.unwrap_or(restored)));
        }
        Ok(())
    }

    /// Changes what its link is like when nothing is wrong, from now on. A rate or delay that a fault gives it stays
    /// until that is removed.
    pub fn set_link(&mut self, rate: Option<BitRate>, delay: Duration) {
        (self.config.rate, self.config.delay) = (rate, delay);
        let (rate, delay) = self.faults.on_top_of(rate, delay);
        for change in [LinkChange::Rate(rate), LinkChange::Delay(delay)] {
            self.actions.push_back(Action::Link(change));
        }
    }

    /// Returns what goes wrong with a connection that a client makes, with a receipt.
    pub fn connect(&mut self, now: Moment, client: &str) -> Option<Fault> {
        self.faults.connect(now.unix_ms, client)
    }

    /// The same for a connection to which not every fault can happen: over TCP no `udp_blocked`, say.
    pub fn connect_where(
        &mut self,
        now: Moment,
        client: &str,
        can_happen: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        self.faults.connect_where(now.unix_ms, client, can_happen)
    }

    /// Whether a fault of connections is in force for all of them: nobody, no chance and no count is selected.
    #[must_use]
    pub fn has_for_all(&self, fault: &Fault) -> bool {
        self.faults.has_for_all(fault)
    }

    /// Decides what goes wrong with an answer that is about to begin.
    pub fn decide(&mut self, now: Moment, target: Target<'_>) -> Disposition {
        self.faults.decide(now.unix_ms, target)
    }

    /// Returns which orders are known now: what is decided in the same moment needs no revision before there are more.
    #[must_use]
    pub const fn asked(&self) -> Asked {
        self.faults.asked()
    }

    /// Decides again on a body of which `sent` bytes have left, after orders came that were not known when it was
    /// decided on: those that clear heal it, those that add faults to bodies hit it.
    pub fn revise(
        &mut self,
        target: Target<'_>,
        sent: u64,
        before: Disposition,
        asked: Asked,
    ) -> Disposition {
        self.faults.revise(target, sent, before, asked)
    }

    /// A fault takes effect as it was decided: only now it has happened. What it does to the link leaves as an action.
    pub fn handle_effect(
        &mut self,
        now: Moment,
        target: Target<'_>,
        decided: &Disposition,
        effect: Effect,
    ) {
        let change = self
            .faults
            .handle_effect(now.unix_ms, target, decided, effect);
        self.actions.extend(change.map(Action::Link));
    }

    /// Returns the receipts of faults that took effect, oldest first: the last 4096, the first of each name of a rule
    /// among them however old it is.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &FaultReceipt> + ExactSizeIterator {
        self.faults.receipts()
    }

    /// Returns how many more there were that are kept no longer.
    #[must_use]
    pub const fn receipts_dropped(&self) -> u64 {
        self.faults.receipts_dropped()
    }

    /// Bytes of bodies were sent.
    pub fn handle_bytes(&mut self, now: Moment, bytes: ByteCount) {
        self.load.handle_bytes(now.at, bytes);
    }

    /// A request ended.
    pub fn handle_end(&mut self, now: Moment, outcome: Outcome) {
        self.load.handle_end(now.at, outcome);
        self.handle_timeout(now);
    }

    /// Returns why a request is turned away, by its token: what a good one says, or why it is none. Without a backend
    /// nobody is. What goes wrong with an answer is decided after this, for an answer without a body where it is refused.
    pub fn refuses(
        &mut self,
        now: Moment,
        path: &str,
        token: Result<&Claims, TokenError>,
    ) -> Option<Refusal> {
        if !self.config.has_backend {
            return None;
        }
        let checked = token.and_then(|claims| {
            // A probe is no file: any good token opens it.
            let path = if path == "probe" {
                &claims.path_prefix
            } else {
                path
            };
            claims.check(path, now.unix_ms).map(|()| claims)
        });
        match checked {
            Ok(claims) => match self.control.admit(now.at, &claims.playback_id) {
                Admission::Admitted => None,
                Admission::ControlPlaneLost => Some(Refusal::ControlPlaneLost),
            },
            // Who cannot know which keys hold must not call a token bad: the client would ask for another one in vain.
            Err(TokenError::UnknownKey) if !self.knows_the_keys(now) => {
                Some(Refusal::ControlPlaneLost)
            }
            Err(error) => Some(Refusal::Token(error)),
        }
    }

    /// Returns the key that verifies tokens with this key id, if it is valid now.
    #[must_use]
    pub fn verifying_key(&self, now: Moment, key_id: &str) -> Option<&VerifyingKey> {
        self.control.key(key_id, now.unix_ms)
    }

    /// Whether a key that [`verifying_key`](Self::verifying_key) does not find is one that does not hold. While the
    /// control plane is lost, or has given no key that holds now, nobody can say.
    fn knows_the_keys(&self, now: Moment) -> bool {
        !self.has_lost_control_plane(now) && self.control.has_key(now.unix_ms)
    }

    /// Whether the backend has been silent for too long; never without a backend.
    #[must_use]
    pub fn has_lost_control_plane(&self, now: Moment) -> bool {
        self.config.has_backend && self.control.is_lost(now.at)
    }

    /// Returns how it says that it is.
    #[must_use]
    pub fn health(&self, now: Moment) -> Health {
        let health = self.load.health(now.at);
        if self.faults.has(&Fault::SaysWell) {
            return Health {
                load: Ratio::ZERO,
                error_rate: Ratio::ZERO,
                free_capacity_bps: self.config.capacity.as_bps(),
            };
        }
        health
    }

    /// Returns what to send to the backend.
    #[must_use]
    pub fn report(&self, now: Moment) -> ApplianceReport {
        ApplianceReport {
            site: self.config.site.clone(),
            kind: self.config.kind.clone(),
            position_deg: self.config.position_deg,
            base_url: self.config.base_url.clone(),
            protocols: self.config.protocols.clone(),
            addresses: self.config.addresses.clone(),
            prefixes: self.config.prefixes.clone(),
            health: self.health(now),
            files: self.files.clone(),
        }
    }

    /// The backend answered a report.
    pub fn handle_receipt(&mut self, now: Moment, receipt: ReportReceipt) {
        if self.faults.has(&Fault::ControlLost) {
            return;
        }
        self.control.handle_receipt(now.at, receipt);
    }

    /// Moves time forward; harmless when called early.
    pub fn handle_timeout(&mut self, now: Moment) {
        if !self.config.has_backend {
            return;
        }
        let health = self.health(now);
        if self
            .reported
            .is_some_and(|before| has_changed(before, health))
        {
            self.control.handle_change();
        }
        if now.at >= self.control.report_due() {
            self.control.handle_report_sent(now.at);
            self.reported = Some(health);
            if !self.faults.has(&Fault::ControlLost) {
                self.actions.push_back(Action::Report);
            }
        }
    }

    /// Returns the next thing to do; call until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is due, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.config.has_backend.then(|| self.control.report_due())
    }
}

/// A change that steering would act on: a tenth of the capacity, a twentieth of the requests.
fn has_changed(before: Health, now: Health) -> bool {
    let load = now.load.get() - before.load.get();
    let errors = now.error_rate.get() - before.error_rate.get();
    !(-0.1..=0.1).contains(&load) || !(-0.05..=0.05).contains(&errors)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::fault::FaultRule;

    fn moment(ms: u64) -> Moment {
        Moment {
            at: Instant::ZERO + Duration::from_millis(ms),
            unix_ms: 1_000_000 + ms,
        }
    }

    fn with_backend() -> Appliance {
        let mut config = ApplianceConfig::named("a");
        config.has_backend = true;
        config.rate = Some(BitRate::from_kbps(5_000));
        Appliance::new(moment(0), config)
    }

    fn claims(playback_id: &str) -> Claims {
        Claims {
            playback_id: playback_id.into(),
            path_prefix: "demo/".into(),
            expires_at_unix_ms: 1_009_000,
            key_id: "k1".into(),
        }
    }

    #[test]
    fn a_new_appliance_reports_at_once_then_at_intervals_and_on_change() {
        let mut appliance = with_backend();
        appliance.handle_timeout(moment(0));
        assert_eq!(appliance.poll_action(), Some(Action::Report));
        assert_eq!(appliance.poll_action(), None);
        appliance.handle_timeout(moment(1));
        assert_eq!(appliance.poll_action(), None);
        appliance.handle_files(moment(100), vec!["demo/".into()]);
        assert_eq!(appliance.next_deadline(), Some(moment(250).at));
        appliance.handle_timeout(moment(250));
        assert_eq!(appliance.poll_action(), Some(Action::Report));
        assert_eq!(appliance.report(moment(250)).files, ["demo/"]);
        // 200 Mbit/s of the 1 Gbit/s it has, over five seconds.
        appliance.handle_bytes(moment(600), ByteCount::new(125_000_000));
        appliance.handle_end(moment(600), Outcome::Good);
        assert_eq!(appliance.poll_action(), Some(Action::Report));
    }

    #[test]
    fn an_appliance_without_a_backend_serves_everybody_and_reports_to_nobody() {
        let mut appliance = Appliance::new(moment(0), ApplianceConfig::named("a"));
        appliance.handle_timeout(moment(60_000));
        assert_eq!(appliance.poll_action(), None);
        assert_eq!(appliance.next_deadline(), None);
        let missing = Err(TokenError::Missing);
        assert_eq!(appliance.refuses(moment(0), "demo/a", missing), None);
        assert!(!appliance.has_lost_control_plane(moment(0)));
    }

    #[test]
    fn without_receipts_new_sessions_are_turned_away() {
        let mut appliance = with_backend();
        assert!(appliance.has_lost_control_plane(moment(0)));
        assert!(!appliance.knows_the_keys(moment(0)));
        let receipt = ReportReceipt {
            verifying_keys: vec![],
            next_report_ms: 1000,
        };
        appliance.handle_receipt(moment(0), receipt);
        let lost = Some(Refusal::ControlPlaneLost);
        for (ms, playback, expected) in [(1, "p", None), (3000, "q", lost), (3000, "p", None)] {
            let claims = claims(playback);
            let refused = appliance.refuses(moment(ms), "demo/a", Ok(&claims));
            assert_eq!(refused, expected, "{ms} {playback}");
        }
    }

    #[test]
    fn an_unknown_key_is_a_bad_one_only_while_keys_are_known() {
        let mut appliance = with_backend();
        let receipt = |verifying_keys| ReportReceipt {
            verifying_keys,
            next_report_ms: 1000,
        };
        appliance.handle_receipt(moment(0), receipt(vec![]));
        let unknown = Err(TokenError::UnknownKey);
        let lost = Some(Refusal::ControlPlaneLost);
        assert_eq!(appliance.refuses(moment(1), "demo/a", unknown), lost);
        let key = VerifyingKey {
            id: "k1".into(),
            public_key_base64: String::new(),
            not_before_unix_ms: 0,
            not_after_unix_ms: u64::MAX,
        };
        appliance.handle_receipt(moment(2), receipt(vec![key]));
        let bad = Some(Refusal::Token(TokenError::UnknownKey));
        assert_eq!(appliance.refuses(moment(3), "demo/a", unknown), bad);
        // It may have been changed since.
        assert_eq!(appliance.refuses(moment(3002), "demo/a", unknown), lost);
    }

    #[test]
    fn who_is_refused_is_told_as_tokens_have_it_and_a_probe_is_open_to_all_good_ones() {
        let mut appliance = with_backend();
        let receipt = ReportReceipt {
            verifying_keys: vec![],
            next_report_ms: 60_000,
        };
        appliance.handle_receipt(moment(0), receipt);
        let claims = claims("p");
        let mut told = |ms, path, token| {
            let refused = appliance.refuses(moment(ms), path, token);
            refused.map(|one| (one.status(), one.retry_after_s()))
        };
        let gone = Some((403, None));
        assert_eq!(told(1, "demo/a", Ok(&claims)), None);
        assert_eq!(told(1, "probe", Ok(&claims)), None);
        assert_eq!(told(1, "other/a", Ok(&claims)), gone);
        assert_eq!(told(9_000, "demo/a", Ok(&claims)), gone);
        let missing = Err(TokenError::Missing);
        assert_eq!(told(1, "demo/a", missing), Some((401, None)));
        let unknown = Err(TokenError::UnknownKey);
        assert_eq!(told(1, "demo/a", unknown), Some((503, Some(5))));
    }

    #[test]
    fn faults_of_the_link_leave_as_actions_and_clearing_restores_what_was_configured() {
        let mut appliance = with_backend();
        let faults = [Fault::Rate { rate_bps: None }, Fault::Corrupt, Fault::Kill];
        let order = FaultOrder {
            clear: true,
            ..FaultOrder::add(faults.map(FaultRule::everywhere))
        };
        appliance.handle_order(moment(5), order).unwrap();
        let actions: Vec<Action> = core::iter::from_fn(|| appliance.poll_action()).collect();
        let restored = LinkChange::Restore {
            rate: Some(BitRate::from_kbps(5_000)),
            delay: Duration::ZERO,
        };
        assert_eq!(
            actions,
            [restored, LinkChange::Rate(None), LinkChange::Kill].map(Action::Link)
        );
        let receipts: Vec<u64> = appliance.receipts().map(|r| r.at_unix_ms).collect();
        assert_eq!(receipts, [1_000_005, 1_000_005]);
    }

    #[test]
    fn a_link_that_has_changed_comes_back_as_it_is_now() {
        let mut appliance = with_backend();
        let (rate, delay) = (Some(BitRate::from_kbps(70)), Duration::from_millis(7));
        appliance.set_link(rate, delay);
        for order in [
            FaultOrder::add([FaultRule::everywhere(Fault::Stop)]),
            FaultOrder::clear(),
        ] {
            appliance.handle_order(moment(1), order).unwrap();
        }
        let actions: Vec<Action> = core::iter::from_fn(|| appliance.poll_action()).collect();
        let expected = [
            LinkChange::Rate(rate),
            LinkChange::Delay(delay),
            LinkChange::Stop,
            LinkChange::Restore { rate, delay },
        ];
        assert_eq!(actions, expected.map(Action::Link));
    }

    #[test]
    fn what_a_fault_makes_of_a_link_stays_while_the_link_changes_beneath_it() {
        let mut appliance = with_backend();
        let named = |id: &str, fault| FaultRule {
            id: Some(id.into()),
            ..FaultRule::everywhere(fault)
        };
        let slow = Fault::Rate {
            rate_bps: Some(9_000),
        };
        let late = Fault::Delay { delay_ms: 300 };
        let order = FaultOrder::add([named("slow", slow), named("late", late)]);
        appliance.handle_order(moment(1), order).unwrap();
        while appliance.poll_action().is_some() {}
        let (rate, delay) = (Some(BitRate::from_kbps(70)), Duration::from_millis(7));
        let (slow, late) = (Some(BitRate::from_bps(9_000)), Duration::from_millis(300));
        let drained = |appliance: &mut Appliance| -> Vec<Action> {
            core::iter::from_fn(|| appliance.poll_action()).collect()
        };
        appliance.set_link(rate, delay);
        let expected = [LinkChange::Rate(slow), LinkChange::Delay(late)];
        assert_eq!(drained(&mut appliance), expected.map(Action::Link));
        let over = FaultOrder {
            remove: vec!["slow".into()],
            ..FaultOrder::default()
        };
        appliance.handle_order(moment(2), over).unwrap();
        let expected = [LinkChange::Restore { rate, delay }, LinkChange::Delay(late)];
        assert_eq!(drained(&mut appliance), expected.map(Action::Link));
        appliance.set_link(None, delay);
        let expected = [LinkChange::Rate(None), LinkChange::Delay(late)];
        assert_eq!(drained(&mut appliance), expected.map(Action::Link));
    }

    #[test]
    fn stored_prefixes_hold_paths() {
        let mut appliance = with_backend();
        assert!(!appliance.stores("demo/stream.mpd"));
        appliance.handle_files(moment(0), vec!["demo/".into()]);
        assert!(appliance.stores("demo/stream.mpd"));
        assert!(!appliance.stores("other/stream.mpd"));
    }
}
