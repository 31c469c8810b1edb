//! Leaves Postgres alone after several failures running, then lets exactly one call try. A guard of its own and not
//! `Dependency`, because a query is no message: it has no caller, no weight, no tokens to pace and is never retried
//! here. Invariant: a call that is cancelled gives the trial back.

use parking_lot::Mutex;
use portcullis_telemetry::Metrics;
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "store";

enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One call tries.
    HalfOpen,
}

pub(crate) struct Breaker {
    state: Mutex<State>,
    failures: u32,
    reset: Duration,
    metrics: Metrics,
}

/// Leave to call; without `finish` it counts as neither success nor failure.
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
    done: bool,
}

impl Breaker {
    pub(crate) fn new(failures: u32, reset: Duration, metrics: &Metrics) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        metrics.breaker_state(NAME).set(0);
        Self { state, failures: failures.max(1), reset, metrics: metrics.clone() }
    }

    /// Leave to call, or how long there is none.
    pub(crate) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.state.lock();
        let trial = match *state {
            State::Closed { .. } => false,
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                self.change(&mut state, State::HalfOpen, "half_open", 1);
                true
            }
            State::HalfOpen => return Err(Duration::from_secs(1)),
        };
        Ok(Pass { breaker: self, trial, done: false })
    }

    fn change(&self, state: &mut State, to: State, name: &'static str, gauge: i64) {
        *state = to;
        self.metrics.breaker_state(NAME).set(gauge);
        self.metrics.breaker_transition(NAME, name);
        tracing::warn!(dependency = NAME, to = name, "circuit breaker changed");
    }

    fn record(&self, ok: bool, trial: bool, now: Instant) {
        let mut state = self.state.lock();
        match (&mut *state, ok) {
            (State::Closed { failures }, true) => *failures = 0,
            (State::Closed { failures }, false) => {
                *failures += 1;
                if *failures >= self.failures {
                    self.change(&mut state, State::Open { until: now + self.reset }, "open", 2);
                }
            }
            (State::HalfOpen, true) if trial => {
                self.change(&mut state, State::Closed { failures: 0 }, "closed", 0);
            }
            (State::HalfOpen, false) if trial => {
                self.change(&mut state, State::Open { until: now + self.reset }, "open", 2);
            }
            // A call that began before the breaker opened says nothing about now.
            (State::Open { .. } | State::HalfOpen, _) => {}
        }
    }
}

impl Pass<'_> {
    pub(crate) fn finish(mut self, ok: bool, now: Instant) {
        self.done = true;
        self.breaker.record(ok, self.trial, now);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trial && !self.done {
            // Cancelled: the next call may try at once.
            let mut state = self.breaker.state.lock();
            if matches!(*state, State::HalfOpen) {
                *state = State::Open { until: Instant::now() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(3, Duration::from_secs(30), &Metrics::new())
    }

    fn fail(breaker: &Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            breaker.enter(now).ok().unwrap().finish(false, now);
        }
    }

    // req: S4-BRK
    #[test]
    fn it_opens_at_its_number_and_lets_exactly_one_call_try_after_its_time() {
        let (breaker, now) = (breaker(), Instant::now());
        fail(&breaker, 2, now);
        breaker.enter(now).ok().unwrap().finish(true, now);
        fail(&breaker, 3, now);
        assert_eq!(breaker.enter(now).err(), Some(Duration::from_secs(30)));
        let later = now + Duration::from_secs(30);
        let trial = breaker.enter(later).ok().unwrap();
        assert!(breaker.enter(later).is_err());
        trial.finish(true, later);
        assert!(breaker.enter(later).is_ok());
    }

    #[test]
    fn a_failed_trial_opens_it_again_and_a_cancelled_one_is_given_back() {
        let (breaker, now) = (breaker(), Instant::now());
        fail(&breaker, 3, now);
        let later = now + Duration::from_secs(31);
        breaker.enter(later).ok().unwrap().finish(false, later);
        assert!(breaker.enter(later + Duration::from_secs(29)).is_err());
        let later = later + Duration::from_secs(31);
        drop(breaker.enter(later).ok().unwrap());
        assert!(breaker.enter(later).is_ok());
    }
}
