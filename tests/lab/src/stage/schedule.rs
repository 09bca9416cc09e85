//! What servers do when, from the scenario and the seed.

use std::collections::VecDeque;
use std::time::Duration;

use nearcast_appliance::fault::FaultOrder;
use nearcast_link::LinkConfig;
use nearcast_scenario::{Place, Scenario};

/// Something that servers do at a time.
#[derive(Debug)]
pub(super) enum Step {
    Order(Place, FaultOrder),
    Edge(usize, LinkConfig),
    LastMile(LinkConfig),
}

/// What servers do, and when since the run began.
#[derive(Debug)]
pub(super) struct Schedule(VecDeque<(Duration, Step)>);

impl Schedule {
    pub(super) fn new(scenario: &Scenario, seed: u64, has_links: bool) -> Self {
        let orders = scenario.orders(seed);
        let mut all: Vec<(Duration, Step)> = orders
            .map(|(at, place, order)| (at, Step::Order(place, order)))
            .collect();
        if has_links {
            for (edge, of_edge) in scenario.edges.iter().enumerate() {
                let turns = of_edge.link.turns(scenario.limit).skip(1);
                all.extend(turns.map(|(at, link)| (at, Step::Edge(edge, link))));
            }
            let turns = scenario.last_mile.turns(scenario.limit).skip(1);
            all.extend(turns.map(|(at, link)| (at, Step::LastMile(link))));
        }
        all.sort_by_key(|(at, _)| *at);
        Self(all.into())
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.0.front().map(|(at, _)| *at)
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        self.0.pop_front().map(|(_, step)| step)
    }

    pub(super) fn next_by(&mut self, now: Duration) -> Option<Step> {
        self.due().filter(|at| *at <= now)?;
        self.next()
    }
}
