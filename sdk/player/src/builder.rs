//! Makes a player: the source, what the viewer wants, the sinks.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nearcast_core::abr::{AbrPolicy, Objective};
use nearcast_core::{AbrRule, Config, Memory, Session};
use nearcast_protocol::report::PlayerName;
use nearcast_units::{BitRate, ByteCount, Instant, MediaTime, Seed};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::clock::{self, Clock};
use crate::control::Granter;
use crate::decode::{self, AudioTrack};
use crate::driver::{Driver, Order, Setup};
use crate::error::PlayerError;
use crate::event::EVENTS_MAX;
use crate::machine::{self, Lateness};
use crate::network::{Network, NetworkOptions};
use crate::player::{Inner, Player};
use crate::playhead::Playhead;
use crate::policy::PolicyThread;
use crate::pump::Outputs;
use crate::record::Recorder;
use crate::report::Additions;
use crate::sink::{AudioSink, CueSink, SampleSink};
#[cfg(feature = "video")]
use crate::sink::{FrameDelivery, FrameSink};
use crate::snapshot::PlayerSnapshot;
use crate::source::{Plan, Source};

/// Commands wait here; a person cannot press this many keys between two turns of the driver.
const ORDERS_MAX: usize = 64;

/// Settings of a player to be; all but the source have defaults.
#[must_use = "nothing plays before `start`"]
pub struct PlayerBuilder {
    source: Source,
    config: Config,
    seeded: bool,
    start_given: bool,
    resume: bool,
    locked_rung: Option<u16>,
    network: NetworkChoice,
    samples: Option<Box<dyn SampleSink>>,
    audio: Option<Box<dyn AudioSink>>,
    cues: Option<Box<dyn CueSink>>,
    #[cfg(feature = "video")]
    frames: Option<(Box<dyn FrameSink>, FrameDelivery)>,
    recording: Option<Box<dyn Write + Send>>,
    policy: Option<Box<dyn AbrPolicy>>,
    name: PlayerName,
}

enum NetworkChoice {
    Own(NetworkOptions),
    Shared(Network),
}

impl PlayerBuilder {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            config: Config::default(),
            seeded: false,
            start_given: false,
            resume: true,
            locked_rung: None,
            network: NetworkChoice::Own(NetworkOptions::default()),
            samples: None,
            audio: None,
            cues: None,
            #[cfg(feature = "video")]
            frames: None,
            recording: None,
            policy: None,
            name: PlayerName {
                name: "nearcast".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }

    /// Uses a network of the player's own with these options. It ends with the player.
    pub fn network_options(mut self, options: NetworkOptions) -> Self {
        self.network = NetworkChoice::Own(options);
        self
    }

    /// Uses connections and names that are shared with others. It outlives the player.
    pub fn network(mut self, network: Network) -> Self {
        self.network = NetworkChoice::Shared(network);
        self
    }

    /// Says which network the device is on, so that playback begins as the last session over it ended: with edges that were near,
    /// at a rung that its line carried ([`memory`](Self::memory)). Without it nothing is remembered.
    ///
    /// Any name of 1 to 128 bytes that is the same each time will do: a salted hash of the SSID, the operator's code with the
    /// kind of radio, the autonomous system. It is better not the SSID itself nor anything else that names a person: it stays on
    /// the device, in the memory and in recordings ([`record`](Self::record)), and neither edges nor the backend hear of it.
    pub fn network_identity(mut self, identity: impl Into<String>) -> Self {
        self.config.network = Some(identity.into());
        self
    }

    /// Begins with what an earlier session learnt of networks ([`Player::memory`]).
    pub fn memory(mut self, memory: Memory) -> Self {
        self.config.memory = memory;
        self
    }

    /// Starts at this place on the timeline, wherever the viewer left off.
    pub fn start_at(mut self, position: Duration) -> Self {
        self.config.start_at = MediaTime::from_duration(position);
        self.start_given = true;
        self
    }

    /// Starts where the backend says that the viewer left off (unless [`start_at`](Self::start_at) is given);
    /// on by default.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Begins paused.
    pub fn paused(mut self, paused: bool) -> Self {
        self.config.paused = paused;
        self
    }

    /// Uses no video representation above this declared bit rate.
    pub fn cap_rung(mut self, bitrate: BitRate) -> Self {
        self.config.rung_cap = Some(bitrate);
        self
    }

    /// Uses this video rung only, counted by ascending bit rate from 0.
    pub fn lock_rung(mut self, rung: u16) -> Self {
        self.locked_rung = Some(rung);
        self
    }

