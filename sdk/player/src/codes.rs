//! Every code and event that an application can see, with what it means and what to do.
//!
//! `CODES.md` beside the crate's sources holds the same tables; a test keeps them equal.

/// One error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The stable code, never reused.
    pub code: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// The stable name.
    pub name: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What an application does about it.
    pub remedy: &'static str,
}

/// Returns what a code means; `None` for one that this version does not know.
#[must_use]
pub fn explain(code: &str) -> Option<&'static CodeEntry> {
    CODES.iter().find(|entry| entry.code == code)
}

const fn code(code: &'static str, meaning: &'static str, remedy: &'static str) -> CodeEntry {
    CodeEntry {
        code,
        meaning,
        remedy,
    }
}

const fn event(name: &'static str, meaning: &'static str, remedy: &'static str) -> EventEntry {
    EventEntry {
        name,
        meaning,
        remedy,
    }
}

/// Every error code, by family.
pub const CODES: &[CodeEntry] = &[
    code(
        "play.plan_required",
        "The plan does not include the title.",
        "Offer the viewer a plan that does.",
    ),
    code(
        "play.region_blocked",
        "There is no licence for the viewer's country.",
        "Tell the viewer; nothing helps here.",
    ),
    code(
        "play.platform_blocked",
        "There is no licence for this platform.",
        "Tell the viewer to use another device.",
    ),
    code(
        "play.too_many_streams",
        "As many streams play as the plan allows.",
        "Stop one of them, then play again.",
    ),
    code(
        "play.maturity_blocked",
        "The profile's maturity setting forbids the title.",
        "Choose another profile or change its setting.",
    ),
    code(
        "play.title_unknown",
        "There is no such title.",
        "List the titles (`Backend::titles`) and use one of their identifiers.",
    ),
    code(
        "play.device_unsupported",
        "The device cannot play any version of the title.",
        "Use another device, or a build with the feature `video`.",
    ),
    code(
        "play.session_expired",
        "The access token is old or unknown, and a new one did not help.",
        "Sign in again.",
    ),
    code(
        "play.overloaded",
        "The backend is too busy.",
        "Wait as long as it says; the player does so by itself.",
    ),
    code(
        "play.refused",
        "The backend refused for a reason this version does not know.",
        "Show its message; update the player.",
    ),
    code(
        "play.no_edges",
        "The backend names no edge that has the title.",
        "Try again later; the operator's edges are down or lack the title.",
    ),
    code(
        "backend.unreachable",
        "The backend cannot be reached.",
        "Check its address and the network; is it running?",
    ),
    code(
        "backend.timeout",
        "The backend did not answer in time.",
        "Check the network; try again.",
    ),
    code(
        "backend.tls",
        "The backend's certificate is not accepted, or TLS failed otherwise.",
        "Check the address and the clock; give its authority (`NetworkOptions::extra_ca_pem`).",
    ),
    code(
        "backend.problem",
        "The backend answered with an error.",
        "Its message says more; try again later.",
    ),
    code(
        "backend.bad_answer",
        "The backend's answer cannot be understood.",
        "Check that the address is a backend's.",
    ),
    code(
        "backend.setup",
        "The backend cannot be asked as configured.",
        "Correct its URL or the network options.",
    ),
    code(
        "net.dns_failed",
        "A name cannot be resolved.",
        "Check the address and the network.",
    ),
    code(
        "net.connect_refused",
        "Nobody listens at the address.",
        "Check address and port; is the server running?",
    ),
    code(
        "net.connect_timeout",
        "No connection in time.",
        "Check the network; a firewall may be in the way.",
    ),
    code(
        "net.unreachable",
        "No way leads to the address.",
        "Check the network.",
    ),
    code(
        "net.tls_certificate",
        "The edge's certificate is not trusted, expired, or for another name.",
        "Give its authority (`NetworkOptions::extra_ca_pem`), or accept any with `insecure`.",
    ),
    code(
        "net.tls_handshake",
        "TLS failed for another reason than the certificate.",
        "Check that the port speaks TLS.",
    ),
    code(
        "net.reset",
        "The connection was reset.",
        "The player goes on elsewhere; with one edge only, check that edge.",
    ),
    code(
        "net.truncated",
        "An answer ended before its length.",
        "The player goes on elsewhere; with one edge only, check that edge.",
    ),
    code(
        "net.stalled",
        "Nothing came for a long time.",
        "The player goes on elsewhere; with one edge only, check the network.",
    ),
    code(
        "net.protocol",
        "An answer is not the HTTP that was asked for.",
        "Check that the address is a web server's, and `NetworkOptions::http`.",
    ),
    code(
        "net.wrong_range",
        "An edge sent another range than asked.",
        "The edge is broken; the player goes on elsewhere.",
    ),
    code(
        "net.redirect_loop",
        "An edge redirects without end.",
        "Check the address.",
    ),
    code(
        "net.unsupported",
        "What was asked for cannot be done over this network or protocol.",
        "The message names it; see `NetworkOptions`.",
    ),
    code(
        "net.invalid_request",
        "A request cannot be sent as it is.",
        "Correct the address.",
    ),
    code(
        "net.proxy",
        "The proxy opened no way.",
        "Check the proxy's address and credentials.",
    ),
    code(
        "edge.token_rejected",
        "An edge did not accept the token.",
        "The player asks the backend for a new one; check the clocks if it lasts.",
    ),
    code(
        "edge.not_found",
        "No edge has the object.",
        "Check the title or address.",
    ),
    code(
        "edge.range_not_satisfiable",
        "An edge does not have the range asked for.",
        "The edge's file is another one than the manifest says.",
    ),
    code(
        "edge.too_many_requests",
        "An edge asks for a rest.",
        "The player rests it and goes on elsewhere.",
    ),
    code(
        "edge.unavailable",
        "An edge is unavailable.",
        "The player rests it and goes on elsewhere.",
    ),
    code(
        "edge.server_error",
        "An edge failed.",
        "The player goes on elsewhere; the edge's log says more.",
    ),
    code(
        "edge.unexpected_status",
        "An edge answered with a status that makes no sense here.",
        "Check the address.",
    ),
    code(
        "edge.bytes_differ",
        "Two edges gave different bytes for the same object.",
        "One of them holds another version; the player asks again elsewhere.",
    ),
    code(
        "edge.corrupt",
        "Bytes do not match their digest.",
        "The player asks elsewhere; check the edge's storage.",
    ),
    code(
        "edge.size_changed",
        "An object has another size than before.",
        "The edges hold different versions.",
    ),
    code(
        "edge.stale_manifest",
        "By an edge's manifest the title has another length than the backend says.",
        "The player asks another edge, and believes what two of them say; bring the edge, or the catalogue, up to date.",
    ),
    code(
        "manifest.not_a_manifest",
        "What came is neither an MPD nor an HLS playlist.",
        "Check the address; a web page may have come instead.",
    ),
    code(
        "manifest.malformed",
        "The manifest breaks the rules of its format.",
        "Package the title again.",
    ),
    code(
        "manifest.missing_attribute",
        "The manifest lacks something that cannot be done without.",
        "Package the title again.",
    ),
    code(
        "manifest.too_large",
        "The manifest is larger than any a player should take.",
        "Package the title again.",
    ),
    code(
        "manifest.too_many_segments",
        "The manifest names more segments than any title has.",
        "Package the title again.",
    ),
    code(
        "manifest.no_tracks",
        "The manifest names nothing that can be played.",
        "Package the title again.",
    ),
    code(
        "manifest.bad_url",
        "The manifest holds an unusable reference.",
        "Package the title again.",
    ),
    code(
        "manifest.bad_index",
        "A segment index cannot be used.",
        "Package the title again.",
    ),
    code(
        "manifest.unexpected_index",
        "A segment index came for what needs none.",
        "Report this as a defect of the player.",
    ),
    code(
        "manifest.unusable",
        "The manifest's times or tracks contradict each other.",
        "Package the title again.",
    ),
    code(
        "unsupported.live",
        "Live presentations are not supported.",
        "Play a title on demand.",
    ),
    code(
        "unsupported.drm_system",
        "The title is encrypted.",
        "Play an unencrypted version.",
    ),
    code(
        "unsupported.encrypted",
        "A track's media is encrypted although the manifest does not say so.",
        "Play an unencrypted version.",
    ),
    code(
        "unsupported.container",
        "The media is neither fragmented MP4 nor WebVTT.",
        "Package the title as CMAF.",
    ),
    code(
        "unsupported.codec",
        "This build has no decoder for the codec.",
        "Use a build with the feature `video`, or a sample sink that decodes.",
    ),
    code(
        "unsupported.muxed",
        "Sound and picture lie in one file.",
        "Package them apart.",
    ),
    code(
        "unsupported.xlink",
        "A part of the manifest lies elsewhere (xlink).",
        "Resolve it before serving the manifest.",
    ),
    code(
        "unsupported.feature",
        "The manifest needs a feature that is not supported.",
        "The message names it.",
    ),
    code(
        "media.malformed",
        "A segment is not valid fragmented MP4.",
        "The player asks elsewhere; if it is so everywhere, package the title again.",
    ),
    code(
        "media.truncated",
        "A segment ends too early.",
        "The player asks elsewhere; if it is so everywhere, package the title again.",
    ),
    code(
        "media.misplaced",
        "A segment's samples lie elsewhere on the timeline than the manifest says.",
        "The player asks elsewhere; if it is so everywhere, package the title again.",
    ),
    code(
        "media.empty",
        "A segment holds no sample of its track.",
        "The player asks elsewhere; if it is so everywhere, package the title again.",
    ),
    code(
        "media.track_missing",
        "An init segment lacks the track that the manifest promises.",
        "Package the title again.",
    ),
    code(
        "media.undecodable",
        "A sample cannot be decoded.",
        "The player asks elsewhere; if it is so everywhere, package the title again.",
    ),
    code(
        "media.decoder_config",
        "A decoder refuses the configuration in the init segment.",
        "Package the title again.",
    ),
    code(
        "media.malformed_subtitles",
        "Subtitles cannot be read.",
        "Playback goes on without that piece.",
    ),
    code(
        "playback.start_timeout",
        "Nothing playable arrived in time.",
        "Check the network and the address.",
    ),
    code(
        "playback.stalled",
        "Playback stalled for longer than allowed.",
        "Check the network; the last failure is in the message.",
    ),
    code(
        "player.no_runtime",
        "A player was started outside a tokio runtime.",
        "Start it from asynchronous code.",
    ),
    code(
        "player.invalid_source",
        "The source makes no sense.",
        "The message says what is wrong.",
    ),
    code(
        "player.invalid_option",
        "An option makes no sense.",
        "The message names it.",
    ),
    code("player.closed", "The player has ended.", "Make a new one."),
    code(
        "player.busy",
        "Commands come faster than they are taken.",
        "Send the last one again.",
    ),
    code(
        "player.sink_failed",
        "A sink does not work.",
        "Playback goes on without it; the message says why.",
    ),
    code(
        "player.internal",
        "The player cannot fetch or use an object.",
        "Report this as a defect, with a recording.",
    ),
];

