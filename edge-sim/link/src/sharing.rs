//! Max-min fair shares, in whole bits per second and rounded down, so that no capacity is exceeded.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// One who wants a share.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Indexes of the resources it needs all of, each once.
    pub(crate) route: Vec<usize>,
    /// The most it can use, bits per second.
    pub(crate) demand: u64,
}

/// Fills all claims at the same pace until each meets its demand or a resource that is used up (progressive
/// filling: Bertsekas and Gallager, "Data Networks", section 6.5). Returns one rate per claim.
pub(crate) fn share(capacities: &[u64], claims: &[Claim]) -> Vec<u64> {
    let mut left = capacities.to_vec();
    let mut users: Vec<Vec<usize>> = capacities.iter().map(|_| Vec::new()).collect();
    for (index, claim) in claims.iter().enumerate() {
        for &resource in &claim.route {
            users[resource].push(index);
        }
    }
    let mut open: Vec<usize> = users.iter().map(Vec::len).collect();
    // What each resource has for one more user. It only grows as others are settled, so what is found here is a lower
    // bound, brought up to date when it comes first.
    let fair = |left: &[u64], open: &[usize], resource: usize| {
        let users = u64::try_from(open[resource]).unwrap_or(u64::MAX);
        left[resource].checked_div(users)
    };
    let mut fairest: BinaryHeap<Reverse<(u64, usize)>> = (0..left.len())
        .filter_map(|resource| Some(Reverse((fair(&left, &open, resource)?, resource))))
        .collect();
    let mut modest: Vec<(u64, usize)> = claims.iter().map(|claim| claim.demand).zip(0..).collect();
    modest.sort_unstable();
    let mut rates: Vec<Option<u64>> = claims.iter().map(|_| None).collect();
    let mut settle = |index: usize, rate: u64, left: &mut [u64], open: &mut [usize]| {
        if rates[index].is_none() {
            rates[index] = Some(rate);
            for &resource in &claims[index].route {
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
                    for &index in &users[resource] {
                        settle(index, now, &mut left, &mut open);
                    }
                }
            },
        }
    }
    // Those that cross nothing.
    for (index, claim) in claims.iter().enumerate() {
        settle(index, claim.demand, &mut left, &mut open);
    }
    rates.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn claim(route: &[usize], demand: u64) -> Claim {
        Claim {
            route: route.to_vec(),
            demand,
        }
    }

    #[test]
    fn what_one_cannot_use_goes_to_the_others() {
        assert_eq!(
            share(
                &[90],
                &[claim(&[0], 10), claim(&[0], 1000), claim(&[0], 1000)]
            ),
            vec![10, 40, 40]
        );
    }

    #[test]
    fn the_tightest_link_of_a_route_decides() {
        // Two edges of 20 and 100 behind a last mile of 90.
        assert_eq!(
            share(
                &[20, 100, 90],
                &[claim(&[0, 2], u64::MAX), claim(&[1, 2], u64::MAX)]
            ),
            vec![20, 70]
        );
    }

    #[test]
    fn a_dead_link_stops_its_own_flows_only() {
        assert_eq!(
            share(&[0, 50], &[claim(&[0, 1], 9), claim(&[1], 99)]),
            vec![0, 50]
        );
        assert_eq!(share(&[], &[claim(&[], 7)]), vec![7]);
        assert_eq!(share(&[5], &[]), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn shares_are_feasible_and_nobody_could_have_more_without_taking_from_a_poorer(
            capacities in prop::collection::vec(0_u64..1_000_000, 1..5),
            wishes in prop::collection::vec((prop::collection::btree_set(0_usize..5, 0..4), 0_u64..1_000_000), 0..12),
        ) {
            let claims: Vec<Claim> = wishes
                .into_iter()
                .map(|(route, demand)| Claim {
                    route: route.into_iter().filter(|&r| r < capacities.len()).collect(),
                    demand,
                })
                .collect();
            let rates = share(&capacities, &claims);
            let used = |resource: usize| -> u64 {
                claims.iter().zip(&rates).filter(|(c, _)| c.route.contains(&resource)).map(|(_, r)| r).sum()
            };
            for (resource, &capacity) in capacities.iter().enumerate() {
                prop_assert!(used(resource) <= capacity);
            }
            for (claim, &rate) in claims.iter().zip(&rates) {
                prop_assert!(rate <= claim.demand);
                // Held back only by a link that is full (but for rounding) and on which it is among the richest.
                let slack = u64::try_from(claims.len()).unwrap();
                let full = claim.route.iter().any(|&resource| {
                    capacities[resource] - used(resource) < slack
                        && claims.iter().zip(&rates)
                            .filter(|(c, _)| c.route.contains(&resource))
                            .all(|(_, &other)| other <= rate + slack)
                });
                prop_assert!(rate == claim.demand || full);
            }
        }
    }
}
