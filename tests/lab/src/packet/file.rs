//! A link as a file describes it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nearcast_link::{LossBursts, PacketConfig, PacketLoss};
use nearcast_units::{BitRate, ByteCount, Ratio};
use serde::Deserialize;

use super::links::Both;

/// What a link does to packets over time.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// What it does, and for how long; where nothing repeats the last one goes on.
    steps: Vec<(Duration, Both<PacketConfig>)>,
    repeats: bool,
}

impl Course {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let text = fs::read_to_string(path).with_context(reading)?;
        Self::parse(&text).with_context(reading)
    }

    fn parse(text: &str) -> Result<Self> {
        let link: Link = toml::from_str(text)?;
        link.course()
    }

    /// Returns what it does first.
    pub(super) fn first(&self) -> Both<PacketConfig> {
        self.turns()
            .next()
            .map_or_else(Both::default, |(_, config)| config)
    }

    /// Returns each configuration in its turn, with how long the one before it lasts.
    pub(super) fn turns(&self) -> impl Iterator<Item = (Duration, Both<PacketConfig>)> {
        let rounds = if self.repeats { usize::MAX } else { 1 };
        let all = (0..rounds).flat_map(|_| &self.steps);
        let before = all.clone().map(|(lasts, _)| *lasts);
        let before = std::iter::once(Duration::ZERO).chain(before);
        before.zip(all.map(|(_, config)| *config))
    }
}

/// A link in both directions: towards the client, and what is different towards the servers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Link {
    rate_kbps: Option<u64>,
    steps: Vec<Step>,
    repeats: bool,
    delay_ms: u64,
    jitter_ms: u64,
    loss_ratio: Ratio,
    burst_loss: Option<BurstLoss>,
    reorder_ratio: Ratio,
    duplicate_ratio: Ratio,
    queue_bytes: Option<u64>,
    mtu_bytes: Option<u64>,
    up: Option<Box<Self>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    lasts_s: f64,
    rate_kbps: Option<u64>,
    delay_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurstLoss {
    enter_ratio: Ratio,
    leave_ratio: Ratio,
    loss_ratio: Ratio,
}

impl Link {
    fn course(&self) -> Result<Course> {
        let up = self.up.as_deref();
        let is_plain = |up: &Self| up.steps.is_empty() && up.delay_ms == 0 && up.up.is_none();
        ensure!(
            up.is_none_or(is_plain),
            "`up` has neither `steps` nor `delay_ms` nor an `up` of its own: those of the link hold for both directions"
        );
        let both = Both {
            up: up.unwrap_or(&Self::default()).config(self.delay_ms),
            down: self.config(self.delay_ms),
        };
        if self.steps.is_empty() {
            return Ok(Course {
                steps: vec![(Duration::ZERO, both)],
                repeats: false,
            });
        }
        let steps = self.steps.iter().map(|step| {
            let lasts = Duration::try_from_secs_f64(step.lasts_s).unwrap_or_default();
            ensure!(
                lasts > Duration::ZERO,
                "`lasts_s = {}`: a step lasts longer than no time",
                step.lasts_s
            );
            let mut both = both;
            if let Some(kbps) = step.rate_kbps {
                both.down.rate = Some(BitRate::from_kbps(kbps));
            }
            if let Some(ms) = step.delay_ms {
                both.up.delay = Duration::from_millis(ms);
                both.down.delay = both.up.delay;
            }
            Ok((lasts, both))
        });
        Ok(Course {
            steps: steps.collect::<Result<_>>()?,
            repeats: self.repeats,
        })
    }

    fn config(&self, delay_ms: u64) -> PacketConfig {
        PacketConfig {
            rate: self.rate_kbps.map(BitRate::from_kbps),
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::from_millis(self.jitter_ms),
            loss: PacketLoss {
                ratio: self.loss_ratio,
                bursts: self.burst_loss.as_ref().map(|bursts| LossBursts {
                    enter: bursts.enter_ratio,
                    leave: bursts.leave_ratio,
                    loss: bursts.loss_ratio,
                }),
            },
            reorder: self.reorder_ratio,
            duplicate: self.duplicate_ratio,
            queue: self.queue_bytes.map(ByteCount::new),
            mtu: self.mtu_bytes.map(ByteCount::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_repeat() {
        let text = "steps = [{ lasts_s = 2, rate_kbps = 100 }, { lasts_s = 0.5, delay_ms = 7 }]\n\
                    delay_ms = 5\nrepeats = true\nup = { rate_kbps = 9 }\n";
        let course = Course::parse(text).unwrap();
        let turns: Vec<_> = course.turns().take(4).collect();
        let waits: Vec<u64> = turns
            .iter()
            .map(|(wait, _)| u64::try_from(wait.as_millis()).unwrap())
            .collect();
        assert_eq!(waits, [0, 2_000, 500, 2_000]);
        let (_, first) = turns[2];
        assert_eq!(first.down.rate, Some(BitRate::from_kbps(100)));
        assert_eq!(first.up.rate, Some(BitRate::from_kbps(9)));
        assert_eq!(first.up.delay, Duration::from_millis(5));
        let (_, second) = turns[1];
        assert_eq!(
            (second.down.rate, second.up.delay),
            (None, Duration::from_millis(7))
        );
        let once = Course::parse("rate_kbps = 1").unwrap();
        assert_eq!(once.turns().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("delay_ms = 1\nrate = 5", "line 2"),
            ("delay_ms = 1\nrate = 5", "unknown field `rate`"),
            ("loss_ratio = 1.5", "0.0 to 1.0"),
            ("steps = [{ lasts_s = 0 }]", "`lasts_s = 0`"),
            ("up = { delay_ms = 5 }", "`up`"),
        ] {
            let error = format!("{:#}", Course::parse(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
