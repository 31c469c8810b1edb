//! Pacing: no more calls, and no more tokens, than a provider allows in any 60 seconds. Pure, with `now` passed in.
//! Calls are remembered one by one, so the bound holds for every 60 seconds of any run, not only for whole minutes.
//! A pause (429, `Retry-After`) holds everything; after a rate limit the window is 10 % smaller for 60 s.
//! Source: S0-03; gateway.md section 6.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// What a provider allows. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacePolicy {
    /// Calls in any 60 seconds.
    pub per_min: Option<u32>,
    /// Tokens in any 60 seconds.
    pub tokens_per_min: Option<u32>,
}

/// Length of the window.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The window.
#[derive(Debug)]
pub struct Pacer {
    policy: PacePolicy,
    taken: VecDeque<(Instant, u64, u32)>,
    tokens: u64,
    next: u64,
    paused_until: Option<Instant>,
    shrunk_until: Option<Instant>,
}

/// A call that was let through; kept to settle its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Pacer {
    /// Empty.
    #[must_use]
    pub const fn new(policy: PacePolicy) -> Self {
        Self { policy, taken: VecDeque::new(), tokens: 0, next: 0, paused_until: None, shrunk_until: None }
    }

    /// Takes a place for a call of about so many tokens.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take(&mut self, tokens: u32, now: Instant) -> Result<Ticket, Duration> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(until - now);
        }
        self.forget(now);
        let shrunk = self.shrunk_until.is_some_and(|until| until > now);
        let limit = |limit: u32| if shrunk { u64::from(limit) * 9 / 10 } else { u64::from(limit) }.max(1);
        // A call larger than the whole window passes alone, or it never would.
        let tokens = self
            .policy
            .tokens_per_min
            .map_or(tokens, |most| tokens.min(u32::try_from(limit(most)).unwrap_or(most)));
        let (mut calls, mut sum) = (self.taken.len() as u64, self.tokens);
        let fits = |calls: u64, sum: u64| {
            self.policy.per_min.is_none_or(|most| calls < limit(most))
                && self.policy.tokens_per_min.is_none_or(|most| sum + u64::from(tokens) <= limit(most))
        };
        for (at, _, used) in &self.taken {
            if fits(calls, sum) {
                break;
            }
            calls -= 1;
            sum -= u64::from(*used);
            if fits(calls, sum) {
                return Err((*at + WINDOW).saturating_duration_since(now).max(Duration::from_millis(1)));
            }
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        if self.policy != PacePolicy::default() {
            self.taken.push_back((now, ticket.0, tokens));
            self.tokens += u64::from(tokens);
        }
        Ok(ticket)
    }

    /// Replaces the estimate of a call by what it really took.
    pub fn settle(&mut self, ticket: Ticket, tokens: u32) {
        if let Ok(index) = self.taken.binary_search_by_key(&ticket.0, |(_, id, _)| *id) {
            let used = &mut self.taken[index].2;
            self.tokens = self.tokens + u64::from(tokens) - u64::from(*used);
            *used = tokens;
        }
    }

    /// Holds everything for that long, and makes the window smaller for a while.
    pub fn slow_down(&mut self, pause: Duration, now: Instant) {
        let until = now + pause.min(MAX_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
        self.shrunk_until = Some(now + WINDOW);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, _, tokens)) = self.taken.front()
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.tokens -= u64::from(*tokens);
            self.taken.pop_front();
        }
    }
}

/// Longest pause believed: absurd header values must not shut a provider off.
const MAX_PAUSE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // req: S0-03
        #[test]
        fn no_sixty_seconds_of_any_run_hold_more_calls_or_tokens_than_allowed(
            per_min in 1_u32..12, tokens_per_min in 50_u32..200,
            steps in proptest::collection::vec((0_u64..20_000, 1_u32..40), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let mut now = runtime.block_on(async { Instant::now() });
            let policy = PacePolicy { per_min: Some(per_min), tokens_per_min: Some(tokens_per_min) };
            let (mut pacer, mut passed) = (Pacer::new(policy), Vec::<(Instant, u32)>::new());
            for (wait, tokens) in steps {
                now += Duration::from_millis(wait);
                match pacer.take(tokens, now) {
                    Ok(_) => passed.push((now, tokens)),
                    Err(wait) => {
                        prop_assert!(wait <= WINDOW);
                        now += wait;
                        prop_assert!(pacer.take(tokens, now).is_ok(), "waiting as told succeeds");
                        passed.push((now, tokens));
                    }
                }
                let recent = passed.iter().filter(|(at, _)| now - *at < WINDOW);
                let (calls, sum) = recent.fold((0, 0), |(calls, sum), (_, tokens)| (calls + 1, sum + tokens));
                prop_assert!(calls <= per_min && sum <= tokens_per_min, "{calls} {sum}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_pauses_everything_and_shrinks_the_window_for_a_minute() {
        let now = Instant::now();
        let mut pacer = Pacer::new(PacePolicy { per_min: Some(10), tokens_per_min: None });
        pacer.slow_down(Duration::from_secs(7), now);
        assert_eq!(pacer.take(1, now), Err(Duration::from_secs(7)));
        let after = now + Duration::from_secs(7);
        assert_eq!((0..20).filter(|_| pacer.take(1, after).is_ok()).count(), 9);
        pacer.slow_down(Duration::from_secs(1_000_000), after);
        assert!(pacer.take(1, after).unwrap_err() <= MAX_PAUSE, "absurd values change little");
    }

    #[tokio::test(start_paused = true)]
    async fn settling_frees_what_was_reserved_too_much() {
        let now = Instant::now();
        let mut pacer = Pacer::new(PacePolicy { per_min: None, tokens_per_min: Some(100) });
        let first = pacer.take(90, now).unwrap();
        assert!(pacer.take(20, now).is_err());
        pacer.settle(first, 10);
        assert!(pacer.take(90, now).is_ok());
        assert!(Pacer::new(PacePolicy::default()).take(u32::MAX, now).is_ok());
    }
}
