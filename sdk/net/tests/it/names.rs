//! Names against a name server of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use nearcast_net::{DnsConfig, DnsProblem, Net, NetConfig, NetError, Request};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::client::{fetch, get};
use crate::server::{Setup, serve};

/// What the name server does with every question.
#[derive(Clone, Copy)]
enum Mood {
    /// 127.0.0.1 with this TTL in seconds, and no IPv6.
    Answer(u32),
    Refuse(ResponseCode),
    Silent,
}

struct NameServer {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    questions: Arc<Mutex<Vec<(String, RecordType)>>>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    async fn new(mood: Mood) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let questions = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (moods, log) = (mood.clone(), questions.clone());
        tasks.spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                let question = Message::from_vec(&packet[..length]).unwrap();
                let query = question.queries[0].clone();
                log.lock()
                    .unwrap()
                    .push((query.name().to_string(), query.query_type()));
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                answer.metadata.recursion_available = true;
                answer.add_query(query.clone());
                let mood = *moods.lock().unwrap();
                match mood {
                    Mood::Silent => continue,
                    Mood::Refuse(code) => answer.metadata.response_code = code,
                    Mood::Answer(ttl) if query.query_type() == RecordType::A => {
                        let address = RData::A(Ipv4Addr::LOCALHOST.into());
                        let record = Record::from_rdata(query.name().clone(), ttl, address);
                        answer.add_answer(record);
                    }
                    Mood::Answer(_) => {}
                }
                let bytes = answer.to_vec().unwrap();
                socket.send_to(&bytes, from).await.unwrap();
            }
        });
        Self {
            address,
            mood,
            questions,
            _tasks: tasks,
        }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked_for_ipv4(&self) -> usize {
        let questions = self.questions.lock().unwrap();
        questions
            .iter()
            .filter(|(_, kind)| *kind == RecordType::A)
            .count()
    }

    fn net(&self) -> Net {
        Net::new(NetConfig {
            dns: DnsConfig {
                nameservers: vec![self.address],
                timeout: Duration::from_millis(300),
                attempts: 2,
            },
            ..NetConfig::default()
        })
        .unwrap()
    }
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
            .all(|(name, _)| complete.contains(&name.to_ascii_lowercase().as_str())),
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
    let gone = net.lookup("edge.test").await.unwrap_err();
    let problem = DnsProblem::NoSuchName;
    let host = "edge.test".to_owned();
    assert_eq!(gone, NetError::DnsFailed { host, problem });
}

#[tokio::test]
async fn failures_of_names_are_told_apart() {
    let server = NameServer::new(Mood::Silent).await;
    let net = server.net();
    let late = net.lookup("edge.test").await.unwrap_err();
    assert_eq!(late.code(), "net.dns_timeout");
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
    assert_eq!(fetch(&net, request).await.code(), "ok");
}
