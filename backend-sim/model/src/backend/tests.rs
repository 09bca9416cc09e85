use alloc::borrow::ToOwned;
use alloc::vec;

use nearcast_protocol::appliance::Health;
use nearcast_protocol::play::{Capabilities, HttpProtocol, SiteKind};
use nearcast_protocol::telemetry::{QoeEvent, QoeEventKind};
use nearcast_units::Ratio;
use proptest::prelude::*;

use super::*;
use crate::catalogue::{Network, Plan};
use crate::rate::PlayRate;

const NOW: Instant = Instant::from_nanos(1_700_000_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn home() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn ask(token: &str) -> Ask<'_> {
    Ask {
        token,
        client: home(),
    }
}

fn report() -> ApplianceReport {
    ApplianceReport {
        site: "Berlin".to_owned(),
        kind: SiteKind::Isp,
        position_deg: (52.5, 13.4),
        base_url: "https://127.0.0.1:9000".to_owned(),
        protocols: vec![HttpProtocol::H2],
        addresses: vec![],
        prefixes: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        health: Health {
            load: Ratio::ZERO,
            free_capacity_bps: 1_000_000_000,
            error_rate: Ratio::ZERO,
        },
        files: vec!["demo/".to_owned()],
    }
}

/// The demo catalogue with two streams, changed by the test.
fn catalogue(change: impl FnOnce(&mut Catalogue)) -> Catalogue {
    let mut catalogue = Catalogue::demo(120_000);
    catalogue.plans = vec![
        Plan {
            id: "small".to_owned(),
            streams_max: 1,
        },
        Plan {
            id: "big".to_owned(),
            streams_max: 2,
        },
    ];
    catalogue.accounts = [("one", "small"), ("demo", "big")]
        .map(|(id, plan)| Account {
            id: id.to_owned(),
            plan: plan.to_owned(),
            country: "DE".to_owned(),
            maturity: 16,
        })
        .into();
    change(&mut catalogue);
    catalogue
}

/// A backend with one appliance; sessions `tv`, `phone` and `tablet` of `demo`, and `kid` of `one`.
fn backend_with(change: impl FnOnce(&mut Catalogue), config: ModelConfig) -> Backend {
    let mut backend = Backend::new(catalogue(change), config).unwrap();
    backend.handle_report(NOW, "a", &report()).unwrap();
    for (device, account) in [
        ("tv", "demo"),
        ("phone", "demo"),
        ("tablet", "demo"),
        ("kid", "one"),
    ] {
        backend
            .handle_session(NOW, &sign_in(account, device), device)
            .unwrap();
    }
    backend
}

fn backend() -> Backend {
    backend_with(|_| {}, ModelConfig::default())
}

fn sign_in(account: &str, device: &str) -> SessionRequest {
    SessionRequest {
        account: account.to_owned(),
        device_id: device.to_owned(),
        platform: "linux".to_owned(),
    }
}

fn request() -> PlayRequest {
    PlayRequest {
        title: "demo".to_owned(),
        capabilities: Capabilities {
            codecs: vec!["avc1.64001f".to_owned(), "mp4a".to_owned()],
            height_max: Some(1080),
            drm_systems: vec![],
        },
        ..PlayRequest::default()
    }
}

