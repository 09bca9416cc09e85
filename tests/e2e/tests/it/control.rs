//! What an edge and a real backend tell each other, and what becomes of it when that goes wrong.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule};
use nearcast_backend_server::{Backend, BackendConfig, BackendHandle, Catalogue, LOOPBACK_SECRET};
use nearcast_edge_server::{Authority, EdgeConfig, EdgeHandle, EdgeServer};
use nearcast_protocol::play::{Capabilities, PlayGrant, PlayRequest, SessionGrant, SessionRequest};
use nearcast_protocol::steering::{ApplianceVerdict, SteeringExplanation};
use reqwest::{Certificate, Client, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::program::eventually;
use crate::room::Room;

const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than in earnest, so that what is missing is missed soon.
const REPORT_INTERVAL: Duration = Duration::from_millis(300);
const REPORT_TTL: Duration = Duration::from_secs(2);

/// A backend with one edge, and a viewer.
struct World {
    backend: BackendHandle,
    edge: EdgeHandle,
    client: Client,
    token: String,
    _room: Room,
}

impl World {
    async fn start() -> Self {
        let room = Room::new().await;
        room.file("root/demo/00001.m4s", [7; 1000]);
        let mut config = BackendConfig::loopback(Catalogue::demo(120_000));
        config.plain = true;
        config.model.report_interval = REPORT_INTERVAL;
        config.model.report_ttl = REPORT_TTL;
        let backend = Backend::start(config).await.unwrap();
        let authority = Authority::new().unwrap();
        let mut config = EdgeConfig::new("a", room.path().join("root"));
        config.prefixes = vec!["127.0.0.0/8".to_owned()];
        config.backend = Some(nearcast_edge_server::Backend {
            url: backend.url().to_owned(),
            secret: LOOPBACK_SECRET.to_owned(),
        });
        config.authority = Some(authority.clone());
        let edge = EdgeServer::start(config).await.unwrap();
        let ca = Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([ca]);
        let mut world = Self {
            client: client.build().unwrap(),
            backend,
            edge,
            token: String::new(),
            _room: room,
        };
        world.is_known(1).await;
        let session = SessionRequest {
            account: "demo".to_owned(),
            device_id: "tv".to_owned(),
            platform: "linux".to_owned(),
        };
        let session: SessionGrant = world.post("/v1/session", &session).await;
        world.token = session.access_token;
        world
    }

    /// Waits until the backend names so many edges to clients.
    async fn is_known(&self, edges: usize) {
        eventually("the backend knows its edges", PATIENCE, || {
            (self.backend.appliances() == edges).then_some(())
        })
        .await;
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        let url = format!("{}{path}", self.backend.url());
        let request = self.client.post(url).bearer_auth(&self.token).json(body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    async fn play(&self) -> PlayGrant {
        let request = PlayRequest {
            title: "demo".to_owned(),
            capabilities: Capabilities {
                codecs: vec!["avc1".to_owned(), "mp4a".to_owned()],
                height_max: Some(1080),
                drm_systems: Vec::new(),
            },
            ..PlayRequest::default()
        };
        self.post("/v1/play", &request).await
    }

    /// Asks the edge for a segment, with the token of a grant.
    async fn segment(&self, grant: &PlayGrant) -> StatusCode {
        let offer = &grant.appliances[0];
        let query = &offer.token.as_ref().unwrap().query;
        let url = format!("{}demo/00001.m4s?{query}", offer.base_url);
        self.client.get(url).send().await.unwrap().status()
    }

    /// Returns what the backend thinks of the edge.
    async fn verdict(&self, grant: &PlayGrant) -> ApplianceVerdict {
        let id = &grant.playback_id;
        let url = format!("{}/v1/steering/{id}/explain", self.backend.url());
        let answer = self.client.get(url).bearer_auth(&self.token).send().await;
        let why: SteeringExplanation = answer.unwrap().json().await.unwrap();
        why.appliances.into_iter().next().unwrap()
    }

    /// Waits until the backend thinks of the edge as is expected.
    async fn is_thought(&self, grant: &PlayGrant, impaired: bool) -> ApplianceVerdict {
        let thought = async {
            loop {
                let verdict = self.verdict(grant).await;
                if verdict.impaired == impaired {
                    return verdict;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let thought = tokio::time::timeout(PATIENCE, thought).await;
        thought.expect("the backend thinks otherwise")
    }

    async fn order(&self, id: &str, fault: Fault) {
        let rule = FaultRule {
            id: Some(id.to_owned()),
            ..FaultRule::everywhere(fault)
        };
        self.edge.apply(FaultOrder::add([rule])).await.unwrap();
        let receipts = self.edge.receipts();
        assert!(receipts.iter().all(|one| one.id.is_some()), "{receipts:?}");
    }

    async fn remove(&self, id: &str) {
        let order = FaultOrder {
            remove: vec![id.to_owned()],
            ..FaultOrder::default()
        };
        self.edge.apply(order).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_has_lost_the_backend_is_named_to_nobody_and_takes_nobody_new() {
    let world = World::start().await;
    let (before, later) = (world.play().await, world.play().await);
    assert_eq!(world.segment(&before).await, 200);
    world.order("lost", Fault::ControlLost).await;
    world.is_known(0).await;
    // Who plays from there goes on; who comes is turned away.
    assert_eq!(world.segment(&before).await, 200);
    assert_eq!(world.segment(&later).await, 503);
    let receipt = world.edge.receipts().pop().unwrap();
    assert_eq!(receipt.id.as_deref(), Some("lost"));
    world.remove("lost").await;
    world.is_known(1).await;
    let served = async {
        while world.segment(&later).await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let served = tokio::time::timeout(PATIENCE, served).await;
    served.expect("the edge takes viewers again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_says_that_it_is_well_is_believed() {
    let world = World::start().await;
    let grant = world.play().await;
    let failing = Fault::Status {
        status: 500,
        retry_after_s: None,
    };
    world.order("ill", failing).await;
    for _ in 0..20 {
        assert_eq!(world.segment(&grant).await, 500);
    }
    let honest = world.is_thought(&grant, true).await;
    assert_eq!(honest.health_tenths, 0, "{honest:?}");
    world.order("lies", Fault::SaysWell).await;
    let believed = world.is_thought(&grant, false).await;
    assert_eq!(believed.health_tenths, 10, "{believed:?}");
    // It is as ill as before.
    assert_eq!(world.segment(&grant).await, 500);
    world.remove("lies").await;
    world.is_thought(&grant, true).await;
}
