//! What a session is told at its start.

use alloc::string::String;
use core::time::Duration;

use nearcast_units::{BitRate, ByteCount, MediaTime, Seed};
use serde::{Deserialize, Serialize};

use crate::abr::Objective;
use crate::memory::Memory;

/// Settings of one session; the defaults suit a viewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where chance comes from.
    pub seed: Seed,
    /// Media kept ahead of the playhead. 30 s rides out most outages and fits the memory cap at 8 Mbit/s.
    /// With less than the 1.5 s that playback begins with it would never begin: then it is that.
    pub buffer_goal: Duration,
    /// All encoded and in-flight bytes together stay below this.
    pub memory_cap: ByteCount,
    /// Where to start.
    pub start_at: MediaTime,
    /// How the next representation is chosen.
    pub abr: AbrRule,
    /// Whether the application has a policy of its own: it is asked ([`crate::Action::AskPolicy`]), and `abr` answers
    /// where it does not.
    pub custom_policy: bool,
    /// What playback is to be good at.
    pub objective: Objective,
    /// No video representation above this rate.
    pub rung_cap: Option<BitRate>,
    /// Audio language wanted (BCP 47); `None` takes the manifest's default.
    pub audio_language: Option<String>,
    /// Subtitle language wanted; `None` shows none.
    pub text_language: Option<String>,
    /// Whether to begin paused.
    pub paused: bool,
    /// Fails when nothing was shown after this time.
    pub start_timeout: Duration,
    /// Fails when playback has stalled for this long; `None` keeps trying.
    pub give_up: Option<Duration>,
    /// How many edges race at start-up: for the manifest at first, and beside the one that brought it for the first
    /// segment. With 1 there is no race.
    pub race_width: usize,
    /// Bytes that races, help and probes may cost before any share is counted.
    pub extra_allowance: ByteCount,
    /// Share of the session's bytes that they may cost on top, per cent.
    pub extra_percent: u8,
    /// What earlier sessions learnt ([`crate::Session::memory`]).
    pub memory: Memory,
    /// The network that the device is on, as the application names it; `None` takes nothing up and remembers nothing. Longer
    /// names than 128 bytes count as none.
    pub network: Option<String>,
    /// When the session begins, in seconds since the Unix epoch: what is remembered fades with its age.
    pub began_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: Seed::default(),
            buffer_goal: Duration::from_secs(30),
            memory_cap: ByteCount::new(32 << 20),
            start_at: MediaTime::ZERO,
            abr: AbrRule::default(),
            custom_policy: false,
            objective: Objective::default(),
            rung_cap: None,
            audio_language: None,
            text_language: None,
            paused: false,
            start_timeout: Duration::from_secs(15),
            give_up: None,
            race_width: 3,
            extra_allowance: ByteCount::new(256 << 10),
            extra_percent: 3,
            memory: Memory::default(),
            network: None,
            began_s: 0,
        }
    }
}

/// How the next representation is chosen: the policies that are built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbrRule {
    /// A plan over the segments to come for several rates that the line may have.
    #[default]
    Horizon,
    /// Throughput while the buffer is short, buffer level (BOLA) when it is long.
    Dynamic,
    /// Throughput only.
    Throughput,
    /// Buffer level only (BOLA).
    Bola,
    /// In proportion to the buffer (BB).
    BufferBased,
    /// A plan of five segments at a cautious rate (RobustMPC).
    RobustMpc,
}
