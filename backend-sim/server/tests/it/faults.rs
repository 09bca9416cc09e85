//! Faults of the backend: of its answers, sealed or not, and of the whole server.

use std::io::ErrorKind;
use std::time::Duration;

use nearcast_backend_server::FaultError;
use nearcast_backend_server::fault::{
    Fault, FaultOrder, FaultRule, FaultSelector, ObjectKind, TlsProblem,
};
use nearcast_protocol::appliance::ApplianceReport;
use nearcast_protocol::play::PlayGrant;
use nearcast_protocol::steering::{SteeringExplanation, SteeringManifest};
use nearcast_protocol::telemetry::EventBatch;
use nearcast_units::Ratio;
use reqwest::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sealed::{seal, send, unseal};
use crate::support::{
    Setup, client_builder, client_of, demo, good, play_request, problem, report, start,
    start_with_appliance,
};

/// Longer than anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(400);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

fn of(object: ObjectKind) -> FaultSelector {
    FaultSelector {
        object: Some(object),
        ..FaultSelector::EVERYTHING
    }
}

fn half(object: ObjectKind) -> FaultSelector {
    FaultSelector {
        after: Ratio::new(0.5).ok(),
        ..of(object)
    }
}

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        retry_after_s: Some(3),
    }
}

impl Setup {
    /// Puts a fault in force, by the name of `f`.
    async fn fault(&self, fault: Fault, on: FaultSelector) {
        let rule = FaultRule {
            id: Some("f".to_owned()),
            fault,
            on,
        };
        soon(self.backend.apply(FaultOrder::add([rule])))
            .await
            .unwrap();
    }

    async fn remove(&self) {
        let order = FaultOrder {
            remove: vec!["f".to_owned()],
            ..FaultOrder::default()
        };
        soon(self.backend.apply(order)).await.unwrap();
    }

    async fn ask_to_play(&self, token: &str) -> Response {
        soon(self.post("/v1/play", token, &play_request())).await
    }

    /// Sends what tells of nothing.
    async fn tell(&self) -> StatusCode {
        let batch = EventBatch {
            playback_id: "p1".to_owned(),
            sequence: 0,
            dropped: 0,
            events: Vec::new(),
        };
        soon(self.post("/v1/events", "", &batch)).await.status()
    }

    /// Asserts that there is one receipt, and returns its path and offset.
    fn one_receipt(&self) -> (String, Option<u64>) {
        let receipts = self.backend.receipts();
        let [receipt] = receipts.as_slice() else {
            panic!("{receipts:?}");
        };
        assert_eq!(receipt.id.as_deref(), Some("f"));
        (receipt.path.clone().unwrap(), receipt.offset)
    }
}

#[tokio::test]
async fn an_answer_is_a_status_for_what_is_selected_alone() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let grant = setup.play(&token).await;
    let refresh = format!("/v1/play/{}/refresh", grant.playback_id);
    let steering = format!("/v1/steering/{}", grant.playback_id);
    for kind in [
        ObjectKind::Play,
        ObjectKind::Refresh,
        ObjectKind::Steering,
        ObjectKind::Event,
    ] {
        let before = setup.backend.receipts().len();
        setup.fault(status(503), of(kind)).await;
        let answers = [
            (ObjectKind::Play, setup.ask_to_play(&token).await.status()),
            (
                ObjectKind::Refresh,
                setup.post(&refresh, &token, &()).await.status(),
            ),
            (
                ObjectKind::Steering,
                setup.get(&steering, "").await.status(),
            ),
            (ObjectKind::Event, setup.tell().await),
        ];
        for (asked, status) in answers {
            assert_eq!(status.as_u16() == 503, asked == kind, "{asked:?} {kind:?}");
        }
        assert_eq!(setup.backend.receipts().len(), before + 1, "{kind:?}");
        // The account still has its streams: what is refused was not done.
        setup.remove().await;
    }
    // A playback may be selected by its name.
    let on = FaultSelector {
        client: Some(grant.playback_id.clone()),
        ..FaultSelector::EVERYTHING
    };
    setup.fault(status(500), on).await;
    assert_eq!(setup.get(&steering, "").await.status(), 500);
    assert_eq!(setup.get("/v1/steering/other", "").await.status(), 404);
    assert_eq!(setup.ask_to_play(&token).await.status(), 200);
}

