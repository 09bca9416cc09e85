//! How fast and how soon: rates and times measured on our own transfers.

mod forecast;
mod history;
mod network;
mod slices;
mod weights;

pub use forecast::{Forecast, HORIZONS, HORIZONS_S, QUANTILES, QUANTILES_AT};
pub use history::SIGNS;
pub(crate) use slices::{Came, TOLD_WITHIN, Told};

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use history::History;
use nearcast_units::{BitRate, ByteCount, Instant};
use slices::{Slice, Slices};

/// Rate of one line, fed by slices inside transfers.
///
/// For the classical rules two exponential averages over transfer time, fast and slow, of which the lower one counts
/// (half-lives 3 s and 8 s as in dash.js and Sabre; Spiteri et al., MMSys 2018), corrected for their short past; for
/// the planner a small network that says what the past makes likely.
#[derive(Clone, Debug, Default)]
pub struct RateEstimate {
    fast: Average,
    slow: Average,
    history: History,
    slices: Slices,
}

impl RateEstimate {
    /// Bytes of some body came. Returns whether that told something of the rate.
    pub(crate) fn progress(&mut self, told: Told, bytes: ByteCount) -> bool {
        let slice = self.slices.came(told, bytes);
        self.take(slice)
    }

    /// No body is under way any more. Returns whether the end told something of the rate.
    pub(crate) fn idle(&mut self) -> bool {
        let slice = self.slices.end();
        self.take(slice)
    }

    fn take(&mut self, slice: Option<Slice>) -> bool {
        if let Some((rate, over)) = slice {
            self.sample(rate, over);
        }
        slice.is_some()
    }

    /// Takes a slice of a transfer: the rate that it had for so long.
    pub fn sample(&mut self, rate: BitRate, over: Duration) {
        self.fast.add(rate.as_f64(), keep_half(over, 3.0));
        self.slow.add(rate.as_f64(), keep_half(over, 8.0));
        self.history.add(rate.as_f64(), over.as_secs_f64());
    }

    /// A media segment is here whose slices were taken: it is compared with what was expected.
    pub fn transferred(&mut self) {
        self.history.compare();
    }

    /// Returns the estimate; `None` before the first sample.
    #[must_use]
    pub fn rate(&self) -> Option<BitRate> {
        let lower = self.fast.value()?.min(self.slow.value()?);
        Some(BitRate::from_bps(1).scaled(lower))
    }

    /// Returns the average over the last 15 s of transfer.
    pub(crate) fn usual(&self) -> Option<BitRate> {
        let bps = self.history.usual_bps()?;
        Some(BitRate::from_bps(1).scaled(bps))
    }

    /// Returns what was typical over the last minute of transfer (the mean of the logarithm), in bit/s.
    pub(crate) fn typical_bps(&self) -> Option<f64> {
        self.history.typical_bps()
    }

    /// Returns for how many seconds of transfer it was measured.
    pub(crate) const fn measured_s(&self) -> f64 {
        self.history.measured_s()
    }

    /// How much was measured: the share that all transfers so far have in an average over 8 s of transfer.
    pub(crate) const fn weight(&self) -> f64 {
        self.slow.weight
    }

    /// What was measured so far keeps this share of its weight against what comes.
    pub(crate) fn fade(&mut self, keep: f64) {
        self.fast.fade(keep);
        self.slow.fade(keep);
        self.history.fade(keep);
    }

    /// Returns what is expected of the line, whose first bytes take so long; `None` before the first sample.
    #[must_use]
    pub fn forecast(&self, ttfb: Duration) -> Option<Forecast> {
        if self.history.is_empty() {
            return None;
        }
        let level = self.history.level();
        let signs = self.history.signs();
        let relative = network::quantiles(&signs);
        let log_rates = relative.map(|row| row.map(|quantile| level + f64::from(quantile)));
        Some(Forecast {
            log_rates,
            usual: self.history.usual_transfers().unwrap_or(log_rates),
            roughness: self.history.roughness(),
            ttfb,
            sustained: self.rate(),
            signs,
        })
    }

