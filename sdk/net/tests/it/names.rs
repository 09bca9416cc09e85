//! Names against a name server of the test's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use nearcast_net::{DnsConfig, DnsProblem, Net, NetConfig, NetError, Protocol, Request};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{PATIENCE, fetch, get};
use crate::server::{Setup, serve};

/// What the name server does with every question.
#[derive(Clone, Copy)]
enum Mood {
    /// 127.0.0.1 with this TTL in seconds, and no IPv6.
    Answer(u32),
    /// 127.0.0.2 and ::1 for long.
    Both,
    Refuse(ResponseCode),
    Silent,
}

struct NameServer {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    /// Name and family of each question, and its number: one that is sent again keeps it.
    questions: Arc<Mutex<Vec<(String, RecordType, u16)>>>,
    /// The questions that are not answered until it is another.
    held: watch::Sender<Held>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    Nothing,
    Family(RecordType),
    All,
}

impl Held {
    fn holds(self, kind: RecordType) -> bool {
        self == Self::All || self == Self::Family(kind)
    }
}

impl NameServer {
    async fn new(mood: Mood) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let (held, holds) = watch::channel(Held::Nothing);
        let mut tasks = JoinSet::new();
        let (moods, log) = (mood.clone(), questions.clone());
        tasks.spawn(async move {
            let mut packet = [0; 1500];
            let mut answers = JoinSet::new();
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                let question = Message::from_vec(&packet[..length]).unwrap();
                let query = question.queries[0].clone();
                let kind = query.query_type();
                let asked = (query.name().to_string(), kind, question.metadata.id);
                log.lock().unwrap().push(asked);
                let mood = *moods.lock().unwrap();
                let Some(answer) = answer(&question, mood) else {
                    continue;
                };
                let (socket, mut holds) = (socket.clone(), holds.clone());
                answers.spawn(async move {
                    holds.wait_for(|held| !held.holds(kind)).await.unwrap();
                    socket.send_to(&answer, from).await.unwrap();
                });
            }
        });
        Self {
            address,
            mood,
            questions,
            held,
            _tasks: tasks,
        }
    }

    fn hold(&self, held: Held) {
        self.held.send_replace(held);
    }

    /// Waits until this many questions for IPv4 have come.
    async fn is_asked(&self, count: usize) {
        let asked = async {
            while self.asked_for_ipv4() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, asked).await.expect("it is asked");
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked_for_ipv4(&self) -> usize {
        let questions = self.questions.lock().unwrap();
        let numbers = questions
            .iter()
            .filter(|(_, kind, _)| *kind == RecordType::A)
            .map(|(_, _, number)| number);
        numbers.collect::<BTreeSet<_>>().len()
    }

    /// Waits for each answer as long as the test may take.
    fn net(&self) -> Net {
        self.waiting(PATIENCE)
    }

    fn waiting(&self, timeout: Duration) -> Net {
        Net::new(NetConfig {
            dns: DnsConfig {
                nameservers: vec![self.address],
                timeout,
                attempts: 2,
            },
            ..NetConfig::default()
        })
        .unwrap()
    }
}

fn answer(question: &Message, mood: Mood) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let mut add = |ttl, data| {
        answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
    };
    match (mood, query.query_type()) {
        (Mood::Silent, _) => return None,
        (Mood::Refuse(code), _) => answer.metadata.response_code = code,
        (Mood::Answer(ttl), RecordType::A) => add(ttl, RData::A(Ipv4Addr::LOCALHOST.into())),
        (Mood::Both, RecordType::A) => add(300, RData::A(SECOND.into())),
        (Mood::Both, RecordType::AAAA) => add(300, RData::AAAA(Ipv6Addr::LOCALHOST.into())),
        (Mood::Answer(_) | Mood::Both, _) => {}
    }
    Some(answer.to_vec().unwrap())
}

