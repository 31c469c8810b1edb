//! Retries: how long to wait, and whether there is budget. A budget instead of a bare maximum keeps retries from
//! multiplying the load of a dependency that is down: at most a fifth of recent requests may be retried, and one a
//! second at the least. Backoff doubles from half a second with full jitter (AWS, "Exponential Backoff And Jitter").
//! Source: S2-2.2; tower's retry budget; gateway.md section 6.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// First backoff.
const BASE: Duration = Duration::from_millis(500);
/// Longest backoff.
const CEILING: Duration = Duration::from_secs(8);
/// How far back requests earn retries.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries always allowed in the window: one a second.
const FLOOR: usize = 10;
/// Share of the window's requests that may be retried: one in five.
const SHARE: usize = 5;
/// Requests remembered exactly; beyond it the budget is large anyway.
const MEMORY: usize = 10_000;

/// The wait before attempt `number` (1 = first retry); `unit` is random in 0..1.
#[must_use]
pub fn backoff(number: u32, unit: f64) -> Duration {
    let whole = BASE.saturating_mul(1 << number.saturating_sub(1).min(10)).min(CEILING);
    whole.mul_f64(unit.clamp(0.0, 1.0))
}

/// How many retries are allowed just now.
#[derive(Debug, Default)]
pub struct RetryBudget {
    requests: VecDeque<Instant>,
    retries: VecDeque<Instant>,
}

fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
        times.pop_front();
    }
}

impl RetryBudget {
    /// A first attempt was made.
    pub fn earn(&mut self, now: Instant) {
        forget(&mut self.requests, now);
        if self.requests.len() < MEMORY {
            self.requests.push_back(now);
        }
    }

    /// Takes one retry out of the budget; false when it is used up.
    pub fn spend(&mut self, now: Instant) -> bool {
        forget(&mut self.requests, now);
        forget(&mut self.retries, now);
        if self.retries.len() >= FLOOR.max(self.requests.len() / SHARE) {
            return false;
        }
        self.retries.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S2-2.2
    #[test]
    fn backoff_doubles_up_to_its_ceiling_and_jitter_takes_any_part_of_it() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(500));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(2));
        assert_eq!(backoff(30, 1.0), CEILING);
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }

    // req: S2-2.2
    #[tokio::test(start_paused = true)]
    async fn when_everything_fails_the_dependency_gets_at_most_a_fifth_more() {
        let mut budget = RetryBudget::default();
        let (start, mut retries) = (Instant::now(), 0);
        for index in 0..10_000_u64 {
            let now = start + Duration::from_millis(index);
            budget.earn(now);
            retries += u32::from(budget.spend(now)) + u32::from(budget.spend(now));
        }
        assert!(retries <= 2_000 + 10, "{retries}");
        assert!(retries >= 1_900, "{retries}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_retry_a_second_is_always_allowed() {
        let mut budget = RetryBudget::default();
        let now = Instant::now();
        assert_eq!((0..20).filter(|_| budget.spend(now)).count(), FLOOR);
        assert!(budget.spend(now + WINDOW));
    }
}