    /// Describes what came so far, for whoever fits the network: its inputs, and the level that its outputs are
    /// relative to. `None` before the first sample.
    #[must_use]
    pub fn signs(&self) -> Option<(Vec<f32>, f64)> {
        (!self.history.is_empty()).then(|| (self.history.signs().to_vec(), self.history.level()))
    }
}

/// An exponential average that is corrected for its short past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Average {
    weighted: f64,
    weight: f64,
}

impl Average {
    /// Takes a value; what was there before keeps this share.
    pub(super) fn add(&mut self, value: f64, keep: f64) {
        self.weighted = keep * self.weighted + (1.0 - keep) * value;
        self.weight = keep * self.weight + (1.0 - keep);
    }

    pub(super) fn fade(&mut self, keep: f64) {
        self.weighted *= keep;
        self.weight *= keep;
    }

    pub(super) fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.weighted / self.weight)
    }
}

/// The share that the past keeps after so long.
fn keep_half(over: Duration, half_life_s: f64) -> f64 {
    libm::pow(0.5, over.as_secs_f64() / half_life_s)
}

/// The newest samples of a span of time, with quantiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    newest: VecDeque<Duration>,
    /// The same by length: quantiles are asked for far more often than a sample comes.
    sorted: Vec<Duration>,
}

/// Enough for a 95 % quantile that one odd sample does not decide, and quick to forget.
const SPANS_MAX: usize = 32;

impl Spans {
    pub(crate) fn add(&mut self, span: Duration) {
        if self.newest.len() == SPANS_MAX
            && let Some(oldest) = self.newest.pop_front()
            && let Ok(place) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(place);
        }
        self.newest.push_back(span);
        let place = self.sorted.partition_point(|one| *one < span);
        self.sorted.insert(place, span);
    }

    pub(crate) fn clear(&mut self) {
        self.newest.clear();
        self.sorted.clear();
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.newest.len()).unwrap_or(u32::MAX)
    }

    /// Returns a quantile by the nearest rank; `percent` is 1 to 100. `None` without samples.
    pub(crate) fn quantile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied()
    }
}

/// Bytes of one transfer, or of all from an edge, over the last moments.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentRate {
    marks: VecDeque<(Instant, u64)>,
    total: u64,
}

/// What counts as the last moments.
pub(crate) const RECENT: Duration = Duration::from_millis(800);
const MARKS_MAX: usize = 64;

impl RecentRate {
    pub(crate) fn progress(&mut self, now: Instant, bytes: u64) {
        self.total += bytes;
        self.marks.push_back((now, self.total));
        while self.marks.len() > MARKS_MAX
            || self
                .marks
                .get(1)
                .is_some_and(|(at, _)| now.since(*at) > RECENT)
        {
            self.marks.pop_front();
        }
    }

    /// Returns the rate of the last 800 ms; `None` before the second slice.
    pub(crate) fn rate(&self, now: Instant) -> Option<BitRate> {
        self.rate_since(now, *self.marks.front()?)
    }

    /// Returns the rate from the last slice that is `span` old, or the oldest that is remembered, to `now`.
    pub(crate) fn rate_over(&self, now: Instant, span: Duration) -> Option<BitRate> {
        let old = self.marks.partition_point(|(at, _)| now.since(*at) >= span);
        self.rate_since(now, *self.marks.get(old.saturating_sub(1))?)
    }

    pub(crate) fn last_at(&self) -> Option<Instant> {
        self.marks.back().map(|(at, _)| *at)
    }

