//! What the viewer asked for, shown until the player says the same: keys pressed quickly add up only when
//! each one begins where the one before it leads.

use std::time::Duration;

use nearcast_player::MediaTime;
use tokio::time::Instant;

use crate::tui::Playback;
use crate::tui::state::{Phase, RungChoice};

/// Requests that the player has taken and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    position: Option<Asked<MediaTime>>,
    rung: Option<Asked<RungChoice>>,
    audio: Option<Asked<Option<usize>>>,
    subtitles: Option<Asked<Option<usize>>>,
    /// Nobody else holds the player or lets it go.
    is_paused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked<T> {
    value: T,
    at: Instant,
}

/// The player answers within a few milliseconds. What it has not done by then it will not do.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A playhead this near to where it was sent has arrived.
const NEAR: Duration = Duration::from_secs(1);

impl Requests {
    pub(super) const fn seek(&mut self, value: MediaTime, at: Instant) {
        self.position = Some(Asked { value, at });
    }

    pub(super) const fn rung(&mut self, value: RungChoice, at: Instant) {
        self.rung = Some(Asked { value, at });
    }

    pub(super) const fn audio(&mut self, track: usize, at: Instant) {
        self.audio = Some(Asked {
            value: Some(track),
            at,
        });
    }

    pub(super) const fn subtitles(&mut self, value: Option<usize>, at: Instant) {
        self.subtitles = Some(Asked { value, at });
    }

    pub(super) const fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Puts what was asked for over what the player says, and forgets it once the player says so too.
    pub(super) fn show(&mut self, playback: &mut Playback, now: Instant) {
        let is_same = |asked: &Asked<_>, told| asked.value == told;
        settle(&mut self.rung, &mut playback.rung_choice, now, |a, told| {
            a.value == told
        });
        settle(&mut self.audio, &mut playback.audio, now, is_same);
        settle(&mut self.subtitles, &mut playback.subtitles, now, is_same);
        settle(
            &mut self.position,
            &mut playback.position,
            now,
            |a, told| {
                let passed = now.duration_since(a.at);
                told + NEAR >= a.value && told <= a.value + NEAR + passed
            },
        );
        playback.is_paused = self.is_paused;
        playback.phase = match playback.phase {
            Phase::Playing if self.is_paused => Phase::Paused,
            Phase::Paused if !self.is_paused => Phase::Playing,
            phase @ (Phase::Starting
            | Phase::Playing
            | Phase::Paused
            | Phase::Stalled
            | Phase::Seeking
            | Phase::Ended
            | Phase::Failed) => phase,
        };
    }
}

fn settle<T: Copy>(
    asked: &mut Option<Asked<T>>,
    told: &mut T,
    now: Instant,
    is_done: impl Fn(&Asked<T>, T) -> bool,
) {
    let Some(waiting) = *asked else { return };
    if is_done(&waiting, *told) || now.duration_since(waiting.at) >= ANSWER_MAX {
        *asked = None;
    } else {
        *told = waiting.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::state::{Rung, Track};
    use crate::tui::{Command, Key, ViewState, update};
    use nearcast_player::BitRate;

    fn at(seconds: u64) -> MediaTime {
        MediaTime::from_duration(Duration::from_secs(seconds))
    }

    /// What the player says before it has done anything.
    fn playing() -> Playback {
        let rung = |name: &str| Rung {
            name: name.to_owned(),
            bitrate: BitRate::from_kbps(1),
            height: None,
        };
        let track = |label: &str| Track {
            label: label.to_owned(),
        };
        Playback {
            phase: Phase::Playing,
            position: at(60),
            duration: Some(Duration::from_secs(600)),
            ladder: ["a", "b", "c", "d", "e"].map(rung).to_vec(),
            rung: Some(1),
            audio_tracks: ["x", "y", "z"].map(track).to_vec(),
            audio: Some(0),
            subtitle_tracks: ["x", "y"].map(track).to_vec(),
            ..Playback::default()
        }
    }

    /// Presses a key, carries its command to the requests, and shows what the player said before all of it.
    fn press(requests: &mut Requests, screen: &mut ViewState, key: Key, now: Instant) {
        match update(screen, key).unwrap() {
            Command::SeekTo(to) => requests.seek(to, now),
            Command::LockRung(rung) => requests.rung(RungChoice::Locked(rung), now),
            Command::ChooseAudio(track) => requests.audio(track, now),
            Command::ChooseSubtitles(track) => requests.subtitles(track, now),
            Command::Pause => requests.pause(true),
            Command::Play => requests.pause(false),
            Command::SetVolume(_)
            | Command::SetMuted(_)
            | Command::AutoRung
            | Command::KillEdge(_)
            | Command::PictureSize(_)
            | Command::Continued
            | Command::Quit => unreachable!("no key here asks for it"),
        }
        screen.playback = playing();
        requests.show(&mut screen.playback, now);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_add_up_while_the_player_has_done_nothing_yet() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        let mut screen = ViewState {
            playback: playing(),
            ..ViewState::default()
        };
        for key in ["]]", "aa", "ss"].concat().chars() {
            press(&mut requests, &mut screen, Key::Char(key), now);
        }
        for _ in 0..5 {
            press(&mut requests, &mut screen, Key::Right, now);
        }
        let playback = &screen.playback;
        assert_eq!(playback.rung_choice, RungChoice::Locked(3));
        assert_eq!(playback.audio, Some(2));
        assert_eq!(playback.subtitles, Some(1));
        assert_eq!(playback.position, at(110));
        press(&mut requests, &mut screen, Key::Char(' '), now);
        assert_eq!(screen.playback.phase, Phase::Paused);
        press(&mut requests, &mut screen, Key::Char(' '), now);
        assert_eq!(screen.playback.phase, Phase::Playing);
        assert!(!screen.playback.is_paused);
    }

    #[tokio::test(start_paused = true)]
    async fn space_twice_ends_as_it_began_wherever_the_playhead_is() {
        for is_paused in [false, true] {
            for phase in [
                Phase::Starting,
                Phase::Stalled,
                Phase::Seeking,
                Phase::Playing,
            ] {
                let mut requests = Requests::default();
                requests.pause(is_paused);
                let mut screen = ViewState {
                    playback: Playback { phase, ..playing() },
                    ..ViewState::default()
                };
                requests.show(&mut screen.playback, Instant::now());
                let now = Instant::now();
                press(&mut requests, &mut screen, Key::Char(' '), now);
                assert_ne!(screen.playback.is_paused, is_paused, "{phase:?}");
                press(&mut requests, &mut screen, Key::Char(' '), now);
                assert_eq!(screen.playback.is_paused, is_paused, "{phase:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_player_has_done_is_its_own_again() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        requests.seek(at(90), now);
        requests.rung(RungChoice::Locked(4), now);
        let mut done = Playback {
            position: at(90),
            rung_choice: RungChoice::Locked(4),
            ..playing()
        };
        requests.show(&mut done, now);
        assert_eq!(done.position, at(90));
        let mut later = playing();
        requests.show(&mut later, now);
        assert_eq!(later, playing(), "nothing is held any longer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_player_never_does_is_not_shown_for_ever() {
        let (mut requests, now) = (Requests::default(), Instant::now());
        requests.audio(2, now);
        let mut playback = playing();
        requests.show(&mut playback, now + ANSWER_MAX / 2);
        assert_eq!(playback.audio, Some(2));
        let mut playback = playing();
        requests.show(&mut playback, now + ANSWER_MAX);
        assert_eq!(playback.audio, Some(0));
    }
}
