//! Recorded networks, and the three ways they are written down.

use thiserror::Error;

/// A stretch of time with one rate and one latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// How long it lasts.
    pub duration_ms: f64,
    /// What the link delivers; 0 is an outage.
    pub kbps: f64,
    /// From a request to its first bit.
    pub latency_ms: f64,
}

/// A recorded network: periods that repeat for ever. It delivers something in each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    periods: Vec<Period>,
    /// Bits delivered and time passed before each period of a round, and at its end.
    bits_before: Vec<f64>,
    ms_before: Vec<f64>,
    /// Units of latency that pass in one round.
    latencies: f64,
}

/// Why a text or a list of periods is no network.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum NetworkError {
    /// There is nothing in it.
    #[error("no periods: one line for each is needed, duration_ms,kbps,latency_ms")]
    Empty,
    /// Every period has rate 0.
    #[error("it never delivers: at least one period needs a rate above 0 kbps")]
    NeverDelivers,
    /// A line has too few or too many fields.
    #[error("line {line}: {found} field(s), not {wanted}: \"{text}\"")]
    Fields {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        found: usize,
        /// What would be right.
        wanted: &'static str,
        /// The line itself, cut to a readable length.
        text: String,
    },
    /// A field is missing, is no number or is out of range.
    #[error("line {line}: {field} is {found}, not {wanted}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// Which one.
        field: &'static str,
        /// What is there instead.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
}

/// Bounds of what is believed: a transfer's time stays a finite number, and a typing error does not pass as
/// a network. The slowest rate is a bit per second.
const DURATION_MS_MAX: f64 = 1e9;
const KBPS_MIN: f64 = 1e-3;
const KBPS_MAX: f64 = 1e9;
const LATENCY_MS_MAX: f64 = 1e6;
/// Between two lines of which the second says what held since the first: recordings have up to 58 s (puffer-2021).
/// Where more is missing nobody measured, and one rate for all of it is no recording. In three columns the duration is
/// what was written down, an outage of half an hour among them.
const GAP_MS_MAX: f64 = 300_000.0;

const DURATION: (&str, &str) = ("duration_ms", "a number above 0, at most 1e9");
const KBPS: (&str, &str) = ("kbps", "0 or a number from 0.001 to 1e9");
const LATENCY: (&str, &str) = ("latency_ms", "a number from 0 to 1e6");
const TIME: (&str, &str) = (
    "time_s",
    "a number of seconds above that of the line before, by at most 300 (with a longer gap it is two recordings)",
);
const MBPS: (&str, &str) = ("rate_mbps", "0 or a number from 1e-6 to 1e6");

const PACKET: (&str, &str) = (
    "packet",
    "a whole number of milliseconds, not below that of the line before and at most 300000 above it",
);
/// As between two lines of the other form.
const PACKET_GAP_MS_MAX: u64 = 300_000;
/// Long enough to have a rate, short enough to keep what matters to a player.
const PACKET_BIN_MS: u64 = 100;
const PACKET_BITS: f64 = 12_000.0;

/// Cooked traces say nothing about latency; this is the round trip their simulator adds.
const COOKED_LATENCY_MS: f64 = 80.0;

impl Network {
    /// Makes a network of these periods.
    ///
    /// # Errors
    /// When there are none, when one is out of range (`line` counts periods then), or when none delivers.
    pub fn new(periods: Vec<Period>) -> Result<Self, NetworkError> {
        if periods.is_empty() {
            return Err(NetworkError::Empty);
        }
        for (index, period) in periods.iter().enumerate() {
            check(index + 1, period)?;
        }
        if periods.iter().all(|period| period.kbps <= 0.0) {
            return Err(NetworkError::NeverDelivers);
        }
        Ok(Self::of(periods))
    }

    /// Makes a network of periods that were checked.
    fn of(periods: Vec<Period>) -> Self {
        let running = |of: fn(&Period) -> f64| {
            let mut sum = 0.0;
            let mut before = vec![0.0];
            before.extend(periods.iter().map(|period| {
                sum += of(period);
                sum
            }));
            before
        };
        Self {
            bits_before: running(|period| period.duration_ms * period.kbps),
            ms_before: running(|period| period.duration_ms),
            latencies: periods
                .iter()
                .map(|period| period.duration_ms / period.latency_ms)
                .sum(),
            periods,
        }
    }

