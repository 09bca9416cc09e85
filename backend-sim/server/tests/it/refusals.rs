//! The nine refusals as clients see them.

use nearcast_backend_server::{Account, BackendConfig, ModelConfig, Plan, PlayRate, Title};
use nearcast_protocol::play::{PlayRequest, Problem, Refusal};

use crate::support::{demo, play_request, problem, start_with_appliance};

/// A title for each refusal, beside the one that anybody may watch.
fn config() -> BackendConfig {
    let mut config = demo();
    let catalogue = &mut config.catalogue;
    let base = catalogue.titles[0].clone();
    let title = |id: &str, change: &dyn Fn(&mut Title)| {
        let mut title = base.clone();
        title.id = id.to_owned();
        change(&mut title);
        title
    };
    catalogue.titles.extend([
        title("french", &|title| title.countries = vec!["FR".to_owned()]),
        title("tv_only", &|title| {
            title.platforms = vec!["tvos".to_owned()]
        }),
        title("dear", &|title| title.plan = Some("premium".to_owned())),
        title("grim", &|title| title.maturity = 18),
        title("modern", &|title| title.codecs = vec!["av01".to_owned()]),
    ]);
    catalogue.plans = [("basic", 1), ("premium", 4)]
        .map(|(id, streams_max)| Plan {
            id: id.to_owned(),
            streams_max,
        })
        .into();
    catalogue.accounts = vec![Account {
        id: "demo".to_owned(),
        plan: "basic".to_owned(),
        country: "DE".to_owned(),
        maturity: 16,
    }];
    config
}

#[tokio::test]
async fn each_refusal_has_its_code_and_says_what_to_do() {
    let setup = start_with_appliance(config()).await;
    let token = setup.token().await;
    let mut seen: Vec<Problem> = Vec::new();
    for id in ["nothing", "french", "tv_only", "dear", "grim", "modern"] {
        let request = PlayRequest {
            title: id.to_owned(),
            ..play_request()
        };
        seen.push(problem(setup.post("/v1/play", &token, &request).await).await);
    }
    setup.play(&token).await;
    let phone = setup.session("demo", "phone").await.access_token;
    let second = setup.post("/v1/play", &phone, &play_request()).await;
    seen.push(problem(second).await);
    let guess = setup.post("/v1/play", "guess", &play_request()).await;
    seen.push(problem(guess).await);

    let mut busy = config();
    busy.model.play_rate = Some(PlayRate {
        per_second: 0,
        burst: 0,
    });
    let setup = start_with_appliance(busy).await;
    let token = setup.token().await;
    let answer = setup.post("/v1/play", &token, &play_request()).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let overloaded = problem(answer).await;
    assert_eq!(overloaded.retry_after_ms, Some(1000));
    seen.push(overloaded);

    insta::assert_json_snapshot!(seen);
    let mut codes: Vec<Refusal> = seen
        .iter()
        .filter_map(|problem| Refusal::from_code(&problem.code))
        .collect();
    codes.sort();
    assert_eq!(codes, Refusal::ALL);
}

#[tokio::test]
async fn a_session_ends() {
    let mut config = demo();
    config.model = ModelConfig {
        session_ttl: std::time::Duration::ZERO,
        ..ModelConfig::default()
    };
    let setup = start_with_appliance(config).await;
    let token = setup.token().await;
    let answer = setup.post("/v1/play", &token, &play_request()).await;
    assert_eq!(problem(answer).await.code, "session_expired");
}

#[tokio::test]
async fn no_appliance_is_an_outage_and_says_why() {
    let setup = crate::support::start(demo()).await;
    let token = setup.token().await;
    let answer = setup.post("/v1/play", &token, &play_request()).await;
    assert_eq!(answer.headers()["retry-after"], "2");
    let outage = problem(answer).await;
    assert_eq!((outage.status, outage.code.as_str()), (503, "no_appliance"));
    assert!(
        outage
            .detail
            .starts_with("no edge has reported here; start"),
        "{}",
        outage.detail
    );
    assert_eq!(Refusal::from_code(&outage.code), None);
}
