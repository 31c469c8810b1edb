//! A key's own tokens a minute. What a message may take is charged by estimate before the app runs, what it did not
//! take comes back when it has ended. Invariants: in any 60 seconds no more is begun than the key's limit by estimate;
//! a message larger than the whole limit passes alone, or it never would.
//!
//! With Redis nothing comes back before the window slides on: a record ends in `Drop`, where nobody can wait.
//! Source: gateway.md section 13, `/keys`.

use portcullis_domain::{Caller, Failure, LimitScope, Payload};
use portcullis_resilience::limits::{Charge, Limits, Quota, Receipt};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Tokens that an answer is taken to have where the caller does not bound it; the rest comes back.
const OUTPUT_GUESS: u64 = 1_024;
const BYTES_PER_TOKEN: u64 = 4;

/// What one message was charged.
pub(crate) struct Charged {
    limits: Limits,
    subject: String,
    quota: Quota,
    cost: u32,
    receipt: Receipt,
}

/// The name a key's tokens are counted under.
pub(crate) fn subject(caller: &str) -> String {
    format!("tokens/{caller}")
}

/// The quota of that many tokens a minute.
pub(crate) fn quota(tpm: u32) -> Quota {
    Quota::window(tpm, MINUTE)
}

/// Charges a message, where its key has such a limit.
///
/// # Errors
/// `RateLimited`; then nothing was charged.
pub(crate) async fn charge(
    limits: &Limits,
    caller: &Caller,
    payload: &Payload,
) -> Result<Option<Charged>, Failure> {
    let Some(tpm) = caller.limits.as_ref().and_then(|own| own.tpm) else { return Ok(None) };
    let tokens = match payload {
        Payload::Chat(request) => {
            let output = request.max_tokens.map_or(OUTPUT_GUESS, u64::from);
            request.body.len() as u64 / BYTES_PER_TOKEN + output * u64::from(request.n.max(1))
        }
        Payload::Embed(request) => request.body.len() as u64 / BYTES_PER_TOKEN,
        // Its app asks an AI in a conversation of its own, and what that takes is counted there.
        Payload::Count(_) | Payload::Models(_) | Payload::Library(_) | Payload::News(_) => return Ok(None),
    };
    let cost = u32::try_from(tokens).unwrap_or(u32::MAX).clamp(1, tpm.max(1));
    let (subject, quota) = (subject(&caller.id), quota(tpm));
    let decision = limits.decide(&[Charge { scope: LimitScope::Key, subject: &subject, quota, cost }]).await;
    match decision.refused {
        Some(refusal) => {
            Err(Failure::RateLimited { scope: LimitScope::Key, retry_after: refusal.retry_after })
        }
        None => Ok(Some(Charged { limits: limits.clone(), subject, quota, cost, receipt: decision.receipt })),
    }
}

impl Charged {
    /// Gives back what was not taken.
    pub(crate) fn settle(self, used: u64) {
        let cost = self.cost.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        if cost > 0 {
            let (scope, subject) = (LimitScope::Key, self.subject.as_str());
            self.limits.give_back(&[Charge { scope, subject, quota: self.quota, cost }], self.receipt);
        }
    }
}
