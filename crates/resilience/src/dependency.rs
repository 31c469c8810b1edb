//! One guarded outside thing and the one way to call it: deadline, then a retry loop within a budget around breaker,
//! pacing, bulkhead, attempt time-out, send, classify, record. Plain async code, read from top to bottom.
//!
//! Invariants: retry is outermost, so each attempt counts and an open breaker ends it; the breaker is asked before
//! the bulkhead, so a refused call takes no place, and once more after it, so nothing that queued is sent while it is
//! open; nothing is sent after the deadline; nothing is retried once a value was handed out; a cancelled call gives
//! back its place, its room and its probe by `Drop`.
//!
//! The hot path takes one lock to enter and one to record and allocates nothing. Source: architecture.md, "The way
//! out"; gateway.md section 6.

mod account;
mod class;
mod control;
mod lanes;
mod permit;

pub use class::Class;
pub use control::{DependencyStatus, Hold};
pub use permit::{CallPermit, Guarded};

use crate::{
    breaker::{Breaker, BreakerPolicy, BreakerState, Transition},
    bulkhead::{Bulkhead, BulkheadPolicy, Full},
    config::GuardConfig,
    pacing::{Learn, PacePolicy},
    registry::News,
    retry::{RetryBudget, RetryPolicy},
};
use arc_swap::ArcSwap;
use lanes::{Asks, Lanes, Room};
use parking_lot::Mutex;
use portcullis_domain::{Action, Deadline};
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How a dependency is guarded.
#[derive(Clone, Debug, PartialEq)]
pub struct DependencyPolicy {
    /// Stable name: label of metrics, key of configuration.
    pub name: String,
    /// When its breaker trips.
    pub breaker: BreakerPolicy,
    /// How many calls at once.
    pub bulkhead: BulkheadPolicy,
    /// How many calls and tokens a minute, in each lane.
    pub pace: PacePolicy,
    /// How many keys we have there, at least 1: each is a lane with its own limits a minute and its own account.
    pub lanes: usize,
    /// Whether its own word on its limits is heeded.
    pub learn: Learn,
    /// Longest time of one attempt, up to its value (the head of a streamed answer).
    pub attempt_timeout: Duration,
    /// How long a dependency whose account is exhausted or whose key is refused is left alone.
    pub hold: Duration,
    /// What all dependencies share.
    pub guard: GuardConfig,
}

/// Who calls, and until when.
#[derive(Clone, Debug)]
pub struct CallCtx {
    /// Until when the answer is worth anything.
    pub deadline: Deadline,
    /// Whose turn it is in the queue.
    pub caller: Arc<str>,
    /// Places this caller gets for each one of weight 1.
    pub weight: u32,
    /// What for.
    pub action: Action,
    /// About how many tokens it will take.
    pub tokens: u32,
    /// Attempts already made elsewhere; one more is always allowed.
    pub tried: u32,
    /// Whether others are ready to take over. Then there is one attempt only, and an account that is held is not tried.
    pub others: bool,
}

/// Which attempt it is, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Which key it goes with, from 0. During a reload there may be fewer keys than that: then the first.
    pub lane: usize,
    /// The earlier of the attempt's time-out and the caller's deadline.
    pub deadline: Deadline,
}

/// Why a call has no value.
#[derive(Debug)]
pub enum CallError<E> {
    /// The breaker is open, or the account is held.
    Open {
        /// Soonest time it is tried again.
        retry_after: Duration,
    },
    /// No place in the queue, or none before the deadline.
    Full {
        /// Estimated wait.
        retry_after: Duration,
    },
    /// Pacing asks for a longer wait than is allowed.
    Paced {
        /// That wait.
        retry_after: Duration,
    },
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The last attempt's failure.
    Failed {
        /// What it means.
        class: Class,
        /// It itself; none when the attempt's time-out cut it.
        error: Option<E>,
    },
}

