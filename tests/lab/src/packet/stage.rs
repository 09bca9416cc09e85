//! Scenarios whose packets cross the links: servers at one side, the viewer at the other.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use futures_util::future::try_join_all;
use nearcast_link::PacketConfig;
use nearcast_scenario::{Link, Scenario};
use nearcast_units::Seed;

use super::course::Course;
use super::links::{Both, Everywhere, Place};
use super::network::{NetworkConfig, PacketNetwork};
use crate::stage::Stage;

/// A network for a scenario: a link for each edge, one for the backend, and the last mile.
#[derive(Debug)]
pub(crate) struct PacketStage(PacketNetwork);

impl PacketStage {
    /// Makes the network as the scenario has it at the beginning.
    pub(crate) fn start(scenario: &Scenario, seed: u64) -> Result<Self> {
        let first = |link: &Link| Course::new(link).first();
        let backend = PacketConfig {
            delay: scenario.backend_delay,
            ..PacketConfig::default()
        };
        let backend = Both {
            up: backend,
            down: backend,
        };
        let edges = scenario.edges.iter().map(|edge| first(&edge.link));
        let config = NetworkConfig {
            links: Everywhere {
                last_mile: first(&scenario.last_mile),
                servers: edges.chain([backend]).collect(),
            },
            ..NetworkConfig::default()
        };
        let network = PacketNetwork::start(&config, Seed::new(seed))?;
        if let Some(reason) = network.not_real_time() {
            super::warn(&format!(
                "packets are carried without real-time scheduling, and late where the machine is busy: {reason}"
            ));
        }
        Ok(Self(network))
    }

    /// Ends it, and whatever runs in it.
    ///
    /// # Errors
    /// What kept packets from being carried.
    pub(crate) fn end(self) -> Result<()> {
        self.0.end()
    }
}

impl Stage for PacketStage {
    fn servers(&self, program: &Path) -> Command {
        self.0.servers().command(program)
    }

    fn viewers(&self, program: &Path) -> Command {
        self.0.client().command(program)
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        self.0.addresses().collect()
    }

    async fn follow(&self, scenario: &Scenario) -> anyhow::Error {
        let edges = scenario.edges.iter().enumerate();
        let links = edges.map(|(place, edge)| (Place::Server(place), &edge.link));
        let links = links.chain([(Place::LastMile, &scenario.last_mile)]);
        let courses = links.map(|(place, link)| {
            let course = Course::new(link);
            async move { course.follow(&self.0, place).await }
        });
        let ended: Result<Vec<Infallible>> = try_join_all(courses).await;
        match ended {
            Err(error) => error,
            // There is the last mile at least, which never ends.
            Ok(_) => std::future::pending().await,
        }
    }
}
