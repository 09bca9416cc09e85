//! How many play requests are let through.

use core::time::Duration;

use nearcast_units::Instant;

/// A rate of play requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayRate {
    /// Requests a second over time; 0 lets none through.
    pub per_second: u32,
    /// Requests that may come at once.
    pub burst: u32,
}

/// Lets requests through at a rate (the generic cell rate algorithm: one point in time is its whole state).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateGate {
    rate: Option<PlayRate>,
    /// When the requests let through so far would have come, had they come evenly.
    even: Instant,
}

impl RateGate {
    pub(crate) const fn new(rate: Option<PlayRate>) -> Self {
        Self {
            rate,
            even: Instant::ZERO,
        }
    }

    /// Takes one request in, or says when to come again.
    pub(crate) fn handle_request(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(PlayRate { per_second, burst }) = self.rate else {
            return Ok(());
        };
        if per_second == 0 || burst == 0 {
            return Err(CLOSED_RETRY);
        }
        let interval = Duration::from_secs(1) / per_second;
        let room = interval * (burst - 1);
        let wait = self.even.since(now + room);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.even = self.even.max(now) + interval;
        Ok(())
    }
}

/// When to ask again while nothing is let through: long enough not to be a load of its own.
const CLOSED_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(per_second: u32, burst: u32) -> RateGate {
        RateGate::new(Some(PlayRate { per_second, burst }))
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when() {
        let now = Instant::ZERO + 100 * SECOND;
        let mut gate = gate(2, 3);
        for _ in 0..3 {
            assert_eq!(gate.handle_request(now), Ok(()));
        }
        let wait = gate.handle_request(now).unwrap_err();
        assert_eq!(wait, SECOND / 2);
        assert_eq!(gate.handle_request(now + wait), Ok(()));
        assert!(gate.handle_request(now + wait).is_err());
    }

    #[test]
    fn rest_does_not_add_up_beyond_the_burst() {
        let mut gate = gate(1, 2);
        let later = Instant::ZERO + 3600 * SECOND;
        assert_eq!(gate.handle_request(later), Ok(()));
        assert_eq!(gate.handle_request(later), Ok(()));
        assert_eq!(gate.handle_request(later), Err(SECOND));
    }

    #[test]
    fn a_rate_of_zero_is_closed_and_no_rate_is_open() {
        assert_eq!(gate(0, 5).handle_request(Instant::ZERO), Err(CLOSED_RETRY));
        assert_eq!(RateGate::new(None).handle_request(Instant::ZERO), Ok(()));
    }
}