/// Why an attempt was not made.
enum Denied {
    Open(Duration),
    Full(Duration),
    Paced(Duration),
    Late,
}

impl<E> From<Denied> for CallError<E> {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Open(retry_after) => Self::Open { retry_after },
            Denied::Full(retry_after) => Self::Full { retry_after },
            Denied::Paced(retry_after) => Self::Paced { retry_after },
            Denied::Late => Self::DeadlineExceeded,
        }
    }
}

/// Everything that changes with each call, behind one lock. No code that holds it logs, waits or drops a permit.
struct Guards {
    lanes: Lanes,
    breaker: Breaker,
    budget: RetryBudget,
}

/// What it goes by; a reload puts others in its place.
struct Rules {
    policy: DependencyPolicy,
    retry: RetryPolicy,
}

impl Rules {
    fn new(policy: DependencyPolicy) -> Self {
        Self { retry: policy.guard.retry(), policy }
    }
}

struct Inner {
    name: String,
    rules: ArcSwap<Rules>,
    guards: Mutex<Guards>,
    bulkhead: Bulkhead,
    /// Where calls wait for pacing, one at a time and fairly: a gate with one place.
    pace_gate: Bulkhead,
    state: Gauge,
    held: Gauge,
    /// There once something was learned.
    learned: OnceLock<Gauge>,
    metrics: Metrics,
    alerts: Alerts,
    news: OnceLock<mpsc::Sender<News>>,
}

/// One guarded outside thing. Cheap to clone.
#[derive(Clone)]
pub struct Dependency(Arc<Inner>);

/// Shortest wait between attempts that a dependency can ask for.
const LEAST_WAIT: Duration = Duration::from_millis(100);

impl Dependency {
    /// Guards as the policy says.
    #[must_use]
    pub fn new(policy: DependencyPolicy, metrics: &Metrics, alerts: &Alerts) -> Self {
        let (name, now) = (policy.name.as_str(), Instant::now());
        let guards = Guards {
            lanes: Lanes::new(policy.lanes, policy.pace, policy.learn),
            breaker: Breaker::with_rate(policy.breaker, policy.guard.rate(), now),
            budget: RetryBudget::new(now),
        };
        let one = BulkheadPolicy { concurrency: 1, queue: policy.bulkhead.queue };
        Self(Arc::new(Inner {
            name: name.to_owned(),
            guards: Mutex::new(guards),
            bulkhead: Bulkhead::new(name, policy.bulkhead, metrics),
            pace_gate: Bulkhead::new(&format!("{name}-pace"), one, metrics),
            state: metrics.breaker_state(name),
            held: metrics.provider_held(name, "account"),
            learned: OnceLock::new(),
            metrics: metrics.clone(),
            alerts: alerts.clone(),
            news: OnceLock::new(),
            rules: ArcSwap::from_pointee(Rules::new(policy)),
        }))
    }

