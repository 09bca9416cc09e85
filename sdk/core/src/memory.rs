//! What was learnt of networks, kept from one session to the next: for each network, by the name that the application
//! has for it, what its line carries, and how near and how fast its edges are.
//!
//! Nothing of it is trusted blindly. What was found out is one word in favour of what will be found: it fades with age,
//! enters as a prior beside the usual one, and the first second of transfer outweighs it. Sessions over one network
//! scatter around what is usual there, so that the logarithm of what each of them found is taken for a draw from a
//! normal distribution, and many sessions for surer than one (conjugate normal, as within a session).
//!
//! Memories come from files: whatever does not belong into one is dropped or bounded on its way in.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

/// What was learnt of networks. An application keeps it (it can be serialised) and hands it to the next session.
///
/// It holds 16 networks with 32 edges each at most; those that were used longest ago go first. No more than names of
/// networks and edges, rates, round trips and times is in it: neither tokens nor what was played.
///
/// ```
/// use nearcast_core::{Config, Memory, Session};
///
/// let kept = String::from("{}");
/// let session = Session::new(Config {
///     memory: serde_json::from_str::<Memory>(&kept).unwrap_or_default(),
///     network: Some("home".into()),
///     began_s: 1_790_000_000,
///     ..Config::default()
/// });
/// let keep = serde_json::to_string(&session.memory());
/// assert!(keep.is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Told")]
pub struct Memory {
    networks: BTreeMap<String, NetworkMemory>,
}

/// What a file says, before it is believed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    networks: BTreeMap<String, NetworkMemory>,
}

/// What was learnt of one network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkMemory {
    /// When it was so, in seconds since the Unix epoch.
    at_s: u64,
    /// What the line carries, in bit/s.
    rate_bps: Usual,
    edges: BTreeMap<String, EdgeMemory>,
}

/// What was learnt of one edge over one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EdgeMemory {
    at_s: u64,
    /// A round trip, or what it took until the first byte where no connection told.
    pub(crate) round_trip_ms: Usual,
    /// What it brings, in bit/s.
    pub(crate) rate_bps: Usual,
}

/// What is usual, and how many sessions found it so; none is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usual {
    typical: f64,
    /// They fade, and a short one is less than a whole one.
    sessions: f64,
}

const NETWORKS_MAX: usize = 16;
/// A grant names at most ten edges, and refreshes others.
const EDGES_MAX: usize = 32;
/// A session counts half after a day, and 1 % after a week: lines differ between hours, and edges are moved.
const HALF_LIFE_S: f64 = 86_400.0;
/// What counts less is forgotten: after about four days where one session was all there was.
const FORGOTTEN: f64 = 0.05;
/// However many sessions agreed, the next one may be another.
const SESSIONS_MAX: f64 = 8.0;
/// What no line has, in bit/s, and no round trip takes, in milliseconds.
const RATE_BPS: (f64, f64) = (1e4, 1e10);
const ROUND_TRIP_MS: (f64, f64) = (0.1, 1e4);

impl From<Told> for Memory {
    fn from(told: Told) -> Self {
        let mut memory = Self::default();
        for (name, network) in told.networks {
            memory.keep(&name, network);
        }
        memory
    }
}

impl Memory {
    /// Longer names of networks and edges, in bytes, are not remembered: these are hashes, operators and hosts.
    pub const NAME_MAX: usize = 128;

    /// Whether a network can be remembered under this name.
    #[must_use]
    pub const fn takes(name: &str) -> bool {
        !name.is_empty() && name.len() <= Self::NAME_MAX
    }

    /// Returns what is remembered of a network, faded until `now_s`; nothing where it has no name.
    pub(crate) fn recall(&self, network: Option<&str>, now_s: u64) -> NetworkMemory {
        let known = network.and_then(|name| self.networks.get(name));
        known.map_or_else(NetworkMemory::default, |known| known.faded(now_s))
    }

