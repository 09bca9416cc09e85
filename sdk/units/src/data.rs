//! Amounts of data, rates and shares.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// An amount of data in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct ByteCount(u64);

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// Makes an amount from bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the rate at which this amount passes in `elapsed`; `None` when no time has passed.
    #[must_use]
    pub fn rate_over(self, elapsed: Duration) -> Option<BitRate> {
        let nanos = elapsed.as_nanos();
        if nanos == 0 {
            return None;
        }
        let bps = u128::from(self.0) * BITS_PER_BYTE * 1_000_000_000 / nanos;
        Some(BitRate(u64::try_from(bps).unwrap_or(u64::MAX)))
    }

    /// Returns the difference, zero if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

const BITS_PER_BYTE: u128 = 8;

impl Add for ByteCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for ByteCount {
    type Output = Self;

    /// Saturates at zero.
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl core::iter::Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |total, amount| total + amount)
    }
}

/// A data rate in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct BitRate(u64);

impl BitRate {
    /// No data at all.
    pub const ZERO: Self = Self(0);

    /// Makes a rate from bits per second.
    #[must_use]
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// Makes a rate from kilobits (1000 bits) per second, saturating.
    #[must_use]
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1000))
    }

    /// Returns bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Returns the amount that passes in `span`; saturates.
    #[must_use]
    pub fn bytes_in(self, span: Duration) -> ByteCount {
        // The product of the greatest of both does not fit.
        let bits = u128::from(self.0).saturating_mul(span.as_nanos()) / 1_000_000_000;
        let bytes = bits / BITS_PER_BYTE;
        ByteCount(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// Returns how long `amount` takes at this rate; `None` at rate zero.
    #[must_use]
    pub fn time_for(self, amount: ByteCount) -> Option<Duration> {
        if self.0 == 0 {
            return None;
        }
        let nanos = u128::from(amount.0) * BITS_PER_BYTE * 1_000_000_000 / u128::from(self.0);
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// Returns this rate scaled by a factor that is not negative; saturates.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "estimates need no more than 53 bits, and `as` saturates"
    )]
    pub fn scaled(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor.max(0.0)) as u64)
    }

    /// Returns bits per second as a float, for arithmetic on estimates.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "estimates need no more than 53 bits"
    )]
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

/// A share or probability from 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// Everything.
    pub const ONE: Self = Self(1.0);

    /// Makes a share.
    ///
    /// # Errors
    /// When `share` is not within 0.0 to 1.0, or not a number.
    pub const fn new(share: f64) -> Result<Self, RatioError> {
        if share >= 0.0 && share <= 1.0 {
            Ok(Self(share))
        } else {
            Err(RatioError)
        }
    }

    /// Returns the share, 0.0 to 1.0.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = RatioError;

    fn try_from(share: f64) -> Result<Self, RatioError> {
        Self::new(share)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

/// A number that is no share: below 0.0, above 1.0, or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatioError;

impl fmt::Display for RatioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share must be a number from 0.0 to 1.0")
    }
}

impl core::error::Error for RatioError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_amount_are_inverse() {
        let rate = BitRate::from_kbps(8_000);
        assert_eq!(
            rate.bytes_in(Duration::from_secs(2)),
            ByteCount::new(2_000_000)
        );
        assert_eq!(
            rate.time_for(ByteCount::new(2_000_000)),
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            ByteCount::new(2_000_000).rate_over(Duration::from_secs(2)),
            Some(rate)
        );
    }

    #[test]
    fn nothing_divides_by_zero() {
        assert_eq!(ByteCount::new(1).rate_over(Duration::ZERO), None);
        assert_eq!(BitRate::ZERO.time_for(ByteCount::new(1)), None);
    }

    #[test]
    fn what_is_beyond_all_numbers_saturates() {
        let most = ByteCount::new(u64::MAX);
        let rate = BitRate::from_bps(u64::MAX);
        assert_eq!(rate.bytes_in(Duration::MAX), most);
        assert_eq!(rate.bytes_in(Duration::from_secs(u64::MAX)), most);
        assert_eq!(most.rate_over(Duration::from_nanos(1)), Some(rate));
        let slowest = BitRate::from_bps(1).time_for(most);
        assert_eq!(slowest, Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn a_share_is_checked() {
        assert!(Ratio::new(1.0).is_ok());
        assert_eq!(Ratio::new(1.01), Err(RatioError));
        assert_eq!(Ratio::new(f64::NAN), Err(RatioError));
    }
}
