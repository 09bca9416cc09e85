//! Max-min fair shares, in whole bits per second and rounded down, so that no capacity is exceeded.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Who wants shares, each of all resources on its route, and of each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Indexes of resources, one route after the other.
    routes: Vec<usize>,
    each: Vec<Claim>,
}

#[derive(Clone, Debug)]
struct Claim {
    /// Where its route ends.
    end: usize,
    /// The most it can use, bits per second.
    demand: u64,
}

impl Claims {
    /// Adds one who needs all of these resources and can use so much.
    pub(crate) fn add(&mut self, route: impl IntoIterator<Item = usize>, demand: u64) {
        self.routes.extend(route);
        self.each.push(Claim {
            end: self.routes.len(),
            demand,
        });
    }

    fn route(&self, index: usize) -> &[usize] {
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.each[before].end);
        &self.routes[begin..self.each[index].end]
    }
}

/// Fills all claims at the same pace until each meets its demand or a resource that is used up (progressive
/// filling: Bertsekas and Gallager, "Data Networks", section 6.5). Returns one rate per claim.
pub(crate) fn share(capacities: &[u64], claims: &Claims) -> Vec<u64> {
    let mut left = capacities.to_vec();
    let users = Users::of(capacities.len(), claims);
    let mut open: Vec<usize> = (0..capacities.len())
        .map(|resource| users.of_resource(resource).len())
        .collect();
    // What each resource has for one more user. It only grows as others are settled, so what is found here is a lower
    // bound, brought up to date when it comes first.
    let fair = |left: &[u64], open: &[usize], resource: usize| {
        let users = u64::try_from(open[resource]).unwrap_or(u64::MAX);
        left[resource].checked_div(users)
    };
    let mut fairest: BinaryHeap<Reverse<(u64, usize)>> = (0..left.len())
        .filter_map(|resource| Some(Reverse((fair(&left, &open, resource)?, resource))))
        .collect();
    let demands = claims.each.iter().map(|claim| claim.demand);
    let mut modest: Vec<(u64, usize)> = demands.zip(0..).collect();
    modest.sort_unstable();
    let mut rates: Vec<Option<u64>> = claims.each.iter().map(|_| None).collect();
    let mut settle = |index: usize, rate: u64, left: &mut [u64], open: &mut [usize]| {
        if rates[index].is_none() {
            rates[index] = Some(rate);
            for &resource in claims.route(index) {
                left[resource] = left[resource].saturating_sub(rate);
                open[resource] -= 1;
            }
        }
    };
    let mut settled_to = 0;
    while let Some(&Reverse((known, resource))) = fairest.peek() {
        match fair(&left, &open, resource) {
            None => {
                fairest.pop();
            }
            Some(now) if now != known => {
                fairest.pop();
                fairest.push(Reverse((now, resource)));
            }
            Some(now) => match modest.get(settled_to) {
                Some(&(demand, index)) if demand <= now => {
                    settle(index, demand, &mut left, &mut open);
                    settled_to += 1;
                }
                _ => {
                    fairest.pop();
                    for &index in users.of_resource(resource) {
                        settle(index, now, &mut left, &mut open);
                    }
                }
            },
        }
    }
    // Those that cross nothing.
    for (index, claim) in claims.each.iter().enumerate() {
        settle(index, claim.demand, &mut left, &mut open);
    }
    rates.into_iter().map(Option::unwrap_or_default).collect()
}

/// Who claims each resource, in order.
struct Users {
    /// Where each resource's users begin, and where the last one's end.
    begins: Vec<usize>,
    claims: Vec<usize>,
}

impl Users {
    fn of(resources: usize, claims: &Claims) -> Self {
        let mut begins = Vec::from_iter(core::iter::repeat_n(0, resources + 1));
        for &resource in &claims.routes {
            begins[resource + 1] += 1;
        }
        for resource in 0..resources {
            begins[resource + 1] += begins[resource];
        }
        let mut next = begins.clone();
        let mut users = Vec::from_iter(core::iter::repeat_n(0, claims.routes.len()));
        for index in 0..claims.each.len() {
            for &resource in claims.route(index) {
                users[next[resource]] = index;
                next[resource] += 1;
            }
        }
        Self {
            begins,
            claims: users,
        }
    }

    fn of_resource(&self, resource: usize) -> &[usize] {
        &self.claims[self.begins[resource]..self.begins[resource + 1]]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    /// Claims, each a route and a demand.
    fn claims(all: &[(&[usize], u64)]) -> Claims {
        let mut claims = Claims::default();
        for (route, demand) in all {
            claims.add(route.iter().copied(), *demand);
        }
        claims
    }

    #[test]
    fn what_one_cannot_use_goes_to_the_others() {
        assert_eq!(
            share(&[90], &claims(&[(&[0], 10), (&[0], 1000), (&[0], 1000)])),
            vec![10, 40, 40]
        );
    }

    #[test]
    fn the_tightest_link_of_a_route_decides() {
        // Two edges of 20 and 100 behind a last mile of 90.
        assert_eq!(
            share(
                &[20, 100, 90],
                &claims(&[(&[0, 2], u64::MAX), (&[1, 2], u64::MAX)])
            ),
            vec![20, 70]
        );
    }

    #[test]
    fn a_dead_link_stops_its_own_flows_only() {
        assert_eq!(
            share(&[0, 50], &claims(&[(&[0, 1], 9), (&[1], 99)])),
            vec![0, 50]
        );
        assert_eq!(share(&[], &claims(&[(&[], 7)])), vec![7]);
        assert_eq!(share(&[5], &claims(&[])), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn shares_are_feasible_and_nobody_could_have_more_without_taking_from_a_poorer(
            capacities in prop::collection::vec(0_u64..1_000_000, 1..5),
            wishes in prop::collection::vec((prop::collection::btree_set(0_usize..5, 0..4), 0_u64..1_000_000), 0..12),
        ) {
            let mut claims = Claims::default();
            for (route, demand) in wishes {
                claims.add(route.into_iter().filter(|&r| r < capacities.len()), demand);
            }
            let rates = share(&capacities, &claims);
            let indexes = 0..claims.each.len();
            let crossing = |resource: usize| {
                let claims = &claims;
                indexes.clone().filter(move |&index| claims.route(index).contains(&resource))
            };
            let used = |resource: usize| -> u64 {
                crossing(resource).map(|index| rates[index]).sum()
            };
            for (resource, &capacity) in capacities.iter().enumerate() {
                prop_assert!(used(resource) <= capacity);
            }
            for (index, claim) in claims.each.iter().enumerate() {
                let rate = rates[index];
                prop_assert!(rate <= claim.demand);
                // Held back only by a link that is full (but for rounding) and on which it is among the richest.
                let slack = u64::try_from(claims.each.len()).unwrap();
                let full = claims.route(index).iter().any(|&resource| {
                    capacities[resource] - used(resource) < slack
                        && crossing(resource).all(|other| rates[other] <= rate + slack)
                });
                prop_assert!(rate == claim.demand || full);
            }
        }
    }
}
