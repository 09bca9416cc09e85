//! How a command fails: one line for people that says what happened, where, and what to do about it.

use std::fmt;

use nearcast_player::{BackendError, PlayerError, SessionError, explain};
use nearcast_protocol::report::ErrorReport;

use super::one_line;

/// Why a command failed, with a stable code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    status: u8,
    /// What it came from, where advice is for that: its code and message.
    cause: Option<Box<(String, String)>>,
    /// What went wrong after it.
    also: Option<String>,
}

/// Where something was asked for, and how: what to do about a failure depends on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Its URL, or several.
    pub(crate) url: String,
    /// Whether it is a backend.
    pub(crate) is_backend: bool,
    /// The proxy on the way.
    pub(crate) proxy: Option<String>,
}

impl Failure {
    /// Makes a failure of what was asked for: exit status 1.
    pub(crate) fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            code: code.into(),
            message: message.to_string(),
            status: 1,
            cause: None,
            also: None,
        }
    }

    /// Makes a failure of how it was asked for: exit status 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: "usage".into(),
            message: message.to_string(),
            status: 2,
            cause: None,
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
            cause: None,
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

    /// Says what it came from, so that advice is for that.
    #[must_use]
    pub(crate) fn caused_by(mut self, code: &str, message: &str) -> Self {
        self.cause = Some(Box::new((code.to_owned(), message.to_owned())));
        self
    }

    /// Makes a failure of what playback ended with: one that only says that it took too long came from `trouble`.
    pub(crate) fn of_playback(code: &str, message: &str, trouble: Option<&SessionError>) -> Self {
        let failure = Self::new(code, message);
        match trouble.filter(|_| code.starts_with("playback.")) {
            Some(cause) => failure.caused_by(&cause.code, &cause.message),
            None => failure,
        }
    }

    /// Returns code and message that advice is for.
    fn root(&self) -> (&str, &str) {
        match self.cause.as_deref() {
            Some((code, message)) => (code, message),
            None => (&self.code, &self.message),
        }
    }

    /// Puts it into a report.
    pub(crate) fn in_report(&self) -> ErrorReport {
        ErrorReport {
            code: self.code.clone(),
            message: self.message.clone(),
        }
    }

    /// Adds where it happened to what playback or the network say, unless they name the place themselves, and
    /// what to do, unless they say that.
    #[must_use]
    pub(crate) fn at(mut self, place: &Place) -> Self {
        let (code, message) = self.root();
        let is_told = message.contains("; ");
        let remedy = remedy(code, message, place).filter(|_| !is_told);
        let is_playback = explain(code).is_some() && !code.starts_with("player.");
        // An edge that a backend named is not where the backend is.
        let is_there = !(place.is_backend && is_of_an_edge(code));
        if is_playback && is_there && !self.message.contains(&place.url) {
            let sentence = self.message.trim_end_matches('.').len();
            self.message.truncate(sentence);
            self.message.push_str(&format!(" ({})", place.url));
        }
        if let Some(remedy) = remedy {
            self.message.push_str("; ");
            self.message.push_str(&remedy);
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
/// The SDK's table speaks to programmers: what names its functions is told in options here. Some codes mean
/// several things, which the message tells apart; where it does not, the table's advice is good enough.
fn remedy(code: &str, message: &str, place: &Place) -> Option<String> {
    let is_plain = place.url.starts_with("http://") && !(place.is_backend && is_of_an_edge(code));
    let advice = match code {
        "net.proxy" | "backend.unreachable" | "backend.timeout" if place.proxy.is_some() => {
            let proxy = without_user(place.proxy.as_deref().unwrap_or_default());
            return Some(format!(
                "check that the proxy {proxy} (--proxy) runs and lets this address through"
            ));
        }
        "backend.tls" if !message.contains("certificate") => NO_TLS,
        "net.tls_handshake" => NO_TLS,
        "net.tls_certificate" | "backend.tls" => {
            "check the address, and give its authority with --ca FILE"
        }
        "net.protocol" if is_plain => TLS,
        "backend.unreachable" if is_plain && message.contains("HTTP") => TLS,
        "edge.token_rejected" if !place.is_backend => {
            "this edge wants a token: play a title with --backend URL, which gets one, or write one into the URL"
        }
        "backend.problem" if message.to_lowercase().contains("no such account") => {
            "name one that it knows with --account NAME (or NEARCAST_ACCOUNT)"
        }
        "play.no_edges" => return table(code),
        _ if code.starts_with("play.") || code.starts_with("player.") => return None,
        _ => return table(code).filter(|remedy| !remedy.contains('`')),
    };
    Some(advice.to_owned())
}

/// Whether an edge is what failed, which its message names.
fn is_of_an_edge(code: &str) -> bool {
    code.starts_with("net.") || code.starts_with("edge.")
}

const NO_TLS: &str = "check that the port speaks TLS; where it does not, write http://";
const TLS: &str = "check that a web server listens there; where it speaks TLS, write https://";

/// Returns the SDK's advice as the end of a sentence.
fn table(code: &str) -> Option<String> {
    let remedy = explain(code)?.remedy.trim_end_matches('.');
    let mut letters = remedy.chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(format!("{first}{}", letters.as_str()))
}

/// Leaves user and password out of a URL.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
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
            cause: None,
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

    fn at(url: &str) -> Place {
        Place {
            url: url.to_owned(),
            ..Place::default()
        }
    }

    #[test]
    fn a_line_says_what_where_and_what_to_do() {
        let line = |code: &str, message: &str| {
            let place = at("http://a");
            Failure::new(code, message).at(&place).to_string()
        };
        assert_eq!(
            line("backend.timeout", "no answer"),
            "nearcast: backend.timeout: no answer (http://a); check the network; try again"
        );
        assert_eq!(
            line("backend.tls", "a certificate:\nUnknownIssuer"),
            "nearcast: backend.tls: a certificate: UnknownIssuer (http://a); check the address, and give its authority with --ca FILE"
        );
        let told = "http://a/x is gone; check the address";
        assert_eq!(
            line("edge.not_found", told),
            format!("nearcast: edge.not_found: {told}")
        );
    }

    #[test]
    fn advice_fits_the_place_and_the_cause() {
        let plain = || at("http://a");
        let backend = || Place {
            is_backend: true,
            ..at("https://b")
        };
        let at_plain_backend = || Place {
            is_backend: true,
            ..plain()
        };
        let behind_proxy = || Place {
            proxy: Some("http://me:secret@p:1".to_owned()),
            ..at("https://a")
        };
        for (code, message, place, says) in [
            ("net.protocol", "no HTTP", plain(), "write https://"),
            (
                "net.protocol",
                "e1: no HTTP",
                at_plain_backend(),
                "e1: no HTTP",
            ),
            (
                "backend.unreachable",
                "invalid HTTP version",
                plain(),
                "write https://",
            ),
            (
                "backend.unreachable",
                "refused",
                plain(),
                "check its address and the network",
            ),
            (
                "backend.tls",
                "InvalidContentType",
                backend(),
                "write http://",
            ),
            ("net.tls_handshake", "failed", backend(), "write http://"),
            (
                "net.proxy",
                "refused",
                behind_proxy(),
                "the proxy http://p:1 (--proxy)",
            ),
            (
                "backend.unreachable",
                "refused",
                behind_proxy(),
                "the proxy http://p:1 (--proxy)",
            ),
            ("edge.token_rejected", "401", plain(), "with --backend URL"),
            ("edge.token_rejected", "401", backend(), "asks the backend"),
            (
                "backend.problem",
                "There is no such account",
                backend(),
                "--account NAME",
            ),
            ("backend.problem", "with 500", backend(), "try again later"),
        ] {
            let direct = Failure::new(code, message).at(&place).to_string();
            assert!(direct.contains(says), "{direct}");
            assert!(!direct.contains("secret"), "{direct}");
            let blames_backend = place.is_backend && direct.contains("http://a");
            assert!(!blames_backend, "{direct}");
            let trouble = SessionError {
                code: code.to_owned(),
                message: message.to_owned(),
            };
            let late = format!("late; it was {message}");
            let late = Failure::of_playback("playback.start_timeout", &late, Some(&trouble));
            let late = late.at(&place).to_string();
            assert!(late.contains(says), "{late}");
        }
    }

    #[test]
    fn what_failed_first_is_told_first_and_decides() {
        let report = Failure::io("cli.report", "cannot write r", "free some space");
        let report = report(std::io::ErrorKind::StorageFull.into());
        let both = Failure::new("playback.stalled", "it stood still").and(&report);
        assert_eq!(both.status(), 1);
        let line = both.at(&at("http://a")).to_string();
        let (first, second) = line.split_once("; besides, ").unwrap();
        assert!(
            first.starts_with("nearcast: playback.stalled: it stood still"),
            "{line}"
        );
        assert!(
            second.starts_with("cli.report: cannot write r: ")
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
        let failure = Failure::new("cli.ca", "cannot read it").at(&at("http://a"));
        assert_eq!(failure.to_string(), "nearcast: cli.ca: cannot read it");
    }
}