fn refusal<T: core::fmt::Debug>(result: Result<T, PlayError>) -> Refusal {
    match result {
        Err(PlayError::Refused(refused)) => refused.refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

fn refusal_with(change: impl FnOnce(&mut Title)) -> Refused {
    let mut backend = backend_with(
        |catalogue| change(&mut catalogue.titles[0]),
        ModelConfig::default(),
    );
    match backend.handle_play(NOW, ask("tv"), &request(), "p") {
        Err(PlayError::Refused(refused)) => refused,
        other => panic!("no refusal: {other:?}"),
    }
}

fn batch(playback_id: &str, kind: QoeEventKind) -> EventBatch {
    EventBatch {
        playback_id: playback_id.to_owned(),
        sequence: 0,
        dropped: 0,
        events: vec![QoeEvent {
            at_ms: 0,
            position_ms: 0,
            kind,
            fields: alloc::collections::BTreeMap::new(),
        }],
    }
}

#[test]
fn a_viewer_who_may_watch_gets_a_grant() {
    let grant = backend()
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    assert_eq!(grant.files, "demo/");
    assert_eq!(grant.token_expires, NOW + Duration::from_secs(300));
    let grant = grant.grant;
    assert_eq!(grant.playback_id, "p1");
    assert_eq!(grant.manifests.dash.as_deref(), Some("demo/stream.mpd"));
    assert_eq!(grant.appliances.len(), 1);
    assert_eq!(grant.issued_at_unix_ms, 1_700_000_000_000);
    assert!(grant.refresh_after_ms < 300_000);
}

#[test]
fn an_old_or_unknown_token_is_session_expired() {
    let mut backend = backend();
    for token in ["", "guess"] {
        let answer = backend.handle_play(NOW, ask(token), &request(), "p");
        assert_eq!(refusal(answer), Refusal::SessionExpired);
    }
    let late = NOW + ModelConfig::default().session_ttl;
    let answer = backend.handle_play(late, ask("tv"), &request(), "p");
    assert_eq!(refusal(answer), Refusal::SessionExpired);
    assert!(backend.titles(late, ask("tv")).is_err());
    assert!(backend.history(late, ask("tv")).is_err());
}

#[test]
fn too_many_requests_are_overloaded_and_refreshes_are_not() {
    let config = ModelConfig {
        play_rate: Some(PlayRate {
            per_second: 1,
            burst: 1,
        }),
        ..ModelConfig::default()
    };
    let mut backend = backend_with(|_| {}, config);
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    let answer = backend.handle_play(NOW, ask("phone"), &request(), "p2");
    let Err(PlayError::Refused(refused)) = answer else {
        panic!("no refusal: {answer:?}");
    };
    assert_eq!(refused.refusal, Refusal::Overloaded);
    assert_eq!(refused.retry_after, Some(SECOND));
    backend.handle_refresh(NOW, ask("tv"), "p1").unwrap();
    backend
        .handle_play(NOW + SECOND, ask("phone"), &request(), "p2")
        .unwrap();
}

#[test]
fn a_title_that_is_not_there_is_unknown() {
    let request = PlayRequest {
        title: "nothing".to_owned(),
        ..request()
    };
    let answer = backend().handle_play(NOW, ask("tv"), &request, "p");
    assert_eq!(refusal(answer), Refusal::TitleUnknown);
}

#[test]
fn a_country_without_licence_is_region_blocked() {
    let refused = refusal_with(|title| title.countries = vec!["FR".to_owned()]);
    assert_eq!(refused.refusal, Refusal::RegionBlocked);
    assert_eq!(refused.detail, "\"Nearcast demo\" is not available in DE.");
}

#[test]
fn the_network_tells_the_country_and_else_the_account_does() {
    let mut backend = backend_with(
        |catalogue| {
            catalogue.titles[0].countries = vec!["fr".to_owned()];
            catalogue.networks = vec![Network {
                prefix: "2001:db8::/32".to_owned(),
                country: Some("FR".to_owned()),
                position_deg: None,
            }];
        },
        ModelConfig::default(),
    );
    let abroad = Ask {
        token: "tv",
        client: "2001:db8::1".parse().unwrap(),
    };
    assert!(backend.handle_play(NOW, abroad, &request(), "p").is_ok());
    let answer = backend.handle_play(NOW, ask("tv"), &request(), "p2");
    assert_eq!(refusal(answer), Refusal::RegionBlocked);
}

#[test]
fn a_platform_without_licence_is_blocked() {
    let refused = refusal_with(|title| title.platforms = vec!["ios".to_owned()]);
    assert_eq!(refused.refusal, Refusal::PlatformBlocked);
}

#[test]
fn a_plan_that_does_not_include_the_title_is_not_enough_and_a_better_one_is() {
    let mut backend = backend_with(
        |catalogue| catalogue.titles[0].plan = Some("big".to_owned()),
        ModelConfig::default(),
    );
    let answer = backend.handle_play(NOW, ask("kid"), &request(), "p");
    assert_eq!(refusal(answer), Refusal::PlanRequired);
    assert!(backend.handle_play(NOW, ask("tv"), &request(), "p").is_ok());
    let mut backend = backend_with(
        |catalogue| catalogue.titles[0].plan = Some("small".to_owned()),
        ModelConfig::default(),
    );
    assert!(backend.handle_play(NOW, ask("tv"), &request(), "p").is_ok());
}

#[test]
fn a_title_for_older_viewers_is_maturity_blocked() {
    let refused = refusal_with(|title| title.maturity = 17);
    assert_eq!(refused.refusal, Refusal::MaturityBlocked);
    let mut backend = backend_with(
        |catalogue| catalogue.titles[0].maturity = 16,
        ModelConfig::default(),
    );
    assert!(backend.handle_play(NOW, ask("tv"), &request(), "p").is_ok());
}

#[test]
fn a_device_that_cannot_play_any_version_is_unsupported() {
    let mut backend = backend_with(
        |catalogue| {
            catalogue.titles[0].height_min = 720;
            catalogue.titles[0].drm_systems = vec!["clearkey".to_owned()];
        },
        ModelConfig::default(),
    );
    let mut able = request();
    able.capabilities.drm_systems = vec!["clearkey".to_owned()];
    let mut low = able.clone();
    low.capabilities.height_max = Some(719);
    let mut deaf = able.clone();
    deaf.capabilities.codecs.pop();
    for unable in [request(), low, deaf] {
        let answer = backend.handle_play(NOW, ask("tv"), &unable, "p");
        assert_eq!(refusal(answer), Refusal::DeviceUnsupported);
    }
    assert!(backend.handle_play(NOW, ask("tv"), &able, "p").is_ok());
}

#[test]
fn the_checks_come_in_the_documented_order() {
    // Everything is wrong at once; each step mends what was named.
    let config = ModelConfig {
        play_rate: Some(PlayRate {
            per_second: 0,
            burst: 1,
        }),
        ..ModelConfig::default()
    };
    let broken = |catalogue: &mut Catalogue| {
        let title = &mut catalogue.titles[0];
        title.countries = vec!["FR".to_owned()];
        title.platforms = vec!["ios".to_owned()];
        title.plan = Some("big".to_owned());
        title.maturity = 18;
        title.codecs = vec!["av01".to_owned()];
        catalogue.plans[0].streams_max = 0;
    };
    let decide = |mend: &dyn Fn(&mut Catalogue), config, token, title: &str| {
        let mut backend = backend_with(
            |catalogue| {
                broken(catalogue);
                mend(catalogue);
            },
            config,
        );
        let request = PlayRequest {
            title: title.to_owned(),
            ..request()
        };
        refusal(backend.handle_play(NOW, ask(token), &request, "p"))
    };
    let open = ModelConfig::default();
    let seen = [
        decide(&|_| {}, config, "guess", "nothing"),
        decide(&|_| {}, config, "kid", "nothing"),
        decide(&|_| {}, open, "kid", "nothing"),
        decide(&|_| {}, open, "kid", "demo"),
        decide(&|c| c.titles[0].countries.clear(), open, "kid", "demo"),
        decide(
            &|c| {
                c.titles[0].countries.clear();
                c.titles[0].platforms.clear();
            },
            open,
            "kid",
            "demo",
        ),
        decide(
            &|c| {
                c.titles[0].countries.clear();
                c.titles[0].platforms.clear();
                c.titles[0].plan = None;
            },
            open,
            "kid",
            "demo",
        ),
        decide(
            &|c| {
                c.titles[0].countries.clear();
                c.titles[0].platforms.clear();
                c.titles[0].plan = None;
                c.titles[0].maturity = 0;
            },
            open,
            "kid",
            "demo",
        ),
        decide(
            &|c| {
                c.titles[0] = catalogue(|_| {}).titles[0].clone();
            },
            open,
            "kid",
            "demo",
        ),
    ];
    assert_eq!(
        seen,
        [
            Refusal::SessionExpired,
            Refusal::Overloaded,
            Refusal::TitleUnknown,
            Refusal::RegionBlocked,
            Refusal::PlatformBlocked,
            Refusal::PlanRequired,
            Refusal::MaturityBlocked,
            Refusal::DeviceUnsupported,
            Refusal::TooManyStreams,
        ]
    );
}

#[test]
fn another_device_beyond_the_plan_is_one_too_many() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    backend
        .handle_play(NOW, ask("phone"), &request(), "p2")
        .unwrap();
    let answer = backend.handle_play(NOW, ask("tablet"), &request(), "p3");
    assert_eq!(refusal(answer), Refusal::TooManyStreams);
    assert_eq!(backend.counts(NOW).streams, 2);
    // Another account has slots of its own.
    backend
        .handle_play(NOW, ask("kid"), &request(), "p4")
        .unwrap();
}

#[test]
fn a_slot_is_freed_by_the_end_and_by_silence() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    backend
        .handle_play(NOW, ask("phone"), &request(), "p2")
        .unwrap();
    assert!(backend.handle_events(NOW, &batch("p1", QoeEventKind::Ended)));
    backend
        .handle_play(NOW, ask("tablet"), &request(), "p3")
        .unwrap();
    // The phone refreshes and stays; the tablet falls silent.
    let slot_ttl = ModelConfig::default().slot_ttl;
    let half = NOW + slot_ttl / 2;
    backend.handle_report(half, "a", &report()).unwrap();
    backend.handle_refresh(half, ask("phone"), "p2").unwrap();
    let late = NOW + slot_ttl;
    backend.handle_report(late, "a", &report()).unwrap();
    assert_eq!(backend.counts(late).streams, 1);
    backend
        .handle_play(late, ask("tv"), &request(), "p4")
        .unwrap();
}

