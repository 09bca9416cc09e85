//! The whole session of the player over a recorded network: its last mile is what was recorded, equal appliances
//! without a limit stand behind it, and what was shown is told as [`trace`](crate::trace) tells it. Sound shares the
//! last mile with the picture; bitrates and changes are of the picture alone.

use std::time::Duration;

use nearcast_core::abr::Objective;
use nearcast_core::{AbrRule, Config};
use nearcast_link::LinkConfig;
use nearcast_units::{BitRate, ByteCount};
use thiserror::Error;

use crate::driver::{Outcome, Simulation};
use crate::setup::{EdgeSetup, LinkName, LinkSchedule, LinkStep, Setup, Watch};
use crate::title::SimTitle;
use crate::trace::{self, Network, Played, Profile, SessionError};

/// Why a session came to no end.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlayerError {
    /// It was set up with what no profile can play.
    #[error(transparent)]
    Setup(#[from] SessionError),
    /// It gave up.
    #[error(
        "after {at_s:.0} s and {segments} of {of} segments the session ended with {code}: {message}"
    )]
    Failed {
        /// The session's own code.
        code: String,
        /// Its words.
        message: String,
        /// When.
        at_s: f64,
        /// How many segments were there.
        segments: usize,
        /// How many there should be.
        of: usize,
    },
    /// It did neither end nor give up.
    #[error("after {at_s:.0} s and {segments} of {of} segments the session was still not over")]
    Stuck {
        /// When.
        at_s: f64,
        /// How many segments were there.
        segments: usize,
        /// How many there should be.
        of: usize,
    },
}

/// What sound usually takes beside a picture.
pub const SOUND: BitRate = BitRate::from_kbps(128);
/// Appliances: so many race at the start.
const EDGES: usize = 3;
/// Nobody waits longer for the first picture, or for playback to go on.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Recorded networks are to be compared by their rates and not by what fits into a phone.
const MEMORY: ByteCount = ByteCount::new(1 << 40);

/// Plays one session, with sound of this rate or without. Of the set-up everything counts but the profile.
///
/// # Errors
/// When the session is set up wrongly, gives up or comes to no end.
pub fn play(
    setup: &trace::Setup<'_>,
    sound: Option<BitRate>,
    rule: AbrRule,
) -> Result<Played, PlayerError> {
    let segment_ms = setup.movie.segment_ms();
    if setup.cap_ms.is_nan() || setup.cap_ms <= segment_ms {
        let cap_ms = setup.cap_ms;
        return Err(SessionError::Cap { cap_ms, segment_ms }.into());
    }
    if setup.segments == 0 {
        let needs = "at least one segment";
        return Err(SessionError::Movie { needs }.into());
    }
    let title = SimTitle::movie(setup.movie, setup.segments);
    let title = match sound {
        Some(bitrate) => title.with_sound(bitrate),
        None => title,
    };
    let mut quiet = Setup::quiet(title, 0);
    quiet.config = Config {
        abr: rule,
        // A segment is asked for while there is less than the goal, and then comes on top of it.
        buffer_goal: millis(setup.cap_ms - segment_ms),
        memory_cap: MEMORY,
        objective: Objective {
            stall: Some(setup.mu),
            ..Objective::default()
        },
        start_timeout: PATIENCE,
        give_up: Some(PATIENCE),
        ..Config::default()
    };
    quiet.edges = (0..EDGES)
        .map(|n| EdgeSetup::new(format!("edge-{n}"), LinkConfig::default()))
        .collect();
    // Longer than all the waits that a session can have.
    quiet.limit += PATIENCE * u32::try_from(setup.segments).unwrap_or(u32::MAX);
    let mut world = quiet.world(Watch::default());
    world.schedules.push(schedule(setup.network));
    played(setup, &Simulation::world(world).run())
}

/// Returns a recorded network as what a last mile becomes. Latency is from a request to the first bit: half of it is
/// each way.
fn schedule(network: &Network) -> LinkSchedule {
    let step = |period: &trace::Period| LinkStep {
        lasts: millis(period.duration_ms),
        link: LinkConfig {
            rate: Some(BitRate::from_bps(1_000).scaled(period.kbps)),
            delay: millis(period.latency_ms) / 2,
        },
    };
    LinkSchedule {
        link: LinkName::LastMile(0),
        steps: network.periods().iter().map(step).collect(),
        repeats: true,
    }
}

fn played(setup: &trace::Setup<'_>, outcome: &Outcome) -> Result<Played, PlayerError> {
    let report = &outcome.report;
    let at_s = outcome.ended_at.as_secs_f64();
    let (segments, of) = (outcome.shown.len(), setup.segments);
    if let Some(error) = &report.error {
        return Err(PlayerError::Failed {
            code: error.code.clone(),
            message: error.message.clone(),
            at_s,
            segments,
            of,
        });
    }
    let (true, Some(startup_s)) = (outcome.over && segments == of, report.startup_s) else {
        return Err(PlayerError::Stuck { at_s, segments, of });
    };
    let bitrates_kbps = setup.movie.bitrates_kbps();
    let rungs: Vec<usize> = outcome
        .shown
        .values()
        .map(|rung| usize::from(*rung))
        .collect();
    let count = |kind: &str| {
        let all = report.decisions.iter();
        all.filter(|one| one.kind == kind).count()
    };
    Ok(Played {
        // Start-up is charged as there.
        profile: Profile::Sabre,
        bitrates_kbps: rungs.iter().map(|rung| bitrates_kbps[*rung]).collect(),
        startup_ms: startup_s * 1e3,
        stall_ms: report.stalled_s * 1e3,
        stalls: report.stalls.len(),
        total_ms: at_s * 1e3,
        abandoned: count("abandon"),
        replaced: outcome.replaced,
        wasted_bits: bits(report.bytes.wasted),
        rungs,
    })
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

fn bits(bytes: u64) -> f64 {
    BitRate::from_bps(bytes).as_f64() * 8.0
}
