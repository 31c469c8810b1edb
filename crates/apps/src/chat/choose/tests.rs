//! Choosing against what a naive count says.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn chooser(shares: &[(u32, u32)]) -> Chooser {
    let share = |(index, (weight, rank)): (usize, &(u32, u32))| Share {
        weight: *weight,
        rank: *rank,
        seed: mix(index as u64),
    };
    Chooser::new(shares.iter().enumerate().map(share))
}

/// How often each of `count` targets is chosen in so many calls.
fn tally(chooser: &Chooser, among: Set, calls: u32, count: usize) -> Vec<u32> {
    let mut times = vec![0; count];
    for _ in 0..calls {
        times[chooser.next(among, None).unwrap()] += 1;
    }
    times
}

/// A time to count from; pure code takes it as an argument.
fn an_instant() -> Instant {
    Instant::now()
}

proptest! {
    #[test]
    fn over_a_cycle_each_target_is_chosen_exactly_as_often_as_its_weight_says(
        weights in prop::collection::vec(1_u32..40, 1..20),
        cycles in 1_u32..4,
    ) {
        let shares: Vec<_> = weights.iter().map(|weight| (*weight, 0)).collect();
        let chooser = chooser(&shares);
        let cycle: u32 = weights.iter().sum();
        let times = tally(&chooser, Set::first(weights.len()), cycle * cycles, weights.len());
        prop_assert_eq!(times, weights.iter().map(|weight| weight * cycles).collect::<Vec<_>>());
    }

    #[test]
    fn no_target_is_ever_further_than_the_number_of_targets_from_its_fair_share(
        weights in prop::collection::vec(1_u32..20, 2..8),
    ) {
        let shares: Vec<_> = weights.iter().map(|weight| (*weight, 0)).collect();
        let (chooser, total) = (chooser(&shares), f64::from(weights.iter().sum::<u32>()));
        let mut times = vec![0_u32; weights.len()];
        for call in 1..=weights.iter().sum::<u32>() {
            times[chooser.next(Set::first(weights.len()), None).unwrap()] += 1;
            for (got, weight) in times.iter().zip(&weights) {
                let fair = f64::from(call) * f64::from(*weight) / total;
                prop_assert!((f64::from(*got) - fair).abs() < weights.len() as f64, "{times:?} of {weights:?}");
            }
        }
    }

    #[test]
    fn only_the_lowest_rank_of_the_given_set_is_ever_chosen(
        shares in prop::collection::vec((1_u32..9, 0_u32..4), 1..12),
        sets in prop::collection::vec((any::<u64>(), prop::option::of(any::<u64>())), 1..60),
    ) {
        let chooser = chooser(&shares);
        for (bits, affinity) in sets {
            let among = Set(bits & Set::first(shares.len()).0);
            match chooser.next(among, affinity) {
                None => prop_assert!(among.is_empty()),
                Some(index) => {
                    prop_assert!(among.has(index));
                    let lowest = among.iter().map(|index| shares[index].1).min().unwrap();
                    prop_assert_eq!(shares[index].1, lowest);
                }
            }
        }
    }

    #[test]
    fn who_belongs_together_stays_together_and_only_those_of_a_lost_target_move(
        weights in prop::collection::vec(1_u32..9, 2..10),
        affinities in prop::collection::vec(any::<u64>(), 1..80),
        lost in any::<prop::sample::Index>(),
    ) {
        let shares: Vec<_> = weights.iter().map(|weight| (*weight, 0)).collect();
        let (chooser, all) = (chooser(&shares), Set::first(weights.len()));
        let lost = lost.index(weights.len());
        for affinity in affinities {
            let home = chooser.next(all, Some(affinity));
            prop_assert_eq!(home, chooser.next(all, Some(affinity)));
            let then = chooser.next(all.without(lost), Some(affinity));
            prop_assert_eq!(home == Some(lost), then != home);
        }
    }
}

#[test]
fn weights_are_spread_and_not_served_in_blocks() {
    let chooser = chooser(&[(5, 0), (1, 0), (1, 0)]);
    let order: Vec<_> = (0..7).map(|_| chooser.next(Set::first(3), None).unwrap()).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0], "as nginx has it");
}

#[test]
fn affinity_shares_by_weight() {
    let chooser = chooser(&[(8, 0), (2, 0)]);
    let first = (0..10_000).filter(|key| chooser.next(Set::first(2), Some(mix(*key))) == Some(0)).count();
    assert!((7_800..8_200).contains(&first), "{first}");
}

#[test]
fn a_target_can_be_switched_off_for_a_while_and_given_another_weight() {
    let (chooser, now, all) = (chooser(&[(1, 0), (1, 0)]), an_instant(), Set::first(2));
    let later = now + Duration::from_secs(60);
    assert!(chooser.set_off(0, Some(later)));
    assert_eq!(chooser.on(all, now), all.without(0));
    assert_eq!(chooser.on(all, later), all, "by itself");
    assert!(chooser.set_off(0, None) && chooser.set_weight(1, 0));
    assert_eq!(chooser.on(all, now), all.without(1));
    assert_eq!(
        chooser.on(Set::first(2).without(0), now),
        all.without(0),
        "the last one left is used all the same"
    );
    assert!(chooser.set_weight(1, 3) && !chooser.set_weight(2, 3) && !chooser.set_off(9, None));
    assert_eq!(tally(&chooser, all, 8, 2), [2, 6]);
    assert_eq!(chooser.look(1), Some((3, None)));
}