#[test]
fn whichever_way_playback_is_over_the_slot_is_free() {
    for kind in [
        QoeEventKind::Ended,
        QoeEventKind::Failed,
        QoeEventKind::Stopped,
    ] {
        let mut backend = backend();
        backend
            .handle_play(NOW, ask("tv"), &request(), "p1")
            .unwrap();
        for other in [QoeEventKind::Paused, QoeEventKind::Other("stop".into())] {
            backend.handle_events(NOW, &batch("p1", other));
            assert_eq!(backend.counts(NOW).streams, 1);
        }
        backend.handle_events(NOW, &batch("p1", kind.clone()));
        assert_eq!(backend.counts(NOW).streams, 0, "{kind:?}");
    }
}

#[test]
fn events_are_a_sign_of_life() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    let slot_ttl = ModelConfig::default().slot_ttl;
    backend.handle_events(NOW + slot_ttl / 2, &batch("p1", QoeEventKind::RungSwitched));
    assert_eq!(backend.counts(NOW + slot_ttl).streams, 1);
    assert_eq!(backend.counts(NOW + slot_ttl * 2).streams, 0);
    assert!(!backend.handle_events(NOW, &batch("nobody", QoeEventKind::Ended)));
}

#[test]
fn events_alone_never_take_a_slot() {
    let mut backend = backend();
    let prefetch = PlayRequest {
        intent: Intent::Prefetch,
        ..request()
    };
    backend
        .handle_play(NOW, ask("tv"), &prefetch, "p1")
        .unwrap();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p2")
        .unwrap();
    backend.handle_events(NOW, &batch("p2", QoeEventKind::Ended));
    for id in ["p1", "p2"] {
        backend.handle_events(NOW, &batch(id, QoeEventKind::RungSwitched));
    }
    assert_eq!(backend.counts(NOW).streams, 0);
}

