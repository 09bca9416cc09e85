//! What is known of a line, as numbers that say what may come: averages over many spans, how much they differ, when the
//! rate last changed for good.
//!
//! The spans are chosen by hand, so that they cover what is planned for; what follows from each sign is learned
//! (`nearcast-lab fit forecast`), and holds for these signs alone.

use super::{Average, HORIZONS, QUANTILES};

/// How many numbers describe the past of a line.
pub const SIGNS: usize = 31;

/// Spans of the averages of the rate, of those of its logarithm, and of how far it strays, in seconds of transfer time.
const RATES_S: [f64; 7] = [0.4, 1.0, 2.5, 6.0, 15.0, 35.0, 80.0];
const LOGS_S: [f64; 4] = [2.5, 6.0, 15.0, 60.0];
const STRAYS_S: [f64; 3] = [3.0, 10.0, 40.0];
const FALLS_S: [f64; 2] = [6.0, 40.0];
/// The lowest and the highest rate of late come back to the usual one over so long.
const EXTREMES_S: f64 = 25.0;
/// Slices are cut into parts of at most so many seconds: an average over one second must not take ten of them for one.
const CUT_S: f64 = 0.5;
/// Shorter ones are joined until they last so long: bytes come in bursts, and what follows from the signs was learned from such parts.
const PART_S: f64 = 0.15;
/// No slice counts for longer, in seconds: all that is remembered of what was before is gone by then, and a device that was asleep for
/// days must not be busy with it.
const SLICE_MAX_S: f64 = 600.0;
/// An outage counts as this, in bit/s: its logarithm is to have an end.
const RATE_MIN_BPS: f64 = 20_000.0;
/// A rate that differs by less, as a logarithm, has not changed.
const SAME: f64 = 0.18;
/// So many seconds of one rate say what it is.
const SAME_S: f64 = 6.0;
/// Transfers that the deviation remembers, and what it begins with.
const TRANSFERS: f64 = 10.0;
const FIRST_SPREAD: f64 = 0.42;
const FIRST_COUNT: f64 = 3.0;
/// How much of a new transfer the running logarithm takes, and the mean of all at least.
const RUNNING_GAIN: f64 = 0.4;
const MEAN_GAIN: f64 = 0.02;
/// What is left of the distance from the mean after each transfer, and about how many come in each of the forecast's spans.
const STAYS: f64 = 0.7;
const TRANSFERS_AHEAD: [f64; HORIZONS] = [1.0, 2.0, 4.0, 7.0];
/// The forecast's quantiles, in deviations.
const DEVIATIONS: [f64; QUANTILES] = [-1.4, -0.67, 0.0, 0.67, 1.4];
/// A line is rough where its logarithm changes by so much from part to part, over so long: from the first on a little, from the second
/// on fully.
const ROUGH: [f64; 2] = [0.11, 0.18];
const ROUGH_S: f64 = 40.0;
/// The first parts of a transfer are slow start on most lines, which is no change of the rate.
const OPENING: u32 = 3;

/// What came so far.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    rates: [Average; RATES_S.len()],
    logs: [Average; LOGS_S.len()],
    /// Squared distance from the running logarithm, change from part to part, and distance below it.
    strays: [Average; STRAYS_S.len()],
    changes: [Average; STRAYS_S.len()],
    falls: [Average; FALLS_S.len()],
    lowest: f64,
    highest: f64,
    /// The rate since it last changed, over how many seconds it was averaged, and how long it has lasted.
    steady: f64,
    steady_s: f64,
    lasts_s: f64,
    /// Of the part before.
    before: f64,
    /// Change from part to part but for those that open a transfer, and how many of this one were there.
    rough: Average,
    parts: u32,
    total_s: f64,
    /// Logarithms of the rates of whole transfers, the newest first.
    transfers: [f64; 4],
    compared: u32,
    /// Running logarithm and mean of all of them; each counts the same, however long it took.
    running: f64,
    mean: f64,
    /// Of how many.
    mean_of: f64,
    /// What was expected of the transfer under way, and how far the last two strayed from it.
    expected: Option<f64>,
    errors: [f64; 2],
    /// Sum of their squares and their count, both fading.
    strayed: f64,
    counted: f64,
    /// What came since the last whole transfer: bits, and seconds.
    came: (f64, f64),
    /// What is too short yet to be a part.
    short: (f64, f64),
}