#[tokio::test]
async fn a_status_says_when_to_ask_again_and_leaves_no_stream_behind() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(status(503), of(ObjectKind::Play)).await;
    // More than the plan has streams.
    for _ in 0..20 {
        let answer = setup.ask_to_play(&token).await;
        assert_eq!(answer.headers()["retry-after"], "3");
        assert_eq!(problem(answer).await.code, "fault");
    }
    setup.remove().await;
    setup.play(&token).await;
}

#[tokio::test]
async fn a_session_is_said_to_be_over_however_good_it_is() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup
        .fault(Fault::TokenExpired, FaultSelector::EVERYTHING)
        .await;
    let refused = problem(setup.ask_to_play(&token).await).await;
    assert_eq!((refused.status, &*refused.code), (401, "session_expired"));
    assert_eq!(setup.one_receipt().0, "v1/play");
}

#[tokio::test]
async fn a_sealed_request_counts_as_what_is_in_it() {
    let setup = start_with_appliance(demo()).await;
    let session = setup.session("demo", "tv").await;
    let (key, token) = (session.sealing.unwrap(), session.access_token);
    let body = serde_json::to_vec(&play_request()).unwrap();
    let sealed = || seal(&key, "/v1/play", &token, &body);

    setup.fault(status(503), of(ObjectKind::Play)).await;
    let (request, reply) = sealed();
    let answer = send(&setup.client, &key.url, request).await;
    // Whoever stands between sees an answer like any other.
    assert_eq!(unseal(answer, reply).await.0, 503);
    assert_eq!(setup.one_receipt().0, "v1/play");
    setup.remove().await;

    // A portal opens no seals.
    setup.fault(Fault::Portal, of(ObjectKind::Play)).await;
    let answer = send(&setup.client, &key.url, sealed().0).await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    setup.remove().await;

    setup.fault(Fault::Truncate, half(ObjectKind::Play)).await;
    let answer = send(&setup.client, &key.url, sealed().0).await;
    assert_eq!(answer.status(), 200);
    assert!(soon(answer.bytes()).await.is_err(), "it is cut off");
    setup.remove().await;

    let (request, reply) = sealed();
    let answer = send(&setup.client, &key.url, request).await;
    assert_eq!(unseal(answer, reply).await.0, 200);
}

#[tokio::test]
async fn a_portal_shows_its_page_and_asks_nobody() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(Fault::Portal, FaultSelector::EVERYTHING).await;
    let answer = setup.ask_to_play(&token).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));
    assert_eq!(setup.one_receipt(), ("v1/play".to_owned(), None));
}

#[tokio::test]
async fn an_answer_is_a_few_kilobytes_that_would_become_megabytes() {
    let setup = start_with_appliance(demo()).await;
    let session = setup.session("demo", "tv").await;
    let key = session.sealing.unwrap();
    let grant = setup.play(&session.access_token).await;
    let refresh = format!("/v1/play/{}/refresh", grant.playback_id);
    let request = serde_json::to_vec(&play_request()).unwrap();
    setup
        .fault(Fault::GzipBomb, FaultSelector::EVERYTHING)
        .await;
    // What it would be sealed in is what is said to be compressed.
    let sealed = seal(&key, "/v1/play", &session.access_token, &request).0;
    for answer in [
        setup.ask_to_play(&session.access_token).await,
        setup.post(&refresh, &session.access_token, &()).await,
        send(&setup.client, &key.url, sealed).await,
    ] {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let body = soon(answer.bytes()).await.unwrap();
        assert!(body.starts_with(&[0x1F, 0x8B]) && body.len() < 32_000);
    }
    assert_eq!(setup.backend.receipts().len(), 3);
    // Nothing was done: the account has its other streams.
    setup.remove().await;
    setup.play(&session.access_token).await;
}

