//! The arithmetic against naive models: a list of what was admitted and when; a bucket of whole microseconds.

use super::*;
use proptest::{collection::vec, prelude::*};

#[test]
fn a_bucket_gives_its_capacity_at_once_and_then_one_each_interval() {
    let quota = Quota::bucket(10, 10.0);
    let mut state = State::fresh(quota);
    for index in 0..10 {
        let look = state.look(quota, 1, 1_000_000);
        assert_eq!((look.remaining, look.wait), (10 - index, 0));
        state.charge(quota, 1, 1_000_000);
    }
    let empty = Look { remaining: 0, wait: 100_000, reset: 100_000 };
    assert_eq!(state.look(quota, 1, 1_000_000), empty);
    assert_eq!(state.look(quota, 1, 1_099_999).wait, 1);
    assert_eq!(state.look(quota, 1, 1_100_000).wait, 0);
}

#[test]
fn a_cost_of_nothing_always_fits_and_one_above_the_quota_never_does() {
    for quota in [Quota::bucket(3, 1.0), Quota::window(3, Duration::from_secs(1))] {
        let mut state = State::fresh(quota);
        assert_eq!(state.look(quota, 4, 5_000_000).wait, u64::MAX);
        state.charge(quota, 3, 5_000_000);
        assert_eq!(state.look(quota, 0, 5_000_000).wait, 0);
        assert_eq!(state.look(quota, 4, 5_000_000).wait, u64::MAX);
    }
    let shut = Quota::window(0, Duration::from_secs(1));
    assert_eq!(State::fresh(shut).look(shut, 1, 5_000_000).wait, u64::MAX);
    assert_eq!(shut.share(0.5), shut, "a limit that refuses everything refuses everything in its share too");
}

#[test]
fn a_share_keeps_the_length_and_at_least_one() {
    assert_eq!(Quota::bucket(50, 5.0).share(0.5), Quota::bucket(25, 2.5));
    assert_eq!(Quota::bucket(1, 5.0).share(0.5), Quota::bucket(1, 2.5));
    let minute = Duration::from_secs(60);
    assert_eq!(Quota::window(10, minute).share(0.25), Quota::window(2, minute));
    assert_eq!(Quota::window(1, minute).share(0.25), Quota::window(1, minute));
    assert_eq!(Quota::window(7, minute).share(1.0), Quota::window(7, minute));
}

#[test]
fn the_header_is_told_the_window_of_a_bucket_as_capacity_over_refill() {
    assert_eq!((Quota::bucket(50, 5.0).most(), Quota::bucket(50, 5.0).window_secs()), (50, 10));
    assert_eq!(Quota::bucket(1, 1000.0).window_secs(), 1);
    assert_eq!(Quota::window(100, Duration::from_secs(60)).window_secs(), 60);
}

#[test]
fn the_largest_and_the_strangest_quotas_neither_overflow_nor_lose_exactness() {
    let strange = [
        Quota::bucket(u32::MAX, 1e-12),
        Quota::bucket(u32::MAX, f64::INFINITY),
        Quota::bucket(0, 0.0),
        Quota::bucket(1, f64::NAN),
        Quota::window(u32::MAX, Duration::MAX),
        Quota::window(0, Duration::ZERO),
        // Written by hand, past what the constructors allow.
        Quota::Bucket { capacity: u32::MAX, micros_per_token: u64::MAX },
        Quota::Window { limit: u32::MAX, micros: u64::MAX / SLOTS * SLOTS },
    ];
    for quota in strange {
        for now in [0, 1, 1 << 40, 1 << 51, (1 << 53) - 1] {
            let mut state = State::fresh(quota);
            for cost in [0, 1, u32::MAX, u32::MAX] {
                assert!(state.look(quota, cost, now).remaining <= quota.most());
                state.charge(quota, cost, now);
                std::hint::black_box(state.rests_at(quota));
            }
            state.refund(quota, u32::MAX, now);
        }
        assert!(quota.share(0.001).most() <= quota.most());
    }
    let Quota::Bucket { capacity, micros_per_token } = strange[0] else { unreachable!() };
    assert!((1 << 51) + u64::from(capacity) * micros_per_token < 1 << 53);
}

#[test]
fn a_window_whose_clock_goes_back_a_little_goes_on_and_far_back_starts_anew() {
    let quota = Quota::window(2, Duration::from_secs(12));
    let mut state = State::fresh(quota);
    state.charge(quota, 2, 100_000_000);
    let look = state.look(quota, 1, 97_500_000);
    assert_eq!((look.remaining, look.wait), (0, 15_500_000), "not forgotten, and a wait that ends");
    state.charge(quota, 0, 97_500_000);
    assert_eq!(state.look(quota, 1, 113_000_000).wait, 0);
    assert_eq!(state.look(quota, 1, 50_000_000).wait, 0, "another clock altogether");
}

