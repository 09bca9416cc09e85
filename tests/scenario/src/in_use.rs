//! Faults of "the edge in use": which edge that is turns out while a scenario runs.

use std::collections::BTreeMap;

use nearcast_appliance::fault::{FaultOrder, FaultRule, FaultSelector, Scope};

/// Orders for the edge in use: the one that the first viewer plays from. What concerns a whole edge meets it at once. A rule about
/// requests waits there for one; where the viewer plays from another edge before, it goes along. While nothing plays every edge has
/// it, and the first that a request meets keeps it. A probe is a request like any other, but to an edge that is not in use.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    edge: Option<usize>,
    /// Rules that nobody was hit by yet, by their names.
    waiting: BTreeMap<String, FaultRule>,
}

/// What an edge is to be told. Between two of them somebody may be hit already: [`InUse::still`] says what is left of it then.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Which edge.
    pub edge: usize,
    order: FaultOrder,
    waits: bool,
}

impl InUse {
    /// Returns what each of so many edges is told, in turn.
    pub fn orders(&mut self, edges: usize, order: FaultOrder) -> Vec<Told> {
        let (at_once, waits): (Vec<FaultRule>, Vec<FaultRule>) = order
            .faults
            .into_iter()
            .partition(|rule| match rule.fault.scope() {
                Scope::Link => rule.on == FaultSelector::EVERYTHING,
                Scope::Control => true,
                Scope::Connection | Scope::Answer | Scope::Body => false,
            });
        let over = FaultOrder {
            faults: Vec::new(),
            ..order
        };
        let is_over = |id: &String| over.clear || over.remove.contains(id);
        self.waiting.retain(|id, _| !is_over(id));
        let told = |edge, order: &FaultOrder, waits| Told {
            edge,
            order: order.clone(),
            waits,
        };
        let mut all: Vec<Told> = (0..edges).map(|edge| told(edge, &over, false)).collect();
        if !at_once.is_empty() {
            let edge = self.edge.unwrap_or(0);
            all.push(told(edge, &FaultOrder::add(at_once), false));
        }
        if !waits.is_empty() {
            let named = waits
                .iter()
                .filter_map(|rule| Some((rule.id.clone()?, rule.clone())));
            self.waiting.extend(named);
            let waits = FaultOrder::add(waits);
            let here = (0..edges).filter(|edge| self.edge.is_none_or(|uses| uses == *edge));
            all.extend(here.map(|edge| told(edge, &waits, true)));
        }
        all
    }

    /// Takes that the first viewer plays from an edge. Returns what each of so many edges is told, in turn.
    pub fn plays_from(&mut self, edge: usize, edges: usize) -> Vec<Told> {
        let before = self.edge.replace(edge);
        if before == Some(edge) || self.waiting.is_empty() {
            return Vec::new();
        }
        let others = (0..edges).filter(|other| *other != edge);
        let had = others.filter(|other| before.is_none_or(|before| before == *other));
        let remove: Vec<String> = self.waiting.keys().cloned().collect();
        let mut all: Vec<Told> = had
            .map(|had| Told {
                edge: had,
                order: FaultOrder {
                    remove: remove.clone(),
                    ..FaultOrder::default()
                },
                waits: true,
            })
            .collect();
        if before.is_some() {
            let waiting: Vec<FaultRule> = self.waiting.values().cloned().collect();
            all.push(Told {
                edge,
                order: FaultOrder::add(waiting),
                waits: true,
            });
        }
        all
    }

    /// Returns what is left of an order by now: a rule that somebody was hit by stays where that was.
    #[must_use]
    pub fn still(&self, told: Told) -> FaultOrder {
        let Told {
            mut order, waits, ..
        } = told;
        if waits {
            order.remove.retain(|id| self.waiting.contains_key(id));
            order.faults.retain(|rule| {
                let name = rule.id.as_ref();
                name.is_none_or(|id| self.waiting.contains_key(id))
            });
        }
        order
    }

