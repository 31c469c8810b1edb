//! What is kept, what is forgotten, and what several threads may do at once.

use super::{super::quota, *};
use LimitScope::{Action, Global, Ip, Tier, User};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn charge(scope: LimitScope, subject: &str, quota: Quota) -> Charge<'_> {
    Charge { scope, subject, quota, cost: 1 }
}

fn limits(max_keys: usize) -> MemoryLimits {
    MemoryLimits::new(&LimitsConfig { max_keys, ..LimitsConfig::default() })
}

fn passes(limits: &MemoryLimits, charges: &[Charge<'_>], now: u64) -> bool {
    limits.decide_at(charges, now).refused.is_none()
}

const SECOND: u64 = 1_000_000;

#[test]
fn never_more_than_the_most_is_kept_and_what_has_nothing_left_is_forgotten_last() {
    let limits = limits(1_024);
    let busy = charge(User, "busy", Quota::bucket(5, 0.001));
    for _ in 0..5 {
        assert!(passes(&limits, &[busy], SECOND));
    }
    for index in 0..100_000_u64 {
        let subject = format!("passing-{index}");
        // Still in use when the next ones come, and for longer than the busy one was at work.
        assert!(passes(&limits, &[charge(User, &subject, Quota::bucket(5, 0.001))], SECOND + index));
        assert!(limits.len() <= 1_024);
    }
    assert!(limits.len() > 900, "{}", limits.len());
    assert!(!passes(&limits, &[busy], 2 * SECOND), "still out of tokens");
}

#[test]
fn when_room_is_needed_the_longest_unused_at_rest_go_first() {
    let limits = limits(SHARDS * 32);
    let quota = Quota::bucket(2, 1.0);
    let name = |index: u64| format!("subject-{index}");
    for index in 0..10_000 {
        assert!(passes(&limits, &[charge(Ip, &name(index), quota)], index * SECOND));
    }
    let kept: Vec<u64> = (0..10_000)
        .filter(|index| {
            let name = name(*index);
            let charge = charge(Ip, &name, quota);
            let hash = limits.hash(&charge);
            limits.shards[shard_of(hash)].lock().slots.find(hash, |slot| slot.is(&charge)).is_some()
        })
        .collect();
    assert!(kept.contains(&9_999));
    assert!(kept.iter().all(|index| *index > 6_000), "{kept:?}");
}

#[test]
fn what_is_idle_and_at_rest_is_forgotten_and_what_is_not_at_rest_is_kept() {
    let limits = limits(100_000);
    let slow = charge(User, "slow", Quota::bucket(1, 0.0001));
    assert!(passes(&limits, &[slow], SECOND));
    for index in 0..10_000 {
        let subject = format!("passing-{index}");
        assert!(passes(&limits, &[charge(User, &subject, Quota::bucket(5, 1.0))], SECOND));
    }
    assert_eq!(limits.len(), 10_001);
    let hour = 3_600 * SECOND;
    let touch = |now: u64| {
        for index in 0..1_000 {
            let subject = format!("touch-{index}");
            passes(&limits, &[charge(Ip, &subject, Quota::window(0, Duration::from_secs(1)))], now);
        }
    };
    touch(hour - SECOND);
    assert_eq!(limits.len(), 10_001, "idle for less than an hour; what was refused is not stored");
    touch(2 * hour);
    assert_eq!(limits.len(), 1, "only the one that needs 10,000 seconds to rest");
    assert!(!passes(&limits, &[slow], 2 * hour));
}

#[test]
fn what_costs_nothing_or_is_refused_is_not_stored() {
    let limits = limits(1_000);
    let quota = Quota::bucket(5, 1.0);
    assert!(passes(&limits, &[Charge { cost: 0, ..charge(User, "a", quota) }], SECOND));
    assert!(!passes(&limits, &[Charge { cost: 6, ..charge(User, "b", quota) }], SECOND));
    let all = [charge(Global, "c", quota), charge(Tier, "c", Quota::window(0, Duration::from_secs(1)))];
    assert!(!passes(&limits, &all, SECOND));
    assert!(limits.is_empty());
}

#[test]
fn two_windows_of_one_subject_are_two_limits_and_a_changed_length_starts_anew() {
    let limits = limits(1_000);
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    let both = |now: u64| {
        let charges =
            [charge(Action, "a", Quota::window(2, minute)), charge(Action, "a", Quota::window(3, hour))];
        limits.decide_at(&charges, now)
    };
    let base = 7_200 * SECOND;
    assert!(both(base).refused.is_none() && both(base).refused.is_none());
    assert_eq!(both(base).views[1].remaining, 1);
    assert!(both(base + 65 * SECOND).refused.is_none());
    let refused = both(base + 130 * SECOND).refused.unwrap();
    assert!(refused.retry_after > minute, "the hour is used up: {refused:?}");
    assert!(passes(&limits, &[charge(Action, "a", Quota::window(1, minute / 2))], base + 130 * SECOND));
}

// req: S4-RATE
#[test]
fn threads_that_charge_overlapping_levels_admit_exactly_the_permitted_number() {
    let limits = limits(100_000);
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (limits, passed) = (&limits, &passed);
            scope.spawn(move || {
                for index in 0..5_000_usize {
                    let user = format!("user-{}", (index * 7 + thread) % 97);
                    let address = format!("address-{}", (index + thread * 31) % 53);
                    let charges = [
                        charge(Global, "all", Quota::bucket(3_000, 1e-6)),
                        charge(Ip, &address, Quota::bucket(1_000, 1e-6)),
                        charge(User, &user, Quota::bucket(1_000, 1e-6)),
                        charge(Tier, &user, Quota::window(1_000, Duration::from_secs(3_600))),
                    ];
                    passed.fetch_add(usize::from(passes(limits, &charges, SECOND)), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 3_000);
    let users = (0..97).map(|user| {
        let user = format!("user-{user}");
        let look = Charge { cost: 0, ..charge(User, &user, Quota::bucket(1_000, 1e-6)) };
        1_000 - limits.decide_at(&[look], SECOND).views[0].remaining
    });
    assert_eq!(users.sum::<u32>(), 3_000, "no charge was lost and none was made twice");
}

#[tokio::test(start_paused = true)]
async fn the_clock_never_goes_back_however_long_the_process_runs() {
    let limits = limits(1_000);
    let mut last = limits.now();
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(86_400)).await;
        let now = limits.now();
        assert_eq!(now - last, 86_400 * SECOND);
        last = now;
    }
}

/// A bucket as one would write it first: how many microseconds' worth of tokens it holds.
#[derive(Clone, Copy)]
struct Naive {
    level: u64,
    most: u64,
    per: u64,
}

impl Naive {
    const fn new(capacity: u64, per: u64) -> Self {
        Self { level: capacity * per, most: capacity * per, per }
    }

    fn pass(&mut self, after: u64) {
        self.level = (self.level + after).min(self.most);
    }

    fn give(&mut self, cost: u32) {
        self.level = (self.level + u64::from(cost) * self.per).min(self.most);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { user: usize, cost: u32, after: u64 },
    Refund,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0_usize..3, 1_u32..4, 0..15 * SECOND);
    let ask = ask.prop_map(|(user, cost, after)| Step::Ask { user, cost, after });
    proptest::collection::vec(prop_oneof![9 => ask, 1 => Just(Step::Refund)], 1..120)
}

// req: S4-RATE
proptest! {
    /// The naive model remembers every level by itself; the store must agree on each decision, and on what is left.
    #[test]
    fn over_several_levels_it_agrees_with_a_naive_model_and_charges_nothing_when_it_refuses(steps in steps()) {
        const USERS: [&str; 3] = ["a", "b", "c"];
        let store = limits(1_000);
        let window = Quota::window(12, Duration::from_secs(120));
        let (global, user) = (Quota::bucket(6, 0.2), Quota::bucket(3, 0.1));
        let charges = |index: usize, cost: u32| [
            Charge { cost, ..charge(Global, "g", global) },
            Charge { cost, ..charge(User, USERS[index], user) },
            Charge { cost, ..charge(Tier, USERS[index], window) },
        ];
        let mut now = BEGIN;
        let (mut everybody, mut each) = (Naive::new(6, 5 * SECOND), [Naive::new(3, 10 * SECOND); 3]);
        let mut taken: Vec<(usize, u64, u32, Receipt)> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { user: index, cost, after } => {
                    now += after;
                    everybody.pass(after);
                    each.iter_mut().for_each(|level| level.pass(after));
                    let slot = |at: u64| at / (10 * SECOND);
                    let counts = |at: u64| slot(at) + quota::KEPT > slot(now);
                    let mine = taken.iter().filter(|(who, at, ..)| *who == index && counts(*at));
                    let used: u32 = mine.map(|(_, _, cost, _)| cost).sum();
                    let need = u64::from(cost);
                    let fits = everybody.level >= need * everybody.per
                        && each[index].level >= need * each[index].per
                        && used + cost <= 12;
                    let decision = store.decide_at(&charges(index, cost), now);
                    prop_assert_eq!(decision.refused.is_none(), fits);
                    let paid = if fits { cost } else { 0 };
                    everybody.level -= u64::from(paid) * everybody.per;
                    each[index].level -= u64::from(paid) * each[index].per;
                    if fits {
                        taken.push((index, now, cost, decision.receipt));
                    }
                    let left = [
                        everybody.level / everybody.per,
                        each[index].level / each[index].per,
                        u64::from(12 - used - paid),
                    ];
                    for (view, left) in decision.views.iter().zip(left) {
                        prop_assert_eq!(u64::from(view.remaining), left, "{:?}", view.scope);
                    }
                }
                Step::Refund => {
                    let Some((index, _, cost, receipt)) = taken.pop() else { continue };
                    store.refund_at(&charges(index, cost), receipt, now);
                    everybody.give(cost);
                    each[index].give(cost);
                }
            }
        }
    }
}
