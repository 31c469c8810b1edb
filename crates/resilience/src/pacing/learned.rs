//! What a provider says of its own limits, in the headers of its answers and the details of its refusals.
//!
//! Invariants: what is learned is used with 5 % to spare and never raises a configured limit unless the operator says
//! so; a lower word counts at once, a higher one only when the lower was not confirmed for ten minutes (models of one
//! account have limits of their own, and the lowest is safe for all); what is senseless is ignored here too, however
//! it came. Source: gateway.md section 6, "Learning".

use super::{MAX_PAUSE, PacePolicy};
use std::time::Duration;
use tokio::time::Instant;

/// Whether a provider's word on its limits is heeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learn {
    /// Not at all.
    #[default]
    Off,
    /// Where it is lower than what is configured.
    Lower,
    /// In place of what is configured.
    Raise,
}

/// A provider's word on one kind of limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Most in a minute.
    pub limit: Option<u32>,
    /// How much of it is left.
    pub remaining: Option<u64>,
    /// When it is whole again.
    pub resets_in: Option<Duration>,
}

impl Told {
    /// How long to wait because nothing is left.
    fn pause(&self) -> Option<Duration> {
        let wait = self.resets_in.filter(|wait| !wait.is_zero() && *wait <= MAX_PAUSE)?;
        (self.remaining == Some(0)).then_some(wait)
    }
}

/// A provider's word on its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Calls.
    pub requests: Told,
    /// Tokens.
    pub tokens: Told,
}

impl Learned {
    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long to wait because nothing is left.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.requests.pause().max(self.tokens.pause())
    }
}

/// How long a word counts that is not repeated.
const FADES_AFTER: Duration = Duration::from_secs(600);

/// A limit, and when it was last confirmed.
#[derive(Clone, Copy, Debug)]
struct Word {
    limit: u32,
    confirmed: Instant,
}

/// What is known now.
#[derive(Debug)]
pub(super) struct Known {
    requests: Option<Word>,
    tokens: Option<Word>,
}

impl Known {
    pub(super) const NOTHING: Self = Self { requests: None, tokens: None };

    pub(super) fn take_in(&mut self, learned: &Learned, now: Instant) {
        take_in(&mut self.requests, learned.requests.limit, now);
        take_in(&mut self.tokens, learned.tokens.limit, now);
    }

    /// Calls a minute, while confirmed.
    pub(super) fn requests(&self, now: Instant) -> Option<u32> {
        current(self.requests, now)
    }

    /// Most calls and tokens in a minute.
    pub(super) fn most(&self, policy: PacePolicy, learn: Learn, now: Instant) -> (Option<u64>, Option<u64>) {
        let most = |configured: Option<u32>, word: Option<Word>| {
            let configured = configured.map(u64::from);
            let learned = current(word, now).map(|limit| (u64::from(limit) * 95 / 100).max(1));
            match (learn, configured, learned) {
                (Learn::Off, _, _) | (Learn::Lower | Learn::Raise, _, None) => configured,
                (Learn::Lower, Some(configured), Some(learned)) => Some(configured.min(learned)),
                (Learn::Lower, None, Some(_)) | (Learn::Raise, _, Some(_)) => learned,
            }
        };
        (most(policy.per_min, self.requests), most(policy.tokens_per_min, self.tokens))
    }
}

fn current(word: Option<Word>, now: Instant) -> Option<u32> {
    word.filter(|word| now < word.confirmed + FADES_AFTER).map(|word| word.limit)
}

fn take_in(word: &mut Option<Word>, limit: Option<u32>, now: Instant) {
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return };
    if current(*word, now).is_none_or(|known| limit <= known) {
        *word = Some(Word { limit, confirmed: now });
    }
}
