//! What earlier sessions found of this network, as a prior for this one; and what this one found, for later ones.
//!
//! Sessions are draws from a normal distribution of the logarithm around what is usual on the network, which itself is
//! unknown: the usual prior and their finds make what is expected, and how much doubt is left ([`Belief`]).

use core::time::Duration;

use nearcast_units::BitRate;

use super::all::Edges;
use super::belief::Belief;
use super::model::{Edge, RATE_DOUBT, TTFB_DOUBT, USUAL_RATE};
use crate::memory::{EdgeMemory, NetworkMemory, Usual};
use crate::throughput::Forecast;

/// What is remembered of the network in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Recalled {
    network: NetworkMemory,
    line: Option<RecalledLine>,
}

#[derive(Clone, Debug)]
struct RecalledLine {
    forecast: Forecast,
    rate: BitRate,
    /// It counts as much as so many seconds of transfer.
    counts_s: f64,
}

/// What an edge is taken for before it was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdgePrior {
    /// Its round trip, where that is remembered, in milliseconds.
    round_trip_ms: Usual,
    /// What the line is taken to carry before anything was measured.
    pub(super) line: BitRate,
    /// The share of what the line carries that it is taken to bring.
    pub(super) share: f64,
}

impl Default for EdgePrior {
    fn default() -> Self {
        Self {
            round_trip_ms: Usual::default(),
            line: USUAL_RATE,
            share: 1.0,
        }
    }
}

impl EdgePrior {
    /// Whether something is remembered of its round trip.
    pub(super) const fn is_recalled(&self) -> bool {
        !self.round_trip_ms.is_nothing()
    }

    /// What it is taken to need until the first byte, where the backend's order makes `usual` of it.
    pub(super) fn ttfb(&self, usual: Duration) -> Duration {
        if !self.is_recalled() {
            return usual;
        }
        let prior = Belief::prior(usual.as_secs_f64() * 1e3, TTFB_DOUBT);
        let found = self.round_trip_ms;
        let precision = found.sessions() / (ROUND_TRIP_SCATTER * ROUND_TRIP_SCATTER);
        let expected_ms = prior.seeing(found.typical(), precision).typical();
        Duration::from_secs_f64(expected_ms / 1e3)
    }
}

/// How far a session's rate and round trips lie from what is usual on the network, as deviations of the logarithm: a line of the
/// evening may well have 0.6 of its rate of the morning. By hand, for want of recordings of one network over days.
const RATE_SCATTER: f64 = 0.5;
const ROUND_TRIP_SCATTER: f64 = 0.3;
/// Doubt about a line that nothing is known of, as a deviation of the logarithm: that of [`Forecast::default`].
const LINE_DOUBT: f64 = 1.0;
/// What a whole session found counts as much as so many seconds of transfer in this one. By hand: a burst does not replace it, a
/// segment does.
const COUNTS_S: f64 = 0.3;
/// A rate that was measured with less than this share of a session's weight says little of the line.
const TELLS: f64 = 0.5;

impl Edges {
    /// Takes up what is remembered of the network.
    pub(crate) fn recall(&mut self, network: NetworkMemory) {
        self.recalled = Recalled {
            line: RecalledLine::of(network.rate_bps()),
            network,
        };
        for edge in &mut self.all {
            edge.prior = self.recalled.of_edge(&edge.name);
        }
    }

    /// What is expected of the line where what was measured is joined with what is remembered.
    pub(super) fn with_recalled(&self, measured: Option<Forecast>) -> Option<Forecast> {
        let Some(line) = &self.recalled.line else {
            return measured;
        };
        let Some(measured) = measured else {
            return Some(line.forecast);
        };
        let measured_s = self.measured_s();
        let share = measured_s / (measured_s + line.counts_s);
        Some(measured.leaning(share, &line.forecast))
    }

    fn measured_s(&self) -> f64 {
        self.all.iter().map(Edge::measured_s).sum()
    }

    /// The rate that is remembered of the line, as long as what was measured counts for less.
    pub(crate) fn recalled_rate(&self) -> Option<BitRate> {
        let line = self.recalled.line.as_ref()?;
        (self.measured_s() < line.counts_s).then_some(line.rate)
    }

    /// Whether something is remembered of the network.
    pub(crate) fn recalls(&self) -> bool {
        self.recalled.line.is_some() || self.all.iter().any(|edge| edge.prior.is_recalled())
    }

