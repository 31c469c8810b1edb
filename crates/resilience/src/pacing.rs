//! Pacing: no more calls, and no more tokens, than a provider allows in any 60 seconds. Pure, with `now` passed in.
//!
//! Calls are remembered with their times, so the bound holds for every 60 seconds of any run, not only for whole minutes.
//! A call is first reserved, then (after it has waited for its place) sent; the 60 seconds run from the sending, so
//! that calls which were reserved early and sent late together still keep the bound. Tokens are reserved by estimate
//! and settled afterwards. A pause (429, `Retry-After`) holds everything back, but lets one call in a while through
//! as a probe: one 429 is never an outage. After a rate limit the window is 10 % smaller for 60 s.
//!
//! Memory: calls within 10 ms share an entry that ages with its youngest, so there are at most 6,000. Invariant:
//! reserved and sent calls of the last 60 s together never exceed the limit. Source: S0-03; gateway.md section 6.

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
/// Pause after a rate limit that names none, or none that is believable.
const DEFAULT_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that is believed. Long ones harm little: calls go on probing.
const MAX_PAUSE: Duration = Duration::from_secs(86_400);

/// Calls this close together share an entry.
const GRAIN: Duration = Duration::from_millis(10);

/// Calls sent at about the same time.
#[derive(Debug)]
struct Sent {
    id: u64,
    first: Instant,
    last: Instant,
    calls: u64,
    tokens: u64,
}

/// The window.
#[derive(Debug)]
pub struct Pacer {
    policy: PacePolicy,
    sent: VecDeque<Sent>,
    sent_calls: u64,
    sent_tokens: u64,
    reserved_calls: u64,
    reserved_tokens: u64,
    next: u64,
    paused_until: Option<Instant>,
    probed: Option<Instant>,
    shrunk_until: Option<Instant>,
}

/// Room for one call that is not sent yet. It must come back through `send` or `give_back`.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Reserved {
    tokens: u32,
    probe: bool,
}

impl Reserved {
    /// Whether it goes in spite of a pause.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.probe
    }
}

/// A call that was sent; kept to settle its tokens.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    id: u64,
    tokens: u32,
    probe: bool,
}

impl Pacer {
    /// Empty.
    #[must_use]
    pub const fn new(policy: PacePolicy) -> Self {
        Self {
            policy,
            sent: VecDeque::new(),
            sent_calls: 0,
            sent_tokens: 0,
            reserved_calls: 0,
            reserved_tokens: 0,
            next: 0,
            paused_until: None,
            probed: None,
            shrunk_until: None,
        }
    }

    /// Allows this much from now on; what was sent in the last 60 s counts on. Calls that were sent while there was no
    /// limit at all were not counted.
    pub const fn set_policy(&mut self, policy: PacePolicy) {
        self.policy = policy;
        // Tickets of uncounted calls bear the next number: none of theirs may be given to a counted one.
        self.next += 1;
    }

