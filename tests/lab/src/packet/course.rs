//! What a link does to packets over time, of how it is described.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use nearcast_link::{LossBursts, PacketConfig, PacketLoss};
use nearcast_scenario::{BurstSpec, Link, LinkSpec, UpSpec};

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::links::{Both, Place};
use super::network::PacketNetwork;

/// What a link does to packets over time.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// What it does, and for how long; where nothing repeats the last one goes on.
    steps: Vec<(Duration, Both<PacketConfig>)>,
    repeats: bool,
}

impl Course {
    pub(crate) fn new(link: &Link) -> Self {
        let spec = &link.spec;
        let (up, down) = (towards_servers(spec), towards_client(spec));
        let steps = link.steps.iter().map(|step| {
            let mut both = Both { up, down };
            both.down.rate = step.link.rate;
            both.down.delay += step.link.delay;
            both.up.delay += step.link.delay;
            (step.lasts, both)
        });
        Self {
            steps: steps.collect(),
            repeats: link.repeats,
        }
    }

    /// Returns what it does first.
    pub(crate) fn first(&self) -> Both<PacketConfig> {
        let first = self.steps.first();
        first.map(|(_, config)| *config).unwrap_or_default()
    }

    /// Changes a link as it is described, from now on. It ends with an error alone.
    pub(crate) async fn follow(&self, network: &PacketNetwork, place: Place) -> Result<Infallible> {
        let mut due = Instant::now();
        for (wait, config) in self.turns() {
            let Some(next) = due.checked_add(wait) else {
                break;
            };
            due = next;
            sleep_until(due).await;
            network.configure(place, config)?;
        }
        pending().await
    }

    /// Returns each configuration in its turn, with how long the one before it lasts.
    pub(crate) fn turns(&self) -> impl Iterator<Item = (Duration, Both<PacketConfig>)> {
        let rounds = if self.repeats { usize::MAX } else { 1 };
        let all = (0..rounds).flat_map(|_| &self.steps);
        let before = all.clone().map(|(lasts, _)| *lasts);
        let before = std::iter::once(Duration::ZERO).chain(before);
        before.zip(all.map(|(_, config)| *config))
    }
}

/// All but the rate and the delay, which change.
fn towards_client(spec: &LinkSpec) -> PacketConfig {
    PacketConfig {
        loss: PacketLoss {
            ratio: spec.loss_ratio.into(),
            bursts: spec.burst_loss.map(bursts),
        },
        reorder: spec.reorder_ratio.into(),
        duplicate: spec.duplicate_ratio.into(),
        queue: spec.queue_bytes.map(Into::into),
        mtu: spec.mtu_bytes.map(Into::into),
        ..jittered(spec.jitter_ms.into())
    }
}

/// All but the delay, which is that of the other direction, too. So is the MTU.
fn towards_servers(spec: &LinkSpec) -> PacketConfig {
    let nothing = UpSpec::default();
    let up = spec.up.as_ref().unwrap_or(&nothing);
    PacketConfig {
        rate: up.rate_kbps.map(Into::into),
        loss: PacketLoss {
            ratio: up.loss_ratio.into(),
            bursts: up.burst_loss.map(bursts),
        },
        reorder: up.reorder_ratio.into(),
        duplicate: up.duplicate_ratio.into(),
        queue: up.queue_bytes.map(Into::into),
        mtu: spec.mtu_bytes.map(Into::into),
        ..jittered(up.jitter_ms.into())
    }
}

/// A description says how much longer than the delay a packet may take, a configuration by how much its delay may
/// differ from a mean one.
fn jittered(longest: Duration) -> PacketConfig {
    let half = longest / 2;
    PacketConfig {
        delay: half,
        jitter: half,
        ..PacketConfig::default()
    }
}

fn bursts(spec: BurstSpec) -> LossBursts {
    LossBursts {
        enter: spec.enter_ratio.into(),
        leave: spec.leave_ratio.into(),
        loss: spec.loss_ratio.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nearcast_units::{BitRate, ByteCount, Ratio};

    use super::*;

    fn course(text: &str) -> Course {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("link.toml");
        fs::write(&file, text).unwrap();
        Course::new(&Link::read(&file).unwrap())
    }

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn steps_follow_each_other_and_repeat() {
        let text = "steps = [{ lasts_s = 2, rate_kbps = 100 }, { lasts_s = 0.5, rate_kbps = 0, delay_ms = 7 }]\n\
                    delay_ms = 5\nrepeats = true\nup = { rate_kbps = 9 }\n";
        let course = course(text);
        let turns: Vec<_> = course.turns().take(4).collect();
        let waits = turns.iter().map(|(wait, _)| *wait).collect::<Vec<_>>();
        assert_eq!(waits, [ms(0), ms(2_000), ms(500), ms(2_000)]);
        assert_eq!((turns[0].1, turns[1].1), (turns[2].1, turns[3].1));
        let (first, second) = (turns[0].1, turns[1].1);
        assert_eq!(course.first(), first);
        assert_eq!(first.down.rate, Some(BitRate::from_kbps(100)));
        assert_eq!((first.up.delay, first.down.delay), (ms(5), ms(5)));
        assert_eq!(second.down.rate, Some(BitRate::ZERO));
        assert_eq!((second.up.delay, second.down.delay), (ms(7), ms(7)));
        // Steps are those of the way to the client.
        assert_eq!(second.up.rate, Some(BitRate::from_kbps(9)));
    }

    #[test]
    fn each_direction_is_as_it_is_described() {
        let text = "rate_kbps = 8000\ndelay_ms = 20\njitter_ms = 6\nloss_ratio = 0.25\nreorder_ratio = 0.5\n\
                    duplicate_ratio = 0.125\nqueue_bytes = 9000\nmtu_bytes = 1400\n\
                    burst_loss = { enter_ratio = 0.1, leave_ratio = 0.2, loss_ratio = 0.3 }\n\
                    up = { loss_ratio = 0.75 }\n";
        let course = course(text);
        assert_eq!(course.turns().count(), 1);
        let ratio = |share| Ratio::new(share).unwrap();
        let Both { up, down } = course.first();
        let expected = PacketConfig {
            rate: Some(BitRate::from_kbps(8_000)),
            delay: ms(23), // from 20 to 26
            jitter: ms(3),
            loss: PacketLoss {
                ratio: ratio(0.25),
                bursts: Some(LossBursts {
                    enter: ratio(0.1),
                    leave: ratio(0.2),
                    loss: ratio(0.3),
                }),
            },
            reorder: ratio(0.5),
            duplicate: ratio(0.125),
            queue: Some(ByteCount::new(9_000)),
            mtu: Some(ByteCount::new(1_400)),
        };
        assert_eq!(down, expected);
        let expected = PacketConfig {
            delay: ms(20),
            loss: PacketLoss {
                ratio: ratio(0.75),
                bursts: None,
            },
            mtu: Some(ByteCount::new(1_400)),
            ..PacketConfig::default()
        };
        assert_eq!(up, expected);
    }
}