    /// What is to be remembered of the network: what was remembered, and what was found since.
    pub(crate) fn remembered(&self, now_s: u64) -> NetworkMemory {
        let mut network = self.recalled.network.clone();
        // Where nobody gave anything it was the line, or nothing was asked.
        let others_gave = self.all.iter().any(Edge::gave);
        for edge in &self.all {
            if others_gave && edge.only_failed() {
                network.forget_edge(&edge.name);
                continue;
            }
            let found = edge.found();
            if !found.is_nothing() {
                network.learn_edge(now_s, &edge.name, found);
            }
        }
        // The line carries what the fastest edge brought.
        let rates = || self.all.iter().map(|edge| edge.found().rate_bps);
        let fastest = |one: &Usual, other: &Usual| one.typical().total_cmp(&other.typical());
        let told = rates().filter(|rate| rate.sessions() >= TELLS);
        let any = || rates().filter(|rate| !rate.is_nothing());
        let line = told.max_by(fastest).or_else(|| any().max_by(fastest));
        if let Some(line) = line {
            network.learn_rate(now_s, line);
        }
        network
    }
}

impl Recalled {
    pub(super) fn of_edge(&self, name: &str) -> EdgePrior {
        let EdgeMemory {
            round_trip_ms,
            rate_bps: own,
            ..
        } = self.network.edge(name);
        let line = self.network.rate_bps();
        let mut prior = EdgePrior {
            round_trip_ms,
            ..EdgePrior::default()
        };
        if let Some(known) = &self.line {
            prior.line = known.rate;
        }
        // Relative to the line: that may be another one today.
        if !own.is_nothing() && !line.is_nothing() {
            let precision = own.sessions() / (RATE_SCATTER * RATE_SCATTER);
            let share = Belief::prior(1.0, RATE_DOUBT);
            let share = share.seeing(own.typical() / line.typical(), precision);
            prior.share = share.typical().min(1.0);
        }
        prior
    }
}

