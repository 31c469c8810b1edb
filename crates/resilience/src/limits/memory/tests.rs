//! What is kept, what is forgotten, and what several threads may do at once.

use super::*;
use LimitScope::{Action, Global, Ip, Tier, User};
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