#[tokio::test]
async fn an_answer_says_half_its_length() {
    for only_http1 in [true, false] {
        let mut setup = start_with_appliance(demo()).await;
        if only_http1 {
            let client = client_builder(setup.backend.ca_pem()).http1_only();
            setup.client = client.build().unwrap();
        }
        let session = setup.session("demo", "tv").await;
        let (key, token) = (session.sealing.unwrap(), session.access_token);
        let usual = setup.ask_to_play(&token).await.content_length().unwrap();
        setup.fault(Fault::Longer, of(ObjectKind::Play)).await;
        let answer = setup.ask_to_play(&token).await;
        let said = answer.content_length().unwrap();
        assert!(said.abs_diff(usual / 2) < 8, "{said} of {usual}");
        let body = soon(answer.bytes()).await;
        // HTTP/1.1 has no word for what comes after the end; HTTP/2 has, and it is a breach.
        if only_http1 {
            let body = body.unwrap();
            assert_eq!(u64::try_from(body.len()).unwrap(), said);
            assert!(serde_json::from_slice::<PlayGrant>(&body).is_err());
        } else {
            assert!(body.is_err());
        }
        assert_eq!(setup.one_receipt(), ("v1/play".to_owned(), None));
        let request = serde_json::to_vec(&play_request()).unwrap();
        let sealed = seal(&key, "/v1/play", &token, &request).0;
        let answer = send(&setup.client, &key.url, sealed).await;
        let said = answer.content_length().unwrap();
        let body = soon(answer.bytes()).await.unwrap();
        assert_eq!(u64::try_from(body.len()).unwrap(), said);
        setup.remove().await;
        setup.play(&token).await;
    }
}

#[tokio::test]
async fn an_answer_sends_back_to_where_it_comes_from_without_end() {
    let mut setup = start_with_appliance(demo()).await;
    let session = setup.session("demo", "tv").await;
    let (key, token) = (session.sealing.unwrap(), session.access_token);
    let body = serde_json::to_vec(&play_request()).unwrap();
    let sealed = || seal(&key, "/v1/play", &token, &body).0;
    let patient = setup.client.clone();
    let client = client_builder(setup.backend.ca_pem());
    let client = client.redirect(reqwest::redirect::Policy::none());
    setup.client = client.build().unwrap();
    // One request is hit, and so is whatever follows from it.
    let once = FaultSelector {
        count: Some(1),
        ..of(ObjectKind::Play)
    };
    setup.fault(Fault::RedirectLoop, once.clone()).await;
    let answer = setup.ask_to_play(&token).await;
    let to = "/v1/play?nearcast-loop";
    for answer in [answer, setup.post(to, &token, &play_request()).await] {
        // A POST stays one.
        assert_eq!(answer.status(), 307);
        assert_eq!(answer.headers()["location"], to);
    }
    assert_eq!(setup.one_receipt(), ("v1/play".to_owned(), None));
    setup.play(&token).await;

    setup.fault(Fault::RedirectLoop, once).await;
    let answer = send(&setup.client, &key.url, sealed()).await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/v1/sealed?nearcast-loop");
    assert_eq!(setup.backend.receipts().len(), 2);
    setup.play(&token).await;

    setup.fault(Fault::RedirectLoop, of(ObjectKind::Play)).await;
    let url = setup.url("/v1/play");
    let lost = patient.post(url).bearer_auth(&token).json(&play_request());
    assert!(soon(lost.send()).await.unwrap_err().is_redirect());
    assert_eq!(setup.backend.receipts().len(), 3);
}