impl RecalledLine {
    fn of(found: Usual) -> Option<Self> {
        if found.is_nothing() {
            return None;
        }
        let precision = found.sessions() / (RATE_SCATTER * RATE_SCATTER);
        let usual = Belief::prior(USUAL_RATE.as_f64(), LINE_DOUBT);
        let usual = usual.seeing(found.typical(), precision);
        // What is usual is not what it is today.
        let variance = usual.variance() + RATE_SCATTER * RATE_SCATTER;
        let doubt = libm::sqrt(variance).min(LINE_DOUBT);
        Some(Self {
            forecast: Forecast::around(usual.typical(), doubt),
            rate: BitRate::from_bps(1).scaled(usual.typical()),
            counts_s: COUNTS_S * found.sessions().min(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use nearcast_protocol::manifest::ObjectKey;
    use nearcast_units::{ByteCount, Instant, Seed};

    use super::*;
    use crate::input::{EdgeId, EdgeOffer};
    use crate::throughput::Told;

    const NOW_S: u64 = 1_790_000_000;

    /// What a session found of edges with these round trips and rates.
    fn found(edges: &[(f64, f64)]) -> NetworkMemory {
        let mut network = NetworkMemory::default();
        for (nth, (round_trip_ms, mbps)) in edges.iter().enumerate() {
            let rate = Usual::found(mbps * 1e6, 1.0);
            let found = EdgeMemory::found(Usual::found(*round_trip_ms, 1.0), rate);
            network.learn_edge(NOW_S, &format!("e{nth}"), found);
        }
        let fastest = edges.iter().map(|(_, mbps)| *mbps).fold(0.0, f64::max);
        network.learn_rate(NOW_S, Usual::found(fastest * 1e6, 1.0));
        network
    }

    fn recalling(count: u32, network: NetworkMemory) -> Edges {
        let mut edges = Edges::new(Seed::new(1).rng());
        edges.recall(network);
        let offer = |n| EdgeOffer {
            name: format!("e{n}"),
            rank: n,
        };
        edges.offer(&(0..count).map(offer).collect::<Vec<_>>());
        edges
    }

    fn chosen(edges: &mut Edges) -> (EdgeId, &'static str) {
        let size = ByteCount::new(1_000_000);
        let choice = edges.choose(Instant::ZERO, ObjectKey::Manifest, size, &[]);
        let choice = choice.unwrap();
        (choice.edge, choice.why)
    }

    fn measure(edges: &mut Edges, id: u16, mbps: u64, span: Duration) {
        let edge = edges.get_mut(EdgeId(id)).unwrap();
        edge.answered(Instant::ZERO, Duration::from_millis(20));
        edge.body_begins(Instant::ZERO);
        let slices = u64::try_from(span.as_millis()).unwrap() / 100;
        let mut told_at = Instant::ZERO;
        for n in 0..=slices {
            let at = Instant::ZERO + Duration::from_millis(n * 100);
            edge.body_progress(Told::alone(told_at, at), ByteCount::new(mbps * 12_500));
            told_at = at;
        }
    }

    /// The middle of what is expected over the next seconds, in bit/s.
    fn middle(edges: &Edges) -> Option<f64> {
        let forecast = edges.forecast(Instant::ZERO)?;
        Some(libm::exp(forecast.log_rates[0][2]))
    }

    #[test]
    fn the_first_choice_is_who_was_near_and_fast_and_says_so() {
        let (edge, why) = chosen(&mut recalling(
            3,
            found(&[(90.0, 20.0), (80.0, 20.0), (20.0, 20.0)]),
        ));
        assert_eq!(edge, EdgeId(2));
        assert!(why.contains("remembered"), "{why}");
        let (edge, _) = chosen(&mut recalling(3, found(&[(20.0, 2.0), (20.0, 20.0)])));
        assert_eq!(edge, EdgeId(1), "fast");
        let (edge, why) = chosen(&mut recalling(3, NetworkMemory::default()));
        assert_eq!((edge, why), (EdgeId(0), "expected to deliver first"));
    }

    #[test]
    fn what_was_measured_today_soon_outweighs_what_is_remembered() {
        let mut edges = recalling(2, found(&[(20.0, 20.0)]));
        let before = middle(&edges).unwrap();
        assert!((8e6..20e6).contains(&before), "towards the usual: {before}");
        assert!(edges.recalled_rate().is_some());
        assert_eq!(
            edges.line_rate(Instant::ZERO),
            None,
            "no edge is held to it"
        );
        measure(&mut edges, 0, 2, Duration::from_secs(3));
        let after = middle(&edges).unwrap();
        assert!(after < 3e6, "{after}");
        assert_eq!(edges.recalled_rate(), None);
        // A few edges of a line that became slower: the shares stay, not the rates.
        let mut edges = recalling(2, found(&[(20.0, 20.0), (20.0, 10.0)]));
        measure(&mut edges, 0, 2, Duration::from_secs(3));
        let second = edges.expected_rate(Instant::ZERO, EdgeId(1)).unwrap();
        assert!((1e6..2e6).contains(&second.as_f64()), "{second:?}");
    }

    #[test]
    fn what_is_found_is_remembered_and_an_edge_of_no_use_is_not() {
        let mut edges = recalling(3, found(&[(20.0, 20.0), (30.0, 20.0)]));
        edges.fail(Instant::ZERO, EdgeId(1), Duration::ZERO, "net.reset");
        let network = edges.remembered(NOW_S);
        assert!(!network.edge("e1").is_nothing(), "it may be the line");
        measure(&mut edges, 2, 5, Duration::from_secs(10));
        let network = edges.remembered(NOW_S);
        assert!(!network.edge("e0").is_nothing(), "as it was");
        assert!(network.edge("e1").is_nothing(), "it gave nothing");
        let third = network.edge("e2").rate_bps;
        assert!((4.9e6..5.1e6).contains(&third.typical()), "{third:?}");
        assert!((0.9..1.0).contains(&third.sessions()), "{third:?}");
        let line = network.rate_bps();
        assert!((9e6..11e6).contains(&line.typical()), "{line:?}");
        // Nothing found: nothing is made of it.
        assert_eq!(
            recalling(3, NetworkMemory::default()).remembered(NOW_S),
            NetworkMemory::default()
        );
    }

    #[test]
    fn no_memory_changes_nothing() {
        let edges = recalling(3, NetworkMemory::default());
        assert_eq!(edges.forecast(Instant::ZERO), None);
        assert!(!edges.recalls());
        assert_eq!(edges.recalled_rate(), None);
    }
}
