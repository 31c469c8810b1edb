//! Why a provider gave no answer: what the caller is told if nobody else answers, and whether somebody else may try.

use crate::wire::classify::Seen;
use portcullis_domain::{Failure, Incident, InputCode};
use std::time::Duration;

/// A call that brought no answer.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the caller is told when no other target answers. Safe to show.
    pub failure: Failure,
    /// Whether another target may answer the same request.
    pub pass_on: bool,
    /// Why, as a metric label.
    pub reason: &'static str,
}

/// When to come back where nobody says: short, since the next request is a fresh chance.
pub(crate) const SOON: Duration = Duration::from_secs(5);

impl Refusal {
    /// Whether the provider was asked at all, or something of ours stood before it.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        !matches!(self.reason, "breaker_open" | "queue_full" | "paced" | "budget")
    }

    /// The caller cannot pay for this target; a cheaper one may answer.
    #[must_use]
    pub fn unaffordable(failure: impl Into<Failure>) -> Self {
        Self::passed_on(failure.into(), "budget")
    }

    /// A refusal that another target may turn into an answer.
    pub(crate) const fn passed_on(failure: Failure, reason: &'static str) -> Self {
        Self { failure, pass_on: true, reason }
    }

    /// A refusal that is final.
    pub(crate) const fn last(failure: Failure, reason: &'static str) -> Self {
        Self { failure, pass_on: false, reason }
    }

    pub(crate) const fn unavailable(retry_after: Duration, reason: &'static str) -> Self {
        Self::passed_on(Failure::Unavailable { retry_after, rate_limited: false }, reason)
    }

    /// What the caller is told of an answer that is none. `fault` is the caller's own, in words already safe.
    pub(crate) fn of(seen: Seen, retry_after: Option<Duration>, fault: impl FnOnce() -> Failure) -> Self {
        let wait = retry_after.unwrap_or(SOON);
        match seen {
            Seen::Hard => Self::unavailable(SOON, "failure"),
            Seen::TooFast => Self::passed_on(
                Failure::Unavailable { retry_after: wait, rate_limited: true },
                "rate_limited",
            ),
            Seen::Overloaded => Self::unavailable(wait, "overloaded"),
            Seen::Exhausted => Self::unavailable(wait, "exhausted"),
            Seen::BadKey => Self::unavailable(wait, "bad_key"),
            Seen::NoModel => Self::passed_on(
                Failure::NotFound("The provider of this model does not offer it.".into()),
                "no_model",
            ),
            Seen::TooLong => Self::passed_on(
                Failure::InvalidInput {
                    code: InputCode::ContextTooLong,
                    message: "The conversation is longer than this model can read.".into(),
                    param: Some("messages".into()),
                },
                "too_long",
            ),
            Seen::Filtered => Self::last(Failure::Blocked { incident: incident() }, "filtered"),
            Seen::CallersFault => Self::last(fault(), "callers_fault"),
        }
    }
}

/// A fresh incident number. Randomness comes from the system; without it the time alone still names the incident.
pub(crate) fn incident() -> Incident {
    use ring::rand::SecureRandom as _;
    let mut random = [0_u8; 16];
    if ring::rand::SystemRandom::new().fill(&mut random).is_err() {
        tracing::error!("the system has no randomness");
    }
    let unix_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    Incident::from_parts(unix_ms, u128::from_le_bytes(random))
}
