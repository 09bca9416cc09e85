//! What one connection brings where packets are lost.

use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

/// What a QUIC packet brings beside its headers: some 1,160 bytes until the path's MTU is found, then 1,420. The middle was chosen so that bit
/// rates are those of `packet` where packets are lost (`nearcast-lab agree`).
const PACKET: ByteCount = ByteCount::new(1_300);
/// Packets of the first round (RFC 6928, RFC 9002 section 7.2), and what is kept however much is lost.
const FIRST: f64 = 10.0;
const LEAST: f64 = 2.0;
/// CUBIC keeps this share after a loss and grows by this in a round, which is as fast as Reno (RFC 9438 section 4.3: the region
/// of windows as small as loss makes them).
const KEPT: f64 = 0.7;
const GROWTH: f64 = 3.0 * (1.0 - KEPT) / (1.0 + KEPT);
/// A window of which less is used does not hold the connection back, and does not grow (RFC 9002 section 7.8).
const USED: f64 = 0.9;

/// A congestion window, round trip by round trip. In the mean it is `sqrt(3 / 2p)` packets (Mathis et al., CCR 1997), a little
/// less where more than a hundredth is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    packets: f64,
    /// Whether slow start is over.
    has_lost: bool,
    /// When the round is over that is counted.
    ends: Instant,
}

impl Congestion {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            packets: FIRST,
            has_lost: false,
            ends: now,
        }
    }

    /// Returns what the connection brings at most.
    pub(super) fn limit(&self, rtt: Duration) -> Option<BitRate> {
        Some(PACKET.rate_over(rtt)?.scaled(self.packets))
    }

    /// Begins to count a round, where none is counted already. Returns when it is over.
    pub(super) fn begin(&mut self, now: Instant, rtt: Duration) -> Option<Instant> {
        (self.ends <= now).then(|| {
            self.ends = now + rtt;
            self.ends
        })
    }

    /// Takes that the round is over which ends now, in which so much was sent; each packet is asked for whether it is lost.
    pub(super) fn end(&mut self, sent: ByteCount, mut is_lost: impl FnMut() -> bool) {
        let nearest = (sent.get() + PACKET.get() / 2) / PACKET.get();
        let sent = u32::try_from(nearest).unwrap_or(u32::MAX);
        let lost = (0..sent).filter(|_| is_lost()).count();
        if lost > 0 {
            self.has_lost = true;
            self.packets = (self.packets * KEPT).max(LEAST);
        } else if f64::from(sent) >= self.packets * USED {
            self.packets += if self.has_lost { GROWTH } else { self.packets };
        }
    }
}

#[cfg(test)]
mod tests {
    use nearcast_units::Seed;

    use super::*;

    #[test]
    fn in_the_mean_it_is_what_mathis_says() {
        let rtt = Duration::from_millis(100);
        let mut chance = Seed::new(1).rng();
        for (loss, packets) in [(0.0003, 70.7), (0.001, 38.7), (0.01, 12.2)] {
            let mut window = Congestion::new(Instant::ZERO);
            let mut sum = 0.0;
            for _ in 0..100_000 {
                let sent = window.limit(rtt).unwrap().bytes_in(rtt);
                window.end(sent, || chance.next_f64() < loss);
                sum += window.packets;
            }
            let mean: f64 = sum / 100_000.0;
            assert!((mean / packets - 1.0).abs() < 0.1, "{loss}: {mean}");
        }
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let rtt = Duration::from_millis(100);
        let mut window = Congestion::new(Instant::ZERO);
        let all = window.limit(rtt).unwrap();
        window.end(all.scaled(0.5).bytes_in(rtt), || false);
        assert_eq!(window.limit(rtt).unwrap(), all);
        window.end(all.bytes_in(rtt), || false);
        assert_eq!(window.limit(rtt).unwrap(), all.scaled(2.0), "slow start");
    }

    #[test]
    fn rounds_do_not_overlap() {
        let rtt = Duration::from_millis(100);
        let mut window = Congestion::new(Instant::ZERO);
        let ends = window.begin(Instant::ZERO, rtt).unwrap();
        assert_eq!(window.begin(Instant::ZERO + rtt / 2, rtt), None);
        assert_eq!(window.begin(ends, rtt), Some(ends + rtt));
    }
}