#[test]
fn a_bucket_made_smaller_at_run_time_promises_no_wait_that_does_not_help() {
    let (large, small) = (Quota::bucket(1_000, 1.0), Quota::bucket(10, 1.0));
    let mut state = State::fresh(large);
    state.charge(large, 1_000, 0);
    let look = state.look(small, 1, 1_000);
    assert_eq!((look.remaining, look.wait), (0, 1_000_000));
    state.charge(small, 0, 1_000);
    assert_eq!(state.look(small, 1, 1_001_000).wait, 0);
}

#[test]
fn the_first_charge_of_a_window_is_said_to_return_when_it_does() {
    let quota = Quota::window(1, Duration::from_secs(60));
    for now in [1_000_000_000, 1_002_500_000, 1_004_999_999] {
        let mut state = State::fresh(quota);
        state.charge(quota, 1, now);
        let back = first_return(quota, now);
        assert_eq!(state.look(quota, 1, now).wait, back);
        assert_ne!(state.look(quota, 1, now + back - 1).wait, 0);
        assert_eq!(state.look(quota, 1, now + back).wait, 0);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask {
        after: u64,
        cost: u32,
    },
    /// Gives back one of the last eight that were admitted.
    Refund {
        back: usize,
    },
}

fn steps(longest: u64) -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..longest, 0_u32..4).prop_map(|(after, cost)| Step::Ask { after, cost });
    let refund = (0_usize..8).prop_map(|back| Step::Refund { back });
    vec(prop_oneof![6 => ask, 1 => refund], 1..300)
}

proptest! {
    // req: S0-03
    #[test]
    fn no_span_of_a_windows_length_ever_holds_more_than_the_limit(limit in 1_u32..20, steps in steps(400)) {
        let quota = Quota::window(limit, Duration::from_micros(1_200));
        let (mut state, mut now, mut taken) = (State::fresh(quota), 5_000_u64, Vec::<(u64, u32)>::new());
        for step in steps {
            match step {
                Step::Ask { after, cost } => {
                    now += after;
                    let look = state.look(quota, cost, now);
                    let inside = |from: u64| {
                        let inside = taken.iter().filter(|(at, _)| *at > from);
                        inside.map(|(_, cost)| cost).sum::<u32>()
                    };
                    if look.wait == 0 {
                        state.charge(quota, cost, now);
                        prop_assert!(cost == 0 || inside(now - 1_200) + cost <= limit);
                        taken.push((now, cost));
                    } else if cost <= limit {
                        prop_assert!(inside(now - 1_300) + cost > limit, "at most a slot stricter than exact");
                        prop_assert!(look.wait <= 1_300);
                        prop_assert_eq!(state.look(quota, cost, now + look.wait).wait, 0, "waiting helps");
                        prop_assert_ne!(state.look(quota, cost, now + look.wait - 1).wait, 0, "and is needed");
                    }
                }
                Step::Refund { back } => {
                    let Some(index) = taken.len().checked_sub(back + 1) else { continue };
                    let (at, cost) = taken.remove(index);
                    state.refund(quota, cost, at);
                }
            }
            // What is left is what the slots that still count hold.
            let slot = now / 100;
            let counted: u32 = taken.iter().filter(|(at, _)| at / 100 + KEPT > slot).map(|(_, cost)| cost).sum();
            prop_assert_eq!(state.look(quota, 1, now).remaining, limit.saturating_sub(counted));
        }
    }

    #[test]
    fn a_bucket_agrees_with_the_naive_model_of_tokens(capacity in 1_u32..10, steps in steps(3_000)) {
        let per = 1_000_u64;
        let quota = Quota::bucket(capacity, 1_000.0);
        let (mut state, mut now, mut taken) = (State::fresh(quota), 1_000_000_u64, Vec::new());
        // The model counts in thousandths of a token, which are microseconds here.
        let most = u64::from(capacity) * per;
        let mut level = most;
        for step in steps {
            match step {
                Step::Ask { after, cost } => {
                    now += after;
                    level = (level + after).min(most);
                    let look = state.look(quota, cost, now);
                    let need = u64::from(cost) * per;
                    prop_assert_eq!(look.wait == 0, level >= need);
                    if level < need && cost <= capacity {
                        prop_assert_eq!(look.wait, need - level);
                    }
                    if look.wait == 0 {
                        state.charge(quota, cost, now);
                        level -= need;
                        taken.push((now, cost));
                    }
                }
                Step::Refund { back } => {
                    let Some(index) = taken.len().checked_sub(back + 1) else { continue };
                    let (at, cost) = taken.remove(index);
                    state.refund(quota, cost, at);
                    level = (level + u64::from(cost) * per).min(most);
                }
            }
            let look = state.look(quota, 1, now);
            prop_assert_eq!(u64::from(look.remaining), level / per);
            let to_next = if level == most { 0 } else { per - level % per };
            prop_assert_eq!(look.reset, to_next);
        }
    }
}
