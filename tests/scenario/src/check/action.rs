//! What viewers do.

use std::time::Duration;

use nearcast_units::{BitRate, MediaTime};
use toml::Spanned;

use super::Checker;
use crate::error::ScenarioError;
use crate::scenario::{Action, Doing, Player};
use crate::spec::{ActionSpec, What};

impl Checker<'_> {
    pub(super) fn action(
        self,
        spec: &Spanned<ActionSpec>,
        players: &[Player],
        (duration, limit): (Duration, Duration),
    ) -> Result<Action, ScenarioError> {
        let (table, spec) = (spec.span(), spec.get_ref());
        let player = match &spec.player {
            None => None,
            Some(name) => {
                let names: Vec<&str> = players.iter().map(|player| player.name.as_str()).collect();
                Some(self.place_of(name, &names, "player")?)
            }
        };
        let wrong = |key: &str, what: String, hint: String| {
            self.wrong(self.source.key(&table, key), what, hint)
        };
        let what = *spec.what.get_ref();
        if let Some((key, of)) = not_taken(what, spec) {
            let what = format!("`{}` takes no `{key}`", what.name());
            return wrong(key, what, format!("leave it out: it is for {of}"));
        }
        let doing = match (what, spec.to_s.map(Duration::from), spec.track) {
            (What::Seek, Some(to), _) if to > duration => {
                let ends_s = duration.as_secs_f64();
                return wrong(
                    "to_s",
                    format!("the title ends at {ends_s} s"),
                    format!("from 0 to {ends_s} would be right"),
                );
            }
            (What::Seek, Some(to), _) => Doing::Seek(MediaTime::from_duration(to)),
            (What::Seek, None, _) => {
                return wrong(
                    "do",
                    "a `seek` goes nowhere".to_owned(),
                    "add `to_s`".to_owned(),
                );
            }
            (What::Audio, _, Some(track)) => Doing::Audio(track),
            (What::Audio, _, None) => {
                return wrong(
                    "do",
                    "`audio` of which track?".to_owned(),
                    "add `track`, counted from 0".to_owned(),
                );
            }
            (What::Subtitles, _, track) => Doing::Subtitles(track),
            (What::LockRung, _, rung) => Doing::LockRung(rung),
            (What::Pause, ..) => Doing::Pause,
            (What::Play, ..) => Doing::Play,
            (What::Cap, ..) => Doing::Cap(spec.rate_kbps.map(BitRate::from)),
            (What::NetworkChange, ..) => Doing::NetworkChange,
            (What::Rebind, ..) => Doing::Rebind,
            (What::Stop, ..) => Doing::Stop,
        };
        let at = Duration::from(spec.at_s);
        let whose = players.iter().enumerate();
        let whose = whose.filter(|(index, _)| player.is_none_or(|player| player == *index));
        let starts = whose.map(|(_, player)| player.starts).min();
        let key = self.source.key(&table, "at_s");
        self.check_time(key, at + starts.unwrap_or_default(), limit)?;
        Ok(Action {
            at,
            within: spec.within_s.into(),
            player,
            doing,
        })
    }
}

/// Returns a key that an action does not take, and what takes it.
fn not_taken(what: What, spec: &ActionSpec) -> Option<(&'static str, &'static str)> {
    let takes_track = matches!(what, What::Audio | What::Subtitles | What::LockRung);
    let keys = [
        ("to_s", "`seek`", spec.to_s.is_some() && what != What::Seek),
        (
            "rate_kbps",
            "`cap`",
            spec.rate_kbps.is_some() && what != What::Cap,
        ),
        (
            "track",
            "`audio`, `subtitles` and `lock_rung`",
            spec.track.is_some() && !takes_track,
        ),
    ];
    let (key, of, _) = keys.into_iter().find(|(.., is_wrong)| *is_wrong)?;
    Some((key, of))
}