    fn rate_since(&self, now: Instant, (at, before): (Instant, u64)) -> Option<BitRate> {
        let elapsed = now.since(at);
        if elapsed.is_zero() || self.marks.len() < 2 && elapsed < RECENT / 4 {
            return None;
        }
        ByteCount::new(self.total - before).rate_over(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    #[test]
    fn a_line_is_rough_where_its_rate_changes_and_not_where_bytes_come_in_bursts() {
        let forecast = |slices: &[u64], ms: u32| {
            let mut estimate = RateEstimate::default();
            for (kbps, _) in slices.iter().cycle().zip(0..12_000 / ms) {
                let over = Duration::from_millis(1) * ms;
                estimate.sample(BitRate::from_kbps(*kbps), over);
            }
            estimate.transferred();
            estimate.forecast(Duration::ZERO).unwrap()
        };
        assert!(forecast(&[4_000], 250).roughness <= 0.0);
        assert!(forecast(&[7_900, 100], 75).roughness <= 0.0);
        // Each transfer begins in slow start.
        let mut steady = RateEstimate::default();
        for _ in 0..12 {
            for kbps in [500, 2_500, 4_000, 4_000, 4_000, 4_000] {
                steady.sample(BitRate::from_kbps(kbps), Duration::from_millis(160));
            }
            steady.transferred();
        }
        assert!(steady.forecast(Duration::ZERO).unwrap().roughness <= 0.0);
        let rough = forecast(&[6_000, 2_000], 500);
        assert!(rough.roughness >= 1.0);
        // One whole transfer brought four megabits a second.
        let middle = |row: &[f64; QUANTILES]| libm::exp(row[QUANTILES / 2]);
        for row in &rough.usual {
            assert!((middle(row) / 4e6 - 1.0).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn a_slice_of_days_is_as_good_as_one_of_minutes() {
        let forecast = |over: Duration| {
            let mut estimate = RateEstimate::default();
            estimate.sample(BitRate::from_kbps(4_000), Duration::from_secs(4));
            estimate.sample(BitRate::from_kbps(1), over);
            estimate.forecast(Duration::ZERO).unwrap()
        };
        let minutes = forecast(Duration::from_secs(600));
        assert_eq!(forecast(Duration::MAX).log_rates, minutes.log_rates);
    }

    #[test]
    fn a_steady_rate_is_found_and_a_collapse_counts_at_once() {
        let mut estimate = RateEstimate::default();
        let before = |n: u64| ms(n.saturating_sub(1) * 100);
        for n in 0..=20 {
            estimate.progress(Told::alone(before(n), ms(n * 100)), ByteCount::new(125_000));
        }
        let steady = estimate.rate().unwrap().as_bps();
        assert!(steady.abs_diff(10_000_000) < 100_000, "{steady}");
        for n in 21..=50 {
            estimate.progress(Told::alone(before(n), ms(n * 100)), ByteCount::new(12_500));
        }
        let low = estimate.rate().unwrap().as_bps();
        assert!(low < 5_200_000, "half-life of 3 s: {low}");
    }

    #[test]
    fn idle_time_is_not_held_against_the_edge() {
        let mut estimate = RateEstimate::default();
        for burst in 0..3 {
            let start = burst * 10_000;
            for n in 0..=10_u64 {
                let told_at = ms(start + n.saturating_sub(1) * 100);
                estimate.progress(
                    Told::alone(told_at, ms(start + n * 100)),
                    ByteCount::new(125_000),
                );
            }
            estimate.idle();
        }
        assert!(estimate.rate().unwrap().as_bps() > 9_900_000);
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut spans = Spans::default();
        assert_eq!(spans.quantile(50), None);
        for n in 1..=20 {
            spans.add(Duration::from_millis(n));
        }
        assert_eq!(spans.quantile(50), Some(Duration::from_millis(10)));
        assert_eq!(spans.quantile(95), Some(Duration::from_millis(19)));
        // The oldest are forgotten, however long they were.
        for n in (101..=132).rev() {
            spans.add(Duration::from_millis(n));
        }
        assert_eq!(spans.quantile(1), Some(Duration::from_millis(101)));
        assert_eq!(spans.quantile(100), Some(Duration::from_millis(132)));
    }

    #[test]
    fn the_recent_rate_forgets() {
        let mut recent = RecentRate::default();
        for n in 0..10 {
            recent.progress(ms(n * 100), 125_000);
        }
        for n in 10..30 {
            recent.progress(ms(n * 100), 12_500);
        }
        let rate = recent.rate(ms(2900)).unwrap().as_bps();
        assert!(rate.abs_diff(1_000_000) < 200_000, "{rate}");
    }
}