    /// Chooses rungs by this rule.
    pub fn abr(mut self, rule: AbrRule) -> Self {
        self.config.abr = rule;
        self
    }

    /// Chooses rungs by a policy of the application's own, on a thread of its own. Where it takes longer than 100 ms or
    /// answers what cannot be done, the rule of [`abr`](Self::abr) decides, and a decision of kind `policy` says so. Only its
    /// `transferred` and `decide` are called, the decision of which counts; transfers under way are judged by the rule of
    /// [`abr`](Self::abr), too.
    pub fn policy(mut self, policy: Box<dyn AbrPolicy>) -> Self {
        self.config.custom_policy = true;
        self.policy = Some(policy);
        self
    }

    /// What playback is to be good at: the worth of rungs, of stalls and of changes.
    pub fn objective(mut self, objective: Objective) -> Self {
        self.config.objective = objective;
        self
    }

    /// Wants sound in this language (BCP 47).
    pub fn audio_language(mut self, language: impl Into<String>) -> Self {
        self.config.audio_language = Some(language.into());
        self
    }

    /// Wants subtitles in this language (BCP 47); none are shown otherwise.
    pub fn text_language(mut self, language: impl Into<String>) -> Self {
        self.config.text_language = Some(language.into());
        self
    }

    /// Fails when playback has stalled for this long; without it the player keeps trying.
    pub fn give_up(mut self, after: Duration) -> Self {
        self.config.give_up = Some(after);
        self
    }

    /// Fails when nothing was shown after this long; 15 s unless given.
    pub fn start_timeout(mut self, after: Duration) -> Self {
        self.config.start_timeout = after;
        self
    }

    /// Keeps encoded media below this size; 32 MiB unless given.
    pub fn memory_cap(mut self, bytes: ByteCount) -> Self {
        self.config.memory_cap = bytes;
        self
    }

    /// Keeps this much media ahead of the playhead, memory allowing; 30 s unless given.
    pub fn buffer_goal(mut self, goal: Duration) -> Self {
        self.config.buffer_goal = goal;
        self
    }

    /// Lets this many edges race at start-up; 3 unless given.
    pub fn race_width(mut self, edges: usize) -> Self {
        self.config.race_width = edges;
        self
    }

