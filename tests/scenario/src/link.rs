//! What a link is like, in one table: an appliance's, a last mile, or a file of its own for
//! `nearcast-lab packet --link`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nearcast_link::LinkConfig;
use nearcast_units::{BitRate, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{self, ScenarioError, Source};
use crate::network::Network;
use crate::quantity::{Bytes, Kbps, Millis, Seconds, Share};

/// A link, as it is written. Rate, loss and all else are those of the way to the viewer, but `up`; the delay is that of either
/// way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    /// What it passes, headers of packets among it (a twentieth); no limit where this is left out.
    pub rate_kbps: Option<Kbps>,
    /// How its rate changes, one step after the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSpec>,
    /// A file of a recorded network, relative to this one: `duration_ms,kbps,latency_ms` in each line, two columns
    /// `time_s rate_mbps`, or Mahimahi's packet times.
    pub trace: Option<String>,
    /// Whether the first step follows the last one (left out: for `trace` yes, for `steps` no, where the last one stays).
    pub repeats: Option<bool>,
    /// How long everything takes to cross it, each way.
    pub delay_ms: Millis,
    /// How much longer it may take, by chance.
    pub jitter_ms: Millis,
    /// Packets that are lost, each for itself.
    pub loss_ratio: Share,
    /// Packets that are lost in bursts (Gilbert-Elliott), beside the others.
    pub burst_loss: Option<BurstSpec>,
    /// Packets that overtake those before them.
    pub reorder_ratio: Share,
    /// Packets that come twice.
    pub duplicate_ratio: Share,
    /// How much waits before the rest is dropped; left out, as much as the link passes in a tenth of a second, and at least 100 kB.
    pub queue_bytes: Option<Bytes>,
    /// Larger packets do not pass.
    pub mtu_bytes: Option<Bytes>,
    /// The way from the viewer.
    pub up: Option<UpSpec>,
}

/// A step of a link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// How long it lasts.
    pub lasts_s: Seconds,
    /// What the link passes; 0 is an outage.
    pub rate_kbps: Kbps,
    /// Its delay; left out, the link's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
}

/// Loss in bursts: a chain of two states that moves with each packet (Gilbert, 1960; Elliott, 1963).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BurstSpec {
    /// How likely a burst begins with a packet.
    pub enter_ratio: Share,
    /// How likely it ends with one: bursts last one through this on average.
    pub leave_ratio: Share,
    /// What is lost within it.
    pub loss_ratio: Share,
}

/// The way from the viewer: without anything here, it passes all there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpSpec {
    /// What it passes; no limit where this is left out.
    pub rate_kbps: Option<Kbps>,
    /// How much longer than the delay it may take, by chance.
    pub jitter_ms: Millis,
    /// Packets that are lost, each for itself.
    pub loss_ratio: Share,
    /// Packets that are lost in bursts.
    pub burst_loss: Option<BurstSpec>,
    /// Packets that overtake those before them.
    pub reorder_ratio: Share,
    /// Packets that come twice.
    pub duplicate_ratio: Share,
    /// How much waits before the rest is dropped.
    pub queue_bytes: Option<Bytes>,
}

/// A link that can be had: its files are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// As it was written.
    pub spec: LinkSpec,
    /// Rate and delay over time, at least one step.
    pub steps: Vec<Step>,
    /// Whether the first step follows the last one.
    pub repeats: bool,
}

/// A stretch of time in which rate and delay do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long it lasts.
    pub lasts: Duration,
    /// Rate and delay.
    pub link: LinkConfig,
}

/// What a body gets of a packet of 1,480 bytes, the largest that QUIC sends at an MTU of 1,500: the rest are headers of IPv4, UDP,
/// QUIC and HTTP/3. Of TCP and TLS it is as much.
const BODY_RATIO: f64 = 1_400.0 / 1_480.0;

