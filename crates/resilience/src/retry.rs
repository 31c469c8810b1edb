//! Retries: how long to wait, and whether there is budget.
//!
//! Why a budget and not only a maximum: three attempts a call are three times the load for a dependency that is
//! down, just when it can bear it least. So at most a share of the recent requests may be retried, and a few a second
//! at the least, so that a quiet dependency is retried too. Backoff doubles with full jitter (any part of it), which
//! spreads callers that failed together. Invariant: over any run, retries are at most the share of the requests plus
//! the floor. Source: S2-2.2; tower's retry budget; AWS, "Exponential Backoff And Jitter"; gateway.md section 6.

use std::time::Duration;
use tokio::time::Instant;

/// How often and how soon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts of one call, the first included.
    pub attempts: u32,
    /// Wait before the first retry at most; it doubles each time.
    pub base: Duration,
    /// Longest such wait.
    pub ceiling: Duration,
    /// Share of the requests of the last ten seconds that may be retried.
    pub share: f64,
    /// Retries a second that are always allowed.
    pub floor_per_sec: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (base, ceiling) = (Duration::from_millis(500), Duration::from_secs(8));
        Self { attempts: 3, base, ceiling, share: 0.2, floor_per_sec: 1 }
    }
}

impl RetryPolicy {
    /// The wait before retry `number` (1 = the first); `unit` is random in 0..1.
    #[must_use]
    pub fn backoff(&self, number: u32, unit: f64) -> Duration {
        let doubled = self.base.saturating_mul(1 << number.saturating_sub(1).min(16));
        doubled.min(self.ceiling).mul_f64(unit.clamp(0.0, 1.0))
    }
}

/// How far back requests earn retries, in seconds.
const SECONDS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    requests: u32,
    retries: u32,
}

/// How many retries are allowed just now, in fixed memory.
#[derive(Debug)]
pub struct RetryBudget {
    origin: Instant,
    seconds: [Second; SECONDS],
}

impl RetryBudget {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { origin: now, seconds: [Second::default(); SECONDS] }
    }

    /// A first attempt was made.
    pub fn earn(&mut self, now: Instant) {
        let second = self.second(now);
        second.requests = second.requests.saturating_add(1);
    }

    /// Takes one retry out of the budget; false when it is used up.
    pub fn spend(&mut self, policy: &RetryPolicy, now: Instant) -> bool {
        let at = self.second(now).at;
        let recent = self.seconds.iter().filter(|second| second.at + SECONDS as u64 > at);
        let (requests, retries) = recent.fold((0_u64, 0_u64), |(requests, retries), second| {
            (requests + u64::from(second.requests), retries + u64::from(second.retries))
        });
        let floor = f64::from(policy.floor_per_sec) * SECONDS as f64;
        #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
        if retries as f64 + 1.0 > (requests as f64 * policy.share).max(floor) {
            return false;
        }
        self.second(now).retries += 1;
        true
    }

    /// The current second, emptied if it held an older one. Numbered from `SECONDS`, so that none underflows.
    fn second(&mut self, now: Instant) -> &mut Second {
        let at = now.saturating_duration_since(self.origin).as_secs() + SECONDS as u64;
        let second = &mut self.seconds[usize::try_from(at % SECONDS as u64).unwrap_or(0)];
        if second.at != at {
            *second = Second { at, ..Second::default() };
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::tests::an_instant;
    use proptest::prelude::*;

    // req: S2-2.2
    #[test]
    fn backoff_doubles_up_to_its_ceiling_and_jitter_takes_any_part_of_it() {
        let policy = RetryPolicy::default();
        let longest = |number| policy.backoff(number, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 6, 99].map(longest), [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!(policy.backoff(3, 0.0), Duration::ZERO);
        assert_eq!(policy.backoff(3, 0.25), Duration::from_millis(500));
    }

    // req: S2-2.2
    #[test]
    fn when_everything_fails_the_dependency_gets_at_most_a_fifth_more() {
        let (start, policy) = (an_instant(), RetryPolicy::default());
        let (mut budget, mut retries) = (RetryBudget::new(start), 0);
        for index in 0..10_000_u64 {
            let now = start + Duration::from_millis(index);
            budget.earn(now);
            retries += u32::from(budget.spend(&policy, now)) + u32::from(budget.spend(&policy, now));
        }
        assert!((1_900..=2_010).contains(&retries), "{retries}");
    }

    #[test]
    fn one_retry_a_second_is_always_allowed() {
        let (now, policy) = (an_instant(), RetryPolicy::default());
        let mut budget = RetryBudget::new(now);
        assert_eq!((0..50).filter(|_| budget.spend(&policy, now)).count(), 10);
        assert!(budget.spend(&policy, now + Duration::from_secs(10)));
    }

    proptest! {
        // req: S2-2.2
        #[test]
        fn no_ten_seconds_of_any_run_hold_more_retries_than_the_share_or_the_floor(
            share in 0.0_f64..1.0,
            floor_per_sec in 0_u32..3,
            steps in prop::collection::vec((0_u64..900, 0_u32..30), 1..300),
        ) {
            let start = an_instant();
            let policy = RetryPolicy { share, floor_per_sec, ..RetryPolicy::default() };
            let mut budget = RetryBudget::new(start);
            // The naive model keeps every event and looks at whole seconds, as the budget does.
            let (mut requests, mut retries, mut millis) = (Vec::<u64>::new(), Vec::<u64>::new(), 0);
            for (wait, calls) in steps {
                millis += wait;
                let now = start + Duration::from_millis(millis);
                for _ in 0..calls {
                    budget.earn(now);
                    requests.push(millis / 1_000);
                }
                while budget.spend(&policy, now) {
                    retries.push(millis / 1_000);
                    let recent = |all: &[u64]| all.iter().filter(|at| **at + 10 > millis / 1_000).count() as f64;
                    let most = (recent(&requests) * share).max(f64::from(floor_per_sec) * 10.0);
                    prop_assert!(recent(&retries) <= most, "{} of {most}", recent(&retries));
                }
            }
        }
    }
}
