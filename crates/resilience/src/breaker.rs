//! Circuit breaker: stops calling what keeps failing. Pure, with `now` passed in; `Dependency` holds it in a lock.
//!
//! Why two ways to trip: a dependency that is down shows in a few hard failures in a row; one that fails every second
//! call never does, and shows in the rate. The rate needs enough calls, so that one error is never an outage.
//! Open means that calls fail. When the reset time is over the breaker is half-open: exactly one call, the probe, is
//! let through. Its success closes the breaker, its failure opens it again, its cancellation gives the probe back.
//! A 429 lowers the rate and fails a probe, but never opens a closed breaker by itself: the rate is judged only when
//! a hard failure comes.
//!
//! Invariant: what a call says counts only for the state it was let through in (`Pass::epoch`). Ten calls that hung
//! since before the breaker opened say nothing about the dependency that answered the probe meanwhile.
//!
//! Source: S4-BRK; M. Nygard, Release It!, "Circuit Breaker"; linkerd2-proxy's breaker (probation); gateway.md 6.

use std::time::Duration;
use tokio::time::Instant;

/// When a breaker trips and when it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Hard failures in a row; 0 switches the breaker off.
    pub failures: u32,
    /// Time from open to half-open.
    pub reset: Duration,
}

/// The second way to trip: how many of the recent calls failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePolicy {
    /// How far back calls count.
    pub window: Duration,
    /// Calls in the window below which the rate says nothing.
    pub min_calls: u32,
    /// Share of failed calls that trips, above 0, at most 1.
    pub share: f64,
}

impl Default for RatePolicy {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), min_calls: 20, share: 0.5 }
    }
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls fail.
    Open,
    /// One call at a time passes, as a probe.
    HalfOpen,
}

impl BreakerState {
    /// The word, for logs and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The gauge's number.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// An operator's hand on a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manual {
    /// It decides by itself.
    #[default]
    Auto,
    /// No call passes.
    Open,
    /// Every call passes, however many fail.
    Closed,
}

impl Manual {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// How a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It worked.
    Success,
    /// It failed and counts in both ways.
    Hard,
    /// It was refused for its rate: counts in the rate, fails a probe.
    Soft,
    /// It says nothing of the dependency: gives a probe back.
    Nothing,
}

/// A change that others should hear of: from, to.
pub type Transition = Option<(BreakerState, BreakerState)>;

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { consecutive: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// Leave to make one call. It must come back through `record`, or a probe is never given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whether this call is the probe.
    pub probe: bool,
    /// The state it was let through in.
    epoch: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    rate: RatePolicy,
    state: State,
    /// Counts the changes of state.
    epoch: u64,
    window: Window,
    manual: Manual,
}

/// Told to calls that come while a probe is under way.
const PROBE_RETRY: Duration = Duration::from_secs(1);
/// Told to calls while an operator keeps it open: nobody knows for how long.
const MANUAL_RETRY: Duration = Duration::from_secs(60);

