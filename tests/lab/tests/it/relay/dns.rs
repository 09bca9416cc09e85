//! A resolver asks the name server that answers wrongly on purpose.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig as Asked, ProtocolConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use nearcast_lab::relay::{Deed, NameFault, NameServer, NameServerConfig};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::soon;

const EDGE: &str = "edge-1.example.net";
const OTHER: &str = "edge-2.example.net";

fn server() -> NameServer {
    let addresses = ["127.0.0.1", "127.0.0.2", "::1"].map(|text| text.parse().unwrap());
    let zone = [EDGE, OTHER].map(|name| (name.to_owned(), addresses.to_vec()));
    NameServer::start(NameServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        zone: BTreeMap::from(zone),
        time_to_live: Duration::from_secs(30),
    })
    .unwrap()
}

/// Asks once, and keeps nothing.
fn resolver(server: &NameServer, timeout: Duration) -> TokioResolver {
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = server.address().port();
    let asked = Asked::new(server.address().ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![asked]);
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 0;
    options.cache_size = 0;
    let provider = TokioRuntimeProvider::default();
    let builder = TokioResolver::builder_with_config(config, provider);
    builder.with_options(options).build().unwrap()
}

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, NetError> {
    let found = soon(resolver.ipv4_lookup(format!("{name}."))).await?;
    let answers = found.answers().iter();
    Ok(answers.filter_map(|record| record.data.ip_addr()).collect())
}

#[tokio::test]
async fn each_fault_is_what_a_resolver_sees_and_has_its_receipt() {
    let server = server();
    let patient = resolver(&server, super::PATIENCE);
    let right: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2"]
        .map(|text| text.parse().unwrap())
        .into();
    assert_eq!(addresses(&patient, EDGE).await.unwrap(), right);
    let found = soon(patient.ipv6_lookup(format!("{EDGE}."))).await.unwrap();
    assert_eq!(found.answers().len(), 1);
    assert_eq!(found.answers()[0].ttl, 30);
    let unknown = addresses(&patient, "nobody.example.net").await.unwrap_err();
    assert!(unknown.is_nx_domain(), "{unknown}");
    assert_eq!(server.receipts(), [], "nothing was wrong");

    server.set_fault(Some(EDGE), NameFault::NoSuchName);
    let none = addresses(&patient, EDGE).await.unwrap_err();
    assert!(none.is_nx_domain(), "{none}");
    assert_eq!(
        addresses(&patient, OTHER).await.unwrap(),
        right,
        "it is that name's alone"
    );

    server.set_fault(Some(EDGE), NameFault::ServerFailure);
    let failed = addresses(&patient, EDGE).await.unwrap_err();
    let is_failure = |error: &NetError| {
        matches!(
            error,
            NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))
        )
    };
    assert!(is_failure(&failed), "{failed}");

    let address = "127.0.0.99".parse().unwrap();
    let wrong = NameFault::WrongAddress { address };
    server.set_fault(Some(EDGE), wrong);
    assert_eq!(addresses(&patient, EDGE).await.unwrap(), [address]);
    let other_family = soon(patient.ipv6_lookup(format!("{EDGE}."))).await;
    assert!(other_family.unwrap_err().is_no_records_found());

    let slow = NameFault::Slow { by_ms: 150 };
    server.set_fault(Some(EDGE), slow);
    let asked = Instant::now();
    assert_eq!(addresses(&patient, EDGE).await.unwrap(), right);
    assert!(asked.elapsed() >= Duration::from_millis(150));

    server.set_fault(Some(EDGE), NameFault::None);
    let before = server.receipts().len();
    assert_eq!(addresses(&patient, EDGE).await.unwrap(), right);
    assert_eq!(server.receipts().len(), before);

    let mut faults = Vec::new();
    for receipt in server.receipts() {
        let Deed::Misnamed { name, by, .. } = receipt.deed else {
            unreachable!("it does nothing else");
        };
        assert_eq!(name, EDGE);
        // A resolver may ask again after a failure.
        if faults.last() != Some(&by) {
            faults.push(by);
        }
    }
    let all = [NameFault::NoSuchName, NameFault::ServerFailure, wrong, slow];
    assert_eq!(faults, all);
}

#[tokio::test]
async fn silence_is_silence_for_all_names_and_ends() {
    let server = server();
    server.set_fault(None, NameFault::Silent);
    let hasty = resolver(&server, Duration::from_millis(300));
    let silent = addresses(&hasty, EDGE).await.unwrap_err();
    assert!(matches!(silent, NetError::Timeout), "{silent}");
    let silent = |deed: &Deed| matches!(deed, Deed::Misnamed { name, record, by: NameFault::Silent } if name == EDGE && record == "A");
    let receipt = soon(server.receipt(|receipt| silent(&receipt.deed))).await;
    assert_eq!(receipt.offset, Some(0));
    server.set_fault(None, NameFault::None);
    let patient = resolver(&server, super::PATIENCE);
    assert_eq!(addresses(&patient, EDGE).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_question_is_not_answered_and_a_closed_server_leaves_its_port() {
    let server = server();
    let address = server.address();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&[][..], &[0; 5], &[0xff; 600]] {
        client.send_to(bytes, address).await.unwrap();
    }
    let patient = resolver(&server, super::PATIENCE);
    assert_eq!(addresses(&patient, EDGE).await.unwrap().len(), 2);
    server.close().await;
    UdpSocket::bind(address).await.unwrap();
}