#[tokio::test]
async fn an_answer_trickles_from_some_byte_on_until_its_fault_is_removed() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let trickle = |rate_bps| Fault::Trickle { rate_bps };
    setup.fault(trickle(800), half(ObjectKind::Play)).await;
    let mut answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    let mut body = soon(answer.chunk()).await.unwrap().unwrap().to_vec();
    assert_eq!(u64::try_from(body.len()).unwrap(), length / 2);
    let began = tokio::time::Instant::now();
    while u64::try_from(body.len()).unwrap() < length / 2 + 40 {
        body.extend(soon(answer.chunk()).await.unwrap().unwrap());
    }
    // A hundred bytes a second.
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(u64::try_from(body.len()).unwrap() < length);
    let receipt = ("v1/play".to_owned(), Some(length / 2));
    assert_eq!(setup.one_receipt(), receipt);
    setup.remove().await;
    while let Some(chunk) = soon(answer.chunk()).await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert!(serde_json::from_slice::<PlayGrant>(&body).is_ok());
    assert_eq!(setup.backend.receipts().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_that_trickles_is_told_once() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    // The first wrong byte is none of the first that leave.
    let both = [Fault::Trickle { rate_bps: 32_000 }, Fault::Corrupt];
    let both = both.map(|fault| FaultRule {
        id: Some(fault.name().to_owned()),
        fault,
        on: of(ObjectKind::Play),
    });
    setup.backend.apply(FaultOrder::add(both)).await.unwrap();
    let answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    assert!(length > 600, "{length}");
    let at = (length / 2).min(500);
    let body = soon(answer.bytes()).await.unwrap();
    assert_eq!(u64::try_from(body.len()).unwrap(), length);
    let wrong = body.iter().position(|byte| *byte > 0x7F);
    assert_eq!(wrong.and_then(|wrong| wrong.try_into().ok()), Some(at));
    let receipts = setup.backend.receipts();
    let told: Vec<(&str, Option<u64>)> = receipts
        .iter()
        .map(|one| (one.fault.name(), one.offset))
        .collect();
    assert_eq!(told, [("trickle", Some(0)), ("corrupt", Some(at))]);
}

#[tokio::test]
async fn handshakes_fail_and_what_is_sealed_needs_none() {
    let setup = start_with_appliance(demo()).await;
    let session = setup.session("demo", "tv").await;
    let (key, token) = (session.sealing.unwrap(), session.access_token);
    let health = |client: &reqwest::Client| {
        let request = client.get(setup.url("/healthz")).send();
        async { soon(request).await }
    };
    for (problem, says) in [
        (TlsProblem::Expired, "Expired"),
        (TlsProblem::WrongName, "NotValidForName"),
    ] {
        let before = setup.backend.receipts().len();
        let once = FaultSelector {
            count: Some(1),
            ..FaultSelector::EVERYTHING
        };
        setup.fault(Fault::Tls { problem }, once).await;
        // Who is there stays; who comes without TLS does not use it up.
        setup.play(&token).await;
        let request = serde_json::to_vec(&play_request()).unwrap();
        let (sealed, reply) = seal(&key, "/v1/play", &token, &request);
        let fresh = client_of(&setup.backend);
        let answer = send(&fresh, &key.url, sealed).await;
        assert_eq!(unseal(answer, reply).await.0, 200);
        assert_eq!(setup.backend.receipts().len(), before);
        let refused = health(&fresh).await.unwrap_err();
        let told = format!("{refused:?}");
        assert!(
            told.contains("InvalidCertificate") && told.contains(says),
            "{told}"
        );
        assert_eq!(setup.backend.receipts().len(), before + 1);
        assert_eq!(health(&fresh).await.unwrap().status(), 200);
    }

    let problem = TlsProblem::Stall;
    let stall = Fault::Tls { problem };
    setup.fault(stall, FaultSelector::EVERYTHING).await;
    let fresh = client_builder(setup.backend.ca_pem()).connect_timeout(SILENCE);
    let fresh = fresh.build().unwrap();
    assert!(health(&fresh).await.unwrap_err().is_timeout());
    assert_eq!(setup.backend.receipts().len(), 3);
    setup.remove().await;
    assert_eq!(health(&fresh).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_backend_without_tls_has_no_handshakes_that_fail() {
    let mut config = demo();
    config.plain = true;
    let setup = start(config).await;
    let problem = TlsProblem::Expired;
    let tls = FaultRule::everywhere(Fault::Tls { problem });
    let refused = setup.backend.apply(FaultOrder::add([tls])).await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("speaks no TLS"), "{told}");
}

#[tokio::test]
async fn an_answer_is_late_until_its_fault_is_removed() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    // Longer than any test waits.
    let late = Fault::LateFirstByte {
        delay_ms: 3_600_000,
    };
    setup.fault(late, of(ObjectKind::Play)).await;
    let answer = setup.ask_to_play(&token);
    let remove = async {
        while setup.backend.receipts().is_empty() {
            tokio::task::yield_now().await;
        }
        setup.remove().await;
    };
    let (answer, ()) = tokio::join!(answer, remove);
    let _: PlayGrant = good(answer).await;
}

