//! Circuit breaker: stops calling what keeps failing. Pure, with `now` passed in; `Dependency` holds it in a lock.
//!
//! Trips on N consecutive hard failures, or on a failure rate of at least half over the last 30 s once there were 20
//! calls. Open means that calls fail. When the reset time is over the breaker is half-open: exactly one call, the
//! probe, is let through; its success closes the breaker, its failure opens it again, and its cancellation gives
//! the probe back. A rate limit (429) is not a failure of the consecutive kind: it lowers the rate and fails a probe.
//!
//! Source: S4-BRK; M. Nygard, Release It!, "Circuit Breaker"; gateway.md section 6.

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

/// Length of the window of the rate.
const WINDOW_SECS: usize = 30;
/// Calls in the window below which the rate says nothing.
const MIN_CALLS: u32 = 20;

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A change that others should hear of.
pub type Transition = Option<(BreakerState, BreakerState)>;

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { consecutive: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    calls: u32,
    failures: u32,
}

/// The state machine.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    origin: Instant,
    window: [Second; WINDOW_SECS],
}

/// Leave to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whether this call is the probe.
    pub probe: bool,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        Self { policy, state: State::Closed { consecutive: 0 }, origin: now, window: Default::default() }
    }

    /// What it does now.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks for leave to call.
    ///
    /// # Errors
    /// How long calls will fail at least.
    pub fn enter(&mut self, now: Instant) -> Result<(Pass, Transition), Duration> {
        match self.state {
            State::Closed { .. } => Ok((Pass { probe: false }, None)),
            State::Open { until } if until > now => Err(until - now),
            State::Open { .. } => {
                self.state = State::HalfOpen { probing: true };
                Ok((Pass { probe: true }, Some((BreakerState::Open, BreakerState::HalfOpen))))
            }
            State::HalfOpen { probing: false } => {
                self.state = State::HalfOpen { probing: true };
                Ok((Pass { probe: true }, None))
            }
            State::HalfOpen { probing: true } => Err(PROBE_RETRY),
        }
    }

    /// Records how a call that was let through went.
    pub fn record(&mut self, pass: Pass, count: Count, now: Instant) -> Transition {
        if self.policy.failures == 0 {
            return None;
        }
        self.tally(count, now);
        match (self.state, count) {
            (State::HalfOpen { .. }, _) if !pass.probe => None,
            (State::HalfOpen { .. }, Count::Success) => {
                self.state = State::Closed { consecutive: 0 };
                self.window = Default::default();
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
                let consecutive = consecutive + 1;
                self.state = State::Closed { consecutive };
                (consecutive >= self.policy.failures || self.rate_is_bad(now))
                    .then(|| self.trip(BreakerState::Closed, now))
            }
            (State::Closed { .. }, Count::Success) => {
                self.state = State::Closed { consecutive: 0 };
                None
            }
            // A 429 alone never opens: the rate is judged only when a hard failure comes.
            (State::Closed { .. }, Count::Soft | Count::Nothing) | (State::Open { .. }, _) => None,
        }
    }

    /// Opens because another replica did.
    pub fn open_until(&mut self, until: Instant, now: Instant) -> Transition {
        match self.state {
            State::Closed { .. } if until > now => {
                self.state = State::Open { until };
                Some((BreakerState::Closed, BreakerState::Open))
            }
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    fn trip(&mut self, from: BreakerState, now: Instant) -> (BreakerState, BreakerState) {
        self.state = State::Open { until: now + self.policy.reset };
        (from, BreakerState::Open)
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }

    fn tally(&mut self, count: Count, now: Instant) {
        if count == Count::Nothing {
            return;
        }
        let at = self.second(now);
        let slot = &mut self.window[usize::try_from(at).unwrap_or(0) % WINDOW_SECS];
        if slot.at != at {
            *slot = Second { at, ..Second::default() };
        }
        slot.calls += 1;
        slot.failures += u32::from(count != Count::Success);
    }

    fn rate_is_bad(&self, now: Instant) -> bool {
        let at = self.second(now);
        let recent = self.window.iter().filter(|second| second.at + WINDOW_SECS as u64 > at);
        let (calls, failures) = recent
            .fold((0, 0), |(calls, failures), second| (calls + second.calls, failures + second.failures));
        calls >= MIN_CALLS && failures * 2 >= calls
    }
}

/// Told to calls that come while a probe is under way.
const PROBE_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: BreakerPolicy = BreakerPolicy { failures: 4, reset: Duration::from_secs(120) };

    fn call(breaker: &mut Breaker, count: Count, now: Instant) -> Option<Transition> {
        let (pass, _) = breaker.enter(now).ok()?;
        Some(breaker.record(pass, count, now))
    }

    // req: S4-BRK
    #[tokio::test(start_paused = true)]
    async fn it_opens_at_its_number_probes_once_and_closes_again() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY, now);
        for _ in 0..3 {
            assert_eq!(call(&mut breaker, Count::Hard, now), Some(None));
        }
        let opened = Some((BreakerState::Closed, BreakerState::Open));
        assert_eq!(call(&mut breaker, Count::Hard, now), Some(opened));
        assert_eq!(breaker.enter(now).err(), Some(POLICY.reset));
        let later = now + POLICY.reset;
        let (probe, _) = breaker.enter(later).unwrap();
        assert!(probe.probe);
        assert!(breaker.enter(later).is_err(), "exactly one probe");
        assert_eq!(breaker.record(probe, Count::Nothing, later), None);
        let (probe, _) = breaker.enter(later).expect("a cancelled probe is given back");
        breaker.record(probe, Count::Soft, later);
        assert!(breaker.enter(later + Duration::from_secs(119)).is_err(), "a 429 fails the probe");
        let again = later + POLICY.reset;
        let (probe, _) = breaker.enter(again).unwrap();
        assert_eq!(
            breaker.record(probe, Count::Success, again),
            Some((BreakerState::HalfOpen, BreakerState::Closed))
        );
        assert_eq!(breaker.state(again), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limits_alone_never_open_and_a_success_resets_the_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY, now);
        for _ in 0..1_000 {
            assert_eq!(call(&mut breaker, Count::Soft, now), Some(None));
        }
        let mut breaker = Breaker::new(POLICY, now);
        for _ in 0..6 {
            for _ in 0..3 {
                call(&mut breaker, Count::Hard, now);
            }
            for _ in 0..9 {
                call(&mut breaker, Count::Success, now);
            }
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_twenty_failing_within_thirty_seconds_opens_but_old_failures_are_forgotten() {
        let start = Instant::now();
        let mut breaker = Breaker::new(BreakerPolicy { failures: 100, ..POLICY }, start);
        for index in 0..19 {
            let count = if index % 2 == 0 { Count::Hard } else { Count::Success };
            assert_eq!(call(&mut breaker, count, start), Some(None));
        }
        let late = start + Duration::from_secs(31);
        assert_eq!(call(&mut breaker, Count::Hard, late), Some(None), "the old ones no longer count");
        let mut breaker = Breaker::new(BreakerPolicy { failures: 100, ..POLICY }, start);
        for index in 0..20 {
            let count = if index % 2 == 1 { Count::Hard } else { Count::Success };
            call(&mut breaker, count, start);
        }
        assert_eq!(breaker.state(start), BreakerState::Open);
    }

    proptest! {
        #[test]
        fn open_lets_nothing_through_and_half_open_one_at_a_time(
            steps in proptest::collection::vec((0_u64..60, 0_u8..4), 1..300),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let start = runtime.block_on(async { Instant::now() });
            let mut breaker = Breaker::new(BreakerPolicy { failures: 3, reset: Duration::from_secs(50) }, start);
            let (mut now, mut row, mut open_until) = (start, 0_u32, None::<Instant>);
            for (wait, kind) in steps {
                now += Duration::from_secs(wait);
                let count = [Count::Success, Count::Hard, Count::Soft, Count::Nothing][usize::from(kind)];
                let expected_refusal = open_until.is_some_and(|until| until > now);
                let Ok((pass, _)) = breaker.enter(now) else {
                    prop_assert!(expected_refusal);
                    continue;
                };
                prop_assert!(!expected_refusal);
                prop_assert_eq!(pass.probe, open_until.is_some());
                let tripped = breaker.record(pass, count, now).is_some_and(|(_, to)| to == BreakerState::Open);
                match (pass.probe, count) {
                    (true, Count::Success) => (row, open_until) = (0, None),
                    (true, Count::Hard | Count::Soft) => open_until = Some(now + Duration::from_secs(50)),
                    (true, Count::Nothing) | (false, Count::Soft | Count::Nothing) => {}
                    (false, Count::Success) => row = 0,
                    (false, Count::Hard) => row += 1,
                }
                if tripped {
                    // Either enough in a row, or the rate over the window.
                    prop_assert!(pass.probe || row >= 3 || count == Count::Hard);
                    (row, open_until) = (0, Some(now + Duration::from_secs(50)));
                } else {
                    prop_assert!(pass.probe || row < 3);
                }
            }
        }
    }
}