/// Every kind of event.
pub const EVENTS: &[EventEntry] = &[
    event(
        "state",
        "Playback is in another state: `starting`, `playing`, `paused`, `seeking`, `stalled`, `ended`, `failed`, `stopped`.",
        "Show it.",
    ),
    event(
        "granted",
        "The backend granted playback or refreshed the grant, or none was needed.",
        "Nothing.",
    ),
    event(
        "grant_failed",
        "The backend refused or failed; a state follows if that ends playback.",
        "Show the message if it lasts.",
    ),
    event(
        "tracks_known",
        "Tracks, languages and rungs are known.",
        "Offer the choices in the snapshot.",
    ),
    event(
        "track_refused",
        "A track of the title was left out because it is not supported.",
        "Show it where tracks are chosen.",
    ),
    event(
        "representation_switched",
        "Another representation will be seen or heard.",
        "Nothing.",
    ),
    event(
        "failed_over",
        "Another edge took over an object in the middle.",
        "Nothing; the viewer does not notice.",
    ),
    event(
        "edge_state",
        "An edge was taken out of use, is being tried, or is used again.",
        "Nothing.",
    ),
    event(
        "all_edges_down",
        "No edge answers; the player keeps trying.",
        "Tell the viewer if playback stalls.",
    ),
    event("edges_back", "An edge answers again.", "Nothing."),
    event(
        "decision",
        "Something was decided, with the reason and its numbers.",
        "Show it to whoever looks for reasons.",
    ),
    event(
        "not_decoded",
        "A track cannot be decoded here; playback goes on without it.",
        "Tell the viewer.",
    ),
    event(
        "insecure_tls",
        "Any certificate is accepted, as asked.",
        "Say it loudly.",
    ),
    event(
        "recording_failed",
        "The recording could not be written on; playback goes on.",
        "Tell whoever asked for it.",
    ),
    event(
        "missed",
        "The application fell behind and events were dropped.",
        "Read the snapshot.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nearcast_core::{CertificateProblem, Failure};
    use nearcast_protocol::play::Refusal;

    use super::*;
    use crate::backend::BackendError;

    fn markdown() -> String {
        let mut text = String::from(
            "# Error codes and events\n\n| code | meaning | what to do |\n| --- | --- | --- |\n",
        );
        for CodeEntry {
            code,
            meaning,
            remedy,
        } in CODES
        {
            text.push_str(&format!("| `{code}` | {meaning} | {remedy} |\n"));
        }
        text.push_str("\n| event | meaning | what to do |\n| --- | --- | --- |\n");
        for EventEntry {
            name,
            meaning,
            remedy,
        } in EVENTS
        {
            text.push_str(&format!("| `{name}` | {meaning} | {remedy} |\n"));
        }
        text
    }

    /// Codes are never changed or reused: telemetry and bindings depend on them.
    #[test]
    fn codes_and_events_stay_as_they_are() {
        let codes = CODES.iter().map(|entry| entry.code);
        let names = codes.chain(EVENTS.iter().map(|entry| entry.name));
        insta::assert_snapshot!("codes", names.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_document_holds_the_same_tables() {
        assert_eq!(
            markdown(),
            include_str!("../CODES.md"),
            "CODES.md is not what the tables say"
        );
    }

    #[test]
    fn the_words_of_a_report_are_explained() {
        use nearcast_core::{BreakerState, CancelReason as Reason, DecisionKind as Kind};
        use nearcast_core::{Protocol, StallCause as Cause};
        let words = [
            Cause::Throughput.code(),
            Cause::Edge.code(),
            Cause::AllEdgesDown.code(),
            Cause::Sink.code(),
            Reason::LostRace.code(),
            Reason::Silent.code(),
            Reason::Slow.code(),
            Reason::NotNeeded.code(),
            Reason::Abandoned.code(),
            Reason::LowerRung.code(),
            Reason::Superseded.code(),
            Reason::NetworkChanged.code(),
            Reason::Watchdog.code(),
            Reason::Stopped.code(),
            BreakerState::Closed.name(),
            BreakerState::Open.name(),
            BreakerState::HalfOpen.name(),
            Kind::Race.name(),
            Kind::Rung.name(),
            Kind::Track.name(),
            Kind::Edge.name(),
            Kind::Failover.name(),
            Kind::Hedge.name(),
            Kind::Abandon.name(),
            Kind::Probe.name(),
            Kind::Refresh.name(),
            Kind::Playback.name(),
            Kind::Watchdog.name(),
            Protocol::H3.name(),
            Protocol::H2.name(),
            Protocol::Http1.name(),
        ];
        let document = include_str!("../../protocol/REPORT.md");
        for word in words {
            assert!(document.contains(&format!("`{word}`")), "{word}");
        }
    }

    #[test]
    fn no_code_stands_twice() {
        let distinct: BTreeSet<_> = CODES.iter().map(|entry| entry.code).collect();
        assert_eq!(distinct.len(), CODES.len());
    }

    #[test]
    fn every_code_of_the_session_and_the_backend_is_explained() {
        let statuses = [401, 403, 404, 410, 416, 418, 429, 500, 503];
        let failures = statuses
            .map(|status| Failure::Http {
                status,
                retry_after: None,
            })
            .into_iter()
            .chain([
                Failure::Dns,
                Failure::Refused,
                Failure::ConnectTimeout,
                Failure::Unreachable,
                Failure::TlsCertificate(CertificateProblem::Expired),
                Failure::TlsHandshake,
                Failure::Reset,
                Failure::Truncated,
                Failure::Stalled,
                Failure::Protocol,
                Failure::WrongRange,
                Failure::RedirectLoop,
                Failure::Proxy,
                Failure::Mismatch,
                Failure::Corrupt,
                Failure::SizeChanged,
                Failure::Internal,
            ]);
        for failure in failures {
            assert!(explain(failure.code()).is_some(), "{}", failure.code());
        }
        for refusal in Refusal::ALL
            .into_iter()
            .chain([Refusal::Other("new".to_owned())])
        {
            let error = BackendError::Refused {
                refusal,
                message: String::new(),
                retry_after: None,
            };
            assert!(explain(error.code()).is_some(), "{}", error.code());
        }
    }
}
