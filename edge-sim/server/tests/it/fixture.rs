//! An edge with a few files.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultOrder, FaultRule, FaultSelector};
use nearcast_edge_server::{AccessEntry, EdgeConfig, EdgeHandle, EdgeServer};
use nearcast_units::Ratio;

use crate::client::{Client, Fail, Protocol};

/// A manifest that says how long its title is.
pub(crate) const MPD: &str = "<MPD mediaPresentationDuration=\"PT60S\"/>";

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long silence must last to count as silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// Slow enough to be in the middle of a segment for half a minute, however busy the machine is.
pub(crate) const SLOW: Fault = Fault::Rate {
    rate_bps: Some(80_000),
};
/// What has come of a slow segment by then is its beginning.
pub(crate) const MIDDLE: usize = 1_000;

pub(crate) struct Fixture {
    pub(crate) edge: EdgeHandle,
    pub(crate) folder: tempfile::TempDir,
}

/// The content of `demo/segment.m4s`.
pub(crate) fn segment() -> Vec<u8> {
    (0..300_000_u32)
        .map(|index| u8::try_from(index.wrapping_mul(2_654_435_761) >> 24).unwrap())
        .collect()
}

pub(crate) async fn edge() -> Fixture {
    edge_with(|_| {}).await
}

pub(crate) async fn edge_with(change: impl FnOnce(&mut EdgeConfig)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("media");
    std::fs::create_dir_all(root.join("demo")).unwrap();
    std::fs::write(root.join("demo/segment.m4s"), segment()).unwrap();
    std::fs::write(root.join("demo/stream.mpd"), MPD).unwrap();
    std::fs::write(root.join("demo/empty.vtt"), "").unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret"), root.join("demo/link")).unwrap();
    let mut config = EdgeConfig::new("a", root);
    change(&mut config);
    let edge = EdgeServer::start(config).await.unwrap();
    Fixture { edge, folder }
}

/// Another loopback than that of the other tests, where there is one: they take none of its ports once they are free.
pub(crate) fn loopback_apart() -> SocketAddr {
    let apart = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match std::net::TcpListener::bind(apart) {
        Ok(_) => apart,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

impl Fixture {
    pub(crate) async fn try_connect(&self, protocol: Protocol) -> Result<Client, Fail> {
        Client::connect(protocol, self.edge.base_url(), self.edge.ca_pem()).await
    }

    pub(crate) async fn connect(&self, protocol: Protocol) -> Client {
        soon(self.try_connect(protocol)).await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a fault in force for all requests.
    pub(crate) async fn fault(&self, fault: Fault) {
        self.edge.apply(order(false, &[fault])).await.unwrap();
    }

    pub(crate) async fn rule(&self, rule: FaultRule) {
        self.edge.apply(FaultOrder::add([rule])).await.unwrap();
    }

    pub(crate) async fn clear(&self) {
        self.edge.apply(order(true, &[])).await.unwrap();
    }

    /// Waits until the log has this many lines: one is written when the server has done with a request, which
    /// may be after the client has.
    pub(crate) async fn log(&self, lines: usize) -> Vec<AccessEntry> {
        soon(async {
            loop {
                let log = self.edge.access_log();
                if log.len() >= lines {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

pub(crate) fn order(clear: bool, faults: &[Fault]) -> FaultOrder {
    let rules = faults.iter().cloned().map(FaultRule::everywhere);
    FaultOrder {
        clear,
        ..FaultOrder::add(rules.collect::<Vec<_>>())
    }
}

/// A fault that comes once so much of a body was sent.
pub(crate) fn after(fault: Fault, share: Ratio) -> FaultRule {
    FaultRule {
        id: None,
        fault,
        on: FaultSelector {
            after: Some(share),
            ..FaultSelector::EVERYTHING
        },
    }
}

pub(crate) fn half() -> Ratio {
    Ratio::new(0.5).unwrap()
}

/// Waits for something that must happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

/// Asserts that something does not happen.
pub(crate) async fn never<F: Future>(future: F, what: &str) {
    assert!(
        tokio::time::timeout(SILENCE, future).await.is_err(),
        "{what}"
    );
}