/// A link without steps stays as it is for as long as anybody looks.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Link {
    /// Reads a link's own file, and its trace beside it.
    ///
    /// # Errors
    /// Where, what is wrong and what would be right.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let text = error::read(file)?;
        let source = Source { file, text: &text };
        let spec: LinkSpec = toml::from_str(&text).map_err(|error| source.toml(&error))?;
        let made = Self::new(spec, beside(file));
        made.map_err(|(key, what)| source.error(source.only(key), what, None))
    }

    /// Makes a link of what was written; `read` brings the text of its trace. What contradicts itself, or is wrong with the trace, is
    /// told with the key that is.
    pub(crate) fn new(
        spec: LinkSpec,
        read: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Self, (&'static str, String)> {
        let ways = [
            ("rate_kbps", spec.rate_kbps.is_some()),
            ("steps", !spec.steps.is_empty()),
            ("trace", spec.trace.is_some()),
        ];
        let mut ways = ways.into_iter().filter(|(_, is_there)| *is_there);
        if let (Some(_), Some((again, _))) = (ways.next(), ways.next()) {
            return Err((
                again,
                "the rate is told more than once: keep one of `rate_kbps`, `steps` and `trace`"
                    .to_owned(),
            ));
        }
        let delay = Duration::from(spec.delay_ms);
        let steps: Vec<Step> = if let Some(file) = &spec.trace {
            let text = read(file).map_err(|what| ("trace", what))?;
            let network =
                Network::read(&text).map_err(|error| ("trace", format!("{file}: {error}")))?;
            let step = |period: &crate::network::Period| Step {
                lasts: Duration::from_secs_f64(period.duration_ms / 1e3),
                link: LinkConfig {
                    rate: Some(BitRate::from_bps(1_000).scaled(period.kbps)),
                    delay: delay + Duration::from_secs_f64(period.latency_ms / 2e3),
                },
            };
            network.periods().iter().map(step).collect()
        } else if spec.steps.is_empty() {
            vec![Step {
                lasts: FOR_EVER,
                link: LinkConfig {
                    rate: spec.rate_kbps.map(BitRate::from),
                    delay,
                },
            }]
        } else {
            let step = |step: &StepSpec| Step {
                lasts: step.lasts_s.into(),
                link: LinkConfig {
                    rate: Some(step.rate_kbps.into()),
                    delay: step.delay_ms.map_or(delay, Duration::from),
                },
            };
            spec.steps.iter().map(step).collect()
        };
        let repeats = spec.repeats.unwrap_or(spec.trace.is_some());
        let round: Duration = steps.iter().map(|step| step.lasts).sum();
        if round.is_zero() {
            return Err((
                "steps",
                "its steps last no time at all: `lasts_s` above 0 would be right".to_owned(),
            ));
        }
        if spec.mtu_bytes.is_some_and(|mtu| u64::from(mtu) < MTU_MIN) {
            return Err((
                "mtu_bytes",
                format!("packets of {MTU_MIN} bytes have to pass, as everywhere on the internet"),
            ));
        }
        Ok(Self {
            spec,
            steps,
            repeats,
        })
    }

    /// Returns the link as bodies see it that cross it without packets: headers take their part of the rate.
    #[must_use]
    pub fn of_bodies(&self) -> Self {
        let mut link = self.clone();
        for step in &mut link.steps {
            step.link.rate = step.link.rate.map(|rate| rate.scaled(BODY_RATIO));
        }
        link
    }

    /// Returns rate and delay at the beginning.
    #[must_use]
    pub fn first(&self) -> LinkConfig {
        self.steps.first().map(|step| step.link).unwrap_or_default()
    }

    /// Returns how it is, and from when on, until a time: steps follow each other, round after round where they repeat.
    pub fn turns(&self, until: Duration) -> impl Iterator<Item = (Duration, LinkConfig)> + use<'_> {
        let rounds = if self.repeats { usize::MAX } else { 1 };
        let mut at = Duration::ZERO;
        let all = std::iter::repeat_n(&self.steps, rounds).flatten();
        let all = all.map(move |step| {
            let from = at;
            at = at.saturating_add(step.lasts);
            (from, step.link)
        });
        all.take_while(move |(at, _)| *at <= until)
    }

    /// Whether its rate or delay changes.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.steps.len() > 1
    }

    /// Returns the share of packets that are lost on the way to the viewer, over a long time.
    #[must_use]
    pub fn mean_loss(&self) -> Ratio {
        let single = f64::from(self.spec.loss_ratio);
        let burst = self.spec.burst_loss.map_or(0.0, |burst| burst.mean_loss());
        Ratio::new(1.0 - (1.0 - single) * (1.0 - burst)).unwrap_or(Ratio::ONE)
    }

    /// Returns how much longer than its delay it may take.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        self.spec.jitter_ms.into()
    }
}

