//! How a command fails: one line for people that says what happened, where, and what to do about it.

use std::fmt;

use nearcast_player::{BackendError, PlayerError, explain};
use nearcast_protocol::report::ErrorReport;

use super::one_line;

/// Why a command failed, with a stable code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    status: u8,
    /// What went wrong after it.
    also: Option<String>,
}

impl Failure {
    /// Makes a failure of what was asked for: exit status 1.
    pub(crate) fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            code: code.into(),
            message: message.to_string(),
            status: 1,
            also: None,
        }
    }

    /// Makes a failure of how it was asked for: exit status 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: "usage".into(),
            message: message.to_string(),
            status: 2,
            also: None,
        }
    }

    /// Makes the end by a signal what shells expect of it: 128 and its number.
    pub(crate) fn signal(number: i32) -> Self {
        let status = u8::try_from(number).map_or(1, |number| number.saturating_add(128));
        Self {
            code: "signal".into(),
            message: format!("ended by signal {number}"),
            status,
            also: None,
        }
    }

    /// Wraps an error of the system around what was done, with what to do about it.
    pub(crate) fn io(
        code: &'static str,
        doing: impl fmt::Display,
        remedy: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(code, format_args!("{doing}: {error}; {remedy}"))
    }

    /// Adds what went wrong after it; the cause stays first, and with it code and status.
    #[must_use]
    pub(crate) fn and(mut self, later: &Self) -> Self {
        self.also = Some(format!("{}: {}", later.code, later.message));
        self
    }

    /// Puts it into a report.
    pub(crate) fn in_report(&self) -> ErrorReport {
        ErrorReport {
            code: self.code.clone(),
            message: self.message.clone(),
        }
    }

    /// Whether an edge is what failed, which its message names.
    pub(crate) fn is_of_an_edge(&self) -> bool {
        self.code.starts_with("net.") || self.code.starts_with("edge.")
    }

    /// Adds where it happened to what playback or the network say, unless they name the place themselves.
    #[must_use]
    pub(crate) fn at(mut self, place: &str) -> Self {
        let is_playback = explain(&self.code).is_some() && !self.code.starts_with("player.");
        if is_playback && !self.message.contains(place) {
            let sentence = self.message.trim_end_matches('.').len();
            self.message.truncate(sentence);
            self.message.push_str(&format!(" ({place})"));
        }
        if let Some(remedy) = remedy(&self.code)
            && !self.message.contains("; ")
        {
            self.message.push_str("; ");
            let mut letters = remedy.chars();
            self.message
                .extend(letters.next().map(|first| first.to_ascii_lowercase()));
            self.message
                .push_str(letters.as_str().trim_end_matches('.'));
        }
        self
    }

    /// Returns what happened, without the code.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the exit status.
    pub(crate) const fn status(&self) -> u8 {
        self.status
    }
}

/// Returns what a person at a terminal can do; `None` where the message says it, or nobody can do anything.
///
/// The SDK's table speaks to programmers: what names its functions is told in options here.
fn remedy(code: &str) -> Option<&'static str> {
    match code {
        "net.tls_certificate" | "backend.tls" => {
            Some("check the address, and give its authority with --ca FILE")
        }
        "play.no_edges" => explain(code).map(|entry| entry.remedy),
        _ if code.starts_with("play.") || code.starts_with("player.") => None,
        _ => explain(code)
            .map(|entry| entry.remedy)
            .filter(|remedy| !remedy.contains('`')),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is one line whatever a server wrote into it.
        write!(f, "nearcast: {}: {}", self.code, one_line(&self.message))?;
        match &self.also {
            Some(also) => write!(f, "; besides, {}", one_line(also)),
            None => Ok(()),
        }
    }
}

impl From<PlayerError> for Failure {
    fn from(error: PlayerError) -> Self {
        let code = error.code().to_owned();
        let text = error.to_string();
        // Some errors begin with their own code already.
        let message = text
            .strip_prefix(&format!("{code}: "))
            .unwrap_or(&text)
            .to_owned();
        let status = if matches!(
            error,
            PlayerError::InvalidSource { .. } | PlayerError::InvalidOption { .. }
        ) {
            2
        } else {
            1
        };
        Self {
            code,
            message,
            status,
            also: None,
        }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        PlayerError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_where_and_what_to_do() {
        let line =
            |code: &str, message: &str| Failure::new(code, message).at("http://a").to_string();
        assert_eq!(
            line("backend.timeout", "no answer"),
            "nearcast: backend.timeout: no answer (http://a); check the network; try again"
        );
        assert_eq!(
            line("backend.tls", "a:\nUnknownIssuer"),
            "nearcast: backend.tls: a: UnknownIssuer (http://a); check the address, and give its authority with --ca FILE"
        );
        let told = "http://a/x is gone; check the address";
        assert_eq!(
            line("edge.not_found", told),
            format!("nearcast: edge.not_found: {told}")
        );
    }

    #[test]
    fn what_failed_first_is_told_first_and_decides() {
        let report = Failure::io("player.report", "cannot write r", "free some space");
        let report = report(std::io::ErrorKind::StorageFull.into());
        let both = Failure::new("playback.stalled", "it stood still").and(&report);
        assert_eq!(both.status(), 1);
        let line = both.at("http://a").to_string();
        let (first, second) = line.split_once("; besides, ").unwrap();
        assert!(
            first.starts_with("nearcast: playback.stalled: it stood still"),
            "{line}"
        );
        assert!(
            second.starts_with("player.report: cannot write r: ")
                && second.ends_with("; free some space"),
            "{line}"
        );
    }

    #[test]
    fn nothing_in_a_message_can_control_the_terminal() {
        let line = Failure::new("x.y", "a\u{1b}[2J\u{9b}b\r\nc").to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn what_is_no_playback_stays_as_it_is() {
        let failure = Failure::new("player.ca", "cannot read it").at("http://a");
        assert_eq!(failure.to_string(), "nearcast: player.ca: cannot read it");
    }
}