#[tokio::test]
async fn an_answer_hangs_in_its_middle_until_its_fault_is_removed() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let further = FaultRule {
        id: Some("further".to_owned()),
        fault: Fault::Hang,
        on: FaultSelector {
            after: Ratio::new(0.75).ok(),
            ..of(ObjectKind::Play)
        },
    };
    setup
        .backend
        .apply(FaultOrder::add([further]))
        .await
        .unwrap();
    setup.fault(Fault::Hang, half(ObjectKind::Play)).await;
    let mut answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    let mut body = soon(answer.chunk()).await.unwrap().unwrap().to_vec();
    assert_eq!(u64::try_from(body.len()).unwrap(), length / 2);
    assert!(
        timeout(SILENCE, answer.chunk()).await.is_err(),
        "it goes on"
    );
    let receipt = ("v1/play".to_owned(), Some(length / 2));
    assert_eq!(setup.one_receipt(), receipt);
    // Others are answered.
    assert_eq!(setup.tell().await, 202);
    // Without the one the other holds, further on.
    setup.remove().await;
    body.extend(soon(answer.chunk()).await.unwrap().unwrap());
    let at = length * 3 / 4;
    assert_eq!(u64::try_from(body.len()).unwrap(), at);
    soon(async {
        while setup.backend.receipts().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let receipt = setup.backend.receipts().pop().unwrap();
    let expected = (Some("further"), Some(at));
    assert_eq!((receipt.id.as_deref(), receipt.offset), expected);
    setup.backend.apply(FaultOrder::clear()).await.unwrap();
    while let Some(chunk) = soon(answer.chunk()).await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    let grant: PlayGrant = serde_json::from_slice(&body).unwrap();
    assert_eq!(grant.appliances[0].id, "a");
}

#[tokio::test]
async fn an_answer_is_cut_off_in_good_order_or_with_its_connection() {
    for (fault, only_http1) in [
        (Fault::Truncate, false),
        (Fault::Truncate, true),
        (Fault::Reset, false),
        (Fault::Reset, true),
    ] {
        let mut setup = start_with_appliance(demo()).await;
        if only_http1 {
            let client = client_builder(setup.backend.ca_pem()).http1_only();
            setup.client = client.build().unwrap();
        }
        let token = setup.token().await;
        setup.fault(fault.clone(), half(ObjectKind::Play)).await;
        let mut answer = setup.ask_to_play(&token).await;
        let length = answer.content_length().unwrap();
        let mut came = 0;
        let fail = loop {
            match soon(answer.chunk()).await {
                Ok(Some(chunk)) => came += u64::try_from(chunk.len()).unwrap(),
                Ok(None) => panic!("{fault:?}: it looks complete"),
                Err(error) => break format!("{error:?}"),
            }
        };
        assert_eq!(came, length / 2, "{fault:?}");
        let is_reset = fail.contains("ConnectionReset");
        assert_eq!(is_reset, fault == Fault::Reset, "{fail}");
        let receipt = ("v1/play".to_owned(), Some(length / 2));
        assert_eq!(setup.one_receipt(), receipt);
        setup.remove().await;
        setup.play(&token).await;
    }
}

#[tokio::test]
async fn an_answer_is_no_text() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(Fault::BadText, half(ObjectKind::Play)).await;
    let answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    let body = answer.bytes().await.unwrap();
    assert_eq!(u64::try_from(body.len()).unwrap(), length);
    let (good, bad) = body.split_at(body.len() / 2);
    assert!(good.starts_with(b"{\"playback_id\":"));
    assert!(bad.iter().all(|byte| *byte == 0xFF));
    let receipt = ("v1/play".to_owned(), Some(length / 2));
    assert_eq!(setup.one_receipt(), receipt);
}

