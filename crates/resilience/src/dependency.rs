//! One guarded outside thing and the one way to call it: deadline, then a retry loop within a budget around breaker,
//! pacing, bulkhead, attempt time-out, send, classify, record. Plain async code, read from top to bottom.
//!
//! Invariants: retry is outermost, so each attempt counts and an open breaker ends it; the breaker is asked before
//! the bulkhead, so a refused call takes no place; nothing is retried once a value was handed out; a cancelled call
//! gives back its place and its probe by `Drop`. Source: architecture.md, "The way out"; gateway.md section 6.

use crate::{
    breaker::{Breaker, BreakerPolicy, BreakerState, Count, Pass, Transition},
    bulkhead::{Bulkhead, BulkheadGauges, BulkheadPolicy, Full, Place},
    pacing::{PacePolicy, Pacer, Ticket},
    retry::{RetryBudget, backoff},
};
use parking_lot::Mutex;
use portcullis_domain::{Action, Deadline};
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How a dependency is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyPolicy {
    /// Stable name: label of metrics, key of configuration.
    pub name: String,
    /// When its breaker trips.
    pub breaker: BreakerPolicy,
    /// How many calls at once.
    pub bulkhead: BulkheadPolicy,
    /// How many calls and tokens a minute.
    pub pace: PacePolicy,
    /// Most attempts of one call, the first included.
    pub attempts: u32,
    /// Longest time of one attempt, up to its value (the head of a streamed answer).
    pub attempt_timeout: Duration,
    /// Longest wait for pacing.
    pub pace_wait: Duration,
    /// How long a dependency whose account is exhausted or whose key is refused is left alone.
    pub hold: Duration,
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
}

/// Which attempt it is, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The earlier of the attempt's time-out and the caller's deadline.
    pub deadline: Deadline,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It worked.
    Ok,
    /// The dependency is at fault: no connection, time-out, 5xx, nonsense.
    HardFailure,
    /// 429, too fast: wait and come back.
    RateLimited {
        /// When, if it said.
        retry_after: Option<Duration>,
    },
    /// It has no room just now; another target first.
    Overloaded {
        /// When, if it said.
        retry_after: Option<Duration>,
    },
    /// Our account has no credit left: waiting does not help.
    Exhausted {
        /// When it will have, if it said.
        until: Option<Duration>,
    },
    /// It refuses our key.
    BadKey,
    /// This model does not exist there, or the prompt does not fit it.
    TargetUnfit,
    /// The request is wrong.
    CallerFault,
    /// Its filter refused the content.
    Blocked,
    /// We went away ourselves.
    Cancelled,
}

impl Class {
    const fn count(self) -> Count {
        match self {
            Self::Ok | Self::CallerFault | Self::Blocked => Count::Success,
            Self::HardFailure => Count::Hard,
            Self::RateLimited { .. } | Self::Overloaded { .. } => Count::Soft,
            Self::Exhausted { .. } | Self::BadKey | Self::TargetUnfit | Self::Cancelled => Count::Nothing,
        }
    }

    /// Whether the same call may help later, and the wait the dependency asked for.
    const fn again(self) -> Option<Option<Duration>> {
        match self {
            Self::HardFailure => Some(None),
            Self::RateLimited { retry_after } | Self::Overloaded { retry_after } => Some(retry_after),
            Self::Ok
            | Self::Exhausted { .. }
            | Self::BadKey
            | Self::TargetUnfit
            | Self::CallerFault
            | Self::Blocked
            | Self::Cancelled => None,
        }
    }