    /// Takes that these rules hit somebody at an edge. Returns what all others are to be told, if anything.
    pub fn settle<'a>(&mut self, used: impl IntoIterator<Item = &'a str>) -> Option<FaultOrder> {
        let remove: Vec<String> = used
            .into_iter()
            .filter_map(|id| Some(self.waiting.remove_entry(id)?.0))
            .collect();
        (!remove.is_empty()).then(|| FaultOrder {
            remove,
            ..FaultOrder::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use nearcast_appliance::fault::Fault;

    use super::*;

    fn rule(id: &str, fault: Fault, count: Option<u32>) -> FaultRule {
        FaultRule {
            id: Some(id.to_owned()),
            fault,
            on: FaultSelector {
                count,
                ..FaultSelector::EVERYTHING
            },
        }
    }

    fn names(in_use: &InUse, told: Vec<Told>) -> Vec<(usize, Vec<String>, Vec<String>)> {
        let each = told.into_iter().map(|told| {
            let edge = told.edge;
            let order = in_use.still(told);
            let adds = order.faults.into_iter().filter_map(|rule| rule.id);
            (edge, order.remove, adds.collect())
        });
        each.filter(|(_, remove, adds): &(_, Vec<_>, Vec<_>)| {
            !remove.is_empty() || !adds.is_empty()
        })
        .collect()
    }

    fn add(edge: usize, id: &str) -> (usize, Vec<String>, Vec<String>) {
        (edge, Vec::new(), vec![id.to_owned()])
    }

    fn remove(edge: usize, id: &str) -> (usize, Vec<String>, Vec<String>) {
        (edge, vec![id.to_owned()], Vec::new())
    }

    fn dies_and_hangs() -> FaultOrder {
        FaultOrder::add([
            rule("dies", Fault::Kill, None),
            rule("hangs", Fault::Hang, Some(1)),
        ])
    }

    #[test]
    fn while_nothing_plays_the_first_request_decides() {
        let mut in_use = InUse::default();
        let told = in_use.orders(3, dies_and_hangs());
        let all = (0..3).map(|edge| add(edge, "hangs"));
        let expected: Vec<_> = [add(0, "dies")].into_iter().chain(all).collect();
        assert_eq!(names(&in_use, told.clone()), expected);
        // Somebody is hit before all are told: nobody else gets that rule.
        let others = in_use.settle(["hangs", "dies"]);
        assert_eq!(
            others.map(|order| order.remove),
            Some(vec!["hangs".to_owned()])
        );
        assert_eq!(names(&in_use, told), [add(0, "dies")]);
        assert_eq!(in_use.settle(["hangs"]), None);
        assert_eq!(in_use.plays_from(1, 3), []);
    }

    #[test]
    fn a_rule_goes_along_until_somebody_is_hit() {
        let mut in_use = InUse::default();
        let told = in_use.plays_from(1, 3);
        assert_eq!(told, []);
        let told = in_use.orders(3, dies_and_hangs());
        assert_eq!(names(&in_use, told), [add(1, "dies"), add(1, "hangs")]);
        assert_eq!(in_use.plays_from(1, 3), []);
        let told = in_use.plays_from(2, 3);
        assert_eq!(
            names(&in_use, told.clone()),
            [remove(1, "hangs"), add(2, "hangs")]
        );
        // It hit somebody at the edge that was left, just before that one was told.
        in_use.settle(["hangs"]);
        assert_eq!(names(&in_use, told), []);
        assert_eq!(in_use.plays_from(0, 3), []);
    }

    #[test]
    fn others_lose_a_rule_of_before_anything_played() {
        let mut in_use = InUse::default();
        let _ = in_use.orders(3, dies_and_hangs());
        let told = in_use.plays_from(1, 3);
        assert_eq!(
            names(&in_use, told),
            [remove(0, "hangs"), remove(2, "hangs")]
        );
    }

    #[test]
    fn what_is_over_is_so_for_every_edge() {
        let over = FaultOrder {
            remove: vec!["hangs".to_owned()],
            ..FaultOrder::default()
        };
        let mut in_use = InUse::default();
        let _ = in_use.orders(2, dies_and_hangs());
        let told = in_use.orders(2, over);
        assert_eq!(
            names(&in_use, told),
            [remove(0, "hangs"), remove(1, "hangs")]
        );
        assert_eq!(in_use.plays_from(1, 2), []);
    }
}