#[tokio::test]
async fn the_worst_appliance_is_named_first() {
    let setup = start(demo()).await;
    for (id, errors) in [("worst", 0.4), ("better", 0.2), ("best", 0.0)] {
        let mut report: ApplianceReport = report();
        report.health.error_rate = Ratio::new(errors).unwrap();
        setup.report(id, &report).await;
    }
    let token = setup.token().await;
    let names = |grant: &PlayGrant| {
        let named = grant.appliances.iter();
        named.map(|one| (one.rank, one.id.clone())).collect()
    };
    let before: Vec<(u32, String)> = names(&setup.play(&token).await);
    setup.fault(Fault::Misrank, FaultSelector::EVERYTHING).await;
    let grant = setup.play(&token).await;
    let after: Vec<(u32, String)> = names(&grant);
    let opposite = before.iter().rev().map(|(_, id)| id.clone());
    let expected: Vec<(u32, String)> = (0..).zip(opposite).collect();
    assert_eq!((before.len(), &after), (3, &expected));
    // Other players are told the same, and whoever asks why the truth.
    let steering = format!("/v1/steering/{}", grant.playback_id);
    let document: SteeringManifest = good(setup.get(&steering, "").await).await;
    let named: Vec<String> = after.into_iter().map(|(_, id)| id).collect();
    assert_eq!(document.pathway_priority, named);
    let why = setup.get(&format!("{steering}/explain"), "").await;
    let why: SteeringExplanation = good(why).await;
    let best = why.appliances.iter().find(|one| one.rank == Some(0));
    assert_eq!(best.map(|one| &one.id), named.last());
    setup.remove().await;
    assert_eq!(names(&setup.play(&token).await), before);
}

/// Returns the addresses of both ports.
fn ports(setup: &Setup) -> [String; 2] {
    let main = setup.backend.url();
    let sealed = setup.backend.sealed_url().unwrap();
    [main, sealed].map(|url| url.split('/').nth(2).unwrap().to_owned())
}

async fn assert_refused(setup: &Setup) {
    for address in ports(setup) {
        let refused = soon(TcpStream::connect(&address)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
}

#[tokio::test]
async fn a_closed_port_refuses_who_comes_and_serves_who_is_there() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    let once = FaultSelector {
        count: Some(1),
        ..FaultSelector::EVERYTHING
    };
    // Nobody shakes hands with a closed port: this one waits for somebody who does.
    let problem = TlsProblem::Expired;
    setup.fault(Fault::Tls { problem }, once.clone()).await;
    setup.fault(Fault::Refuse, FaultSelector::EVERYTHING).await;
    assert_refused(&setup).await;
    setup.play(&token).await;
    let receipts = setup.backend.receipts();
    let faults: Vec<&Fault> = receipts.iter().map(|one| &one.fault).collect();
    assert_eq!(faults, [&Fault::Refuse]);
    setup.remove().await;
    let fresh = client_of(&setup.backend);
    let health = fresh.get(setup.url("/healthz")).send();
    assert_eq!(soon(health).await.unwrap().status(), 200);

    // One alone is let in by the system and reset at once.
    setup.fault(Fault::Refuse, once).await;
    let fresh = client_of(&setup.backend);
    let refused = soon(fresh.get(setup.url("/healthz")).send()).await;
    assert!(
        format!("{refused:?}").contains("ConnectionReset"),
        "{refused:?}"
    );
    let served = soon(fresh.get(setup.url("/healthz")).send()).await;
    assert_eq!(served.unwrap().status(), 200);
    assert_eq!(setup.backend.receipts().len(), 2);
}

#[tokio::test]
async fn a_killed_backend_resets_and_refuses_and_knows_everything_when_it_is_back() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    // A request is under way.
    setup.fault(Fault::Hang, half(ObjectKind::Play)).await;
    let mut answer = setup.ask_to_play(&token).await;
    soon(answer.chunk()).await.unwrap().unwrap();
    setup.fault(Fault::Kill, FaultSelector::EVERYTHING).await;
    let fail = soon(answer.chunk()).await.unwrap_err();
    assert!(format!("{fail:?}").contains("ConnectionReset"), "{fail:?}");
    assert_refused(&setup).await;
    setup.remove().await;
    // The session is what it was.
    setup.play(&token).await;
}

