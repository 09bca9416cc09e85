//! Snapshots of what clients, backends and appliances say: a change here is a change of the protocol.

use nearcast_protocol::play::{
    ApplianceOffer, Capabilities, EdgeToken, HttpProtocol, Intent, ManifestPaths, PlayGrant,
    PlayRequest, Problem, Refusal, SealingKey, SessionGrant, SiteKind, SteeringOffer, TitleSummary,
};
use nearcast_protocol::report::{
    AttemptReport, ByteReport, ContentReport, DecisionReport, EdgeReport, ErrorReport,
    FailoverReport, FetchReport, FrameReport, LadderReport, PlayerName, SCHEMA, SegmentReport,
    SessionReport, StallReport,
};
use nearcast_protocol::steering::SteeringManifest;
use nearcast_protocol::telemetry::QoeEventKind;
use serde_json::Value;

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

/// One of everything. Its fields are all named, so that a new one is not forgotten here.
fn full_report() -> SessionReport {
    SessionReport {
        schema: SCHEMA.to_owned(),
        player: PlayerName::default(),
        content: ContentReport {
            ladder: vec![LadderReport::default()],
            ..ContentReport::default()
        },
        wall_s: 0.0,
        startup_s: None,
        played_s: 0.0,
        stalls: vec![StallReport::default()],
        stall_count: 0,
        stalled_s: 0.0,
        segments: vec![SegmentReport::default()],
        fetches: vec![FetchReport {
            attempts: vec![AttemptReport::default()],
            ..FetchReport::default()
        }],
        mean_bitrate_bps: 0.0,
        switches: 0,
        mean_switch_bps: 0.0,
        edges: vec![EdgeReport::default()],
        failovers: vec![FailoverReport::default()],
        decisions: vec![DecisionReport {
            scores: [("v3".to_owned(), 1.5)].into(),
            ..DecisionReport::default()
        }],
        buffer: vec![(0.0, 0.0, 0.0)],
        frames: FrameReport::default(),
        bytes: ByteReport::default(),
        qoe_lin: 0.0,
        cpu_s: None,
        peak_rss_bytes: None,
        busy: false,
        ended: false,
        error: Some(ErrorReport::default()),
    }
}

/// Every field by its parent's name and its own, and whether it is only a parent.
fn fields(value: &Value, parent: &str, into: &mut Vec<((String, String), bool)>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let first = value.as_array().and_then(|all| all.first());
                let is_parent = first
                    .unwrap_or(value)
                    .as_object()
                    .is_some_and(|object| !object.is_empty() && !is_map(name));
                into.push(((parent.to_owned(), name.clone()), is_parent));
                if !is_map(name) {
                    fields(value, name, into);
                }
            }
        }
        Value::Array(all) => {
            let parent = format!("{parent}[]");
            all.iter().for_each(|one| fields(one, &parent, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether the names in it are data, not fields.
fn is_map(name: &str) -> bool {
    matches!(name, "inputs" | "scores")
}

#[test]
fn every_field_of_the_report_is_explained_and_nothing_else() {
    let document = include_str!("../../REPORT.md");
    let (table, _) = document.split_once("## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    // A row may name several fields of one parent: `a[].b`, `.c`.
    let mut explained = Vec::new();
    for row in rows {
        let (names, _) = row.split_once(" |").unwrap();
        let mut parent = String::new();
        for name in names.split(", ") {
            let path = name.trim_matches('`').trim_end_matches("[]");
            if let Some((before, name)) = path.rsplit_once('.') {
                if !before.is_empty() {
                    parent = before.rsplit(['.', '…']).next().unwrap().to_owned();
                }
                explained.push((parent.clone(), name.to_owned()));
            } else {
                explained.push((String::new(), path.to_owned()));
            }
        }
    }
    let mut written = Vec::new();
    let report = serde_json::to_value(full_report()).unwrap();
    fields(&report, "", &mut written);
    for (field, is_parent) in &written {
        assert!(
            *is_parent || explained.contains(field),
            "{field:?} is not explained"
        );
    }
    for field in &explained {
        assert!(
            written.iter().any(|(written, _)| written == field),
            "there is no {field:?}"
        );
    }
}