    /// Reads any form: `duration_ms,kbps,latency_ms` in each line; two columns `time_s rate_mbps` parted by
    /// white space, where a line's rate holds since the line before; or one column, the milliseconds at which a packet
    /// of 1500 bytes may leave (Mahimahi: Netravali et al., USENIX ATC 2015), which says nothing of latency.
    /// `#` starts a comment; empty lines are skipped.
    ///
    /// # Errors
    /// When a line is none of them, or the whole is no network.
    pub fn read(text: &str) -> Result<Self, NetworkError> {
        let lines = || {
            let told = text.lines().enumerate().map(|(index, line)| {
                let line = line.split('#').next().unwrap_or_default();
                (index + 1, line.trim_matches(['\u{feff}', ' ', '\t', '\r']))
            });
            told.filter(|(_, line)| !line.is_empty())
        };
        let (_, first) = lines().next().ok_or(NetworkError::Empty)?;
        let periods = if first.contains(',') {
            lines().map(|(line, text)| period(line, text)).collect()
        } else if first.split_whitespace().count() == 1 {
            packets(lines())
        } else {
            cooked(lines())
        };
        Self::new(periods?)
    }

    /// Returns the periods of one round.
    #[must_use]
    pub fn periods(&self) -> &[Period] {
        &self.periods
    }

    /// Returns how long one round takes.
    #[must_use]
    pub fn round_ms(&self) -> f64 {
        self.ms_before[self.periods.len()]
    }

    /// Returns what one round delivers.
    #[must_use]
    pub fn round_bits(&self) -> f64 {
        self.bits_before[self.periods.len()]
    }

    /// Returns how many requests one after the other would be answered in a round; infinite without latency.
    #[must_use]
    pub fn round_latencies(&self) -> f64 {
        self.latencies
    }

    /// Returns the network as it is from this time on.
    #[must_use]
    pub fn begun_at(&self, at_ms: f64) -> Self {
        let within = at_ms.rem_euclid(self.round_ms());
        let index = self.ms_before.partition_point(|start| *start <= within);
        let index = index.clamp(1, self.periods.len()) - 1;
        let passed_ms = within - self.ms_before[index];
        let mut periods = self.periods.clone();
        periods.rotate_left(index);
        periods.push(Period {
            duration_ms: passed_ms,
            ..periods[0]
        });
        periods[0].duration_ms -= passed_ms;
        periods.retain(|period| period.duration_ms > 0.0);
        Self::of(periods)
    }

    /// Returns the mean rate of a round.
    #[must_use]
    pub fn mean_kbps(&self) -> f64 {
        self.round_bits() / self.round_ms()
    }

    /// Returns what is delivered from the beginning until `at_ms`, without walking the periods.
    #[must_use]
    pub fn delivered_bits(&self, at_ms: f64) -> f64 {
        let rounds = (at_ms / self.round_ms()).floor();
        let within = at_ms - rounds * self.round_ms();
        let index = self.ms_before.partition_point(|start| *start <= within);
        let index = index.clamp(1, self.periods.len()) - 1;
        let part = (within - self.ms_before[index]) * self.periods[index].kbps;
        rounds * self.round_bits() + self.bits_before[index] + part
    }

    /// Returns when so much is delivered since the beginning: the earliest such time.
    #[must_use]
    pub fn delivered_at_ms(&self, bits: f64) -> f64 {
        let rounds = (bits / self.round_bits()).floor();
        let within = bits - rounds * self.round_bits();
        // The last period that begins with less than is asked: outages are passed by their front.
        let index = self.bits_before.partition_point(|before| *before < within);
        let index = index.clamp(1, self.periods.len()) - 1;
        let part = (within - self.bits_before[index]).max(0.0);
        let part = if part > 0.0 {
            part / self.periods[index].kbps
        } else {
            0.0
        };
        rounds * self.round_ms() + self.ms_before[index] + part
    }
}