    /// Whether another target may do better.
    #[must_use]
    pub const fn passes_on(self) -> bool {
        match self {
            Self::HardFailure
            | Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Exhausted { .. }
            | Self::BadKey
            | Self::TargetUnfit => true,
            Self::Ok | Self::CallerFault | Self::Blocked | Self::Cancelled => false,
        }
    }
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

/// A value with the place it still holds.
#[derive(Debug)]
pub struct Guarded<T> {
    /// What came.
    pub value: T,
    /// Held to the end of a streamed value.
    pub permit: CallPermit,
}

struct Account {
    held_until: Option<Instant>,
    probed: Option<Instant>,
    bad_key: Option<Instant>,
}

struct Inner {
    policy: DependencyPolicy,
    breaker: Mutex<Breaker>,
    pacer: Mutex<Pacer>,
    budget: Mutex<RetryBudget>,
    account: Mutex<Account>,
    bulkhead: Bulkhead,
    state: Gauge,
    held: Gauge,
    metrics: Metrics,
    alerts: Alerts,
}

/// One guarded outside thing. Cheap to clone.
#[derive(Clone)]
pub struct Dependency(Arc<Inner>);

/// A held account is probed by one real call this often, so that one error is never an outage.
const HELD_PROBE: Duration = Duration::from_secs(30);
/// Two refused keys within this time hold the account.
const BAD_KEY_WINDOW: Duration = Duration::from_secs(60);
/// Pause after a 429 that names none.
const DEFAULT_PAUSE: Duration = Duration::from_millis(500);
/// Shortest wait between attempts that a dependency can ask for.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// State of a dependency, for health and the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyStatus {
    /// Its name.
    pub name: String,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Whether its account is held.
    pub held: bool,
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
        let name = policy.name.as_str();
        let gauges = BulkheadGauges {
            depth: metrics.queue_depth(name),
            oldest: metrics.queue_oldest_seconds(name),
            in_use: metrics.gate_in_use(name),
        };
        Self(Arc::new(Inner {
            breaker: Mutex::new(Breaker::new(policy.breaker, Instant::now())),
            pacer: Mutex::new(Pacer::new(policy.pace)),
            budget: Mutex::default(),
            account: Mutex::new(Account { held_until: None, probed: None, bad_key: None }),
            bulkhead: Bulkhead::new(name, policy.bulkhead, gauges),
            state: metrics.breaker_state(name),
            held: metrics.provider_held(name, "account"),
            metrics: metrics.clone(),
            alerts: alerts.clone(),
            policy,
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.policy.name
    }

    /// Its state now.
    #[must_use]
    pub fn status(&self) -> DependencyStatus {
        let now = Instant::now();
        let (in_use, waiting, capacity) = self.0.bulkhead.usage();
        DependencyStatus {
            name: self.name().to_owned(),
            breaker: self.0.breaker.lock().state(now),
            held: self.0.account.lock().held_until.is_some_and(|until| until > now),
            in_use,
            waiting,
            capacity,
        }
    }

    /// Makes a call. `send` makes one attempt; it is dropped when the attempt's time-out or the deadline passes.
    ///
    /// # Errors
    /// See `CallError`.
    pub async fn call<T, E, F, S>(&self, ctx: &CallCtx, send: S) -> Result<Guarded<T>, CallError<E>>
    where
        S: FnMut(Attempt) -> F,
        F: Future<Output = Result<T, (Class, E)>>,
    {
        self.call_up_to(u32::MAX, ctx, send).await
    }

    /// The same with at most so many attempts: one, where another target is ready to take over.
    ///
    /// # Errors
    /// See `CallError`.
    pub async fn call_up_to<T, E, F, S>(
        &self,
        attempts: u32,
        ctx: &CallCtx,
        mut send: S,
    ) -> Result<Guarded<T>, CallError<E>>
    where
        S: FnMut(Attempt) -> F,
        F: Future<Output = Result<T, (Class, E)>>,
    {
        let policy = &self.0.policy;
        self.0.budget.lock().earn(Instant::now());
        let mut number = 1;
        loop {
            let mut permit = self.admit(ctx).await?;
            let deadline = ctx.deadline.within(policy.attempt_timeout);
            let answer =
                tokio::time::timeout_at(deadline.instant(), send(Attempt { number, deadline })).await;
            let (class, error) = match answer {
                Ok(Ok(value)) => return Ok(Guarded { value, permit }),
                Ok(Err((class, error))) => (class, Some(error)),
                Err(_) => (Class::HardFailure, None),
            };
            permit.conclude(class);
            drop(permit);
            if ctx.deadline.passed() && error.is_none() {
                return Err(CallError::DeadlineExceeded);
            }
            let last = number >= attempts.min(policy.attempts);
            let Some(wait) = (if last { None } else { self.wait(class, number, ctx) }) else {
                return Err(CallError::Failed { class, error });
            };
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// The wait before another attempt, if there may be one.
    fn wait(&self, class: Class, number: u32, ctx: &CallCtx) -> Option<Duration> {
        let asked = class.again()?;
        let wait = asked.map_or_else(|| backoff(number, rand::random()), |asked| asked.max(LEAST_WAIT));
        if wait >= ctx.deadline.remaining()
            || self.0.breaker.lock().state(Instant::now()) != BreakerState::Closed
        {
            return None;
        }
        if !self.0.budget.lock().spend(Instant::now()) {
            self.0.metrics.retry_budget_exhausted(self.name());
            return None;
        }
        Some(wait)
    }

    /// Account, breaker, pacing, bulkhead: what stands before an attempt.
    async fn admit<E>(&self, ctx: &CallCtx) -> Result<CallPermit, CallError<E>> {
        self.account_allows().map_err(|retry_after| CallError::Open { retry_after })?;
        let pass = self.pass().map_err(|retry_after| CallError::Open { retry_after })?;
        let mut permit = CallPermit { dependency: self.clone(), pass: Some(pass), place: None, ticket: None };
        let most = self.0.policy.pace_wait.min(ctx.deadline.remaining());
        let until = Instant::now() + most;
        permit.ticket = Some(loop {
            let taken = self.0.pacer.lock().take(ctx.tokens, Instant::now());
            match taken {
                Ok(ticket) => break ticket,
                Err(wait) if Instant::now() + wait <= until => tokio::time::sleep(wait).await,
                Err(retry_after) => return Err(CallError::Paced { retry_after }),
            }
        });
        let place = self.0.bulkhead.enter(&ctx.caller, ctx.weight, ctx.deadline).await;
        permit.place = Some(place.map_err(|full| match full {
            Full::Refused(retry_after) => CallError::Full { retry_after },
            Full::TooLate => CallError::DeadlineExceeded,
        })?);
        Ok(permit)
    }

    fn account_allows(&self) -> Result<(), Duration> {
        let mut account = self.0.account.lock();
        let Some(until) = account.held_until else { return Ok(()) };
        let now = Instant::now();
        if until <= now {
            (account.held_until, account.probed) = (None, None);
            self.0.held.set(0);
            return Ok(());
        }
        match account.probed {
            Some(last) if now < last + HELD_PROBE => Err((last + HELD_PROBE - now).min(until - now)),
            Some(_) | None => {
                account.probed = Some(now);
                Ok(())
            }
        }
    }

    fn pass(&self) -> Result<Pass, Duration> {
        let (pass, transition) = self.0.breaker.lock().enter(Instant::now())?;
        self.tell(transition);
        Ok(pass)
    }

    fn tell(&self, transition: Transition) {
        let Some((from, to)) = transition else { return };
        let name = self.name();
        tracing::warn!("breaker {name}: {} -> {}", from.as_str(), to.as_str());
        self.0.state.set(to.number());
        self.0.metrics.breaker_transition(name, to.as_str());
        if to == BreakerState::Open {
            self.0.alerts.raise(
                AlertCategory::BreakerOpen,
                name,
                format!("calls to {name} fail; they are not made for now"),
            );
        }
    }

    fn record(&self, pass: Pass, class: Class) {
        let now = Instant::now();
        let transition = self.0.breaker.lock().record(pass, class.count(), now);
        self.tell(transition);
        match class {
            Class::RateLimited { retry_after } => {
                self.0.pacer.lock().slow_down(retry_after.unwrap_or(DEFAULT_PAUSE), now);
            }
            Class::Exhausted { until } => {
                self.0.alerts.raise(
                    AlertCategory::QuotaExhausted,
                    self.name(),
                    "the account has no credit or quota left",
                );
                self.hold(until.unwrap_or(self.0.policy.hold), now);
            }
            Class::BadKey => {
                self.0.alerts.raise(AlertCategory::KeyInvalid, self.name(), "our key is refused");
                let again = self.0.account.lock().bad_key.replace(now);
                if again.is_some_and(|last| now < last + BAD_KEY_WINDOW) {
                    self.hold(self.0.policy.hold, now);
                }
            }
            Class::Ok => self.release(),
            Class::HardFailure
            | Class::Overloaded { .. }
            | Class::TargetUnfit
            | Class::CallerFault
            | Class::Blocked
            | Class::Cancelled => {}
        }
    }

    fn hold(&self, time: Duration, now: Instant) {
        let mut account = self.0.account.lock();
        account.held_until = Some(now + time);
        account.probed = Some(now);
        self.0.held.set(1);
        tracing::warn!(
            dependency = self.name(),
            secs = time.as_secs(),
            "account held; one call in 30 s still tries it"
        );
    }

    fn release(&self) {
        let mut account = self.0.account.lock();
        if account.held_until.take().is_some() {
            (account.probed, account.bad_key) = (None, None);
            self.0.held.set(0);
            tracing::info!(dependency = self.name(), "account released: a call worked");
        }
    }
}

/// The place of a call under way. `finish` says how it went; dropping it unfinished counts as cancelled.
pub struct CallPermit {
    dependency: Dependency,
    pass: Option<Pass>,
    place: Option<Place>,
    ticket: Option<Ticket>,
}

impl CallPermit {
    /// Ends the call.
    pub fn finish(mut self, class: Class) {
        self.conclude(class);
    }

    /// Replaces the estimate of tokens by what it really took.
    pub fn settle(&self, tokens: u32) {
        if let Some(ticket) = self.ticket {
            self.dependency.0.pacer.lock().settle(ticket, tokens);
        }
    }

    fn conclude(&mut self, class: Class) {
        if let Some(pass) = self.pass.take() {
            self.dependency.record(pass, class);
        }
        self.place = None;
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.conclude(Class::Cancelled);
    }
}

impl std::fmt::Debug for CallPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallPermit").field("dependency", &self.dependency.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