#[test]
fn a_device_that_starts_again_takes_over_its_own_slot() {
    let mut backend = backend();
    for (token, id) in [("tv", "p1"), ("phone", "p2"), ("tv", "p3")] {
        backend
            .handle_play(NOW, ask(token), &request(), id)
            .unwrap();
    }
    assert_eq!(backend.counts(NOW).streams, 2);
    // What was taken over cannot come back while all slots are held…
    let answer = backend.handle_refresh(NOW, ask("tv"), "p1");
    assert_eq!(refusal(answer), Refusal::TooManyStreams);
    backend.handle_events(NOW, &batch("p2", QoeEventKind::Ended));
    // …and can when one is free.
    backend.handle_refresh(NOW, ask("tv"), "p1").unwrap();
}

#[test]
fn previews_and_prefetches_take_no_slot_and_what_is_unknown_does() {
    let mut backend = backend();
    for (id, intent, streams) in [
        ("p1", Intent::Preview, 0),
        ("p2", Intent::Prefetch, 0),
        ("p3", Intent::Other("cast".to_owned()), 1),
    ] {
        let request = PlayRequest {
            intent,
            ..request()
        };
        backend.handle_play(NOW, ask("kid"), &request, id).unwrap();
        assert_eq!(backend.counts(NOW).streams, streams);
    }
}

#[test]
fn the_same_request_twice_is_one_playback_and_one_stream() {
    let mut backend = backend();
    let request = PlayRequest {
        request_id: Some("r1".to_owned()),
        ..request()
    };
    let first = backend
        .handle_play(NOW, ask("kid"), &request, "p1")
        .unwrap();
    let again = backend
        .handle_play(NOW, ask("kid"), &request, "p2")
        .unwrap();
    assert_eq!(first.grant.playback_id, again.grant.playback_id);
    assert_eq!(backend.counts(NOW).streams, 1);
    let long = PlayRequest {
        request_id: Some("x".repeat(65)),
        ..request
    };
    assert!(matches!(
        backend.handle_play(NOW, ask("kid"), &long, "p3"),
        Err(PlayError::BadRequest(_))
    ));
}

