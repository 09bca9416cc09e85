//! Snapshots of what clients, backends and appliances say: a change here is a change of the protocol.

use nearcast_protocol::play::{
    ApplianceOffer, Capabilities, EdgeToken, HttpProtocol, Intent, ManifestPaths, PlayGrant,
    PlayRequest, Problem, Refusal, SealingKey, SessionGrant, SiteKind, SteeringOffer, TitleSummary,
};
use nearcast_protocol::steering::SteeringManifest;
use nearcast_protocol::telemetry::QoeEventKind;

fn grant() -> PlayGrant {
    PlayGrant {
        playback_id: "5f1c".to_owned(),
        title: TitleSummary {
            id: "demo".to_owned(),
            name: "Demo".to_owned(),
            duration_ms: 120_000,
            description: String::new(),
        },
        manifests: ManifestPaths {
            dash: Some("demo/stream.mpd".to_owned()),
            hls: None,
        },
        appliances: vec![ApplianceOffer {
            id: "a".to_owned(),
            site: "Berlin".to_owned(),
            kind: SiteKind::Isp,
            base_url: "https://127.0.0.1:9000".to_owned(),
            protocols: vec![HttpProtocol::H3, HttpProtocol::H2, HttpProtocol::Http1],
            addresses: vec!["127.0.0.1".to_owned()],
            rank: 0,
            token: Some(EdgeToken {
                query: "pb=5f1c".to_owned(),
                expires_at_unix_ms: 1_700_000_300_000,
            }),
        }],
        sizes: None,
        steering: Some(SteeringOffer {
            url: "https://127.0.0.1:8443/v1/steering/5f1c".to_owned(),
            ttl_ms: 10_000,
        }),
        issued_at_unix_ms: 1_700_000_000_000,
        resume_position_ms: 61_000,
        refresh_after_ms: 120_000,
        events_url: Some("https://127.0.0.1:8443/v1/events".to_owned()),
        license_url: None,
    }
}

#[test]
fn a_play_grant_looks_like_this() {
    insta::assert_json_snapshot!(grant());
}

#[test]
fn a_play_request_looks_like_this() {
    insta::assert_json_snapshot!(PlayRequest {
        title: "demo".to_owned(),
        capabilities: Capabilities {
            codecs: vec!["avc1".to_owned(), "mp4a".to_owned()],
            height_max: Some(1080),
            drm_systems: vec![],
        },
        intent: Intent::Play,
        request_id: Some("r1".to_owned()),
    });
}

#[test]
fn a_session_grant_looks_like_this() {
    insta::assert_json_snapshot!(SessionGrant {
        access_token: "secret".to_owned(),
        expires_at_unix_ms: 1_700_000_000_000,
        sealing: Some(SealingKey {
            key_config_base64: "AAA".to_owned(),
            expires_at_unix_ms: 1_700_000_000_000,
            url: "http://127.0.0.1:8444/v1/sealed".to_owned(),
        }),
    });
}

#[test]
fn a_steering_manifest_has_the_names_of_the_standard() {
    insta::assert_json_snapshot!(SteeringManifest {
        version: 1,
        ttl: 10,
        reload_uri: Some("https://127.0.0.1:8443/v1/steering/5f1c".to_owned()),
        pathway_priority: vec!["a".to_owned(), "b".to_owned()],
    });
}

#[test]
fn a_problem_looks_like_this() {
    let mut problem = Problem::new(
        503,
        "overloaded",
        "The backend is too busy.",
        "Ask again later.".to_owned(),
    );
    problem.retry_after_ms = Some(1000);
    insta::assert_json_snapshot!(problem);
}

#[test]
fn the_code_of_a_refusal_is_its_name_on_the_wire() {
    for refusal in Refusal::ALL {
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(json, format!("\"{}\"", refusal.code()));
        assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
    }
    assert_eq!(Refusal::from_code("bad_request"), None);
}

#[test]
fn what_is_unknown_is_carried_and_not_fatal() {
    let request: PlayRequest =
        serde_json::from_str(r#"{"title":"t","capabilities":{},"intent":"cast","new":1}"#).unwrap();
    assert_eq!(request.intent, Intent::Other("cast".to_owned()));
    let refusal: Refusal = serde_json::from_str("\"moon_phase\"").unwrap();
    assert_eq!(refusal.code(), "moon_phase");
    let problem: Problem =
        serde_json::from_str(r#"{"title":"x","status":500,"code":"boom"}"#).unwrap();
    assert_eq!(problem.kind, "about:blank");
}

#[test]
fn a_token_is_not_shown() {
    let shown = format!("{:?}", grant());
    assert!(!shown.contains("pb=5f1c"), "{shown}");
}

#[test]
fn what_happened_has_these_names_and_an_unknown_one_is_carried() {
    let kinds = [
        QoeEventKind::Started,
        QoeEventKind::Stalled,
        QoeEventKind::Resumed,
        QoeEventKind::Playing,
        QoeEventKind::Paused,
        QoeEventKind::Seeking,
        QoeEventKind::RungSwitched,
        QoeEventKind::FailedOver,
        QoeEventKind::AllEdgesDown,
        QoeEventKind::EdgesBack,
        QoeEventKind::NotDecoded,
        QoeEventKind::Ended,
        QoeEventKind::Failed,
        QoeEventKind::Stopped,
        QoeEventKind::Other("cast_began".to_owned()),
    ];
    let text = serde_json::to_string(&kinds).unwrap();
    assert_eq!(
        text,
        r#"["started","stalled","resumed","playing","paused","seeking","rung_switched","failed_over","all_edges_down","edges_back","not_decoded","ended","failed","stopped","cast_began"]"#
    );
    let read: Vec<QoeEventKind> = serde_json::from_str(&text).unwrap();
    assert_eq!(read, kinds);
}
