//! How a play ended, on the screen or without one, and whether that is what was asked for.

use std::time::Duration;

use nearcast_player::{MediaTime, PlayState, SessionError, SessionReport, Snapshot};

use super::Failure;

/// A play that is over.
#[derive(Debug)]
pub(crate) struct Played {
    /// What was done.
    pub(crate) report: SessionReport,
    /// Where the playhead was.
    pub(crate) position: MediaTime,
    /// How long the title is.
    pub(crate) length: Option<Duration>,
    /// What playback was doing before it was ended.
    pub(crate) state: PlayState,
    /// What went wrong last and was not made good since.
    pub(crate) trouble: Option<SessionError>,
    /// Who ended it.
    pub(crate) end: End,
}

/// Who ended a play.
#[derive(Debug)]
pub(crate) enum End {
    /// Playback itself.
    Done,
    /// The viewer.
    Quit,
    /// The time that was asked for is up.
    TimeUp,
    /// A signal with this number.
    Signal(i32),
    /// What shows it broke.
    Broken(Failure),
}

impl Played {
    /// Joins what is known at the end.
    pub(crate) fn new(report: SessionReport, last: Snapshot, end: End) -> Self {
        Self {
            report,
            position: last.position,
            length: last.duration,
            state: last.state,
            trouble: last.trouble,
            end,
        }
    }

    /// Returns why it is no success, and puts that into the report; `None` when it was played as asked.
    ///
    /// `after` is what went wrong beside playback, of which nothing says more than the cause.
    pub(crate) fn judge(&mut self, after: Option<Failure>) -> Option<Failure> {
        let failure = self.failure().or(after)?;
        if failure.status() == 1 && self.report.error.is_none() {
            self.report.error = Some(failure.in_report());
        }
        Some(failure)
    }

    fn failure(&mut self) -> Option<Failure> {
        let with_cause = |failure: Failure| match &self.trouble {
            Some(cause) => failure.caused_by(&cause.code, &cause.message),
            None => failure,
        };
        if let Some(error) = &self.report.error {
            let trouble = self.trouble.as_ref();
            return Some(Failure::of_playback(&error.code, &error.message, trouble));
        }
        let last_failure = |otherwise: &str| match &self.trouble {
            Some(error) => format!("the last failure was {}: {}", error.code, error.message),
            None => otherwise.to_owned(),
        };
        let has_started = self.report.startup_s.is_some();
        match (std::mem::replace(&mut self.end, End::Done), &self.state) {
            (End::Broken(failure), _) => Some(failure),
            // Nobody saw anything: whoever waits for this program is told that it was cut short.
            (End::Signal(number), _) => (!has_started).then(|| Failure::signal(number)),
            (End::TimeUp, _) if !has_started => {
                let cause = last_failure("check the network and the address");
                Some(with_cause(Failure::new(
                    "playback.start_timeout",
                    format_args!("the time was up before the first frame; {cause}"),
                )))
            }
            (End::Quit, _) if !has_started => {
                let cause = last_failure("nothing had failed; give it longer");
                Some(with_cause(Failure::new(
                    "cli.quit",
                    format_args!("the viewer quit before the first frame; {cause}"),
                )))
            }
            (End::TimeUp, PlayState::Stalled(cause)) => Some(Failure::new(
                "playback.stalled",
                format_args!(
                    "the time was up while playback stood still ({}); see the report for its edges",
                    cause.code()
                ),
            )),
            (End::TimeUp | End::Quit | End::Done, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcast_player::StallCause;

    fn played(state: PlayState, startup_s: Option<f64>, end: End) -> Played {
        Played {
            report: SessionReport {
                startup_s,
                ..SessionReport::default()
            },
            position: MediaTime::ZERO,
            length: None,
            state,
            trouble: None,
            end,
        }
    }

    /// Status and code in the report; 0 and none when all is well.
    fn judged(state: PlayState, startup_s: Option<f64>, end: End) -> (u8, Option<String>) {
        let mut played = played(state, startup_s, end);
        let failure = played.judge(None);
        let told = played.report.error.map(|error| error.code);
        (failure.map_or(0, |failure| failure.status()), told)
    }

    #[test]
    fn told_to_stop_is_played_as_asked_once_something_was_shown() {
        for number in [1, 2, 15] {
            let end = || End::Signal(number);
            assert_eq!(judged(PlayState::Playing, Some(0.4), end()), (0, None));
            let stalled = PlayState::Stalled(StallCause::Sink);
            assert_eq!(judged(stalled, Some(0.4), end()), (0, None));
            let before = u8::try_from(128 + number).unwrap();
            assert_eq!(judged(PlayState::Starting, None, end()), (before, None));
        }
    }

    #[test]
    fn the_time_being_up_while_nothing_plays_is_a_failure_and_in_the_report() {
        let stalled = || PlayState::Stalled(StallCause::Sink);
        let told = |code: &str| (1, Some(code.to_owned()));
        assert_eq!(
            judged(stalled(), Some(0.4), End::TimeUp),
            told("playback.stalled")
        );
        for state in [PlayState::Starting, PlayState::Paused] {
            assert_eq!(
                judged(state, None, End::TimeUp),
                told("playback.start_timeout")
            );
        }
        assert_eq!(
            judged(PlayState::Playing, Some(0.4), End::TimeUp),
            (0, None)
        );
        assert_eq!(judged(PlayState::Paused, Some(0.4), End::TimeUp), (0, None));
        assert_eq!(judged(stalled(), Some(0.4), End::Quit), (0, None));
        assert_eq!(
            judged(PlayState::Starting, None, End::Quit),
            told("cli.quit")
        );
    }

    #[test]
    fn playback_itself_comes_before_what_failed_around_it() {
        let mut it = played(PlayState::Playing, Some(0.4), End::Done);
        let frames = || Some(Failure::new("cli.frames", "the disk is full"));
        assert_eq!(it.judge(frames()).unwrap().in_report().code, "cli.frames");
        assert_eq!(it.report.error.unwrap().code, "cli.frames");
        let mut it = played(PlayState::Stalled(StallCause::Sink), Some(0.4), End::TimeUp);
        assert_eq!(
            it.judge(frames()).unwrap().in_report().code,
            "playback.stalled"
        );
    }

    #[test]
    fn a_start_that_took_too_long_says_what_was_in_its_way() {
        let mut played = Played {
            trouble: Some(SessionError {
                code: "backend.tls".to_owned(),
                message: "the certificate is not trusted".to_owned(),
            }),
            ..played(PlayState::Starting, None, End::TimeUp)
        };
        let failure = played.judge(None).unwrap().to_string();
        assert!(
            failure.contains("playback.start_timeout") && failure.contains("backend.tls"),
            "{failure}"
        );
    }
}