#[test]
fn a_refresh_is_the_same_playback_with_new_times_and_a_fresh_list() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    let later = NOW + 120 * SECOND;
    backend.handle_report(later, "b", &report()).unwrap();
    let grant = backend.handle_refresh(later, ask("tv"), "p1").unwrap();
    assert_eq!(grant.grant.playback_id, "p1");
    assert_eq!(grant.token_expires, later + Duration::from_secs(300));
    let ids: Vec<&str> = grant
        .grant
        .appliances
        .iter()
        .map(|offer| offer.id.as_str())
        .collect();
    assert_eq!(ids, ["b"]); // the other one has not reported for two minutes
}

#[test]
fn nobody_refreshes_what_is_not_theirs() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    for (token, id) in [("kid", "p1"), ("tv", "p9")] {
        assert_eq!(
            backend.handle_refresh(NOW, ask(token), id),
            Err(PlayError::PlaybackUnknown)
        );
    }
    let late = NOW + ModelConfig::default().playback_ttl;
    assert_eq!(
        backend.handle_refresh(late, ask("tv"), "p1"),
        Err(PlayError::PlaybackUnknown)
    );
}

#[test]
fn without_an_appliance_there_is_no_grant_and_no_slot_is_taken() {
    let mut backend = backend();
    let late = NOW + 16 * SECOND;
    let answer = backend.handle_play(late, ask("tv"), &request(), "p1");
    assert!(
        matches!(&answer, Err(PlayError::NoAppliance(why)) if why.contains("1 has not reported")),
        "{answer:?}"
    );
    assert_eq!(backend.counts(late).streams, 0);
}

#[test]
fn titles_are_those_that_may_be_watched_here() {
    let mut catalogue = catalogue(|catalogue| {
        let title = catalogue.titles[0].clone();
        for (id, change) in [
            (
                "french",
                (|t| t.countries = vec!["FR".to_owned()]) as fn(&mut Title),
            ),
            ("adult", |t| t.maturity = 18),
            ("big", |t| t.plan = Some("big".to_owned())),
        ] {
            let mut title = title.clone();
            title.id = id.to_owned();
            change(&mut title);
            catalogue.titles.push(title);
        }
    });
    catalogue.networks.clear();
    let mut backend = Backend::new(catalogue, ModelConfig::default()).unwrap();
    for (account, expected) in [("demo", vec!["demo", "big"]), ("one", vec!["demo"])] {
        backend
            .handle_session(NOW, &sign_in(account, "d"), account)
            .unwrap();
        let list = backend.titles(NOW, ask(account)).unwrap();
        let ids: Vec<&str> = list.titles.iter().map(|title| title.id.as_str()).collect();
        assert_eq!(ids, expected);
    }
}

#[test]
fn a_sign_in_needs_an_account_and_a_device() {
    let mut backend = backend();
    assert_eq!(
        backend.handle_session(NOW, &sign_in("nobody", "tv"), "t"),
        Err(SessionError::AccountUnknown("nobody".to_owned()))
    );
    assert_eq!(
        backend.handle_session(NOW, &sign_in("demo", ""), "t"),
        Err(SessionError::BadField("device_id"))
    );
}

#[test]
fn a_viewing_position_comes_back_with_the_next_grant() {
    let mut backend = backend();
    let update = HistoryUpdate {
        position_ms: 61_000,
        language: Some("de".to_owned()),
    };
    backend
        .handle_history(NOW, ask("tv"), "demo", &update)
        .unwrap();
    let grant = backend
        .handle_play(NOW, ask("phone"), &request(), "p1")
        .unwrap();
    assert_eq!(grant.grant.resume_position_ms, 61_000);
    let list = backend.history(NOW, ask("tv")).unwrap();
    assert_eq!(list.entries[0].watched_at_unix_ms, 1_700_000_000_000);
    assert_eq!(
        backend.handle_history(NOW, ask("tv"), "other", &update),
        Err(HistoryError::TitleUnknown("other".to_owned()))
    );
    assert_eq!(
        backend.handle_history(NOW, ask("guess"), "demo", &update),
        Err(HistoryError::SessionExpired)
    );
}