const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// What [`Mood::Both`] says.
const BOTH: [IpAddr; 2] = [IpAddr::V4(SECOND), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Looks a name up until the answer is another than `before`.
async fn changed(net: &Net, before: &[IpAddr]) -> Vec<IpAddr> {
    let other = async {
        loop {
            let addresses = net.lookup("edge.test").await.unwrap();
            if addresses != before {
                return addresses;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, other).await.expect("it changes")
}

#[tokio::test]
async fn a_family_that_comes_late_completes_the_answer() {
    for (late, first) in [(RecordType::AAAA, BOTH[0]), (RecordType::A, BOTH[1])] {
        let server = NameServer::new(Mood::Both).await;
        let net = server.net();
        server.hold(Held::Family(late));
        let half = net.lookup("edge.test").await.unwrap();
        assert_eq!(half, [first], "a start does not wait for {late}");
        server.hold(Held::Nothing);
        assert_eq!(changed(&net, &half).await, BOTH);
        assert_eq!(server.asked_for_ipv4(), 1, "the late answer was used");
    }
}

#[tokio::test]
async fn a_refresh_goes_on_while_the_expired_answer_is_used() {
    let server = NameServer::new(Mood::Answer(0)).await;
    let net = server.net();
    let before = net.lookup("edge.test").await.unwrap();
    server.set(Mood::Both);
    server.hold(Held::All);
    let lookups = (0..4).map(|_| net.lookup("edge.test"));
    for stale in futures_util::future::join_all(lookups).await {
        assert_eq!(stale.as_ref(), Ok(&before));
    }
    server.hold(Held::Nothing);
    assert_eq!(changed(&net, &before).await, BOTH);
    assert_eq!(server.asked_for_ipv4(), 2, "all wait for one question");
}

#[tokio::test]
async fn an_answer_of_another_network_is_not_remembered() {
    let server = NameServer::new(Mood::Answer(300)).await;
    let net = server.net();
    server.hold(Held::All);
    let asking = net.lookup("edge.test");
    let moving = async {
        server.is_asked(1).await;
        net.network_changed();
        server.set(Mood::Both);
        server.is_asked(2).await;
        server.hold(Held::Nothing);
    };
    let (found, ()) = tokio::join!(asking, moving);
    assert_eq!(found, Ok(BOTH.to_vec()));
    assert_eq!(net.lookup("edge.test").await, Ok(BOTH.to_vec()));
    assert_eq!(server.asked_for_ipv4(), 2);
}

#[tokio::test]
async fn an_answer_is_used_for_its_time_and_no_longer() {
    let server = NameServer::new(Mood::Answer(300)).await;
    let net = server.net();
    for _ in 0..5 {
        let addresses = net.lookup("edge.test").await.unwrap();
        assert_eq!(addresses, [Ipv4Addr::LOCALHOST]);
    }
    assert_eq!(server.asked_for_ipv4(), 1);
    net.network_changed();
    net.lookup("EDGE.test").await.unwrap();
    assert_eq!(server.asked_for_ipv4(), 2, "another network is asked anew");

    server.set(Mood::Answer(0));
    net.lookup("brief.test").await.unwrap();
    net.lookup("brief.test").await.unwrap();
    assert_eq!(server.asked_for_ipv4(), 4, "a TTL of 0 is for one use");
    let questions = server.questions.lock().unwrap();
    let complete = ["edge.test.", "brief.test."];
    assert!(
        questions
            .iter()
            .all(|(name, ..)| complete.contains(&name.to_ascii_lowercase().as_str())),
        "no search domain is tried: {questions:?}"
    );
}

#[tokio::test]
async fn an_expired_answer_outlives_failing_name_servers_but_not_a_no() {
    let server = NameServer::new(Mood::Answer(0)).await;
    for failing in [Mood::Silent, Mood::Refuse(ResponseCode::ServFail)] {
        server.set(Mood::Answer(0));
        let net = server.net();
        net.lookup("edge.test").await.unwrap();
        server.set(failing);
        let stale = net.lookup("edge.test").await;
        assert_eq!(stale, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
        let asked = server.asked_for_ipv4();
        net.lookup("edge.test").await.unwrap();
        assert_eq!(
            server.asked_for_ipv4(),
            asked,
            "they are left alone for a while"
        );
    }
    let net = server.net();
    server.set(Mood::Answer(0));
    net.lookup("edge.test").await.unwrap();
    server.set(Mood::Refuse(ResponseCode::NXDomain));
    // On a busy machine the no may come too late for the first look-up after it.
    let gone = async {
        loop {
            if let Err(gone) = net.lookup("edge.test").await {
                return gone;
            }
        }
    };
    let gone = timeout(PATIENCE, gone).await.expect("the no is heard");
    let problem = DnsProblem::NoSuchName;
    let host = "edge.test".to_owned();
    assert_eq!(gone, NetError::DnsFailed { host, problem });
}

#[tokio::test]
async fn failures_of_names_are_told_apart() {
    let server = NameServer::new(Mood::Silent).await;
    let hasty = server.waiting(Duration::from_millis(300));
    let late = hasty.lookup("edge.test").await.unwrap_err();
    assert_eq!(late.code(), "net.dns_timeout");
    let net = server.net();
    for (code, problem) in [
        (ResponseCode::NXDomain, DnsProblem::NoSuchName),
        (ResponseCode::NoError, DnsProblem::NoAddress),
        (ResponseCode::ServFail, DnsProblem::ServerFailure),
    ] {
        server.set(Mood::Refuse(code));
        let host = "edge.test".to_owned();
        let failed = net.lookup(&host).await.unwrap_err();
        assert_eq!(failed, NetError::DnsFailed { host, problem }, "{code}");
    }
    let request = Request::get("http://edge.test/").unwrap();
    let outcome = fetch(&net, request).await;
    assert_eq!(outcome.code(), "net.dns_failed");
    assert!(outcome.connected.is_empty());
}

#[tokio::test]
async fn a_request_resolves_its_host_unless_the_addresses_are_given() {
    let names = NameServer::new(Mood::Answer(300)).await;
    let server = serve(Setup::PLAIN).await;
    let net = names.net();
    let url = format!("http://edge.test:{}/object", server.port);
    let granted = fetch(&net, get(&url)).await;
    assert_eq!(
        (granted.code(), granted.resolved.as_slice()),
        ("ok", [true].as_slice())
    );
    assert_eq!(names.asked_for_ipv4(), 0);

    net.network_changed();
    let asked = fetch(&net, Request::get(&url).unwrap()).await;
    assert_eq!(
        (asked.code(), asked.resolved.as_slice()),
        ("ok", [false].as_slice())
    );
    assert_eq!(names.asked_for_ipv4(), 1);
}

#[tokio::test]
async fn a_fixed_address_beats_the_grant() {
    let server = serve(Setup::PLAIN).await;
    let mut config = crate::client::offline();
    config.resolve = vec![("edge.test".to_owned(), Ipv4Addr::LOCALHOST.into())];
    let net = Net::new(config).unwrap();
    let mut request = get(&format!("http://edge.test:{}/object", server.port));
    request.addresses = vec!["127.0.0.9".parse().unwrap()];
    assert_eq!(fetch(&net, request.clone()).await.code(), "ok");
    let second = fetch(&net, request).await;
    assert_eq!(second.connected, [(false, Protocol::Http1)]);
    assert_eq!(server.connections(), 1, "and its connection is kept");
}