fn check(line: usize, period: &Period) -> Result<(), NetworkError> {
    let refuse = |(field, wanted): (&'static str, &'static str), found: f64| {
        Err(NetworkError::Value {
            line,
            field,
            found: found.to_string(),
            wanted,
        })
    };
    let Period {
        duration_ms,
        kbps,
        latency_ms,
    } = *period;
    // Comparisons that NaN fails.
    if !(duration_ms > 0.0 && duration_ms <= DURATION_MS_MAX) {
        return refuse(DURATION, duration_ms);
    }
    if !(kbps == 0.0 || (KBPS_MIN..=KBPS_MAX).contains(&kbps)) {
        return refuse(KBPS, kbps);
    }
    if !(0.0..=LATENCY_MS_MAX).contains(&latency_ms) {
        return refuse(LATENCY, latency_ms);
    }
    Ok(())
}

/// Reads a line of three columns.
fn period(line: usize, text: &str) -> Result<Period, NetworkError> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [duration, kbps, latency] = fields[..] else {
        return Err(wrong_fields(
            line,
            fields.len(),
            "3 (duration_ms,kbps,latency_ms)",
            text,
        ));
    };
    let period = Period {
        duration_ms: number(line, DURATION, duration)?,
        kbps: number(line, KBPS, kbps)?,
        latency_ms: number(line, LATENCY, latency)?,
    };
    check(line, &period)?;
    Ok(period)
}

/// Reads lines of two columns. The first only says when the recording begins.
fn cooked<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Period>, NetworkError> {
    let mut before = None;
    let mut periods = Vec::new();
    for (line, text) in lines {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [time, rate] = fields[..] else {
            let wanted = "2 (time_s rate_mbps) or 3 (duration_ms,kbps,latency_ms)";
            return Err(wrong_fields(line, fields.len(), wanted, text));
        };
        let time_s = number(line, TIME, time)?;
        let kbps = number(line, MBPS, rate)? * 1e3;
        if !(kbps == 0.0 || (KBPS_MIN..=KBPS_MAX).contains(&kbps)) {
            return Err(wrong_value(line, MBPS, rate));
        }
        if let Some(before_s) = before {
            let duration_ms: f64 = (time_s - before_s) * 1e3;
            if !(duration_ms > 0.0 && duration_ms <= GAP_MS_MAX) {
                return Err(wrong_value(line, TIME, time));
            }
            periods.push(Period {
                duration_ms,
                kbps,
                latency_ms: COOKED_LATENCY_MS,
            });
        }
        before = Some(time_s);
    }
    Ok(periods)
}

/// Reads lines of one column.
fn packets<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Period>, NetworkError> {
    let mut counts: Vec<f64> = Vec::new();
    let mut before_ms: u64 = 0;
    for (line, text) in lines {
        let at_ms = text.parse().ok().filter(|at_ms: &u64| *at_ms >= before_ms);
        let at_ms = at_ms.filter(|at_ms| at_ms - before_ms <= PACKET_GAP_MS_MAX);
        let at_ms = at_ms.ok_or_else(|| wrong_value(line, PACKET, text))?;
        before_ms = at_ms;
        // What may leave at the end of a bin belongs to it: a round ends with its last packet.
        let bin = usize::try_from(at_ms.saturating_sub(1) / PACKET_BIN_MS).unwrap_or(usize::MAX);
        if counts.len() <= bin {
            counts.resize(bin + 1, 0.0);
        }
        counts[bin] += 1.0;
    }
    let bin_ms = f64::from(u32::try_from(PACKET_BIN_MS).unwrap_or(u32::MAX));
    let period = |packets: f64| Period {
        duration_ms: bin_ms,
        kbps: packets * PACKET_BITS / bin_ms,
        latency_ms: 0.0,
    };
    Ok(counts.into_iter().map(period).collect())
}

fn number(
    line: usize,
    field: (&'static str, &'static str),
    text: &str,
) -> Result<f64, NetworkError> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| wrong_value(line, field, text))
}

fn wrong_value(
    line: usize,
    (field, wanted): (&'static str, &'static str),
    text: &str,
) -> NetworkError {
    NetworkError::Value {
        line,
        field,
        found: if text.is_empty() {
            "missing".to_owned()
        } else {
            format!("\"{}\"", shortened(text))
        },
        wanted,
    }
}

fn wrong_fields(line: usize, found: usize, wanted: &'static str, text: &str) -> NetworkError {
    NetworkError::Fields {
        line,
        found,
        wanted,
        text: shortened(text),
    }
}

/// Cuts what is shown of a line: a file of another kind may be one line of megabytes.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