#[test]
fn steering_is_the_ranking_of_a_playback() {
    let mut backend = backend();
    let mut far = report();
    far.prefixes = vec!["192.0.2.0/24".to_owned()];
    backend.handle_report(NOW, "b", &far).unwrap();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    let document = backend.steering(NOW, home(), "p1").unwrap();
    assert_eq!(document.version, 1);
    assert_eq!(document.ttl, 10);
    assert_eq!(document.pathway_priority, ["b", "a"]);
    let explanation = backend.explain(NOW, home(), "p1").unwrap();
    assert_eq!(explanation.appliances[0].id, "b");
    assert_eq!(explanation.client_address, "192.0.2.1");
    assert!(backend.steering(NOW, home(), "p2").is_none());
    assert!(backend.explain(NOW, home(), "p2").is_none());
}

#[test]
fn what_was_stored_makes_the_same_backend() {
    let mut before = backend();
    let update = HistoryUpdate {
        position_ms: 5000,
        language: None,
    };
    before
        .handle_history(NOW, ask("tv"), "demo", &update)
        .unwrap();
    for (token, id) in [("tv", "p1"), ("phone", "p2"), ("tv", "p3")] {
        before.handle_play(NOW, ask(token), &request(), id).unwrap();
    }
    let mut kept = alloc::collections::BTreeMap::new();
    while let Some(action) = before.poll_action() {
        match action {
            Action::Store { key, record } => {
                let json = serde_json::to_string(&record).unwrap();
                kept.insert(key, json);
            }
            Action::Forget { key } => {
                kept.remove(&key);
            }
        }
    }
    let mut after = Backend::new(catalogue(|_| {}), ModelConfig::default()).unwrap();
    for json in kept.values() {
        after.restore(NOW, serde_json::from_str(json).unwrap());
    }
    after.handle_report(NOW, "a", &report()).unwrap();
    assert_eq!(after.counts(NOW), before.counts(NOW));
    assert_eq!(
        after.handle_refresh(NOW, ask("tv"), "p3"),
        before.handle_refresh(NOW, ask("tv"), "p3")
    );
    assert_eq!(
        refusal(after.handle_refresh(NOW, ask("tv"), "p1")),
        Refusal::TooManyStreams
    );
}

#[test]
fn what_has_ended_is_forgotten() {
    let mut backend = backend();
    backend
        .handle_play(NOW, ask("tv"), &request(), "p1")
        .unwrap();
    while backend.poll_action().is_some() {}
    backend.handle_timeout(NOW);
    assert_eq!(backend.poll_action(), None);
    let late = backend.next_deadline().unwrap() + ModelConfig::default().session_ttl;
    backend.handle_timeout(late);
    let mut forgotten = Vec::new();
    while let Some(action) = backend.poll_action() {
        forgotten.push(action);
    }
    assert_eq!(forgotten.len(), 5); // four sessions and a playback
    assert!(forgotten.contains(&Action::Forget {
        key: "playback/p1".to_owned()
    }));
}

#[derive(Clone, Debug)]
enum Step {
    Play(usize),
    Refresh(usize),
    End(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Step::Play),
        2 => (0..40_usize).prop_map(Step::Refresh),
        1 => (0..40_usize).prop_map(Step::End),
        1 => (0..200_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn never_more_streams_than_the_plan_allows(steps in proptest::collection::vec(step(), 0..60)) {
        let config = ModelConfig { playbacks_max: 8, ..ModelConfig::default() };
        let mut backend = backend_with(|_| {}, config);
        let mut now = NOW;
        let tokens = ["tv", "phone", "tablet"];
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Play(device) => {
                    let id = format!("p{n}");
                    drop(backend.handle_play(now, ask(tokens[device]), &request(), &id));
                }
                Step::Refresh(n) => {
                    drop(backend.handle_refresh(now, ask("tv"), &format!("p{n}")));
                }
                Step::End(n) => {
                    backend.handle_events(now, &batch(&format!("p{n}"), QoeEventKind::Ended));
                }
                Step::Wait(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    backend.handle_report(now, "a", &report()).unwrap();
                    backend.handle_timeout(now);
                }
            }
            prop_assert!(backend.counts(now).streams <= 2);
            while backend.poll_action().is_some() {}
        }
    }
}
