//! Makes a failing schedule smaller until nothing can be left out of it.

use crate::scenario::{Action, FaultPlan, Place, Scenario};

impl Scenario {
    /// Returns the scenario with as few faults and actions as still fail: none of them can be left out alone. `fails` runs one.
    #[must_use]
    pub fn minimised(&self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut smallest = self.clone();
        // Who fails without any of them needs no search.
        let mut quiet = self.clone();
        quiet.faults.clear();
        quiet.actions.clear();
        if fails(&quiet) {
            return quiet;
        }
        loop {
            let next = smallest.smaller().find(|smaller| fails(smaller));
            match next {
                Some(smaller) => smallest = smaller,
                None => return smallest,
            }
        }
    }

    /// Returns the scenario without one thing, for each thing that there is.
    fn smaller(&self) -> impl Iterator<Item = Self> + use<'_> {
        let faults = (0..self.faults.len()).map(|index| {
            let mut smaller = self.clone();
            smaller.faults.remove(index);
            smaller
        });
        let actions = (0..self.actions.len()).map(|index| {
            let mut smaller = self.clone();
            smaller.actions.remove(index);
            smaller
        });
        let repeats = self
            .faults
            .iter()
            .enumerate()
            .filter(|(_, fault)| fault.every.is_some());
        let once = repeats.map(|(index, _)| {
            let mut smaller = self.clone();
            smaller.faults[index].every = None;
            smaller
        });
        faults.chain(actions).chain(once)
    }

    /// Returns faults and actions in words.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let faults = self.faults.iter().map(|fault| self.fault_told(fault));
        let actions = self.actions.iter().map(|action| self.action_told(action));
        faults.chain(actions).collect()
    }

    fn fault_told(&self, fault: &FaultPlan) -> String {
        let place = match fault.place {
            Place::Edge(edge) => format!("edge {}", self.edges[edge].name),
            Place::All => "all edges".to_owned(),
            Place::InUse => "the edge in use".to_owned(),
            Place::Backend => "the backend".to_owned(),
        };
        let mut text = format!(
            "{} at {place}, at {} s",
            fault.fault.name(),
            fault.at.as_secs_f64()
        );
        if !fault.within.is_zero() {
            text += &format!(" or within {} s", fault.within.as_secs_f64());
        }
        if let Some(lasts) = fault.lasts {
            text += &format!(", for {} s", lasts.as_secs_f64());
        }
        if let Some(every) = fault.every {
            text += &format!(", every {} s", every.as_secs_f64());
        }
        text
    }

    fn action_told(&self, action: &Action) -> String {
        let who = match action.player {
            Some(player) => self.players[player].name.as_str(),
            None => match &self.players[..] {
                [one] => one.name.as_str(),
                _ => "all",
            },
        };
        let mut text = format!("{who}: {} at {} s", action.doing, action.at.as_secs_f64());
        if !action.within.is_zero() {
            text += &format!(" or within {} s", action.within.as_secs_f64());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        version = 1
        edges = [{ name = "a" }, { name = "b" }]
        faults = [
            { id = "one", at_s = 1, edge = "a", fault = { kind = "kill" } },
            { id = "two", at_s = 2, edge = "b", fault = { kind = "stop" } },
            { id = "three", at_s = 3, lasts_s = 1, every_s = 5, edge = "all", fault = { kind = "corrupt" } },
        ]
        actions = [{ at_s = 4, do = "pause" }, { at_s = 5, within_s = 2, do = "seek", to_s = 1 }]
    "#;

    #[test]
    fn what_a_failure_does_not_need_is_left_out() {
        let scenario = Scenario::parse("x.toml".as_ref(), TEXT).unwrap().remove(0);
        let has = |one: &Scenario, id: &str| one.faults.iter().any(|fault| fault.id == id);
        let both = scenario.minimised(|one| has(one, "one") && has(one, "three"));
        assert_eq!(
            both.told(),
            [
                "kill at edge a, at 1 s",
                "corrupt at all edges, at 3 s, for 1 s"
            ]
        );
        let none = scenario.minimised(|_| true);
        assert_eq!(none.told(), Vec::<String>::new());
        let pause = scenario.minimised(|one| one.actions.len() > 1);
        assert_eq!(
            pause.told(),
            [
                "player: pause at 4 s",
                "player: seek to 1 s at 5 s or within 2 s"
            ]
        );
    }
}
