//! Plays without a screen: a line for each thing that happens, until the end, a duration or a signal.

use std::time::Duration;

use nearcast_player::{
    BreakerState, EventKind, PlayState, Player, PlayerEvent, SessionReport, TrackKind, state_name,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print};
use crate::screen::RESUMED_MIN;

/// How a headless play ends and what it prints.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// Ends after this much wall time.
    pub(crate) duration: Option<Duration>,
    /// Prints every decision with its numbers.
    pub(crate) explain: bool,
    /// Prints nothing while it plays.
    pub(crate) quiet: bool,
    /// Says where playback is taken up again.
    pub(crate) tells_place: bool,
}

/// How a play ended.
#[derive(Debug)]
pub(crate) struct Played {
    /// What was done.
    pub(crate) report: SessionReport,
    /// Why it is no success; `None` when it is one.
    pub(crate) failure: Option<Failure>,
}

/// Watches a player to its end.
pub(crate) async fn watch(player: Player, mut watch: Watch) -> Result<Played, Failure> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(Failure::io("player.signals", "cannot listen for signals"))?;
    let mut hang_up = signal(SignalKind::hangup())
        .map_err(Failure::io("player.signals", "cannot listen for signals"))?;
    let mut events = player.events();
    let limit = async {
        match watch.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let mut timed_out = false;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    if !watch.quiet && let Some(line) = line(&event, watch.explain) {
                        print(line);
                    }
                    if matches!(event.kind, EventKind::State(PlayState::Playing)) {
                        let tells_place = std::mem::take(&mut watch.tells_place);
                        if tells_place && !watch.quiet && event.position >= RESUMED_MIN {
                            print("                     taken up again here; --start 0 plays from the start");
                        }
                    }
                }
                None => break,
            },
            ended = player.ended() => {
                if let Err(error) = ended { tracing::info!(%error, "playback failed"); }
                break;
            }
            () = &mut limit => { timed_out = true; break; }
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(Failure::io("player.signals", "cannot listen for signals"))?;
                break;
            }
            _ = terminate.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    let state = player.snapshot().session.state;
    let report = player.close().await?;
    let failure = match (&report.error, &state) {
        (Some(error), _) => Some(Failure::new(error.code.clone(), &error.message)),
        (None, PlayState::Stalled(cause)) if timed_out => Some(Failure::new(
            "playback.stalled",
            format_args!(
                "the time was up while playback stood still ({}); see the report for its edges",
                cause.code()
            ),
        )),
        (None, PlayState::Starting) if timed_out => Some(Failure::new(
            "playback.start_timeout",
            "the time was up before the first frame; check the network and the address",
        )),
        (None, _) => None,
    };
    Ok(Played { report, failure })
}

/// Says in a line what happened and when; `None` for what only `--explain` shows.
fn line(event: &PlayerEvent, explain: bool) -> Option<String> {
    if !explain && matches!(event.kind, EventKind::Decision(_)) {
        return None;
    }
    let (at, position) = (event.at.as_secs_f64(), event.position.as_secs_f64());
    Some(format!("{at:9.3}  {position:8.3}  {}", text(event)))
}

/// Says what happened.
pub(crate) fn text(event: &PlayerEvent) -> String {
    match &event.kind {
        EventKind::State(PlayState::Stalled(cause)) => format!("stalled ({})", cause.code()),
        EventKind::State(state) => state_name(state).to_owned(),
        EventKind::Granted {
            title, edges, path, ..
        } => {
            let path = path.map_or_else(String::new, |path| {
                format!(" ({path:?} request)").to_lowercase()
            });
            let title = if title.is_empty() {
                String::new()
            } else {
                format!(" {title},")
            };
            format!("granted{path}:{title} edges {}", edges.join(" "))
        }
        EventKind::GrantFailed { code, message } => format!("no grant: {code}: {message}"),
        EventKind::TracksKnown => "tracks known".to_owned(),
        EventKind::TrackRefused {
            track,
            code,
            message,
        } => format!("{} cannot be played: {code}: {message}", track_name(*track)),
        EventKind::RepresentationSwitched {
            track,
            from,
            to,
            from_position,
        } => {
            let (track, at) = (track_name(*track), from_position.as_secs_f64());
            match from {
                Some(from) => format!("{track} from {from} to {to} at {at:.1} s"),
                None => format!("{track} begins with {to} at {at:.1} s"),
            }
        }
        EventKind::FailedOver {
            track,
            from,
            to,
            reason,
            offset_bytes,
        } => {
            let track = track.map_or("manifest", track_name);
            format!("{track} goes on from {to} instead of {from} at byte {offset_bytes} ({reason})")
        }
        EventKind::EdgeState { edge, state } => match state {
            BreakerState::Closed => format!("edge {edge} is in use again"),
            BreakerState::Open => format!("edge {edge} rests after a failure"),
            BreakerState::HalfOpen => format!("edge {edge} is to be tried again"),
        },
        EventKind::AllEdgesDown => "no edge answers; trying again with back-off".to_owned(),
        EventKind::EdgesBack => "an edge answers again".to_owned(),
        EventKind::Decision(decision) => {
            let inputs: Vec<String> = decision
                .inputs
                .iter()
                .map(|(name, value)| format!("{name}={value:.3}"))
                .collect();
            format!(
                "{}: {} because: {} [{}]",
                decision.kind.name(),
                decision.chosen,
                decision.why,
                inputs.join(" ")
            )
        }
        EventKind::NotDecoded {
            track,
            code,
            message,
        } => format!("{} is not decoded: {code}: {message}", track_name(*track)),
        EventKind::InsecureTls => "WARNING: any certificate is accepted (--insecure)".to_owned(),
        EventKind::RecordingFailed { message } => {
            format!("the recording cannot be written: {message}")
        }
        EventKind::Missed { count } => format!("{count} events were missed"),
        _ => event.kind.name().to_owned(),
    }
}

const fn track_name(track: TrackKind) -> &'static str {
    match track {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
        TrackKind::Text => "text",
    }
}