impl History {
    /// Takes a slice of a transfer.
    pub(super) fn add(&mut self, bps: f64, over_s: f64) {
        self.came.0 += bps * over_s;
        self.came.1 += over_s;
        if self.short.1 <= 0.0 && over_s >= PART_S {
            return self.add_whole(bps, over_s);
        }
        self.short.0 += bps * over_s;
        self.short.1 += over_s;
        // Something is better than nothing.
        if self.short.1 >= PART_S || self.total_s <= 0.0 {
            self.take_short();
        }
    }

    fn take_short(&mut self) {
        let (bits, over_s) = core::mem::take(&mut self.short);
        if over_s > 0.0 {
            self.add_whole(bits / over_s, over_s);
        }
    }

    fn add_whole(&mut self, bps: f64, over_s: f64) {
        let mut left_s = over_s.min(SLICE_MAX_S);
        while left_s > 0.0 {
            let part_s = left_s.min(CUT_S);
            left_s -= part_s;
            self.add_part(bps, part_s);
        }
    }

    fn add_part(&mut self, bps: f64, part_s: f64) {
        let log = log(bps);
        let fading = |span_s: &f64| libm::exp(-part_s / span_s);
        if self.total_s > 0.0 {
            let off = log - self.logs[1].value().unwrap_or(log);
            let change = (log - self.before).abs();
            for ((stray, changed), span_s) in
                self.strays.iter_mut().zip(&mut self.changes).zip(&STRAYS_S)
            {
                let keep = fading(span_s);
                stray.add(off * off, keep);
                changed.add(change, keep);
            }
            if self.parts >= OPENING {
                self.rough.add(change, fading(&ROUGH_S));
            }
            for (fall, span_s) in self.falls.iter_mut().zip(&FALLS_S) {
                fall.add((-off).max(0.0), fading(span_s));
            }
        } else {
            (self.lowest, self.highest) = (log, log);
        }
        for (average, span_s) in self.rates.iter_mut().zip(&RATES_S) {
            average.add(bps, fading(span_s));
        }
        for (average, span_s) in self.logs.iter_mut().zip(&LOGS_S) {
            average.add(log, fading(span_s));
        }
        let usual = self.logs[1].value().unwrap_or(log);
        let back = 1.0 - fading(&EXTREMES_S);
        self.lowest = log.min(self.lowest + (usual - self.lowest) * back);
        self.highest = log.max(self.highest + (usual - self.highest) * back);
        if (log - self.steady).abs() > SAME {
            (self.steady, self.steady_s, self.lasts_s) = (log, part_s, 0.0);
        } else {
            self.steady_s = (self.steady_s + part_s).min(SAME_S);
            self.steady += (log - self.steady) * part_s / self.steady_s;
        }
        self.lasts_s += part_s;
        self.before = log;
        self.parts += 1;
        self.total_s += part_s;
    }

    /// What was measured so far keeps this share of its weight against what comes.
    pub(super) fn fade(&mut self, keep: f64) {
        for average in self.rates.iter_mut().chain(&mut self.logs) {
            average.fade(keep);
        }
        // What was usual is to be learned anew.
        self.mean_of *= keep;
    }

    /// A whole transfer is here: it is compared with what was expected of it.
    pub(super) fn compare(&mut self) {
        self.take_short();
        self.parts = 0;
        let (bits, over_s) = core::mem::take(&mut self.came);
        if over_s <= 0.0 {
            return;
        }
        let came = log(bits / over_s);
        if self.compared == 0 {
            self.transfers = [came; 4];
            (self.running, self.mean) = (came, came);
        }
        self.transfers.rotate_right(1);
        self.transfers[0] = came;
        self.compared += 1;
        self.mean_of += 1.0;
        self.running += (came - self.running) * RUNNING_GAIN;
        self.mean += (came - self.mean) * (1.0 / self.mean_of).max(MEAN_GAIN);
        if let Some(expected) = self.expected {
            let error = came - expected;
            self.errors = [error, self.errors[0]];
            let keep = 1.0 - 1.0 / TRANSFERS;
            self.strayed = self.strayed * keep + error * error;
            self.counted = self.counted * keep + 1.0;
        }
        self.expected = Some(f64::midpoint(self.rate(2), self.rate(4)));
    }