    /// Makes the session's dice fall the same way again.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.config.seed = seed;
        self.seeded = true;
        self
    }

    /// Gives encoded samples to this sink.
    pub fn sample_sink(mut self, sink: impl SampleSink + 'static) -> Self {
        self.samples = Some(Box::new(sink));
        self
    }

    /// Decodes sound and plays it by this sink, which is then the master clock.
    pub fn audio_sink(mut self, sink: impl AudioSink + 'static) -> Self {
        self.audio = Some(Box::new(sink));
        self
    }

    /// Decodes pictures and gives them to this sink.
    #[cfg(feature = "video")]
    pub fn frame_sink(mut self, sink: impl FrameSink + 'static, delivery: FrameDelivery) -> Self {
        self.frames = Some((Box::new(sink), delivery));
        self
    }

    /// Tells this sink which subtitles are to be seen.
    pub fn cue_sink(mut self, sink: impl CueSink + 'static) -> Self {
        self.cues = Some(Box::new(sink));
        self
    }

    /// Writes the session's inputs there, for replay: JSON lines without URLs and tokens. What is remembered of networks is among
    /// them, with their identities.
    pub fn record(mut self, to: impl Write + Send + 'static) -> Self {
        self.recording = Some(Box::new(to));
        self
    }

    /// Names the program in reports.
    pub fn program(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = PlayerName {
            name: name.into(),
            version: version.into(),
        };
        self
    }

    /// Starts to load and, unless [`paused`](Self::paused), to play. This is the play intent that times count
    /// from.
    ///
    /// # Errors
    ///
    /// When the source or an option cannot be used, or outside a tokio runtime. What goes wrong later comes as
    /// events and from [`Player::ended`].
    pub fn start(mut self) -> Result<Player, PlayerError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| PlayerError::NoRuntime)?;
        self.check()?;
        let source_name = self.source.name();
        let (network, own_network) = match self.network {
            NetworkChoice::Own(options) => (Network::new(options)?, true),
            NetworkChoice::Shared(network) => (network, false),
        };
        self.config.began_s = clock::time_of_day_s();
        let random = SystemRandom::new();
        if !self.seeded {
            self.config.seed = Seed::new(u64::from_le_bytes(random_bytes(&random)?));
        }
        let granter = match self.source.check()? {
            Plan::Fixed(fixed) => Granter::Fixed(fixed),
            Plan::Title { backend, title } => Granter::Backend {
                backend: Backend::new(backend, &network)?,
                title,
                playback_id: None,
                request_id: format!("{:032x}", u128::from_le_bytes(random_bytes(&random)?)),
            },
        };
        let clock = Clock::start();
        let playhead = Playhead::new(clock, self.config.start_at);
        let (notes, decoders) = mpsc::channel(decode::NOTES_MAX);
        let no_thread = |error: std::io::Error| PlayerError::InvalidOption {
            option: "sink",
            reason: error.to_string(),
        };
        let audio = self
            .audio
            .map(|sink| AudioTrack::spawn(sink, clock, playhead.clone(), notes.clone()));
        #[cfg(feature = "video")]
        let video = self
            .frames
            .map(|(sink, delivery)| {
                decode::VideoTrack::spawn(sink, delivery, clock, playhead.clone(), notes.clone())
            })
            .transpose()
            .map_err(no_thread)?;
        #[cfg(not(feature = "video"))]
        let video = None;
        let outputs = Outputs {
            samples: self.samples,
            cues: self.cues,
            audio: audio.transpose().map_err(no_thread)?,
            video,
        };
        let (orders, orders_rx) = mpsc::channel(ORDERS_MAX);
        let (events, events_rx) = broadcast::channel(EVENTS_MAX);
        let (snapshot, snapshot_rx) = watch::channel(PlayerSnapshot {
            session: Session::new(self.config.clone()).snapshot(Instant::ZERO),
            cues: Vec::new(),
            frames: nearcast_protocol::report::FrameReport::default(),
            stored_bytes: 0,
            telemetry_dropped: 0,
            playback_id: None,
            title: None,
        });
        let (finished, finished_rx) = watch::channel(None);
        let stop = CancellationToken::new();
        let weak_events = events.downgrade();
        let driver = Driver::new(Setup {
            clock,
            config: self.config,
            network: network.clone(),
            granter,
            resume: self.resume && !self.start_given,
            locked_rung: self.locked_rung,
            outputs,
            playhead: playhead.clone(),
            recorder: Recorder::new(self.recording),
            policy: self.policy.and_then(PolicyThread::start),
            additions: Additions {
                player: self.name,
                source: source_name,
                frames: None,
                cpu_at_load: machine::cpu_time(),
                lateness: Lateness::default(),
            },
            orders: orders_rx,
            decoders,
            events,
            snapshot,
            finished,
        });
        let task = runtime.spawn(driver.run(stop.clone()));
        Ok(Player {
            inner: Arc::new(Inner {
                orders: Orders(orders),
                events: weak_events,
                first_events: Mutex::new(Some(events_rx)),
                snapshot: snapshot_rx,
                finished: finished_rx,
                playhead,
                own_network: own_network.then_some(network),
                task: Mutex::new(Some(task)),
                _stop: stop.drop_guard(),
            }),
        })
    }

    fn check(&self) -> Result<(), PlayerError> {
        let invalid = |option, reason: &str| {
            Err(PlayerError::InvalidOption {
                option,
                reason: reason.to_owned(),
            })
        };
        if self.config.memory_cap < MEMORY_MIN {
            return invalid(
                "memory_cap",
                "less than 1 MiB cannot hold a segment of each track",
            );
        }
        if self.config.race_width == 0 {
            return invalid("race_width", "at least one edge must be asked");
        }
        if let Some(identity) = &self.config.network {
            check_identity(identity)?;
        }
        if self.config.buffer_goal.is_zero() {
            return invalid("buffer_goal", "without a buffer nothing can be played");
        }
        Ok(())
    }
}

/// # Errors
///
/// When nothing can be remembered under this name.
pub(crate) fn check_identity(identity: &str) -> Result<(), PlayerError> {
    if Memory::takes(identity) {
        return Ok(());
    }
    Err(PlayerError::InvalidOption {
        option: "network_identity",
        reason: format!("it must have 1 to {} bytes", Memory::NAME_MAX),
    })
}

const MEMORY_MIN: ByteCount = ByteCount::new(1 << 20);

/// The way to the driver.
#[derive(Debug)]
pub(crate) struct Orders(pub(crate) mpsc::Sender<Order>);

fn random_bytes<const N: usize>(random: &SystemRandom) -> Result<[u8; N], PlayerError> {
    let mut bytes = [0; N];
    random
        .fill(&mut bytes)
        .map_err(|_| PlayerError::InvalidOption {
            option: "seed",
            reason: "the system gives no random numbers".to_owned(),
        })?;
    Ok(bytes)
}