    /// Reserves room for a call of about so many tokens.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn reserve(&mut self, tokens: u32, now: Instant) -> Result<Reserved, Duration> {
        match self.paused(now) {
            Some(wait) => Err(wait),
            None => self.fit(tokens, false, now),
        }
    }

    /// Room for one call in spite of a pause, if there was none such for `every`. The first one is free at once.
    pub fn probe(&mut self, tokens: u32, every: Duration, now: Instant) -> Option<Reserved> {
        self.paused(now)?;
        if self.probed.is_some_and(|last| now < last + every) {
            return None;
        }
        let reserved = self.fit(tokens, true, now).ok()?;
        self.probed = Some(now);
        Some(reserved)
    }

    /// How long everything is held back.
    #[must_use]
    pub fn paused(&self, now: Instant) -> Option<Duration> {
        self.paused_until.filter(|until| *until > now).map(|until| until - now)
    }

    /// The call is sent now.
    pub fn send(&mut self, reserved: Reserved, now: Instant) -> Ticket {
        let Reserved { tokens, probe } = reserved;
        self.unreserve(tokens);
        if self.policy == PacePolicy::default() {
            return Ticket { id: self.next, tokens, probe };
        }
        self.sent_calls += 1;
        self.sent_tokens += u64::from(tokens);
        let id = match self.sent.back_mut().filter(|sent| now < sent.first + GRAIN) {
            Some(sent) => {
                sent.last = sent.last.max(now);
                sent.calls += 1;
                sent.tokens += u64::from(tokens);
                sent.id
            }
            None => {
                let id = self.next;
                self.next += 1;
                self.sent.push_back(Sent { id, first: now, last: now, calls: 1, tokens: u64::from(tokens) });
                id
            }
        };
        Ticket { id, tokens, probe }
    }

    /// The call is not sent after all.
    pub fn give_back(&mut self, reserved: Reserved) {
        self.unreserve(reserved.tokens);
        if reserved.probe {
            self.probed = None;
        }
    }

    /// Replaces the estimate of a call by what it really took. The bound on tokens holds for estimates; a call that
    /// took more delays those after it.
    pub fn settle(&mut self, ticket: &mut Ticket, tokens: u32) {
        if let Ok(index) = self.sent.binary_search_by_key(&ticket.id, |sent| sent.id) {
            let (before, after) = (u64::from(ticket.tokens), u64::from(tokens));
            let sent = &mut self.sent[index];
            sent.tokens = sent.tokens - before + after;
            self.sent_tokens = self.sent_tokens - before + after;
            ticket.tokens = tokens;
        }
    }

    /// The provider said that it was too fast: holds everything back for so long, and makes the window smaller for a
    /// while.
    pub fn slow_down(&mut self, pause: Option<Duration>, now: Instant) {
        if self.paused(now).is_none() {
            self.probed = None;
        }
        let until = now + pause.filter(|pause| *pause <= MAX_PAUSE).unwrap_or(DEFAULT_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
        self.shrunk_until = Some(now + WINDOW);
    }

    /// A call worked. If it was a probe, the pause is over.
    pub const fn worked(&mut self, ticket: &Ticket) {
        if ticket.probe {
            self.paused_until = None;
        }
    }

    /// Whether nothing is reserved.
    #[cfg(test)]
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.reserved_calls == 0 && self.reserved_tokens == 0
    }

    fn fit(&mut self, tokens: u32, probe: bool, now: Instant) -> Result<Reserved, Duration> {
        self.forget(now);
        let shrunk = self.shrunk_until.is_some_and(|until| until > now);
        let most = |limit: u32| if shrunk { (u64::from(limit) * 9 / 10).max(1) } else { u64::from(limit) };
        let (calls_most, tokens_most) = (self.policy.per_min.map(most), self.policy.tokens_per_min.map(most));
        // At least one, so that the window's memory is bounded; a call larger than the window passes alone, or it
        // never would.
        let tokens = match tokens_most {
            Some(most) => u32::try_from(u64::from(tokens).clamp(1, most.max(1))).unwrap_or(u32::MAX),
            None => tokens,
        };
        let (mut calls, mut sum) =
            (self.sent_calls + self.reserved_calls, self.sent_tokens + self.reserved_tokens);
        let fits = |calls: u64, sum: u64| {
            calls_most.is_none_or(|most| calls < most)
                && tokens_most.is_none_or(|most| sum + u64::from(tokens) <= most)
        };
        if fits(calls, sum) {
            self.reserved_calls += 1;
            self.reserved_tokens += u64::from(tokens);
            return Ok(Reserved { tokens, probe });
        }
        for sent in &self.sent {
            calls -= sent.calls;
            sum -= sent.tokens;
            if fits(calls, sum) {
                return Err((sent.last + WINDOW).saturating_duration_since(now));
            }
        }
        // Only what is not even sent yet stands in the way.
        Err(WINDOW)
    }

    const fn unreserve(&mut self, tokens: u32) {
        self.reserved_calls -= 1;
        self.reserved_tokens -= tokens as u64;
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.sent.front()
            && now.saturating_duration_since(oldest.last) >= WINDOW
        {
            self.sent_calls -= oldest.calls;
            self.sent_tokens -= oldest.tokens;
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::tests::an_instant;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_secs(30);

    fn calls(per_min: u32) -> Pacer {
        Pacer::new(PacePolicy { per_min: Some(per_min), tokens_per_min: None })
    }

    fn pass(pacer: &mut Pacer, tokens: u32, now: Instant) -> Result<Ticket, Duration> {
        pacer.reserve(tokens, now).map(|reserved| pacer.send(reserved, now))
    }

    /// What the provider would see: calls and tokens of the 60 s that end now.
    fn seen(sent: &[(Instant, u32)], now: Instant) -> (u32, u32) {
        let recent = sent.iter().filter(|(at, _)| now - *at < WINDOW);
        recent.fold((0, 0), |(calls, sum), (_, tokens)| (calls + 1, sum + tokens))
    }

    proptest! {
        // req: S0-03
        #[test]
        fn no_sixty_seconds_of_any_run_hold_more_calls_or_tokens_than_allowed(
            per_min in 1_u32..12,
            tokens_per_min in 50_u32..200,
            steps in prop::collection::vec((0_u64..20_000, 1_u32..40, 0_u8..4), 1..250),
        ) {
            let mut now = an_instant();
            let policy = PacePolicy { per_min: Some(per_min), tokens_per_min: Some(tokens_per_min) };
            let (mut pacer, mut sent, mut waiting) = (Pacer::new(policy), Vec::new(), VecDeque::new());
            for (wait, tokens, what) in steps {
                now += Duration::from_millis(wait);
                match what {
                    // Reserves and waits elsewhere, as behind a bulkhead.
                    0 | 1 => {
                        if let Ok(reserved) = pacer.reserve(tokens, now) {
                            waiting.push_back((reserved, tokens));
                        }
                    }
                    // Somebody who waited gets a place, or goes away.
                    2 => {
                        if let Some((reserved, tokens)) = waiting.pop_front() {
                            pacer.send(reserved, now);
                            sent.push((now, tokens));
                        }
                    }
                    _ => {
                        if let Some((reserved, _)) = waiting.pop_back() {
                            pacer.give_back(reserved);
                        }
                    }
                }
                let (calls, sum) = seen(&sent, now);
                prop_assert!(calls <= per_min && sum <= tokens_per_min, "{calls} calls, {sum} tokens");
            }
        }

        // req: S0-03
        #[test]
        fn who_waits_as_long_as_told_is_let_through_and_no_sooner(
            per_min in 1_u32..12,
            tokens_per_min in 50_u32..200,
            steps in prop::collection::vec((0_u64..20_000, 1_u32..40), 1..200),
        ) {
            let mut now = an_instant();
            let policy = PacePolicy { per_min: Some(per_min), tokens_per_min: Some(tokens_per_min) };
            let (mut pacer, mut sent) = (Pacer::new(policy), Vec::new());
            for (gap, tokens) in steps {
                now += Duration::from_millis(gap);
                if let Err(wait) = pass(&mut pacer, tokens, now) {
                    prop_assert!(wait > Duration::ZERO && wait <= WINDOW);
                    let (calls, sum) = seen(&sent, now + wait.saturating_sub(GRAIN));
                    prop_assert!(calls + 1 > per_min || sum + tokens > tokens_per_min, "told to wait for nothing");
                    now += wait;
                    prop_assert!(pass(&mut pacer, tokens, now).is_ok(), "waiting as told succeeds");
                }
                sent.push((now, tokens));
            }
        }
    }

    #[test]
    fn calls_that_were_reserved_early_and_sent_late_still_keep_the_bound() {
        let now = an_instant();
        let mut pacer = calls(3);
        let early: Vec<Reserved> = (0..3).map(|_| pacer.reserve(1, now).unwrap()).collect();
        let late = now + SECOND * 59;
        for reserved in early {
            pacer.send(reserved, late);
        }
        assert_eq!(pacer.reserve(1, now + WINDOW), Err(SECOND * 59), "60 s from the sending");
        assert!(pacer.reserve(1, late + WINDOW).is_ok());
    }

    #[test]
    fn what_was_never_sent_costs_nothing() {
        let now = an_instant();
        let mut pacer = calls(1);
        let reserved = pacer.reserve(1, now).unwrap();
        assert_eq!(pacer.reserve(1, now), Err(WINDOW));
        pacer.give_back(reserved);
        assert!(pacer.reserve(1, now).is_ok());
    }

    #[test]
    fn a_rate_limit_pauses_everything_and_shrinks_the_window_for_a_minute() {
        let now = an_instant();
        let mut pacer = calls(10);
        pacer.slow_down(Some(SECOND * 7), now);
        assert_eq!(pacer.reserve(1, now), Err(SECOND * 7));
        let after = now + SECOND * 7;
        assert_eq!((0..20).filter(|_| pass(&mut pacer, 1, after).is_ok()).count(), 9);
        assert_eq!((0..20).filter(|_| pass(&mut pacer, 1, after + WINDOW).is_ok()).count(), 10);
    }

    #[test]
    fn a_paused_dependency_is_tried_by_the_very_next_call_and_then_once_in_a_while() {
        let now = an_instant();
        let mut pacer = Pacer::new(PacePolicy::default());
        assert_eq!(pacer.probe(1, EVERY, now), None, "nothing is paused");
        pacer.slow_down(Some(SECOND * 300), now);
        let probe = pacer.probe(1, EVERY, now).unwrap();
        pacer.send(probe, now);
        assert_eq!(pacer.probe(1, EVERY, now), None);
        pacer.slow_down(Some(SECOND * 300), now + SECOND);
        assert_eq!(pacer.probe(1, EVERY, now + SECOND), None, "the probe failed: not at once again");
        let probe = pacer.probe(1, EVERY, now + EVERY).unwrap();
        let ticket = pacer.send(probe, now + EVERY);
        pacer.worked(&ticket);
        assert_eq!(pacer.paused(now + EVERY), None, "it works again");
    }

    #[test]
    fn a_cancelled_probe_is_given_back() {
        let now = an_instant();
        let mut pacer = Pacer::new(PacePolicy::default());
        pacer.slow_down(Some(SECOND * 300), now);
        let probe = pacer.probe(1, EVERY, now).unwrap();
        pacer.give_back(probe);
        assert!(pacer.probe(1, EVERY, now).is_some());
    }

    #[test]
    fn absurd_waits_are_not_believed() {
        let now = an_instant();
        let mut pacer = calls(10);
        pacer.slow_down(Some(Duration::MAX), now);
        assert_eq!(pacer.paused(now), Some(DEFAULT_PAUSE));
    }

    #[test]
    fn settling_frees_what_was_reserved_too_much_and_charges_what_was_too_little() {
        let now = an_instant();
        let mut pacer = Pacer::new(PacePolicy { per_min: None, tokens_per_min: Some(100) });
        let mut first = pass(&mut pacer, 90, now).unwrap();
        assert_eq!(pacer.reserve(20, now), Err(WINDOW));
        pacer.settle(&mut first, 10);
        let mut second = pass(&mut pacer, 80, now).unwrap();
        pacer.settle(&mut second, 1_000);
        assert_eq!(pass(&mut pacer, 1, now + SECOND), Err(SECOND * 59));
        pacer.settle(&mut first, 5);
        assert!(pass(&mut pacer, 1, now + WINDOW).is_ok());
        pacer.settle(&mut first, 7);
    }

    #[test]
    fn a_call_larger_than_the_window_passes_alone_and_no_limit_is_no_limit() {
        let now = an_instant();
        let mut pacer = Pacer::new(PacePolicy { per_min: None, tokens_per_min: Some(100) });
        assert!(pass(&mut pacer, 5_000, now).is_ok());
        assert!(pass(&mut pacer, 1, now).is_err());
        let mut free = Pacer::new(PacePolicy::default());
        for _ in 0..1_000 {
            assert!(pass(&mut free, u32::MAX, now).is_ok());
        }
        assert!(free.sent.is_empty(), "nothing to remember");
    }

    #[test]
    fn however_many_calls_there_are_the_memory_is_bounded() {
        let (start, mut pacer) = (an_instant(), calls(u32::MAX));
        for index in 0..200_000_u32 {
            assert!(pass(&mut pacer, 1, start + Duration::from_micros(500) * index).is_ok());
        }
        assert!(pacer.sent.len() <= 6_001, "{}", pacer.sent.len());
    }
}