    /// Keeps what is known of a network, in place of what was. Where there is no room the one that was used longest ago
    /// goes.
    pub(crate) fn keep(&mut self, name: &str, network: NetworkMemory) {
        let network = network.bounded();
        if !Self::takes(name) || network.is_empty() {
            return;
        }
        self.networks.insert(name.into(), network);
        drop_oldest(&mut self.networks, NETWORKS_MAX, |one| one.at_s);
    }
}

impl NetworkMemory {
    /// What the line carries, in bit/s.
    pub(crate) const fn rate_bps(&self) -> Usual {
        self.rate_bps
    }

    pub(crate) fn edge(&self, name: &str) -> EdgeMemory {
        self.edges.get(name).copied().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rate_bps.is_nothing() && self.edges.is_empty()
    }

    /// A session found that the line carries this.
    pub(crate) fn learn_rate(&mut self, now_s: u64, rate_bps: Usual) {
        self.rate_bps = self.rate_bps.faded(self.at_s, now_s).joined(rate_bps);
        self.at_s = now_s;
    }

    /// A session found an edge so.
    pub(crate) fn learn_edge(&mut self, now_s: u64, name: &str, found: EdgeMemory) {
        let known = self.edge(name).faded(now_s);
        let known = EdgeMemory {
            at_s: now_s,
            round_trip_ms: known.round_trip_ms.joined(found.round_trip_ms),
            rate_bps: known.rate_bps.joined(found.rate_bps),
        };
        self.edges.insert(name.into(), known);
    }

    /// An edge was of no use: nothing good of before holds.
    pub(crate) fn forget_edge(&mut self, name: &str) {
        self.edges.remove(name);
    }

    fn faded(&self, now_s: u64) -> Self {
        let edges = self.edges.iter();
        let edges = edges.map(|(name, edge)| (name.clone(), edge.faded(now_s)));
        Self {
            at_s: now_s,
            rate_bps: self.rate_bps.faded(self.at_s, now_s),
            edges: edges.filter(|(_, edge)| !edge.is_nothing()).collect(),
        }
    }

    fn bounded(mut self) -> Self {
        self.rate_bps = self.rate_bps.within(RATE_BPS);
        for edge in self.edges.values_mut() {
            edge.round_trip_ms = edge.round_trip_ms.within(ROUND_TRIP_MS);
            edge.rate_bps = edge.rate_bps.within(RATE_BPS);
        }
        let sound = |name: &String, edge: &mut EdgeMemory| {
            name.len() <= Memory::NAME_MAX && !edge.is_nothing()
        };
        self.edges.retain(sound);
        drop_oldest(&mut self.edges, EDGES_MAX, |one| one.at_s);
        self
    }
}

impl EdgeMemory {
    /// What one session found.
    pub(crate) fn found(round_trip_ms: Usual, rate_bps: Usual) -> Self {
        Self {
            round_trip_ms,
            rate_bps,
            ..Self::default()
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.round_trip_ms.is_nothing() && self.rate_bps.is_nothing()
    }

    fn faded(&self, now_s: u64) -> Self {
        Self {
            at_s: now_s,
            round_trip_ms: self.round_trip_ms.faded(self.at_s, now_s),
            rate_bps: self.rate_bps.faded(self.at_s, now_s),
        }
    }
}

impl Usual {
    /// What one session found, which counts for so much of a whole one.
    pub(crate) const fn found(typical: f64, sessions: f64) -> Self {
        Self { typical, sessions }
    }

    pub(crate) const fn is_nothing(self) -> bool {
        self.sessions <= 0.0
    }

    pub(crate) const fn typical(self) -> f64 {
        self.typical
    }

    /// How many sessions found it so.
    pub(crate) const fn sessions(self) -> f64 {
        self.sessions
    }

    /// What is left of it. A clock that was set back makes nothing younger than it is.
    fn faded(self, at_s: u64, now_s: u64) -> Self {
        let age_s = core::time::Duration::from_secs(now_s.saturating_sub(at_s)).as_secs_f64();
        let sessions = self.sessions * libm::exp2(-age_s / HALF_LIFE_S);
        if sessions < FORGOTTEN {
            return Self::default();
        }
        Self { sessions, ..self }
    }

