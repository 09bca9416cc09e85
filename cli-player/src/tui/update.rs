//! What a key does.

use nearcast_units::{MediaTime, Ratio};
use std::time::Duration;

use super::keys::Key;
use super::picture::PixelSize;
use super::state::{Phase, Playback, RungChoice, ViewState};

/// What the viewer, or the screen, wants of the player.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Move the playhead on.
    Play,
    /// Hold the playhead.
    Pause,
    /// Move the playhead to a place on the timeline.
    SeekTo(MediaTime),
    /// Set the loudness.
    SetVolume(Ratio),
    /// Mute or unmute.
    SetMuted(bool),
    /// Play this audio track, an index into the tracks.
    ChooseAudio(usize),
    /// Show this subtitle track, an index into the tracks; `None` shows none.
    ChooseSubtitles(Option<usize>),
    /// Hold this rung, an index into the ladder.
    LockRung(usize),
    /// Let the player choose the rung.
    AutoRung,
    /// Kill the edge with this id; only where [`can_kill`](super::Playback::can_kill) says so.
    KillEdge(String),
    /// Pictures are best delivered in this size from now on; `None` when none is shown.
    PictureSize(Option<PixelSize>),
    /// The process was stopped (Ctrl-Z) and goes on: clocks and connections may be stale.
    Continued,
    /// End playback. The loop ends by itself too.
    Quit,
}

