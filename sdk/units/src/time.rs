//! Points and spans of time.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A point on a session's monotonic clock: nanoseconds since an origin that the driver chose
/// (0 in the simulator).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// Makes a point from nanoseconds since the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the span since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns seconds since the origin, for reports.
    #[must_use]
    pub const fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock, 584 years after the origin.
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// A position on the presentation timeline in microseconds; may be negative before the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct MediaTime(i64);

impl MediaTime {
    /// The start of the presentation.
    pub const ZERO: Self = Self(0);

    /// Makes a position from microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes a position from a span since the start, saturating.
    #[must_use]
    pub fn from_duration(span: Duration) -> Self {
        Self(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
    }

    /// Converts an absolute tick count; `timescale` is in ticks per second and not zero.
    ///
    /// Always convert absolute ticks: adding up rounded durations drifts. Returns `None` for a zero
    /// timescale or a position beyond 292,000 years.
    #[must_use]
    pub fn from_ticks(ticks: i64, timescale: u32) -> Option<Self> {
        if timescale == 0 {
            return None;
        }
        let micros = i128::from(ticks) * 1_000_000;
        i64::try_from(micros.div_euclid(i128::from(timescale)))
            .ok()
            .map(Self)
    }

    /// Returns microseconds since the start of the presentation.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the span since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let span = self.0.saturating_sub(earlier.0);
        if span <= 0 {
            Duration::ZERO
        } else {
            Duration::from_micros(span.unsigned_abs())
        }
    }

    /// Returns the absolute distance to `other`.
    #[must_use]
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }

    /// Returns seconds since the start of the presentation, for reports and people.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds below 2^53 are exact for 285 years"
    )]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add<Duration> for MediaTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for MediaTime {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_goes_below_zero() {
        let early = Instant::from_nanos(5);
        let late = early + Duration::from_nanos(7);
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(
            MediaTime::from_micros(-3).since(MediaTime::ZERO),
            Duration::ZERO
        );
    }

    #[test]
    fn ticks_convert_absolutely_and_without_drift() {
        // 48 kHz AAC frames of 1024 samples: adding 21,333 µs 46,875 times would be 15 ms short of 1000 s.
        let frames = 46_875;
        assert_eq!(
            MediaTime::from_ticks(frames * 1024, 48_000),
            Some(MediaTime::from_micros(1_000_000_000))
        );
        assert_eq!(MediaTime::from_ticks(1, 0), None);
        assert_eq!(MediaTime::from_ticks(i64::MAX, 1), None);
        assert_eq!(
            MediaTime::from_ticks(-1, 3),
            Some(MediaTime::from_micros(-333_334))
        );
    }
}