#[tokio::test]
async fn a_backend_dies_in_the_middle_of_the_answer_that_is_selected() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(Fault::Kill, half(ObjectKind::Play)).await;
    assert_eq!(setup.tell().await, 202);
    let mut answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    let first = soon(answer.chunk()).await.unwrap().unwrap();
    assert_eq!(u64::try_from(first.len()).unwrap(), length / 2);
    assert!(soon(answer.chunk()).await.is_err());
    let receipt = ("v1/play".to_owned(), Some(length / 2));
    assert_eq!(setup.one_receipt(), receipt);
    soon(async {
        while TcpStream::connect(&ports(&setup)[0]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    setup.remove().await;
    setup.play(&token).await;
}

#[tokio::test]
async fn an_answer_waits_in_its_middle_while_the_backend_is_a_black_hole() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(Fault::Stop, half(ObjectKind::Play)).await;
    let mut answer = setup.ask_to_play(&token).await;
    let length = answer.content_length().unwrap();
    let first = soon(answer.chunk()).await.unwrap().unwrap();
    assert_eq!(u64::try_from(first.len()).unwrap(), length / 2);
    let more = timeout(SILENCE, answer.chunk()).await;
    assert!(more.is_err(), "it goes on");
    setup.remove().await;
    let rest = soon(answer.bytes()).await.unwrap();
    let body = [first, rest].concat();
    assert!(serde_json::from_slice::<PlayGrant>(&body).is_ok());
}

#[tokio::test]
async fn a_stopped_backend_is_a_black_hole_and_goes_on_when_restored() {
    let setup = start_with_appliance(demo()).await;
    let token = setup.token().await;
    setup.fault(Fault::Stop, FaultSelector::EVERYTHING).await;
    let request = setup.ask_to_play(&token);
    let mut request = std::pin::pin!(request);
    let early = timeout(SILENCE, request.as_mut()).await;
    assert!(early.is_err(), "a black hole answered");
    // New connections are taken by the system and never answered.
    let fresh = client_of(&setup.backend);
    let new = timeout(SILENCE, fresh.get(setup.url("/healthz")).send()).await;
    assert!(new.is_err(), "a black hole shook hands");
    setup.remove().await;
    let _: PlayGrant = good(request.await).await;
}

#[tokio::test]
async fn orders_come_over_the_admin_port_and_only_what_a_backend_does_is_taken() {
    let mut config = demo();
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    let setup = start_with_appliance(config).await;
    let admin = setup.backend.admin_url().unwrap();
    let token = setup.token().await;
    let order = |body: &'static str| {
        let request = setup.client.post(format!("{admin}control/faults"));
        let request = request.header("content-type", "application/json");
        soon(request.body(body).send())
    };
    let good_order =
        r#"{"faults":[{"id":"f","fault":{"kind":"status","status":429},"on":{"object":"play"}}]}"#;
    assert_eq!(order(good_order).await.unwrap().status(), 204);
    assert_eq!(setup.ask_to_play(&token).await.status(), 429);
    let receipts = setup.client.get(format!("{admin}control/receipts")).send();
    let receipts: serde_json::Value = soon(receipts).await.unwrap().json().await.unwrap();
    assert_eq!(receipts[0]["id"], "f");
    assert_eq!(receipts[0]["path"], "v1/play");
    for (bad, says) in [
        ("{", "JSON"),
        (
            r#"{"faults":[{"fault":{"kind":"wrong_range"}}]}"#,
            "`wrong_range`: nobody asks it for ranges",
        ),
        (
            r#"{"faults":[{"fault":{"kind":"says_well"}}]}"#,
            "to an edge",
        ),
        (
            r#"{"faults":[{"fault":{"kind":"status","status":200}}]}"#,
            "400 to 599",
        ),
    ] {
        let refused = problem(order(bad).await.unwrap()).await;
        assert_eq!(refused.code, "bad_order", "{bad}");
        assert!(refused.detail.contains(says), "{}", refused.detail);
    }
    let refused = setup
        .backend
        .apply(FaultOrder::add([FaultRule::everywhere(Fault::UdpBlocked)]))
        .await;
    assert!(matches!(refused, Err(FaultError::Order { .. })));
}
