//! Faults of "the edge in use": which edge that is turns out while a scenario runs.

use std::collections::BTreeSet;

use nearcast_appliance::fault::{FaultOrder, FaultRule, FaultSelector, Scope};

/// Orders for the edge in use. What concerns a whole edge meets the one that the first viewer plays from; a rule about requests
/// every edge gets, and the first that a request meets keeps it.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Rules that every edge has, by their names.
    roaming: BTreeSet<String>,
}

/// What an edge is to be told. Between two of them somebody may be hit already: [`InUse::still`] says what is left of it then.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Which edge.
    pub edge: usize,
    order: FaultOrder,
    roams: bool,
}

impl InUse {
    /// Returns what each of so many edges is told, in turn: the one in use first, since what is under way there comes first.
    pub fn orders(&mut self, in_use: usize, edges: usize, order: FaultOrder) -> Vec<Told> {
        let (at_once, waits): (Vec<FaultRule>, Vec<FaultRule>) =
            order.faults.into_iter().partition(|rule| {
                rule.fault.scope() == Scope::Link && rule.on == FaultSelector::EVERYTHING
            });
        let over = FaultOrder {
            faults: Vec::new(),
            ..order
        };
        let told = |edge, order: &FaultOrder, roams| Told {
            edge,
            order: order.clone(),
            roams,
        };
        let mut all: Vec<Told> = (0..edges).map(|edge| told(edge, &over, false)).collect();
        if !at_once.is_empty() {
            all.push(told(in_use, &FaultOrder::add(at_once), false));
        }
        if !waits.is_empty() {
            let names = waits.iter().filter_map(|rule| rule.id.clone());
            self.roaming.extend(names);
            let waits = FaultOrder::add(waits);
            let others = (0..edges).filter(|edge| *edge != in_use);
            let in_turn = [in_use].into_iter().chain(others);
            all.extend(in_turn.map(|edge| told(edge, &waits, true)));
        }
        all
    }

    /// Returns what is left of an order by now: rules that somebody was hit by are that edge's alone.
    #[must_use]
    pub fn still(&self, told: Told) -> FaultOrder {
        let Told {
            mut order, roams, ..
        } = told;
        if roams {
            order.faults.retain(|rule| {
                let name = rule.id.as_ref();
                name.is_none_or(|id| self.roaming.contains(id))
            });
        }
        order
    }

    /// Takes that these rules hit somebody at an edge. Returns what all others are to be told, if anything.
    pub fn settle<'a>(&mut self, used: impl IntoIterator<Item = &'a str>) -> Option<FaultOrder> {
        let remove: Vec<String> = used
            .into_iter()
            .filter_map(|id| self.roaming.take(id))
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

    #[test]
    fn a_whole_edge_is_hit_at_once_and_requests_where_the_first_one_is() {
        let mut in_use = InUse::default();
        let order = FaultOrder::add([
            rule("dies", Fault::Kill, None),
            rule("hangs", Fault::Hang, Some(1)),
        ]);
        let told = in_use.orders(1, 3, order);
        let names = |in_use: &InUse, told: &[Told]| -> Vec<(usize, Vec<String>)> {
            let each = told.iter().map(|told| {
                let rules = in_use.still(told.clone()).faults.into_iter();
                (told.edge, rules.filter_map(|rule| rule.id).collect())
            });
            each.filter(|(_, rules): &(usize, Vec<String>)| !rules.is_empty())
                .collect()
        };
        let hangs = || vec!["hangs".to_owned()];
        let dies = (1, vec!["dies".to_owned()]);
        let expected = [dies.clone(), (1, hangs()), (0, hangs()), (2, hangs())];
        assert_eq!(names(&in_use, &told), expected);
        // Somebody is hit before all are told: nobody else gets that rule.
        let others = in_use.settle(["hangs", "dies"]);
        assert_eq!(others.map(|order| order.remove), Some(hangs()));
        assert_eq!(names(&in_use, &told), [dies]);
        assert_eq!(in_use.settle(["hangs"]), None);
    }

    #[test]
    fn what_is_over_is_so_for_every_edge() {
        let over = FaultOrder {
            remove: vec!["hangs".to_owned()],
            ..FaultOrder::default()
        };
        let mut in_use = InUse::default();
        let told = in_use.orders(0, 2, over.clone());
        let told: Vec<_> = told
            .into_iter()
            .map(|told| (told.edge, in_use.still(told)))
            .collect();
        assert_eq!(told, [(0, over.clone()), (1, over)]);
    }
}
