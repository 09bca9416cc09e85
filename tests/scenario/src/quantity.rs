//! Numbers with a unit, as they are written: the key says the unit, the type holds the range.

use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds, from 0 to a year.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", extend("minimum" = 0, "maximum" = 31_536_000))]
pub struct Seconds(Duration);

/// Milliseconds, from 0 to a day.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", extend("minimum" = 0, "maximum" = 86_400_000))]
pub struct Millis(Duration);

/// Kilobits per second, from 0 to 100 Gbit/s.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", extend("minimum" = 0, "maximum" = 100_000_000))]
pub struct Kbps(f64);

/// Bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "i64", into = "u64")]
#[schemars(with = "u64")]
pub struct Bytes(u64);

/// A share, from 0 to 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", extend("minimum" = 0, "maximum" = 1))]
pub struct Share(f64);

const SECONDS_MAX: f64 = 31_536_000.0;
const MILLIS_MAX: f64 = 86_400_000.0;
const KBPS_MAX: f64 = 1e8;

/// Returns a number that lies in a range, or what is wrong with it.
fn within(number: f64, max: f64, unit: &str) -> Result<f64, String> {
    if number < 0.0 {
        return Err(format!(
            "{number} is negative: from 0 to {max} {unit} would be right"
        ));
    }
    if number.is_nan() {
        return Err(format!(
            "`nan` is no number: from 0 to {max} {unit} would be right"
        ));
    }
    if number > max {
        return Err(format!(
            "{number} is too much: from 0 to {max} {unit} would be right"
        ));
    }
    Ok(number)
}

impl TryFrom<f64> for Seconds {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        Ok(Self(Duration::from_secs_f64(within(
            number,
            SECONDS_MAX,
            "seconds",
        )?)))
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0.as_secs_f64()
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

impl TryFrom<f64> for Millis {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        let ms = within(number, MILLIS_MAX, "milliseconds")?;
        Ok(Self(Duration::from_secs_f64(ms / 1e3)))
    }
}

impl From<Millis> for f64 {
    fn from(millis: Millis) -> Self {
        millis.0.as_secs_f64() * 1e3
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        millis.0
    }
}

impl TryFrom<f64> for Kbps {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        Ok(Self(within(number, KBPS_MAX, "kbit/s")?))
    }
}

impl From<Kbps> for f64 {
    fn from(rate: Kbps) -> Self {
        rate.0
    }
}

impl From<Kbps> for BitRate {
    fn from(rate: Kbps) -> Self {
        Self::from_bps(1_000).scaled(rate.0)
    }
}

impl TryFrom<i64> for Bytes {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        let bytes = u64::try_from(number);
        bytes
            .map(Self)
            .map_err(|_| format!("{number} is negative: a count of bytes would be right"))
    }
}

impl From<Bytes> for u64 {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<Bytes> for ByteCount {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes.0)
    }
}

impl TryFrom<f64> for Share {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        let share = Ratio::new(number);
        share.map(|share| Self(share.get())).map_err(|_| {
            format!("{number} is no share: from 0 to 1 would be right (one in a hundred is 0.01)")
        })
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl From<Share> for Ratio {
    fn from(share: Share) -> Self {
        Self::new(share.0).unwrap_or(Self::ZERO)
    }
}
