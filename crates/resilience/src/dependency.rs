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
mod permit;

pub use class::Class;
pub use permit::{CallPermit, Guarded};

use crate::{
    breaker::{Breaker, BreakerPolicy, BreakerState, Transition},
    bulkhead::{Bulkhead, BulkheadPolicy, Full},
    config::GuardConfig,
    pacing::{PacePolicy, Pacer, Reserved},
    registry::News,
    retry::{RetryBudget, RetryPolicy},
};
use account::Account;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_domain::{Action, Deadline};
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use serde::Serialize;
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
    /// How many calls and tokens a minute.
    pub pace: PacePolicy,
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
    account: Account,
    breaker: Breaker,
    pacer: Pacer,
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
    metrics: Metrics,
    alerts: Alerts,
    news: OnceLock<mpsc::Sender<News>>,
}

/// One guarded outside thing. Cheap to clone.
#[derive(Clone)]
pub struct Dependency(Arc<Inner>);

/// Shortest wait between attempts that a dependency can ask for.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// State of a dependency, for health and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DependencyStatus {
    /// Its name.
    pub name: String,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Whether its account is held.
    pub held: bool,
    /// Whether it told us to wait.
    pub paused: bool,
    /// Whole seconds, rounded up, until calls are made again; 0 when they are.
    pub resumes_in_secs: u64,
    /// Calls that hold a place.
    pub in_use: usize,
    /// Calls waiting.
    pub waiting: usize,
    /// Places.
    pub capacity: usize,
}