impl Breaker {
    /// Closed, with the usual rate.
    #[must_use]
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        Self::with_rate(policy, RatePolicy::default(), now)
    }

    /// Closed, with a rate of its own.
    #[must_use]
    pub fn with_rate(policy: BreakerPolicy, rate: RatePolicy, now: Instant) -> Self {
        let state = State::Closed { consecutive: 0 };
        let window = Window::new(rate.window, now);
        Self { policy, rate, state, epoch: 0, window, manual: Manual::Auto }
    }

    /// Goes by other rules from now on. What it found stays; an open breaker waits no longer than the new reset time,
    /// one that is switched off closes.
    pub fn set_policy(&mut self, policy: BreakerPolicy, rate: RatePolicy, now: Instant) {
        if rate.window != self.rate.window {
            self.window = Window::new(rate.window, now);
        }
        (self.policy, self.rate) = (policy, rate);
        match &mut self.state {
            State::Open { .. } | State::HalfOpen { .. } if policy.failures == 0 => {
                self.change(State::Closed { consecutive: 0 });
            }
            State::Open { until } => *until = (*until).min(now + policy.reset),
            State::Closed { .. } | State::HalfOpen { .. } => {}
        }
    }

    /// An operator opens or closes it, or lets it decide by itself again: then it starts closed.
    pub fn set_manual(&mut self, manual: Manual, now: Instant) -> Transition {
        let before = self.state(now);
        self.manual = manual;
        self.change(State::Closed { consecutive: 0 });
        let after = self.state(now);
        (before != after).then_some((before, after))
    }

    /// Whether an operator keeps it open or closed.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.manual != Manual::Auto
    }

    /// What it does now.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.manual {
            Manual::Open => return BreakerState::Open,
            Manual::Closed => return BreakerState::Closed,
            Manual::Auto => {}
        }
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long calls will fail at least.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        if self.manual == Manual::Open {
            return MANUAL_RETRY;
        }
        match self.state {
            State::Open { until } => until.saturating_duration_since(now),
            State::Closed { .. } | State::HalfOpen { .. } => Duration::ZERO,
        }
    }

    /// Asks for leave to call.
    ///
    /// # Errors
    /// How long calls will fail at least.
    pub fn enter(&mut self, now: Instant) -> Result<(Pass, Transition), Duration> {
        if self.manual == Manual::Open {
            return Err(MANUAL_RETRY);
        }
        match self.state {
            State::Closed { .. } => Ok((Pass { probe: false, epoch: self.epoch }, None)),
            State::Open { until } if until > now => Err(until - now),
            State::Open { .. } => {
                self.change(State::HalfOpen { probing: true });
                let transition = Some((BreakerState::Open, BreakerState::HalfOpen));
                Ok((Pass { probe: true, epoch: self.epoch }, transition))
            }
            State::HalfOpen { probing: false } => {
                self.state = State::HalfOpen { probing: true };
                Ok((Pass { probe: true, epoch: self.epoch }, None))
            }
            State::HalfOpen { probing: true } => Err(PROBE_RETRY),
        }
    }

    /// Leave that was given some time ago, before the call waited for its place: good still while nothing changed,
    /// else asked for anew. Without this, calls that queued while it was closed would be sent while it is open.
    ///
    /// # Errors
    /// As `enter`.
    pub fn renew(&mut self, pass: Pass, now: Instant) -> Result<(Pass, Transition), Duration> {
        if pass.epoch == self.epoch { Ok((pass, None)) } else { self.enter(now) }
    }

    /// A value came, of which more is still to come. For a probe that is proof enough: the breaker closes, because a
    /// stream may last minutes and everybody else would wait for its end. The pass stays on probation: its late
    /// failure opens at once.
    pub fn begun(&mut self, pass: &mut Pass, now: Instant) -> Transition {
        if !pass.probe {
            return None;
        }
        let transition = self.record(*pass, Count::Success, now);
        if transition.is_some() {
            pass.epoch = self.epoch;
        }
        transition
    }

    /// Records how a call that was let through went.
    pub fn record(&mut self, pass: Pass, count: Count, now: Instant) -> Transition {
        if self.policy.failures == 0 || pass.epoch != self.epoch || self.is_manual() {
            return None;
        }
        match (self.state, count) {
            (State::HalfOpen { .. }, Count::Success) => {
                self.change(State::Closed { consecutive: 0 });
                Some((BreakerState::HalfOpen, BreakerState::Closed))
            }
            (State::HalfOpen { .. }, Count::Hard | Count::Soft) => {
                Some(self.trip(BreakerState::HalfOpen, now))
            }
            (State::HalfOpen { .. }, Count::Nothing) => {
                self.state = State::HalfOpen { probing: false };
                None
            }
            (State::Closed { consecutive }, Count::Hard) => {
                self.window.add(true, now);
                let consecutive = consecutive + 1;
                self.state = State::Closed { consecutive };
                let trips = pass.probe || consecutive >= self.policy.failures || self.rate_is_bad(now);
                trips.then(|| self.trip(BreakerState::Closed, now))
            }
            (State::Closed { .. }, Count::Success) => {
                self.window.add(false, now);
                self.state = State::Closed { consecutive: 0 };
                None
            }
            (State::Closed { .. }, Count::Soft) => {
                self.window.add(true, now);
                None
            }
            // No pass is of an open state.
            (State::Closed { .. }, Count::Nothing) | (State::Open { .. }, _) => None,
        }
    }

    /// Opens because another replica did, for at most the reset time. A half-open breaker has its own probe.
    pub fn hear_open(&mut self, until: Instant, now: Instant) -> Transition {
        match self.state {
            State::Closed { .. } if until > now && self.policy.failures > 0 && !self.is_manual() => {
                self.change(State::Open { until: until.min(now + self.policy.reset) });
                Some((BreakerState::Closed, BreakerState::Open))
            }
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Another replica's probe worked: the wait is over, and the next call here is a probe of its own. Not closed at
    /// once, because what that replica reaches this one may not.
    pub fn hear_closed(&mut self, now: Instant) {
        if let State::Open { until } = &mut self.state {
            *until = (*until).min(now);
        }
    }

    fn trip(&mut self, from: BreakerState, now: Instant) -> (BreakerState, BreakerState) {
        self.change(State::Open { until: now + self.policy.reset });
        (from, BreakerState::Open)
    }

    fn change(&mut self, to: State) {
        self.state = to;
        self.epoch += 1;
        self.window.clear();
    }

    fn rate_is_bad(&self, now: Instant) -> bool {
        let (calls, failures) = self.window.sum(now);
        calls >= self.rate.min_calls && f64::from(failures) >= f64::from(calls) * self.rate.share
    }
}

/// Parts of the window: what is older than the window is forgotten part by part.
const PARTS: usize = 30;

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    at: u64,
    calls: u32,
    failures: u32,
}

/// Calls and failures of the recent past, in fixed memory.
#[derive(Debug)]
struct Window {
    origin: Instant,
    part_micros: u64,
    parts: [Part; PARTS],
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let part = length.as_micros() / PARTS as u128;
        let part_micros = u64::try_from(part).unwrap_or(u64::MAX).max(1);
        Self { origin: now, part_micros, parts: [Part::default(); PARTS] }
    }

    /// Numbered from 1, so that an empty part is of no time.
    fn part(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX - 1) / self.part_micros + 1
    }

    fn add(&mut self, failed: bool, now: Instant) {
        let at = self.part(now);
        let part = &mut self.parts[usize::try_from(at % PARTS as u64).unwrap_or(0)];
        if part.at != at {
            *part = Part { at, ..Part::default() };
        }
        part.calls = part.calls.saturating_add(1);
        part.failures = part.failures.saturating_add(u32::from(failed));
    }

    fn sum(&self, now: Instant) -> (u32, u32) {
        let at = self.part(now);
        let recent = self.parts.iter().filter(|part| part.at > 0 && part.at + PARTS as u64 > at);
        recent.fold((0, 0), |(calls, failures), part| {
            (calls.saturating_add(part.calls), failures.saturating_add(part.failures))
        })
    }

    fn clear(&mut self) {
        self.parts = [Part::default(); PARTS];
    }
}

#[cfg(test)]
pub(crate) mod tests;