    /// What transfers usually bring, as quantiles over each of the forecast's spans; `None` before the first whole one.
    pub(super) fn usual_transfers(&self) -> Option<[[f64; QUANTILES]; HORIZONS]> {
        let spread = self.spread();
        let over = |ahead: f64| {
            let middle = self.mean + (self.running - self.mean) * libm::pow(STAYS, ahead);
            DEVIATIONS.map(|deviations| middle + deviations * spread)
        };
        (self.compared > 0).then(|| TRANSFERS_AHEAD.map(over))
    }

    /// How rough the line is, 0 to 1: on a rough one the rate is another one from moment to moment, and comes back.
    pub(super) fn roughness(&self) -> f64 {
        let [begins, fully] = ROUGH;
        ((value(&self.rough) - begins) / (fully - begins)).clamp(0.0, 1.0)
    }

    /// Whether anything came at all.
    pub(super) fn is_empty(&self) -> bool {
        self.total_s <= 0.0
    }

    /// The average of the rate over the last 15 s of transfer, in bit/s.
    pub(super) fn usual_bps(&self) -> Option<f64> {
        self.rates[4].value()
    }

    /// The mean of the logarithm over the last minute of transfer, as a rate in bit/s.
    pub(super) fn typical_bps(&self) -> Option<f64> {
        self.logs[3].value().map(libm::exp)
    }

    pub(super) const fn measured_s(&self) -> f64 {
        self.total_s
    }

    /// The level that all else is told relative to: the logarithm of the rate in bit/s.
    pub(super) fn level(&self) -> f64 {
        f64::midpoint(self.rate(1), self.rate(3))
    }

    /// Logarithm of one of the averages of the rate.
    fn rate(&self, nth: usize) -> f64 {
        log(value(&self.rates[nth]))
    }

    /// How far transfers stray from what was expected of them; what it begins with counts as some.
    fn spread(&self) -> f64 {
        let squares = FIRST_SPREAD * FIRST_SPREAD * FIRST_COUNT + self.strayed;
        libm::sqrt(squares / (FIRST_COUNT + self.counted))
    }

    /// Describes the line; free of the rate itself, so that what holds for slow lines holds for fast ones.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "signs are small numbers: what is cut off is noise"
    )]
    pub(super) fn signs(&self) -> [f32; SIGNS] {
        let level = self.level();
        let scaled = |value: f64, least: f64| libm::log(value + least) * 0.4;
        // Before the first whole transfer its parts have to do.
        let transfer = |nth: usize| {
            if self.compared > 0 {
                self.transfers[nth]
            } else {
                level
            }
        };
        let rates = (0..RATES_S.len()).map(|nth| self.rate(nth) - level);
        let logs = self.logs.iter().map(|average| value(average) - level);
        let transfers = (0..self.transfers.len()).map(|nth| transfer(nth) - level);
        let strays = self.strays.iter().chain(&self.changes);
        let strays = strays.map(|average| scaled(value(average), 0.003) + 1.0);
        let falls = self.falls.iter();
        let falls = falls.map(|average| scaled(value(average), 0.01) + 1.0);
        let rest = [
            libm::log(self.spread()) + 1.0,
            self.errors[0].clamp(-2.0, 2.0),
            self.errors[1].clamp(-2.0, 2.0),
            self.lowest - level,
            self.highest - level,
            scaled(self.lasts_s, 0.2),
            self.steady - level,
            scaled(self.total_s, 1.0) - 1.0,
        ];
        let all = rates
            .chain(logs)
            .chain(transfers)
            .chain(strays)
            .chain(falls);
        let mut signs = [0.0; SIGNS];
        for (sign, value) in signs.iter_mut().zip(all.chain(rest)) {
            *sign = value.clamp(-4.0, 4.0) as f32;
        }
        signs
    }
}

fn log(bps: f64) -> f64 {
    libm::log(bps.max(RATE_MIN_BPS))
}

fn value(average: &Average) -> f64 {
    average.value().unwrap_or(0.0)
}