impl Dependency {
    /// Guards as the policy says.
    #[must_use]
    pub fn new(policy: DependencyPolicy, metrics: &Metrics, alerts: &Alerts) -> Self {
        let (name, now) = (policy.name.as_str(), Instant::now());
        let guards = Guards {
            account: Account::default(),
            breaker: Breaker::with_rate(policy.breaker, policy.guard.rate(), now),
            pacer: Pacer::new(policy.pace),
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
            metrics: metrics.clone(),
            alerts: alerts.clone(),
            news: OnceLock::new(),
            rules: ArcSwap::from_pointee(Rules::new(policy)),
        }))
    }

    /// Goes by another policy from now on, under the name it has. Breaker, windows, queue, calls under way and a held
    /// account stay as they are; an account held for a refused key is tried anew, because keys were read again.
    pub fn reconfigure(&self, policy: DependencyPolicy) {
        let now = Instant::now();
        let inner = &*self.0;
        let before = {
            let mut guards = inner.guards.lock();
            let before = guards.breaker.state(now);
            guards.breaker.set_policy(policy.breaker, policy.guard.rate(), now);
            guards.pacer.set_policy(policy.pace);
            guards.account.new_keys();
            before
        };
        inner.bulkhead.set_policy(policy.bulkhead);
        inner.pace_gate.set_policy(BulkheadPolicy { concurrency: 1, queue: policy.bulkhead.queue });
        inner.rules.store(Arc::new(Rules::new(policy)));
        let after = self.status().breaker;
        if before != after {
            tracing::info!("breaker {}: {} -> {}", inner.name, before.as_str(), after.as_str());
        }
    }

    fn rules(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.0.rules.load()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its state now. Sets the gauges that change by time alone.
    #[must_use]
    pub fn status(&self) -> DependencyStatus {
        let now = Instant::now();
        let (breaker, open, held, paused) = {
            let guards = self.0.guards.lock();
            let (account, pacer) = (guards.account.held(now), guards.pacer.paused(now));
            (guards.breaker.state(now), guards.breaker.wait(now), account, pacer)
        };
        self.0.state.set(breaker.number());
        self.0.held.set(i64::from(held.is_some()));
        self.0.bulkhead.refresh();
        self.0.pace_gate.refresh();
        let (in_use, waiting, capacity) = self.0.bulkhead.usage();
        let (_, for_pace, _) = self.0.pace_gate.usage();
        let resumes = open.max(held.unwrap_or_default()).max(paused.unwrap_or_default());
        DependencyStatus {
            name: self.name().to_owned(),
            breaker,
            held: held.is_some(),
            paused: paused.is_some(),
            resumes_in_secs: resumes.as_secs() + u64::from(resumes.subsec_nanos() > 0),
            in_use,
            waiting: waiting + for_pace,
            capacity,
        }
    }

    /// How long calls will be refused at least; zero when one may be made now. For choosing among several: it takes
    /// one short lock, changes nothing and allocates nothing.
    #[must_use]
    pub fn readiness(&self, now: Instant) -> Duration {
        let guards = self.0.guards.lock();
        let (held, paused) = (guards.account.held(now), guards.pacer.paused(now));
        guards.breaker.wait(now).max(held.unwrap_or_default()).max(paused.unwrap_or_default())
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
            let answer =
                tokio::time::timeout_at(deadline.instant(), send(Attempt { number, deadline })).await;
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
        let trial = guards
            .account
            .check(ctx.others, self.rules().policy.guard.probe_every(), now)
            .map_err(Denied::Open)?;
        let (pass, transition) = guards.breaker.enter(now).map_err(Denied::Open)?;
        let (mut reserved, mut place, mut ticket) = (None, None, None);
        if self.0.pace_gate.is_idle()
            && let Ok(room) = guards.pacer.reserve(ctx.tokens, now)
        {
            place = self.0.bulkhead.try_enter();
            if place.is_some() {
                ticket = Some(guards.pacer.send(room, now));
                if trial {
                    guards.account.tried(now);
                }
            } else {
                reserved = Some(room);
            }
        }
        drop(guards);
        self.tell(transition, true);
        Ok(CallPermit { dependency: self.clone(), pass: Some(pass), reserved, place, ticket, trial })
    }

    /// Pacing, bulkhead, and then once more what may have changed meanwhile.
    async fn wait_turn(&self, ctx: &CallCtx, permit: &mut CallPermit) -> Result<(), Denied> {
        if permit.reserved.is_none() {
            permit.reserved = Some(self.pace(ctx).await?);
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
    async fn pace(&self, ctx: &CallCtx) -> Result<Reserved, Denied> {
        let until = self.pace_until(ctx);
        let turn = self.0.pace_gate.enter(&ctx.caller, ctx.weight, until).await;
        let _turn = turn.map_err(|full| match full {
            Full::Refused(wait) => Denied::Paced(wait),
            Full::TooLate if ctx.deadline.passed() => Denied::Late,
            Full::TooLate => Denied::Paced(self.rules().policy.guard.pace_wait()),
        })?;
        loop {
            let now = Instant::now();
            let wait = {
                let mut guards = self.0.guards.lock();
                match guards.pacer.reserve(ctx.tokens, now) {
                    Ok(reserved) => return Ok(reserved),
                    Err(wait) if now + wait <= until.instant() => wait,
                    Err(wait) => {
                        let every = self.rules().policy.guard.probe_every();
                        let probe =
                            if ctx.others { None } else { guards.pacer.probe(ctx.tokens, every, now) };
                        return probe.ok_or(Denied::Paced(wait));
                    }
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn pace_until(&self, ctx: &CallCtx) -> Deadline {
        ctx.deadline.within(self.rules().policy.guard.pace_wait())
    }

    /// The last look before sending: the breaker may have opened, the account may be held, the dependency may have
    /// asked for a pause while the call waited. Some wait, or the call counts as sent from now on.
    fn confirm(&self, ctx: &CallCtx, permit: &mut CallPermit) -> Result<Option<Duration>, Denied> {
        let now = Instant::now();
        let mut guards = self.0.guards.lock();
        let trial = guards
            .account
            .check(ctx.others, self.rules().policy.guard.probe_every(), now)
            .map_err(Denied::Open)?;
        let probing = permit.reserved.as_ref().is_some_and(Reserved::is_probe);
        if !probing && let Some(wait) = guards.pacer.paused(now) {
            return Ok(Some(wait));
        }
        let Some(pass) = permit.pass.take() else { return Err(Denied::Late) };
        let (pass, transition) = guards.breaker.renew(pass, now).map_err(Denied::Open)?;
        permit.pass = Some(pass);
        permit.trial = trial;
        if trial {
            guards.account.tried(now);
        }
        permit.ticket = permit.reserved.take().map(|reserved| guards.pacer.send(reserved, now));
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

    /// From now on other replicas hear of changes.
    pub(crate) fn tell_news(&self, news: mpsc::Sender<News>) {
        drop(self.0.news.set(news));
    }

    /// What another replica found: open for so long, or closed.
    pub(crate) fn hear(&self, open_for: Option<Duration>) {
        let now = Instant::now();
        let transition = {
            let mut guards = self.0.guards.lock();
            match open_for {
                Some(time) => guards.breaker.hear_open(now + time, now),
                None => {
                    guards.breaker.hear_closed(now);
                    None
                }
            }
        };
        self.tell(transition, false);
    }
}

#[cfg(test)]
mod tests;
