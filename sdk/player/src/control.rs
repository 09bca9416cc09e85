//! Where the session's permission to play comes from: the backend, or the source itself.

use std::time::Duration;

use nearcast_core::{EdgeOffer, Grant, Input};
use nearcast_protocol::play::{Capabilities, Intent, PlayGrant, PlayRequest};

use crate::backend::{Backend, BackendError, GrantPath};
use crate::edges::EdgeBook;
use crate::event::EventKind;
use crate::source::FixedSource;

/// Who grants.
#[derive(Clone, Debug)]
pub(crate) enum Granter {
    /// A backend.
    Backend {
        backend: Backend,
        title: String,
        playback_id: Option<String>,
        request_id: String,
    },
    /// Nobody needs to be asked.
    Fixed(FixedSource),
}

/// What came of asking.
pub(crate) type Granted = Result<(Box<PlayGrant>, GrantPath), BackendError>;

impl Granter {
    /// Returns whether playback was granted before.
    pub(crate) const fn has_granted(&self) -> bool {
        matches!(
            self,
            Self::Backend {
                playback_id: Some(_),
                ..
            }
        )
    }

    /// Asks; only a backend takes time.
    pub(crate) async fn ask(self, refresh: bool) -> Granted {
        let Self::Backend {
            backend,
            title,
            playback_id,
            request_id,
        } = self
        else {
            return Err(BackendError::Setup {
                reason: "there is no backend to ask".to_owned(),
            });
        };
        let request = PlayRequest {
            title,
            capabilities: capabilities(),
            intent: Intent::Play,
            request_id: Some(request_id),
        };
        let granted = match playback_id.filter(|_| refresh) {
            Some(playback) => match backend.refresh(&playback).await {
                Err(error) if error.is_about_nothing() => backend.play(&request).await,
                granted => granted,
            },
            None => backend.play(&request).await,
        };
        let (grant, path) = granted?;
        if !refresh && grant.manifests.dash.is_none() && grant.manifests.hls.is_none() {
            return Err(BackendError::BadAnswer {
                call: "play",
                reason: "it names no manifest".to_owned(),
            });
        }
        Ok((Box::new(grant), path))
    }
}

/// What this build plays.
fn capabilities() -> Capabilities {
    let codecs: &[&str] = if cfg!(feature = "video") {
        &[
            "avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4a", "opus", "ac-3", "ec-3", "wvtt",
        ]
    } else {
        // Without a decoder it still takes media apart, for sinks that decode themselves.
        &[
            "avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4a", "wvtt",
        ]
    };
    Capabilities {
        codecs: codecs.iter().map(|&codec| codec.to_owned()).collect(),
        height_max: None,
        drm_systems: Vec::new(),
    }
}

/// Turns a backend's grant into what the session and the application hear.
pub(crate) fn take_grant(
    book: &mut EdgeBook,
    grant: &PlayGrant,
    path: GrantPath,
) -> (Input, EventKind) {
    let edges = book.take_grant(grant);
    let event = EventKind::Granted {
        playback_id: grant.playback_id.clone(),
        title: grant.title.name.clone(),
        edges: names(&edges),
        path: Some(path),
    };
    // A backend that names no span would have its grant refreshed without end.
    let refresh_after =
        (grant.refresh_after_ms > 0).then(|| Duration::from_millis(grant.refresh_after_ms));
    // Nor is a title without length one.
    let length =
        (grant.title.duration_ms > 0).then(|| Duration::from_millis(grant.title.duration_ms));
    (
        Input::Granted(Grant {
            edges,
            refresh_after,
            length,
        }),
        event,
    )
}

/// Turns a source that needs no backend into the same.
pub(crate) fn take_fixed(edges: Vec<EdgeOffer>) -> (Input, EventKind) {
    let event = EventKind::Granted {
        playback_id: String::new(),
        title: String::new(),
        edges: names(&edges),
        path: None,
    };
    (
        Input::Granted(Grant {
            edges,
            refresh_after: None,
            length: None,
        }),
        event,
    )
}

/// Turns a refusal or failure into the same. A certificate that is not accepted ends what has not begun; later it
/// may be the portal of a network just joined, and what was granted still serves.
pub(crate) fn take_failure(error: &BackendError, begun: bool) -> (Input, EventKind) {
    let lasts = matches!(
        error,
        BackendError::Tls {
            certificate: true,
            ..
        }
    );
    let (code, message) = (error.code().to_owned(), error.to_string());
    let input = Input::GrantFailed {
        code: code.clone(),
        message: message.clone(),
        refused: error.is_final() || (lasts && !begun),
        retry_after: error.retry_after(),
    };
    (input, EventKind::GrantFailed { code, message })
}

fn names(edges: &[EdgeOffer]) -> Vec<String> {
    edges.iter().map(|edge| edge.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_accepted_ends_what_has_not_begun() {
        let tls = |certificate| BackendError::Tls {
            call: "play",
            certificate,
            reason: String::new(),
        };
        for (certificate, begun, ends) in [
            (true, false, true),
            (true, true, false),
            (false, false, false),
        ] {
            let (input, _) = take_failure(&tls(certificate), begun);
            assert!(
                matches!(input, Input::GrantFailed { refused, .. } if refused == ends),
                "{certificate} {begun}"
            );
        }
    }
}
