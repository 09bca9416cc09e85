//! A session of one rule: what was asked, what came of it, and the two ways it is run.

mod pensieve;
mod playback;
mod sabre;

use thiserror::Error;

use super::{Movie, Network, Rule};
use playback::Playback;

pub use pensieve::{PENSIEVE_RATE, PENSIEVE_RTT_MS};

/// Whose semantics a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Of the simulator Sabre: latency is part of the network's time, transfers can be given up, segments replaced.
    Sabre,
    /// Of the simulator that Pensieve was trained in: a fixed round trip beside the network's time; the first
    /// segment has the second rung and does not count.
    Pensieve,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The way it is run.
    pub profile: Profile,
    /// Over this network, from its beginning.
    pub network: &'a Network,
    /// What is played.
    pub movie: &'a Movie,
    /// How many segments of it; see [`Setup::segments`].
    pub segments: usize,
    /// What the buffer may hold.
    pub cap_ms: f64,
    /// What a second of stall costs, in Mbit/s of one segment.
    pub mu: f64,
}

/// Why a session came to no end.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum SessionError {
    /// The buffer has no room for a segment.
    #[error(
        "the buffer holds {cap_ms} ms, and one segment is {segment_ms} ms: it must hold at least that"
    )]
    Cap {
        /// What it may hold.
        cap_ms: f64,
        /// How long a segment plays.
        segment_ms: f64,
    },
    /// The session has no segments, or the ladder lacks the rung that the profile begins with.
    #[error("the profile needs {needs}")]
    Movie {
        /// What is not there.
        needs: &'static str,
    },
    /// The network gave a segment not in a day.
    #[error(
        "segment {segment} was not there after a day: the network as good as never delivers, and each segment has to come \
         within one"
    )]
    Stuck {
        /// Which one.
        segment: usize,
    },
    /// The rule chose what is not there.
    #[error(
        "for segment {segment} the rule chose rung {rung} after {wait_ms} ms, of a ladder of {rungs}"
    )]
    Choice {
        /// Which one.
        segment: usize,
        /// What it chose.
        rung: usize,
        /// How long it wanted to wait first.
        wait_ms: f64,
        /// How many rungs there are.
        rungs: usize,
    },
    /// The rule replaced a segment that is not in the buffer, or gave up and replaced without end.
    #[error("the rule asked for segment {segment} too often, or when it was not in the buffer")]
    Replacement {
        /// Which one.
        segment: usize,
    },
}

/// No transfer takes longer.
const STUCK_MS: f64 = 86_400_000.0;
/// Transfers in a session, for each of its segments: a rule that gives up or replaces for ever comes to an end.
const TRANSFERS_PER_SEGMENT: usize = 100;

/// What came of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// The profile it was run in.
    pub profile: Profile,
    /// Rung of each segment as it was played.
    pub rungs: Vec<usize>,
    /// The same in kbit/s.
    pub bitrates_kbps: Vec<f64>,
    /// From the request of the first segment until it was there. Counted as a stall by [`Profile::Sabre`].
    pub startup_ms: f64,
    /// Playback stood still after it had begun.
    pub stall_ms: f64,
    /// How often it came to stand.
    pub stalls: usize,
    /// From the start to the end of playback.
    pub total_ms: f64,
    /// Transfers given up.
    pub abandoned: usize,
    /// Segments replaced in the buffer.
    pub replaced: usize,
    /// What came and was not played.
    pub wasted_bits: f64,
}

impl Setup<'_> {
    /// Returns how many segments make up so much of a movie: its own number for `None`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of segments, bounded"
    )]
    pub fn segments(movie: &Movie, length_ms: Option<f64>) -> usize {
        /// A session as long as this is a mistake, and its path would fill the memory.
        const SEGMENTS_MAX: f64 = 1e6;
        length_ms.map_or(movie.segments(), |length_ms| {
            (length_ms / movie.segment_ms())
                .ceil()
                .clamp(1.0, SEGMENTS_MAX) as usize
        })
    }
}

impl Played {
    /// Returns the sum of quality over the session: bitrate in Mbit/s, minus `mu` for each second of stall, minus
    /// every change of bitrate. What counts differs between the profiles.
    #[must_use]
    pub fn qoe(&self, mu: f64) -> f64 {
        let counted = self.counted();
        let rates: f64 = counted.iter().sum();
        let startup_ms = match self.profile {
            Profile::Sabre => self.startup_ms,
            Profile::Pensieve => 0.0,
        };
        (rates - self.change_kbps()) / 1e3 - mu * (self.stall_ms + startup_ms) / 1e3
    }

    /// Returns [`qoe`](Self::qoe) for each segment that counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub fn qoe_per_segment(&self, mu: f64) -> f64 {
        self.qoe(mu) / self.counted().len().max(1) as f64
    }

    /// Returns the mean of all segments' bitrates.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of segments")]
    pub fn mean_kbps(&self) -> f64 {
        self.bitrates_kbps.iter().sum::<f64>() / self.bitrates_kbps.len() as f64
    }

    /// Returns the mean bitrate over the whole time, in which start-up and stalls count as nothing.
    #[must_use]
    pub fn time_mean_kbps(&self) -> f64 {
        let stood_ms = self.startup_ms + self.stall_ms;
        self.mean_kbps() * (self.total_ms - stood_ms) / self.total_ms
    }

    /// Returns the sum of all changes of bitrate between neighbours.
    #[must_use]
    pub fn change_kbps(&self) -> f64 {
        let pairs = self.bitrates_kbps.windows(2);
        pairs.map(|pair| (pair[1] - pair[0]).abs()).sum()
    }

    /// Returns how many of them there are.
    #[must_use]
    pub fn switches(&self) -> usize {
        let pairs = self.rungs.windows(2);
        pairs.filter(|pair| pair[0] != pair[1]).count()
    }

    /// Returns how many segments [`qoe_per_segment`](Self::qoe_per_segment) divides by.
    #[must_use]
    pub fn counts(&self) -> usize {
        self.counted().len()
    }

    /// Returns the bitrates of the segments that count.
    fn counted(&self) -> &[f64] {
        match self.profile {
            Profile::Sabre => &self.bitrates_kbps,
            Profile::Pensieve => &self.bitrates_kbps[1..],
        }
    }
}

/// Runs one session.
///
/// # Errors
/// When set-up, network or rule let it come to no end.
pub fn run<R: Rule + ?Sized>(setup: &Setup<'_>, rule: &mut R) -> Result<Played, SessionError> {
    let segment_ms = setup.movie.segment_ms();
    if setup.cap_ms.is_nan() || setup.cap_ms < segment_ms {
        let cap_ms = setup.cap_ms;
        return Err(SessionError::Cap { cap_ms, segment_ms });
    }
    if setup.segments == 0 {
        let needs = "at least one segment";
        return Err(SessionError::Movie { needs });
    }
    match setup.profile {
        Profile::Sabre => sabre::run(setup, rule),
        Profile::Pensieve => pensieve::run(setup, rule),
    }
}

/// Refuses a choice that is none.
fn checked(
    setup: &Setup<'_>,
    segment: usize,
    rung: usize,
    wait_ms: f64,
) -> Result<(), SessionError> {
    let rungs = setup.movie.rungs();
    if rung < rungs && (0.0..=STUCK_MS).contains(&wait_ms) {
        return Ok(());
    }
    Err(SessionError::Choice {
        segment,
        rung,
        wait_ms,
        rungs,
    })
}
