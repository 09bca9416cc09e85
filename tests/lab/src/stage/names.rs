//! Names of edges, where a scenario has something go wrong with them: a name server of the run's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nearcast_appliance::fault::{DnsProblem, Fault, FaultOrder, FaultReceipt, FaultRule};
use nearcast_lab::relay::{Deed, NameFault, NameServer, NameServerConfig};
use nearcast_scenario::Scenario;
use nearcast_units::Instant;

use super::conduct;
use crate::moment::Moment;

/// Under a name that is nobody's (RFC 2606).
const DOMAIN: &str = "edges.test";
/// The player's own resolver has long given up then.
const SLOW_MS: u64 = 3_000;

/// What is wrong with a name, by which rule.
#[derive(Clone, Debug)]
struct Wrong {
    id: Option<String>,
    problem: DnsProblem,
}

/// What was wrong with an edge's name from when on; `None` is nothing.
#[derive(Clone, Debug)]
struct Turn {
    edge: usize,
    since_s: f64,
    wrong: Option<Wrong>,
}

/// Names of edges, and what is wrong with them.
pub(super) struct Names {
    server: NameServer,
    began_unix_ms: u64,
    began: Moment,
    hosts: Vec<String>,
    /// Rules in force with their edges, in the order they came.
    wrong: Vec<(usize, Wrong)>,
    turns: Vec<Turn>,
    elsewhere: Elsewhere,
}

impl Names {
    /// Gives edges names, if anything goes wrong with names.
    pub(super) fn start(scenario: &Scenario) -> Result<Option<Self>> {
        let mut faults = scenario.faults.iter();
        if !faults.any(|plan| matches!(plan.fault, Fault::Dns { .. })) {
            return Ok(None);
        }
        let hosts = scenario.edges.iter().map(|edge| host(&edge.name));
        let hosts: Vec<String> = hosts.collect();
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = NameServerConfig {
            listen: SocketAddr::new(here, 0),
            zone: hosts
                .iter()
                .map(|host| (host.clone(), vec![here]))
                .collect(),
            time_to_live: Duration::ZERO,
        };
        Ok(Some(Self {
            began_unix_ms: conduct::unix_ms(),
            began: Moment::now(),
            server: NameServer::start(config)?,
            hosts,
            wrong: Vec::new(),
            turns: Vec::new(),
            elsewhere: Elsewhere::default(),
        }))
    }

    /// Returns an edge's name.
    pub(super) fn host(&self, edge: usize) -> &str {
        &self.hosts[edge]
    }

    /// Returns whom to ask for names.
    pub(super) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Does what an order says of an edge's name; returns the rest of it.
    pub(super) fn order(
        &mut self,
        edge: usize,
        port: u16,
        mut order: FaultOrder,
    ) -> Result<FaultOrder> {
        let goes = |id: &Option<String>| {
            order.clear || id.as_ref().is_some_and(|id| order.remove.contains(id))
        };
        self.wrong
            .retain(|(of, wrong)| *of != edge || !goes(&wrong.id));
        order.faults.retain(|FaultRule { id, fault, .. }| {
            let Fault::Dns { problem } = fault else {
                return true;
            };
            let (id, problem) = (id.clone(), *problem);
            self.wrong.push((edge, Wrong { id, problem }));
            false
        });
        // The last one counts.
        let mut wrong = self.wrong.iter().rev();
        let wrong = wrong.find(|(of, _)| *of == edge);
        let wrong = wrong.map(|(_, wrong)| wrong.clone());
        let fault = match wrong.as_ref().map(|wrong| wrong.problem) {
            None => NameFault::None,
            Some(DnsProblem::Fails) => NameFault::NoSuchName,
            Some(DnsProblem::Slow) => NameFault::Slow { by_ms: SLOW_MS },
            Some(DnsProblem::WrongAddress) => NameFault::WrongAddress {
                address: self.elsewhere.address(port)?,
            },
        };
        self.turns.push(Turn {
            edge,
            since_s: self.began.elapsed_s(),
            wrong,
        });
        self.server.set_fault(Some(&self.hosts[edge]), fault);
        Ok(order)
    }

    /// What went wrong, and with whose name. A name is asked for in both families: that is one.
    pub(super) fn receipts(&self) -> Vec<(Option<usize>, FaultReceipt)> {
        let receipts = self.server.receipts().into_iter();
        let of_names = receipts.filter_map(|receipt| {
            let Deed::Misnamed { name, record, .. } = &receipt.deed else {
                return None;
            };
            let edge = self.hosts.iter().position(|host| host == name)?;
            let at = receipt.at.since(Instant::ZERO);
            let mut before = self.turns.iter().rev();
            let turn = before.find(|turn| turn.edge == edge && turn.since_s <= at.as_secs_f64())?;
            let Wrong { id, problem } = turn.wrong.clone().filter(|_| record == "A")?;
            let receipt = FaultReceipt {
                id,
                fault: Fault::Dns { problem },
                at_unix_ms: self.began_unix_ms + u64::try_from(at.as_millis()).unwrap_or(0),
                client: None,
                path: None,
                offset: None,
            };
            Some((Some(edge), receipt))
        });
        of_names.collect()
    }
}

fn host(edge: &str) -> String {
    format!("{}.{DOMAIN}", edge.to_lowercase())
}

/// Where nobody answers, and nobody refuses: ports at another address of this machine, which stay as long as this.
#[derive(Debug, Default)]
struct Elsewhere(Vec<(SocketAddr, TcpListener, UdpSocket)>);

impl Elsewhere {
    fn address(&mut self, port: u16) -> Result<IpAddr> {
        if let Some((at, ..)) = self.0.iter().find(|(at, ..)| at.port() == port) {
            return Ok(at.ip());
        }
        // Not every system has all of 127.0.0.0/8, and not every one has IPv6.
        let others = [
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        let opened = others.into_iter().find_map(|ip| {
            let at = SocketAddr::new(ip, port);
            Some((at, TcpListener::bind(at).ok()?, UdpSocket::bind(at).ok()?))
        });
        let opened = opened
            .context("no other address of this machine can be had for an edge that is not there")?;
        let ip = opened.0.ip();
        self.0.push(opened);
        Ok(ip)
    }
}