    fn rules(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.0.rules.load()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes a call. `send` makes one attempt; it is dropped when the attempt's time-out or the deadline passes.
    ///
    /// # Errors
    /// See `CallError`.
    pub async fn call<T, E, F, S>(&self, ctx: &CallCtx, mut send: S) -> Result<Guarded<T>, CallError<E>>
    where
        S: FnMut(Attempt) -> F,
        F: Future<Output = Result<T, (Class, E)>>,
    {
        let mut number = 1;
        loop {
            let mut permit = self.enter(ctx, number)?;
            if !permit.is_sent() {
                // Only here the call waits; boxed, so that calls that need not stay small.
                Box::pin(self.wait_turn(ctx, &mut permit)).await?;
            }
            let begun = Instant::now();
            let deadline = ctx.deadline.within(self.rules().policy.attempt_timeout);
            let attempt = Attempt { number, lane: permit.lane(), deadline };
            let answer = tokio::time::timeout_at(deadline.instant(), send(attempt)).await;
            let (class, error) = match answer {
                Ok(Ok(value)) => {
                    permit.begun();
                    return Ok(Guarded { value, permit });
                }
                Ok(Err((class, error))) => (self.judged(class, ctx, begun), Some(error)),
                Err(_) => (self.judged(Class::Cancelled, ctx, begun), None),
            };
            permit.finish(class);
            if error.is_none() && ctx.deadline.passed() {
                return Err(CallError::DeadlineExceeded);
            }
            let Some(wait) = self.wait_before_retry(class, number, ctx) else {
                return Err(CallError::Failed { class, error });
            };
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// An attempt that was cut by its time-out is the dependency's fault. One that was cut by its caller's deadline is
    /// not, or a caller with little patience could open the breaker for everybody; unless it had had at least half of
    /// an attempt's time.
    fn judged(&self, class: Class, ctx: &CallCtx, begun: Instant) -> Class {
        let timeout = self.rules().policy.attempt_timeout;
        let cut = class == Class::Cancelled && (ctx.deadline.passed() || begun.elapsed() >= timeout);
        if cut && begun.elapsed() >= timeout / 2 { Class::HardFailure } else { class }
    }

    /// The wait before another attempt, if there may be one.
    fn wait_before_retry(&self, class: Class, number: u32, ctx: &CallCtx) -> Option<Duration> {
        let asked = class.again()?;
        if ctx.others || number.saturating_add(ctx.tried) >= self.rules().retry.attempts {
            return None;
        }
        let wait = asked.map_or_else(
            || self.rules().retry.backoff(number, rand::random()),
            |asked| asked.max(LEAST_WAIT),
        );
        if wait >= ctx.deadline.remaining() {
            return None;
        }
        let now = Instant::now();
        let mut guards = self.0.guards.lock();
        if guards.breaker.state(now) != BreakerState::Closed {
            return None;
        }
        let allowed = guards.budget.spend(&self.rules().retry, now);
        drop(guards);
        if !allowed {
            self.0.metrics.retry_budget_exhausted(self.name());
            return None;
        }
        Some(wait)
    }

    /// Account and breaker; then, if neither has to be waited for, pacing and bulkhead.
    fn enter(&self, ctx: &CallCtx, number: u32) -> Result<CallPermit, Denied> {
        let now = Instant::now();
        if ctx.deadline.instant() <= now {
            return Err(Denied::Late);
        }
        let mut guards = self.0.guards.lock();
        if number == 1 {
            guards.budget.earn(now);
        }
        let asks = self.asks(ctx);
        let trial = guards.lanes.check(asks, now).map_err(Denied::Open)?;
        let (pass, transition) = guards.breaker.enter(now).map_err(Denied::Open)?;
        let (mut room, mut place, mut sent) = (None, None, None);
        if self.0.pace_gate.is_idle()
            && let Ok(found) = guards.lanes.reserve(ctx.tokens, trial, asks, now)
        {
            place = self.0.bulkhead.try_enter();
            if place.is_some() {
                sent = Some(guards.lanes.send(found, trial, now));
            } else {
                room = Some(found);
            }
        }
        drop(guards);
        self.tell(transition, true);
        Ok(CallPermit { dependency: self.clone(), pass: Some(pass), room, place, sent, trial })
    }

    /// Pacing, bulkhead, and then once more what may have changed meanwhile.
    async fn wait_turn(&self, ctx: &CallCtx, permit: &mut CallPermit) -> Result<(), Denied> {
        if permit.room.is_none() {
            permit.room = Some(self.pace(ctx).await?);
        }
        let place = self.0.bulkhead.enter(&ctx.caller, ctx.weight, ctx.deadline).await;
        permit.place = Some(place.map_err(|full| match full {
            Full::Refused(wait) => Denied::Full(wait),
            Full::TooLate => Denied::Late,
        })?);
        let until = self.pace_until(ctx);
        while let Some(wait) = self.confirm(ctx, permit)? {
            if Instant::now() + wait > until.instant() {
                return Err(Denied::Paced(wait));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Waits for room under the limits a minute. One caller at a time waits for the window, the others for their
    /// turn, so that a flood does not take every opening.
    async fn pace(&self, ctx: &CallCtx) -> Result<Room, Denied> {
        let until = self.pace_until(ctx);
        let turn = self.0.pace_gate.enter(&ctx.caller, ctx.weight, until).await;
        let _turn = turn.map_err(|full| match full {
            Full::Refused(wait) => Denied::Paced(wait),
            Full::TooLate if ctx.deadline.passed() => Denied::Late,
            Full::TooLate => Denied::Paced(self.rules().policy.guard.pace_wait()),
        })?;
        loop {
            let (now, asks) = (Instant::now(), self.asks(ctx));
            let wait = {
                let mut guards = self.0.guards.lock();
                let trial = guards.lanes.check(asks, now).map_err(Denied::Open)?;
                match guards.lanes.reserve(ctx.tokens, trial, asks, now) {
                    Ok(room) => return Ok(room),
                    Err(wait) if now + wait <= until.instant() => wait,
                    Err(wait) => {
                        let probe = guards.lanes.probe(ctx.tokens, trial, asks, now);
                        return probe.ok_or(Denied::Paced(wait));
                    }
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn asks(&self, ctx: &CallCtx) -> Asks {
        Asks { others: ctx.others, every: self.rules().policy.guard.probe_every() }
    }

    fn pace_until(&self, ctx: &CallCtx) -> Deadline {
        ctx.deadline.within(self.rules().policy.guard.pace_wait())
    }

    /// The last look before sending: the breaker may have opened, the account may be held, the dependency may have
    /// asked for a pause while the call waited. Some wait, or the call counts as sent from now on.
    fn confirm(&self, ctx: &CallCtx, permit: &mut CallPermit) -> Result<Option<Duration>, Denied> {
        let (now, asks) = (Instant::now(), self.asks(ctx));
        let mut guards = self.0.guards.lock();
        let trial = guards.lanes.check(asks, now).map_err(Denied::Open)?;
        if let Err(wait) = guards.lanes.confirm(&mut permit.room, ctx.tokens, trial, asks, now) {
            return Ok(Some(wait));
        }
        let Some(pass) = permit.pass.take() else { return Err(Denied::Late) };
        let (pass, transition) = guards.breaker.renew(pass, now).map_err(Denied::Open)?;
        permit.pass = Some(pass);
        permit.trial = trial;
        permit.sent = permit.room.take().map(|room| guards.lanes.send(room, trial, now));
        drop(guards);
        self.tell(transition, true);
        Ok(None)
    }

    /// Says what changed; to other replicas too when it is `our_own` finding.
    fn tell(&self, transition: Transition, our_own: bool) {
        let Some((from, to)) = transition else { return };
        let name = self.name();
        tracing::warn!("breaker {name}: {} -> {}", from.as_str(), to.as_str());
        self.0.state.set(to.number());
        self.0.metrics.breaker_transition(name, to.as_str());
        if to == BreakerState::Open {
            let message = format!("calls to {name} fail; they are not made for now");
            self.0.alerts.raise(AlertCategory::BreakerOpen, name, message);
        }
        let open_for = match (from, to) {
            (BreakerState::Closed, BreakerState::Open) => Some(self.rules().policy.breaker.reset),
            (BreakerState::HalfOpen, BreakerState::Closed) => None,
            // A probe that failed is not told: a replica with a fault of its own would keep all others open.
            (BreakerState::Closed | BreakerState::Open | BreakerState::HalfOpen, _) => return,
        };
        if our_own && let Some(news) = self.0.news.get() {
            // Losing news changes nothing here; the others find out by themselves.
            drop(news.try_send(News { name: name.to_owned(), open_for }));
        }
    }
}

#[cfg(test)]
mod tests;