/// Reads files that are named relative to another one.
pub(crate) fn beside(file: &Path) -> impl Fn(&str) -> Result<String, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    |name| {
        let path = folder.join(name);
        fs::read_to_string(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}

/// What IPv4 hosts must take (RFC 791).
const MTU_MIN: u64 = 576;

impl BurstSpec {
    fn mean_loss(&self) -> f64 {
        let (enter, leave) = (f64::from(self.enter_ratio), f64::from(self.leave_ratio));
        if enter + leave <= 0.0 {
            return 0.0;
        }
        enter / (enter + leave) * f64::from(self.loss_ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Result<Link, String> {
        let spec: LinkSpec = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let made = Link::new(spec, |file| Err(format!("{file} was not to be read")));
        made.map_err(|(key, what)| format!("{key}: {what}"))
    }

    #[test]
    fn a_link_is_constant_or_goes_in_steps_or_as_recorded() {
        let constant = link("rate_kbps = 5000\ndelay_ms = 20").unwrap();
        assert_eq!(constant.first().rate, Some(BitRate::from_kbps(5_000)));
        assert!(!constant.changes());
        let steps = "steps = [{ lasts_s = 10, rate_kbps = 8000 }, { lasts_s = 5, rate_kbps = 0, delay_ms = 90 }]\nrepeats = true";
        let steps = link(steps).unwrap();
        assert!(steps.repeats);
        let told = steps.steps.iter().map(|step| {
            let kbps = step.link.rate.map(|rate| rate.as_bps() / 1000);
            (step.lasts.as_secs(), kbps, step.link.delay.as_millis())
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [(10, Some(8_000), 0), (5, Some(0), 90)]);
        let spec = toml::from_str("trace = \"t.csv\"\ndelay_ms = 5").unwrap();
        let recorded = Link::new(spec, |_| Ok("1000,2000,40\n1000,500,60\n".to_owned())).unwrap();
        assert!(recorded.repeats);
        assert_eq!(recorded.first().delay, Duration::from_millis(25));
        let second = recorded.steps[1].link;
        assert_eq!(second.rate, Some(BitRate::from_kbps(500)));
        assert_eq!(second.delay, Duration::from_millis(35));
    }

    #[test]
    fn a_links_file_is_told_with_its_line_when_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("link.toml");
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            Link::read(&file).map_err(|error| error.to_string())
        };
        let said = read("delay_ms = 5\nrate = 5").unwrap_err();
        assert!(
            said.contains("link.toml:2: `rate` lacks its unit"),
            "{said}"
        );
        assert!(said.contains("write `rate_kbps`"), "{said}");
        let said = read("rate_kbps = 5\nsteps = [{ lasts_s = 1, rate_kbps = 4 }]").unwrap_err();
        assert!(
            said.contains("link.toml:2: the rate is told more than once"),
            "{said}"
        );
        let said = read("trace = \"none.csv\"").unwrap_err();
        assert!(said.contains("none.csv cannot be read"), "{said}");
        fs::write(folder.path().join("net.csv"), "1000,2000,40\n").unwrap();
        let recorded = read("trace = \"net.csv\"").unwrap();
        assert_eq!(recorded.first().rate, Some(BitRate::from_kbps(2_000)));
        let said = Link::read(Path::new("nowhere.toml")).unwrap_err();
        assert!(
            said.to_string().starts_with("nowhere.toml: cannot be read"),
            "{said}"
        );
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        for (text, says) in [
            ("rate_kbps = 5\ntrace = \"t\"", "more than once"),
            ("rate_kbps = -5", "is negative"),
            ("loss_ratio = 3", "is no share"),
            ("steps = [{ lasts_s = 0, rate_kbps = 8 }]", "no time at all"),
            ("mtu_bytes = 100", "mtu_bytes: packets of 576 bytes"),
            ("trace = \"t\"", "was not to be read"),
        ] {
            let said = link(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }

    #[test]
    fn loss_in_bursts_and_out_of_them_adds_up() {
        let text = "loss_ratio = 0.1\nburst_loss = { enter_ratio = 0.1, leave_ratio = 0.3, loss_ratio = 0.8 }";
        let lost = link(text).unwrap().mean_loss().get();
        assert!((lost - (1.0 - 0.9 * 0.8)).abs() < 1e-9, "{lost}");
    }
}
