//! Plays without a screen: a line for each thing that happens, until the end, a duration or a signal.

use std::collections::BTreeMap;
use std::time::Duration;

use nearcast_player::{
    BreakerState, EventKind, MediaTime, PlayState, Player, PlayerEvent, TrackKind, state_name,
};

use super::{End, Failure, Played, Signals, Wishes, print};
use crate::screen::RESUMED_MIN;

/// How a headless play ends and what it prints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Ends after this much wall time.
    pub(crate) duration: Option<Duration>,
    /// Prints what happens.
    pub(crate) prints: bool,
    /// Prints every decision with its numbers too.
    pub(crate) explain: bool,
    /// Says where playback is taken up again.
    pub(crate) tells_place: bool,
    /// Says what of these the title does not have, whatever else is printed.
    pub(crate) wishes: Wishes,
}

impl Watch {
    fn tell(&mut self, event: &PlayerEvent) {
        if !self.prints {
            return;
        }
        if let Some(line) = line(event, self.explain) {
            print(line);
        }
        if matches!(event.kind, EventKind::State(PlayState::Playing)) {
            let tells_place = std::mem::take(&mut self.tells_place);
            if tells_place && event.position >= RESUMED_MIN {
                print("                     taken up again here; --start 0 plays from the start");
            }
        }
    }
}

/// Watches a player to its end, the time's or a signal.
pub(crate) async fn watch(
    player: Player,
    mut watch: Watch,
    signals: &Signals,
) -> Result<Played, Failure> {
    let mut events = player.events();
    let duration = watch.duration;
    let limit = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let end = loop {
        tokio::select! {
            // What happened is told before anything ends it.
            biased;
            event = events.next() => match event {
                Some(event) => {
                    watch.tell(&event);
                    watch.wishes.tell(&player.snapshot().session);
                }
                None => break End::Done,
            },
            number = signals.next() => break End::Signal(number),
            () = &mut limit => break End::TimeUp,
        }
    };
    let last = player.snapshot().session;
    let report = player.close().await?;
    // It says a little more while it ends.
    while let Some(event) = events.next().await {
        watch.tell(&event);
    }
    Ok(Played::new(report, last, end))
}

/// Says in a line what happened and when; `None` for what only `--explain` shows.
fn line(event: &PlayerEvent, explain: bool) -> Option<String> {
    if !explain && matches!(event.kind, EventKind::Decision(_)) {
        return None;
    }
    Some(times(event.at, event.position) + &text(event))
}

/// Begins a line: seconds since the play intent, and of media.
pub(crate) fn times(at: Duration, position: MediaTime) -> String {
    format!("{:9.3}  {:8.3}  ", at.as_secs_f64(), position.as_secs_f64())
}

/// Three digits after the point are for seconds and scores, and none for bits and bytes.
fn number(value: f64) -> String {
    if value.abs() < 1_000.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.0}")
    }
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
        EventKind::EdgeState {
            edge,
            state,
            reason,
        } => match state {
            BreakerState::Closed => format!("edge {edge} is in use again"),
            BreakerState::Open => match reason {
                Some(reason) => format!("edge {edge} rests ({reason})"),
                None => format!("edge {edge} rests"),
            },
            BreakerState::HalfOpen => format!("edge {edge} is to be tried again"),
        },
        EventKind::AllEdgesDown { last } => match last {
            Some(last) => format!("no edge answers, trying again with back-off: {last}"),
            None => "no edge answers; trying again with back-off".to_owned(),
        },
        EventKind::EdgesBack => "an edge answers again".to_owned(),
        EventKind::Decision(decision) => {
            let listed = |numbers: &BTreeMap<String, f64>| {
                let each = numbers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", number(*value)));
                each.collect::<Vec<String>>().join(" ")
            };
            let scores = if decision.scores.is_empty() {
                String::new()
            } else {
                format!(" of [{}]", listed(&decision.scores))
            };
            format!(
                "{}: {} because: {} [{}]{scores}",
                decision.kind.name(),
                decision.chosen,
                decision.why,
                listed(&decision.inputs)
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

#[cfg(test)]
mod tests {
    use nearcast_player::{Decision, DecisionKind};

    use super::*;

    #[test]
    fn an_explained_decision_says_what_it_rests_on_and_what_it_was_among() {
        let numbers = |all: &[(&str, f64)]| {
            let all = all.iter().map(|(name, value)| ((*name).to_owned(), *value));
            all.collect::<BTreeMap<String, f64>>()
        };
        let decision = Decision {
            kind: DecisionKind::Rung,
            chosen: "v5".to_owned(),
            why: "the best plan for the segments to come".to_owned(),
            inputs: numbers(&[("buffer_s", 5.3584), ("rate_low_bps", 3_396_184.4)]),
            scores: numbers(&[("v4", -2.02), ("v5", 2.85)]),
        };
        let event = PlayerEvent {
            at: Duration::from_millis(94_937),
            position: MediaTime::from_micros(89_500_000),
            kind: EventKind::Decision(decision),
        };
        let told = "   94.937    89.500  rung: v5 because: the best plan for the segments to come \
                    [buffer_s=5.358 rate_low_bps=3396184] of [v4=-2.020 v5=2.850]";
        assert_eq!(line(&event, true).as_deref(), Some(told));
        assert_eq!(line(&event, false), None);
    }
}
