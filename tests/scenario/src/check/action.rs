//! What viewers do.

use nearcast_units::{BitRate, MediaTime};

use super::Checker;
use crate::error::ScenarioError;
use crate::scenario::{Action, Doing, Player};
use crate::spec::{ActionSpec, What};

impl Checker<'_> {
    pub(super) fn action(
        self,
        spec: &ActionSpec,
        players: &[Player],
    ) -> Result<Action, ScenarioError> {
        let player = match &spec.player {
            None => None,
            Some(name) => {
                let names: Vec<&str> = players.iter().map(|player| player.name.as_str()).collect();
                Some(self.place_of(name, &names, "player")?)
            }
        };
        let wrong = |what: &str, hint: &str| {
            let hint = Some(hint.to_owned());
            Err(self.source.error(spec.what.span(), what, hint))
        };
        let doing = match (*spec.what.get_ref(), spec.to_s, spec.track) {
            (What::Seek, Some(to), _) => Doing::Seek(MediaTime::from_duration(to.into())),
            (What::Seek, None, _) => return wrong("a `seek` goes nowhere", "add `to_s`"),
            (What::Audio, _, Some(track)) => Doing::Audio(track),
            (What::Audio, _, None) => {
                return wrong("`audio` of which track?", "add `track`, counted from 0");
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
        Ok(Action {
            at: spec.at_s.into(),
            within: spec.within_s.into(),
            player,
            doing,
        })
    }
}
