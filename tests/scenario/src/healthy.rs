//! A scenario without the edges that nothing goes wrong with: where others are not needed, nothing was tested by their being there.

use std::collections::BTreeSet;

use crate::scenario::{Place, Scenario};

impl Scenario {
    /// Returns the scenario with those edges alone that its faults hit, and without what it expects of the others. Of edges that may
    /// each be the one in use the first stays. `None` where that leaves no edge, or all of them.
    #[must_use]
    pub fn without_healthy_edges(&self) -> Option<Self> {
        let hit: BTreeSet<usize> = self
            .faults
            .iter()
            .flat_map(|fault| match fault.place {
                Place::Edge(edge) => edge..edge + 1,
                Place::InUse => 0..1,
                Place::All => 0..self.edges.len(),
                Place::Backend => 0..0,
            })
            .collect();
        if hit.is_empty() || hit.len() == self.edges.len() {
            return None;
        }
        let mut left = self.clone();
        left.edges = hit.iter().map(|edge| self.edges[*edge].clone()).collect();
        for fault in &mut left.faults {
            if let Place::Edge(edge) = &mut fault.place {
                *edge = hit.range(..*edge).count();
            }
        }
        let names = left.edge_names();
        let there = |name: &str| names.contains(&name);
        let expectations = self.expectations.iter();
        left.expectations = expectations
            .filter(|one| one.figure.edge().is_none_or(there))
            .cloned()
            .collect();
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(faults: &str) -> Scenario {
        let text = format!(
            r#"
            version = 1
            expect = ["served.a < 0.5", "served.c > 0.1", "stalled_s == 0"]
            edges = [{{ name = "a" }}, {{ name = "b" }}, {{ name = "c" }}]
            faults = [{faults}]
            "#
        );
        Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0)
    }

    fn fault(edge: &str) -> String {
        format!("{{ edge = \"{edge}\", fault = {{ kind = \"stop\" }} }}, ")
    }

    #[test]
    fn edges_that_a_fault_hits_stay_and_are_hit_by_the_same_faults() {
        let all = scenario(&(fault("c") + &fault("backend") + &fault("b")));
        let left = all.without_healthy_edges().unwrap();
        assert_eq!(left.edge_names(), ["b", "c"]);
        assert_eq!(
            left.told(),
            [
                "stop at edge c, at 0 s",
                "stop at the backend, at 0 s",
                "stop at edge b, at 0 s"
            ]
        );
        let expected: Vec<String> = left.expectations.iter().map(ToString::to_string).collect();
        assert_eq!(expected, ["served.c > 0.1", "stalled_s == 0"]);
    }

    #[test]
    fn of_edges_that_may_be_in_use_one_stays() {
        let left = scenario(&fault("in_use")).without_healthy_edges().unwrap();
        assert_eq!(left.edge_names(), ["a"]);
        assert_eq!(left.told(), ["stop at the edge in use, at 0 s"]);
    }

    #[test]
    fn where_no_edge_or_each_is_hit_nothing_can_be_left_out() {
        for faults in [String::new(), fault("backend"), fault("all")] {
            assert!(scenario(&faults).without_healthy_edges().is_none());
        }
    }
}
