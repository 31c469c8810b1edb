//! Pacing: no more calls, and no more tokens, than a provider allows in any 60 seconds. Pure, with `now` passed in.
//!
//! Calls are remembered with their times, so the bound holds for every 60 seconds of any run, not only for whole minutes.
//! A call is first reserved, then (after it has waited for its place) sent; the 60 seconds run from the sending, so
//! that calls which were reserved early and sent late together still keep the bound. Tokens are reserved by estimate
//! and settled afterwards. A pause (429, `Retry-After`) holds everything back, but lets one call in a while through
//! as a probe: one 429 is never an outage. After a rate limit the window is 10 % smaller for 60 s. What the provider
//! itself says of its limits counts beside the configured ones (`learned`).
//!
//! Memory: calls within 10 ms share an entry that ages with its youngest, so there are at most 6,000. Invariant:
//! reserved and sent calls of the last 60 s together never exceed the limit. Source: S0-03; gateway.md section 6.

mod learned;

pub use learned::{Learn, Learned, Told};

use learned::Known;
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
    learn: Learn,
    known: Known,
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
            learn: Learn::Off,
            known: Known::NOTHING,
        }
    }

    /// Heeds what the provider says of its limits, or no longer.
    pub const fn set_learn(&mut self, learn: Learn) {
        self.learn = learn;
    }

    /// The provider said something of its limits. Counts from the next call on.
    pub fn learn(&mut self, learned: &Learned, now: Instant) {
        if self.learn == Learn::Off {
            return;
        }
        self.known.take_in(learned, now);
        if let Some(pause) = learned.pause() {
            self.pause(pause, now);
        }
    }

    /// Calls a minute as the provider says, while that is confirmed.
    #[must_use]
    pub fn learned_per_min(&self, now: Instant) -> Option<u32> {
        self.known.requests(now)
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
        if self.policy == PacePolicy::default() && self.learn == Learn::Off {
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
        self.pause(pause.filter(|pause| *pause <= MAX_PAUSE).unwrap_or(DEFAULT_PAUSE), now);
        self.shrunk_until = Some(now + WINDOW);
    }

    fn pause(&mut self, time: Duration, now: Instant) {
        if self.paused(now).is_none() {
            self.probed = None;
        }
        let until = now + time;
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
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
        let (calls_most, tokens_most) = self.most(now);
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

    /// Whether a call with room may still be sent: it may have waited for its place so long that the limit is a lower
    /// one now. Some: how long not.
    pub fn must_wait(&mut self, reserved: &Reserved, now: Instant) -> Option<Duration> {
        if let (Some(wait), false) = (self.paused(now), reserved.probe) {
            return Some(wait);
        }
        self.forget(now);
        let (calls_most, tokens_most) = self.most(now);
        let (mut calls, mut sum) = (self.sent_calls, self.sent_tokens);
        let fits = |calls: u64, sum: u64| {
            calls_most.is_none_or(|most| calls < most)
                && tokens_most.is_none_or(|most| sum == 0 || sum + u64::from(reserved.tokens) <= most)
        };
        let mut sent = self.sent.iter();
        let mut wait = None;
        while !fits(calls, sum) {
            let oldest = sent.next()?;
            calls -= oldest.calls;
            sum -= oldest.tokens;
            wait = Some((oldest.last + WINDOW).saturating_duration_since(now));
        }
        wait
    }

    /// Most calls and tokens of 60 seconds, now.
    fn most(&self, now: Instant) -> (Option<u64>, Option<u64>) {
        let shrunk = self.shrunk_until.is_some_and(|until| until > now);
        let shrink = |most: u64| if shrunk { (most * 9 / 10).max(1) } else { most };
        let (calls, tokens) = self.known.most(self.policy, self.learn, now);
        (calls.map(shrink), tokens.map(shrink))
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
mod tests;
