//! What was wished for on the command line and the title does not have: it plays all the same, and says so.

use std::time::Duration;

use nearcast_player::{BitRate, Snapshot, TrackSnapshot};

use super::{clock, say};

/// Wishes that only the title can tell are in vain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// Where to start.
    pub(crate) start: Option<Duration>,
    /// The highest rate of a rung.
    pub(crate) cap: Option<BitRate>,
    /// A language of the sound.
    pub(crate) audio: Option<String>,
    /// A language of the subtitles.
    pub(crate) subtitles: Option<String>,
}

impl Wishes {
    /// Says which are in vain, as [`in_vain`](Self::in_vain) does.
    pub(crate) fn tell(&mut self, session: &Snapshot) {
        for wish in self.in_vain(session) {
            say(format_args!("nearcast: note: {wish}"));
        }
    }

    /// Returns a sentence for each wish that is in vain, once: nothing before the title is known, nor after.
    pub(crate) fn in_vain(&mut self, session: &Snapshot) -> Vec<String> {
        let is_known = !session.ladder.is_empty() || !session.audio_tracks.is_empty();
        let Some(end) = session.duration.filter(|_| is_known) else {
            return Vec::new();
        };
        let Self {
            start,
            cap,
            audio,
            subtitles,
        } = std::mem::take(self);
        // The player starts over where less than a second is left.
        let left = Duration::from_secs(1);
        let start = start.filter(|start| *start + left >= end).map(|start| {
            format!(
                "--start {} is not before the end at {}: played from the beginning",
                clock(start),
                clock(end)
            )
        });
        let lowest = session.ladder.first().map(|rung| rung.bitrate);
        let cap = cap.zip(lowest).filter(|(cap, lowest)| cap < lowest);
        let cap = cap.map(|(cap, lowest)| {
            format!(
                "--cap {} is below the lowest rung: played at its {}",
                rate(cap),
                rate(lowest)
            )
        });
        let languages = [
            ("audio", audio, &session.audio_tracks),
            ("subtitles", subtitles, &session.text_tracks),
        ];
        let languages = languages
            .into_iter()
            .filter_map(|(what, wish, tracks)| language(what, &wish?, tracks));
        start.into_iter().chain(cap).chain(languages).collect()
    }
}

fn language(what: &str, wish: &str, tracks: &[TrackSnapshot]) -> Option<String> {
    // As the player does: regions are a matter of taste.
    let primary = |tag: &str| {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        primary.to_ascii_lowercase()
    };
    let languages: Vec<&str> = tracks
        .iter()
        .map(|track| track.language.as_deref().unwrap_or("one of no language"))
        .collect();
    if languages.iter().any(|has| primary(has) == primary(wish)) {
        return None;
    }
    let there_is = match languages[..] {
        [] => "none at all".to_owned(),
        [..] => languages.join(", "),
    };
    Some(format!(
        "--{what} {wish} is not there; there is: {there_is}"
    ))
}

fn rate(rate: BitRate) -> String {
    match rate.as_bps() {
        bps @ 0..1_000 => format!("{bps} bit/s"),
        bps => format!("{} kbit/s", bps / 1_000),
    }
}
