//! What there is to show, as plain data.
//!
//! [`Playback`] is what the player says; whoever feeds the screen replaces it as a whole, as often as it
//! likes. [`ViewState`] adds what belongs to the screen alone.

use std::time::Duration;

use nearcast_units::{BitRate, ByteCount, MediaTime, Ratio};

use super::graphics::{CellSize, Colours, Method};
use super::picture::Picture;

/// What the player says about the session at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// The title's name for people.
    pub title: String,
    /// What playback is doing.
    pub phase: Phase,
    /// Whether the viewer holds it, also while the playhead is on its way or waits.
    pub is_paused: bool,
    /// Whether the playhead stands still, for whatever reason.
    pub is_held: bool,
    /// How many commands were heard before this was said.
    pub commands_heard: u64,
    /// The playhead.
    pub position: MediaTime,
    /// The length of the title; `None` while it is not known.
    pub duration: Option<Duration>,
    /// Media time after the playhead that is there, for the picture.
    pub video_buffer: Duration,
    /// Media time after the playhead that is there, for the sound.
    pub audio_buffer: Duration,
    /// The buffer level that fills the gauge.
    pub buffer_goal: Duration,
    /// Past video buffer levels, oldest first, for the small curve.
    pub buffer_history: Vec<Duration>,
    /// The video rungs, lowest first.
    pub ladder: Vec<Rung>,
    /// Which rung plays now, an index into `ladder`.
    pub rung: Option<usize>,
    /// Whether the viewer holds a rung.
    pub rung_choice: RungChoice,
    /// The audio tracks to choose from.
    pub audio_tracks: Vec<Track>,
    /// The chosen audio track, an index into `audio_tracks`.
    pub audio: Option<usize>,
    /// The subtitle tracks to choose from.
    pub subtitle_tracks: Vec<Track>,
    /// The chosen subtitle track, an index into `subtitle_tracks`; `None` is off.
    pub subtitles: Option<usize>,
    /// The subtitle text of this moment, lines apart by `\n`; empty for none.
    pub cue: String,
    /// Loudness.
    pub volume: Ratio,
    /// Whether the sound is muted; the volume is kept.
    pub muted: bool,
    /// Why there is no sound, `None` when there is.
    pub sound_note: Option<String>,
    /// Why there is no picture, `None` when there is one or will be.
    pub picture_note: Option<String>,
    /// The edges, best first. More than ten are not shown.
    pub edges: Vec<Edge>,
    /// The last decisions, oldest first.
    pub decisions: Vec<Decision>,
    /// How often playback stopped for want of media.
    pub stall_count: u32,
    /// For how long in all.
    pub stalled: Duration,
    /// How often another edge took over.
    pub failover_count: u32,
    /// Where playback was taken up again, if not at the start.
    pub resumed_from: Option<MediaTime>,
    /// What playback suffers from until that is over, for example that no edge answers.
    pub trouble: Option<String>,
    /// What is in the way while nothing moves, with what to do about it; in the end why playback failed.
    pub obstacle: Option<String>,
    /// Why connections are not to be trusted, `None` when they are.
    pub tls_note: Option<String>,
    /// The last thing worth a line, for example an error that is being handled.
    pub notice: Option<String>,
    /// Whether `K` may kill the edge in use: only where the edges are ours.
    pub can_kill: bool,
}

impl Default for Playback {
    fn default() -> Self {
        Self {
            title: String::new(),
            phase: Phase::Starting,
            is_paused: false,
            is_held: false,
            commands_heard: 0,
            position: MediaTime::ZERO,
            duration: None,
            video_buffer: Duration::ZERO,
            audio_buffer: Duration::ZERO,
            buffer_goal: Duration::from_secs(30),
            buffer_history: Vec::new(),
            ladder: Vec::new(),
            rung: None,
            rung_choice: RungChoice::Auto,
            audio_tracks: Vec::new(),
            audio: None,
            subtitle_tracks: Vec::new(),
            subtitles: None,
            cue: String::new(),
            volume: Ratio::ONE,
            muted: false,
            sound_note: None,
            picture_note: None,
            edges: Vec::new(),
            decisions: Vec::new(),
            stall_count: 0,
            stalled: Duration::ZERO,
            failover_count: 0,
            resumed_from: None,
            trouble: None,
            obstacle: None,
            tls_note: None,
            notice: None,
            can_kill: false,
        }
    }
}

impl Playback {
    /// Returns the edge that media comes from now.
    #[must_use]
    pub fn edge_in_use(&self) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.in_use)
    }
}

/// What playback is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has been shown yet.
    #[default]
    Starting,
    /// The playhead moves.
    Playing,
    /// The viewer stopped it.
    Paused,
    /// The playhead waits for media.
    Stalled,
    /// The playhead is on its way to another place.
    Seeking,
    /// The end was reached.
    Ended,
    /// Playback gave up; `obstacle` says why.
    Failed,
}

/// One rung of the ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The representation's id.
    pub name: String,
    /// What the manifest declares.
    pub bitrate: BitRate,
    /// Lines of the picture, where the manifest says so.
    pub height: Option<u32>,
}

/// Who chooses the rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RungChoice {
    /// The player.
    #[default]
    Auto,
    /// The viewer, who chose this index of the ladder.
    Locked(usize),
}

/// An audio or subtitle track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The name for people, for example a language.
    pub label: String,
}

/// One edge as the player sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The appliance's id.
    pub id: String,
    /// Where it stands.
    pub site: String,
    /// Whether it may be used.
    pub state: EdgeState,
    /// The protocol last spoken with it: `h3`, `h2` or `http1`.
    pub protocol: Option<String>,
    /// The usual time to the first byte.
    pub ttfb: Option<Duration>,
    /// The rate of recent transfers.
    pub throughput: Option<BitRate>,
    /// What came from it in this session.
    pub bytes: ByteCount,
    /// Whether media comes from it now.
    pub in_use: bool,
    /// Whether it was killed: by the viewer with `K`, or by whoever shows what happens then.
    pub killed: bool,
}

/// Whether an edge may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeState {
    /// Nothing is known of it yet.
    #[default]
    Untried,
    /// It may be used.
    Closed,
    /// It rests after failures.
    Open,
    /// A probe decides.
    HalfOpen,
}

/// One decision of the player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When, counted from the play intent.
    pub at: Duration,
    /// What it was about, for example `edge` or `rung`.
    pub kind: String,
    /// What was chosen and why.
    pub text: String,
    /// What it was compared with, the best first; empty where nothing was.
    pub compared: String,
}

/// Everything that [`view`](super::view()) draws.
#[derive(Clone, Debug, Default)]
pub struct ViewState {
    /// What the player says.
    pub playback: Playback,
    /// The newest picture.
    pub picture: Option<Picture>,
    /// What the terminal can do.
    pub screen: Screen,
    /// Whether the help lies over the screen.
    pub help: bool,
    /// Whether the picture has the screen for itself.
    pub picture_only: bool,
    /// An answer to the last key, shown until the next one.
    pub answer: Option<String>,
    /// Frames that were not drawn because the terminal was still busy with an earlier one.
    pub frames_dropped: u64,
}

/// What the terminal can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// How pictures are shown.
    pub method: Method,
    /// Which colours there are.
    pub colours: Colours,
    /// The size of a cell.
    pub cell: CellSize,
}