    fn joined(self, other: Self) -> Self {
        if self.is_nothing() || other.is_nothing() {
            return if self.is_nothing() { other } else { self };
        }
        let sessions = self.sessions + other.sessions;
        let log = |one: Self| libm::log(one.typical) * one.sessions;
        Self {
            typical: libm::exp((log(self) + log(other)) / sessions),
            sessions: sessions.min(SESSIONS_MAX),
        }
    }

    fn within(self, (least, most): (f64, f64)) -> Self {
        let sound = self.typical.is_finite() && self.typical > 0.0 && self.sessions > 0.0;
        if !sound {
            return Self::default();
        }
        Self {
            typical: self.typical.clamp(least, most),
            sessions: self.sessions.min(SESSIONS_MAX),
        }
    }
}

/// Keeps so many entries, the latest.
fn drop_oldest<T>(all: &mut BTreeMap<String, T>, most: usize, at_s: impl Fn(&T) -> u64) {
    while all.len() > most {
        let oldest = all.iter().min_by_key(|(_, one)| at_s(one));
        let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
            return;
        };
        all.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    const NOW_S: u64 = 1_790_000_000;
    const DAY_S: u64 = 86_400;

    fn with_edge(at_s: u64, name: &str, round_trip_ms: f64) -> NetworkMemory {
        let mut network = NetworkMemory::default();
        let found = EdgeMemory::found(Usual::found(round_trip_ms, 1.0), Usual::found(8e6, 1.0));
        network.learn_edge(at_s, name, found);
        network.learn_rate(at_s, Usual::found(8e6, 1.0));
        network
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < other * 1e-9
    }

    #[test]
    fn a_memory_fades_by_half_in_a_day_and_is_forgotten_in_a_week() {
        let mut memory = Memory::default();
        memory.keep("home", with_edge(NOW_S, "e", 20.0));
        let at = |now_s| memory.recall(Some("home"), now_s);
        for (days, sessions) in [(0, 1.0), (1, 0.5), (3, 0.125)] {
            let then = at(NOW_S + days * DAY_S);
            assert!(close(then.rate_bps().sessions(), sessions), "{days}");
            assert!(close(then.edge("e").round_trip_ms.sessions(), sessions));
            assert!(close(then.rate_bps().typical(), 8e6));
        }
        assert!(at(NOW_S + 7 * DAY_S).is_empty());
        // In two steps as in one.
        let twice = at(NOW_S + DAY_S).faded(NOW_S + 2 * DAY_S);
        assert!(close(twice.rate_bps().sessions(), 0.25));
        // A clock that was set back.
        assert!(close(at(NOW_S - DAY_S).rate_bps().sessions(), 1.0));
        assert!(memory.recall(Some("work"), NOW_S).is_empty());
        assert!(memory.recall(None, NOW_S).is_empty());
    }

    #[test]
    fn sessions_that_agree_are_surer_and_the_newest_weighs_most() {
        let mut network = with_edge(NOW_S, "e", 20.0);
        network.learn_rate(NOW_S, Usual::found(2e6, 1.0));
        assert!(close(network.rate_bps().typical(), 4e6), "half way");
        assert!(close(network.rate_bps().sessions(), 2.0));
        // Two days later the old ones count half of the new one together.
        network.learn_rate(NOW_S + 2 * DAY_S, Usual::found(32e6, 1.0));
        assert!(close(network.rate_bps().typical(), 16e6));
        for _ in 0..100 {
            network.learn_rate(NOW_S + 2 * DAY_S, Usual::found(32e6, 1.0));
        }
        assert!(network.rate_bps().sessions() <= SESSIONS_MAX);
        network.learn_edge(NOW_S, "e", EdgeMemory::default());
        assert!(close(network.edge("e").round_trip_ms.typical(), 20.0));
        network.forget_edge("e");
        assert!(network.edge("e").is_nothing());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_go_first() {
        let mut memory = Memory::default();
        for n in 0..100_u64 {
            let mut network = NetworkMemory::default();
            for edge in 0..100_u64 {
                let found = EdgeMemory::found(Usual::found(20.0, 1.0), Usual::default());
                // Those with high numbers are older.
                network.learn_edge(NOW_S - edge, &format!("e{edge}"), found);
            }
            memory.keep(&format!("n{n}"), network);
        }
        // All are as old as the others but by their edges.
        assert_eq!(memory.networks.len(), NETWORKS_MAX);
        let mut memory = Memory::default();
        for n in 0..100 {
            memory.keep(&format!("n{n}"), with_edge(NOW_S + n, "e", 20.0));
        }
        let left: alloc::vec::Vec<u64> = memory.networks.values().map(|one| one.at_s).collect();
        assert!(left.iter().all(|at_s| *at_s >= NOW_S + 84), "{left:?}");
        let mut many = NetworkMemory::default();
        for edge in 0..100_u64 {
            let found = EdgeMemory::found(Usual::found(20.0, 1.0), Usual::default());
            many.learn_edge(NOW_S + edge, &format!("e{edge}"), found);
        }
        let many = many.bounded();
        assert_eq!(many.edges.len(), EDGES_MAX);
        assert!(many.edges.values().all(|one| one.at_s >= NOW_S + 68));
    }

    #[test]
    fn what_does_not_belong_into_a_memory_is_dropped_or_bounded() {
        let read = |rate: &str| {
            let text = format!(r#"{{"networks":{{"n":{{"at_s":{NOW_S},"rate_bps":{rate}}}}}}}"#);
            let memory = serde_json::from_str::<Memory>(&text).unwrap();
            memory.recall(Some("n"), NOW_S).rate_bps()
        };
        for nothing in [
            "{}",
            r#"{"typical":0,"sessions":1}"#,
            r#"{"typical":-5e6,"sessions":1}"#,
            r#"{"typical":5e6}"#,
            r#"{"typical":5e6,"sessions":0}"#,
            r#"{"typical":5e6,"sessions":-3}"#,
        ] {
            assert!(read(nothing).is_nothing(), "{nothing}");
        }
        for (bad, typical, sessions) in [
            (r#"{"typical":1e300,"sessions":1e300}"#, 1e10, 8.0),
            (r#"{"typical":1e-300,"sessions":1}"#, 1e4, 1.0),
        ] {
            assert_eq!(read(bad), Usual { typical, sessions });
        }
        // Formats other than JSON have these.
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Usual::found(odd, 1.0).within(RATE_BPS).is_nothing());
        }
        assert!(Usual::found(5e6, f64::NAN).within(RATE_BPS).is_nothing());
        let long = "x".repeat(Memory::NAME_MAX + 1);
        for name in ["", &long] {
            let mut memory = Memory::default();
            memory.keep(name, with_edge(NOW_S, "e", 20.0));
            memory.keep("n", with_edge(NOW_S, name, 20.0));
            assert_eq!(memory.networks.len(), 1);
            assert!(name.is_empty() || memory.networks["n"].edges.is_empty());
        }
    }

    #[test]
    fn a_memory_reads_back_as_it_was_written() {
        let mut memory = Memory::default();
        memory.keep("home", with_edge(NOW_S, "e", 20.0));
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(
            text,
            r#"{"networks":{"home":{"at_s":1790000000,"rate_bps":{"typical":8000000.0,"sessions":1.0},"edges":{"e":{"at_s":1790000000,"round_trip_ms":{"typical":20.0,"sessions":1.0},"rate_bps":{"typical":8000000.0,"sessions":1.0}}}}}}"#
        );
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
        assert_eq!(
            serde_json::from_str::<Memory>("{}").unwrap(),
            Memory::default()
        );
    }
}
