//! How much a sender may hand to a real socket now.

use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, Instant};

/// A token bucket with a burst of [`Pacer::BURST`]: over any span, no more than the rate times that span plus
/// one burst is allowed.
#[derive(Clone, Debug)]
pub struct Pacer {
    rate: Option<BitRate>,
    /// What may be sent at `at`, in bits times 10^9, so that no rounding loses rate.
    credit: u128,
    at: Instant,
}

impl Pacer {
    /// The longest time whose worth of bytes may be sent at once. Timers wake within some milliseconds; a
    /// shorter burst would lose rate to every late wake-up.
    pub const BURST: Duration = Duration::from_millis(10);

    /// The burst is not smaller than this, so that a low rate does not become one write per byte.
    pub const BURST_MIN: ByteCount = ByteCount::new(256);

    /// Makes a pacer with a full bucket; `None` is no limit, a zero rate lets nothing pass.
    #[must_use]
    pub fn new(now: Instant, rate: Option<BitRate>) -> Self {
        let mut pacer = Self {
            rate,
            credit: 0,
            at: now,
        };
        pacer.credit = pacer.burst();
        pacer
    }

    /// Returns the rate; `None` is no limit.
    #[must_use]
    pub const fn rate(&self) -> Option<BitRate> {
        self.rate
    }

    /// Changes the rate from `now` on. What was saved up stays, up to the new burst.
    pub fn set_rate(&mut self, now: Instant, rate: Option<BitRate>) {
        self.advance(now);
        self.rate = rate;
        self.credit = self.credit.min(self.burst());
    }

    /// Takes up to `want` bytes out of the bucket, at least one unless `want` is zero.
    ///
    /// # Errors
    /// When nothing may be sent now: the time to ask again. At rate zero that is the end of the clock; a
    /// later [`set_rate`](Self::set_rate) must wake the sender.
    pub fn next_send(&mut self, now: Instant, want: ByteCount) -> Result<ByteCount, Instant> {
        let Some(rate) = self.rate else {
            return Ok(want);
        };
        self.advance(now);
        // Waiting for half a burst keeps writes from becoming tiny.
        let wanted = u128::from(want.get()) * BYTE;
        let enough = wanted.min(self.burst() / 2);
        if self.credit < enough {
            return Err(match rate.as_bps() {
                0 => Instant::from_nanos(u64::MAX),
                bps => now + nanos((enough - self.credit).div_ceil(u128::from(bps))),
            });
        }
        let granted = (self.credit / BYTE).min(u128::from(want.get()));
        self.credit -= granted * BYTE;
        Ok(ByteCount::new(u64::try_from(granted).unwrap_or(u64::MAX)))
    }

    /// Gives back what was taken and not sent.
    pub fn give_back(&mut self, unsent: ByteCount) {
        self.credit = (self.credit + u128::from(unsent.get()) * BYTE).min(self.burst());
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        if let Some(rate) = self.rate {
            self.credit = (self.credit + u128::from(rate.as_bps()) * elapsed).min(self.burst());
        }
    }

    fn burst(&self) -> u128 {
        let least = u128::from(Self::BURST_MIN.get()) * BYTE;
        self.rate.map_or(least, |rate| {
            (u128::from(rate.as_bps()) * Self::BURST.as_nanos()).max(least)
        })
    }
}

/// One byte in bits times 10^9.
const BYTE: u128 = 8_000_000_000;

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_rate_everything_passes_and_at_rate_zero_nothing_does() {
        let mut open = Pacer::new(Instant::ZERO, None);
        assert_eq!(
            open.next_send(Instant::ZERO, ByteCount::new(1 << 40)),
            Ok(ByteCount::new(1 << 40))
        );
        let mut shut = Pacer::new(Instant::ZERO, Some(BitRate::ZERO));
        let mut passed = ByteCount::ZERO;
        while let Ok(bytes) = shut.next_send(Instant::ZERO, ByteCount::new(1000)) {
            passed += bytes;
        }
        assert!(passed <= Pacer::BURST_MIN);
        assert_eq!(
            shut.next_send(Instant::from_nanos(1 << 60), ByteCount::new(1000)),
            Err(Instant::from_nanos(u64::MAX))
        );
    }

    #[test]
    fn a_changed_rate_counts_from_now_on() {
        let mut pacer = Pacer::new(Instant::ZERO, Some(BitRate::from_kbps(80_000)));
        let later = Instant::ZERO + Duration::from_secs(10);
        pacer.set_rate(later, Some(BitRate::from_kbps(800)));
        let passed = pacer.next_send(later, ByteCount::new(1_000_000)).unwrap();
        assert_eq!(passed, ByteCount::new(1000), "one burst of the new rate");
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_and_never_passed(
            kbps in 8_u64..200_000,
            waits in prop::collection::vec((0_u64..30_000_000, 1_u64..100_000), 1..200),
        ) {
            let rate = BitRate::from_kbps(kbps);
            let mut pacer = Pacer::new(Instant::ZERO, Some(rate));
            let burst = rate.bytes_in(Pacer::BURST).max(Pacer::BURST_MIN);
            let mut now = Instant::ZERO;
            let mut sent = ByteCount::ZERO;
            for (wait, want) in waits {
                now = now + Duration::from_nanos(wait);
                match pacer.next_send(now, ByteCount::new(want)) {
                    Ok(bytes) => {
                        prop_assert!(bytes > ByteCount::ZERO && bytes.get() <= want);
                        sent += bytes;
                    }
                    Err(at) => {
                        prop_assert!(at > now);
                        now = at;
                        let bytes = pacer.next_send(now, ByteCount::new(want));
                        prop_assert!(bytes.is_ok_and(|bytes| bytes > ByteCount::ZERO));
                        sent += bytes.unwrap_or_default();
                    }
                }
                let allowed = rate.bytes_in(now.since(Instant::ZERO)) + burst + ByteCount::new(1);
                prop_assert!(sent <= allowed);
            }
        }

        #[test]
        fn a_sender_that_always_wants_gets_the_whole_rate(kbps in 8_u64..200_000) {
            let rate = BitRate::from_kbps(kbps);
            let mut pacer = Pacer::new(Instant::ZERO, Some(rate));
            let end = Instant::ZERO + Duration::from_secs(2);
            let (mut now, mut sent) = (Instant::ZERO, ByteCount::ZERO);
            while now <= end {
                match pacer.next_send(now, ByteCount::new(u64::MAX)) {
                    Ok(bytes) => sent += bytes,
                    Err(at) => now = at,
                }
            }
            prop_assert!(sent >= rate.bytes_in(Duration::from_secs(2)));
        }
    }
}
