//! What follows from looking at every limit; the same for every store. Invariant: the refusal names the limit with
//! the longest wait, rounded up to a tenth of a second; a decision that refuses has charged nothing.

use super::{
    Charge, Decision, Receipt, Refusal,
    quota::{Look, first_return},
};
use portcullis_domain::LimitView;
use std::time::Duration;

/// A tenth of a second.
const STEP: u64 = 100_000;
/// Told instead of "never": a cost that no rested limit holds.
const NEVER: u64 = 3_600_000_000;

/// The refusal, if any limit lacks room. Of equal waits the widest scope (the first charge) is named.
pub(super) fn refusal(charges: &[Charge<'_>], looks: impl Iterator<Item = Look>) -> Option<Refusal> {
    let longest = |worst: (usize, u64), (at, look): (usize, Look)| {
        if look.wait > worst.1 { (at, look.wait) } else { worst }
    };
    let (at, wait) = looks.enumerate().fold((0, 0), longest);
    if wait == 0 {
        return None;
    }
    let told = if wait == u64::MAX { NEVER } else { wait.div_ceil(STEP) * STEP };
    Some(Refusal {
        scope: charges[at].scope,
        retry_after: Duration::from_micros(told),
        never: wait == u64::MAX,
    })
}

/// The whole decision. The receipt's time is the store's clock.
pub(super) fn decision(
    charges: &[Charge<'_>],
    looks: impl Iterator<Item = Look>,
    refused: Option<Refusal>,
    receipt: Receipt,
) -> Decision {
    let views = charges.iter().zip(looks).map(|(charge, look)| {
        let cost = if refused.is_none() { charge.cost } else { 0 };
        let reset = match look {
            Look { reset: 0, .. } if cost > 0 => first_return(charge.quota, receipt.at),
            // No cost of this size ever fits: what is left tells more than a time.
            Look { wait: u64::MAX, reset, .. } => reset,
            Look { wait, reset, .. } => reset.max(wait),
        };
        LimitView {
            scope: charge.scope,
            quota: charge.quota.most(),
            window_secs: charge.quota.window_secs(),
            remaining: look.remaining.saturating_sub(cost),
            reset_secs: u32::try_from(reset.div_ceil(1_000_000)).unwrap_or(u32::MAX),
        }
    });
    Decision { views: views.collect(), refused, receipt }
}