/// Changes the state by a key and returns what the player must do, if anything.
///
/// Besides the command the state shows at once what the player will confirm a moment later, so that keys
/// pressed quickly add up.
pub fn update(state: &mut ViewState, key: Key) -> Option<Command> {
    state.answer = None;
    match key {
        Key::Char(' ' | 'p') => toggle(state),
        Key::Left => seek_by(state, Direction::Back, STEP),
        Key::Right => seek_by(state, Direction::On, STEP),
        Key::Down | Key::ShiftLeft => seek_by(state, Direction::Back, LEAP),
        Key::Up | Key::ShiftRight => seek_by(state, Direction::On, LEAP),
        Key::Home => seek_to(state, MediaTime::ZERO),
        Key::Char(digit @ '0'..='9') => seek_to_tenth(state, digit),
        Key::Char('+' | '=') => volume(state, VOLUME_STEP_PERCENT),
        Key::Char('-' | '_') => volume(state, -VOLUME_STEP_PERCENT),
        Key::Char('m') => {
            state.playback.muted = !state.playback.muted;
            answer_loudness(state);
            Some(Command::SetMuted(state.playback.muted))
        }
        Key::Char('a') => next_audio(state),
        Key::Char('s' | 'c') => next_subtitles(state),
        Key::Char('[') => lock(state, Direction::Back),
        Key::Char(']') => lock(state, Direction::On),
        Key::Char('r') => {
            state.playback.rung_choice = RungChoice::Auto;
            Some(Command::AutoRung)
        }
        Key::Char('K') => kill(state),
        Key::Char('i') => {
            state.picture_only = !state.picture_only;
            None
        }
        Key::Char('?' | 'h') => {
            state.help = !state.help;
            None
        }
        Key::Escape => {
            state.help = false;
            None
        }
        Key::Char('q') | Key::Interrupt => Some(Command::Quit),
        Key::Char(_) => {
            state.answer = Some("? shows the keys".to_owned());
            None
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Back,
    On,
}

const STEP: Duration = Duration::from_secs(10);
const LEAP: Duration = Duration::from_secs(60);
const VOLUME_STEP_PERCENT: i32 = 5;

fn toggle(state: &mut ViewState) -> Option<Command> {
    let playback = &mut state.playback;
    match playback.phase {
        Phase::Ended => return seek_to(state, MediaTime::ZERO),
        Phase::Failed => return None,
        Phase::Playing => playback.phase = Phase::Paused,
        Phase::Paused => playback.phase = Phase::Playing,
        // What it waits for comes first.
        Phase::Starting | Phase::Stalled | Phase::Seeking => {}
    }
    playback.is_paused = !playback.is_paused;
    Some(if playback.is_paused {
        Command::Pause
    } else {
        Command::Play
    })
}

fn seek_by(state: &mut ViewState, direction: Direction, span: Duration) -> Option<Command> {
    let from = state.playback.position;
    let to = match direction {
        Direction::Back => from - span,
        Direction::On => from + span,
    };
    seek_to(state, to)
}

fn seek_to_tenth(state: &mut ViewState, digit: char) -> Option<Command> {
    let Some(duration) = state.playback.duration else {
        state.answer = Some("the length is not known yet".to_owned());
        return None;
    };
    let tenths = digit.to_digit(10).unwrap_or(0);
    seek_to(
        state,
        MediaTime::from_duration(duration.saturating_mul(tenths) / 10),
    )
}

fn seek_to(state: &mut ViewState, to: MediaTime) -> Option<Command> {
    if state.playback.phase == Phase::Failed {
        return None;
    }
    let end = state.playback.duration.map(MediaTime::from_duration);
    let to = to
        .max(MediaTime::ZERO)
        .min(end.unwrap_or(to.max(MediaTime::ZERO)));
    state.playback.position = to;
    Some(Command::SeekTo(to))
}

fn volume(state: &mut ViewState, step_percent: i32) -> Option<Command> {
    let percent = super::view::percent(state.playback.volume) + step_percent;
    let volume = Ratio::new(f64::from(percent.clamp(0, 100)) / 100.0).unwrap_or(Ratio::ONE);
    state.playback.volume = volume;
    state.playback.muted = false;
    answer_loudness(state);
    Some(Command::SetVolume(volume))
}

/// Says how loud it is now: where details are hidden nothing else does.
fn answer_loudness(state: &mut ViewState) {
    let answer = if state.playback.sound_note.is_some() {
        "nothing is heard: there is no sound device".to_owned()
    } else if state.playback.muted {
        "muted".to_owned()
    } else {
        format!("volume {} %", super::view::percent(state.playback.volume))
    };
    state.answer = Some(answer);
}

fn next_audio(state: &mut ViewState) -> Option<Command> {
    let count = state.playback.audio_tracks.len();
    if count < 2 {
        state.answer = Some("there is no other audio track".to_owned());
        return None;
    }
    let next = state.playback.audio.map_or(0, |now| (now + 1) % count);
    state.playback.audio = Some(next);
    Some(Command::ChooseAudio(next))
}

fn next_subtitles(state: &mut ViewState) -> Option<Command> {
    let count = state.playback.subtitle_tracks.len();
    if count == 0 {
        state.answer = Some("there are no subtitles".to_owned());
        return None;
    }
    let next = match state.playback.subtitles {
        None => Some(0),
        Some(now) => Some(now + 1).filter(|next| *next < count),
    };
    state.playback.subtitles = next;
    if next.is_none() {
        state.playback.cue.clear();
    }
    Some(Command::ChooseSubtitles(next))
}

fn lock(state: &mut ViewState, direction: Direction) -> Option<Command> {
    let Some(top) = state.playback.ladder.len().checked_sub(1) else {
        state.answer = Some("there are no rungs to choose from yet".to_owned());
        return None;
    };
    let from = match state.playback.rung_choice {
        RungChoice::Locked(rung) => rung,
        RungChoice::Auto => state.playback.rung.unwrap_or(0),
    };
    let to = match direction {
        Direction::Back => from.saturating_sub(1),
        Direction::On => from + 1,
    };
    let to = to.min(top);
    state.playback.rung_choice = RungChoice::Locked(to);
    Some(Command::LockRung(to))
}

fn kill(state: &mut ViewState) -> Option<Command> {
    if !state.playback.can_kill {
        state.answer = Some("K works in `nearcast demo` only: these edges are not ours".to_owned());
        return None;
    }
    let Some(id) = state.playback.edge_in_use().map(|edge| edge.id.clone()) else {
        state.answer = Some("no edge is in use".to_owned());
        return None;
    };
    state.answer = Some(killing(&id));
    Some(Command::KillEdge(id))
}

fn killing(id: &str) -> String {
    format!("killing {id}")
}

/// Takes what the player says; an answer that announced what is done by now goes.
pub(super) fn hear(state: &mut ViewState, playback: Playback) {
    state.playback = playback;
    let mut killed = state.playback.edges.iter().filter(|edge| edge.killed);
    if killed.any(|edge| state.answer.as_deref() == Some(&killing(&edge.id))) {
        state.answer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::view::sample;

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_duration(Duration::from_secs(seconds))
    }

    fn press(state: &mut ViewState, key: Key) -> Option<Command> {
        update(state, key)
    }

    #[test]
    fn every_key_asks_for_what_the_help_says() {
        let ratio = |share| Ratio::new(share).unwrap();
        // The sample: at 83 s of 600 s, playing, rung 3 of 6 by itself, volume 80 %, first of two audio
        // tracks, subtitles off, `isp-2` in use.
        let table = [
            (Key::Char(' '), Some(Command::Pause)),
            (Key::Left, Some(Command::SeekTo(at(73)))),
            (Key::Right, Some(Command::SeekTo(at(93)))),
            (Key::Down, Some(Command::SeekTo(at(23)))),
            (Key::Up, Some(Command::SeekTo(at(143)))),
            (Key::ShiftLeft, Some(Command::SeekTo(at(23)))),
            (Key::ShiftRight, Some(Command::SeekTo(at(143)))),
            (Key::Home, Some(Command::SeekTo(at(0)))),
            (Key::Char('0'), Some(Command::SeekTo(at(0)))),
            (Key::Char('7'), Some(Command::SeekTo(at(420)))),
            (Key::Char('+'), Some(Command::SetVolume(ratio(0.85)))),
            (Key::Char('='), Some(Command::SetVolume(ratio(0.85)))),
            (Key::Char('-'), Some(Command::SetVolume(ratio(0.75)))),
            (Key::Char('m'), Some(Command::SetMuted(true))),
            (Key::Char('a'), Some(Command::ChooseAudio(1))),
            (Key::Char('s'), Some(Command::ChooseSubtitles(Some(0)))),
            (Key::Char('c'), Some(Command::ChooseSubtitles(Some(0)))),
            (Key::Char('['), Some(Command::LockRung(2))),
            (Key::Char(']'), Some(Command::LockRung(4))),
            (Key::Char('r'), Some(Command::AutoRung)),
            (Key::Char('K'), Some(Command::KillEdge("isp-2".to_owned()))),
            (Key::Char('i'), None),
            (Key::Char('?'), None),
            (Key::Char('x'), None),
            (Key::Escape, None),
            (Key::Char('q'), Some(Command::Quit)),
            (Key::Interrupt, Some(Command::Quit)),
        ];
        for (key, expected) in table {
            assert_eq!(press(&mut sample(), key), expected, "{key:?}");
        }
    }

    #[test]
    fn keys_pressed_quickly_add_up() {
        let mut state = sample();
        press(&mut state, Key::Right);
        assert_eq!(
            press(&mut state, Key::Right),
            Some(Command::SeekTo(at(103)))
        );
        press(&mut state, Key::Char(' '));
        assert_eq!(press(&mut state, Key::Char(' ')), Some(Command::Play));
        press(&mut state, Key::Char(']'));
        press(&mut state, Key::Char(']'));
        assert_eq!(
            press(&mut state, Key::Char(']')),
            Some(Command::LockRung(5)),
            "the top rung is the end"
        );
        press(&mut state, Key::Char('s'));
        assert_eq!(
            press(&mut state, Key::Char('s')),
            Some(Command::ChooseSubtitles(None)),
            "after the last track come none"
        );
    }

    #[test]
    fn a_seek_stays_within_the_title() {
        let mut state = sample();
        state.playback.position = at(3);
        assert_eq!(press(&mut state, Key::Left), Some(Command::SeekTo(at(0))));
        state.playback.position = at(595);
        assert_eq!(
            press(&mut state, Key::Right),
            Some(Command::SeekTo(at(600)))
        );
        state.playback.duration = None;
        assert_eq!(press(&mut state, Key::Char('5')), None);
        assert!(state.answer.is_some());
        assert_eq!(
            press(&mut state, Key::Right),
            Some(Command::SeekTo(at(610)))
        );
    }

    #[test]
    fn volume_stops_at_both_ends_and_unmutes() {
        let mut state = sample();
        state.playback.muted = true;
        for _ in 0..30 {
            press(&mut state, Key::Char('+'));
        }
        assert_eq!(state.playback.volume, Ratio::ONE);
        assert!(!state.playback.muted);
        for _ in 0..30 {
            press(&mut state, Key::Char('-'));
        }
        assert_eq!(state.playback.volume, Ratio::ZERO);
    }

    #[test]
    fn an_edge_is_killed_only_where_edges_are_ours() {
        let mut state = sample();
        state.playback.can_kill = false;
        assert_eq!(press(&mut state, Key::Char('K')), None);
        assert!(state.answer.as_deref().unwrap_or("").contains("demo"));
        let mut state = sample();
        state.playback.edges.clear();
        assert_eq!(press(&mut state, Key::Char('K')), None);
    }

    #[test]
    fn that_an_edge_is_being_killed_is_said_until_it_is() {
        let mut state = sample();
        press(&mut state, Key::Char('K'));
        let mut playback = state.playback.clone();
        hear(&mut state, playback.clone());
        assert_eq!(state.answer.as_deref(), Some("killing isp-2"));
        for edge in &mut playback.edges {
            edge.killed |= edge.id == "isp-2";
        }
        hear(&mut state, playback);
        assert_eq!(state.answer, None);
    }

    #[test]
    fn what_there_is_nothing_of_is_answered_and_not_asked() {
        let mut state = ViewState::default();
        for key in ['a', 's', '[', ']', 'K'] {
            assert_eq!(press(&mut state, Key::Char(key)), None, "{key}");
            assert!(state.answer.is_some(), "{key}");
        }
    }

    #[test]
    fn help_opens_and_closes() {
        let mut state = sample();
        press(&mut state, Key::Char('?'));
        assert!(state.help);
        press(&mut state, Key::Escape);
        assert!(!state.help);
    }

    #[test]
    fn the_end_plays_again_from_the_start_and_a_failure_stays() {
        let mut state = sample();
        state.playback.phase = Phase::Ended;
        assert_eq!(
            press(&mut state, Key::Char(' ')),
            Some(Command::SeekTo(at(0)))
        );
        state.playback.phase = Phase::Failed;
        assert_eq!(press(&mut state, Key::Char(' ')), None);
        assert_eq!(press(&mut state, Key::Right), None);
    }
}
