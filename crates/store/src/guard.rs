//! Leaves Postgres alone after several failures running, then lets exactly one call try. The breaker of `resilience`
//! without the rest of a `Dependency`: a query has no caller to be fair to, no tokens to pace, and is never retried here.
//! Invariant: a call that is cancelled counts as nothing and gives the trial back.

use parking_lot::Mutex;
use portcullis_resilience::breaker::{Breaker, BreakerPolicy, BreakerState, Count, Pass, Transition};
use portcullis_telemetry::{Gauge, Metrics};
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "store";

pub(crate) struct Guard {
    breaker: Mutex<Breaker>,
    state: Gauge,
    metrics: Metrics,
}

/// Leave to call.
pub(crate) struct Leave<'a> {
    guard: &'a Guard,
    pass: Pass,
    count: Count,
}

impl Guard {
    pub(crate) fn new(failures: u32, reset: Duration, metrics: &Metrics) -> Self {
        let breaker = Breaker::new(BreakerPolicy { failures, reset }, Instant::now());
        let state = metrics.breaker_state(NAME);
        state.set(BreakerState::Closed.number());
        Self { breaker: Mutex::new(breaker), state, metrics: metrics.clone() }
    }

    /// Leave to call, or how long there is none.
    pub(crate) fn enter(&self) -> Result<Leave<'_>, Duration> {
        let (pass, change) = self.breaker.lock().enter(Instant::now())?;
        self.tell(change);
        Ok(Leave { guard: self, pass, count: Count::Nothing })
    }

    fn tell(&self, change: Transition) {
        let Some((from, to)) = change else { return };
        self.state.set(to.number());
        self.metrics.breaker_transition(NAME, to.as_str());
        tracing::warn!(dependency = NAME, from = from.as_str(), to = to.as_str(), "circuit breaker changed");
    }
}

impl Leave<'_> {
    pub(crate) fn finish(mut self, ok: bool) {
        self.count = if ok { Count::Success } else { Count::Hard };
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let change = self.guard.breaker.lock().record(self.pass, self.count, Instant::now());
        self.guard.tell(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S4-BRK
    #[tokio::test(start_paused = true)]
    async fn it_opens_at_its_number_and_a_cancelled_trial_is_given_back() {
        let guard = Guard::new(3, Duration::from_secs(30), &Metrics::new());
        for _ in 0..3 {
            guard.enter().ok().unwrap().finish(false);
        }
        assert_eq!(guard.enter().err(), Some(Duration::from_secs(30)));
        tokio::time::advance(Duration::from_secs(30)).await;
        let trial = guard.enter().ok().unwrap();
        assert!(guard.enter().is_err(), "one trial at a time");
        drop(trial);
        guard.enter().ok().unwrap().finish(true);
        assert!(guard.enter().is_ok());
    }
}
