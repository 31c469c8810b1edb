//! What follows from looking at every limit; the same for every store. Invariant: the refusal names the limit with
//! the longest wait, rounded up to a tenth of a second; a decision that refuses has charged nothing.

use super::{Charge, Decision, Refusal, quota::Look};
use portcullis_domain::LimitView;
use std::time::Duration;

/// A tenth of a second.
const STEP: u64 = 100_000;
/// Told instead of "never": a cost that no rested limit holds.
const NEVER: u64 = 3_600_000_000;

/// The refusal, if any limit lacks room.
pub(super) fn refusal(charges: &[Charge<'_>], looks: &[Look]) -> Option<Refusal> {
    let (charge, look) = charges.iter().zip(looks).max_by_key(|(_, look)| look.wait)?;
    if look.wait == 0 {
        return None;
    }
    let wait = look.wait.min(NEVER).div_ceil(STEP) * STEP;
    Some(Refusal { scope: charge.scope, retry_after: Duration::from_micros(wait) })
}

/// The whole decision.
pub(super) fn decision(
    charges: &[Charge<'_>],
    looks: &[Look],
    refused: Option<Refusal>,
    shared: bool,
) -> Decision {
    let charged = refused.is_none();
    let views = charges.iter().zip(looks).map(|(charge, look)| {
        let cost = if charged { charge.cost } else { 0 };
        let reset =
            if look.reset == 0 && cost > 0 { first_return(charge) } else { look.reset.max(wait_of(look)) };
        LimitView {
            scope: charge.scope,
            quota: charge.quota.most(),
            window_secs: charge.quota.window_secs(),
            remaining: look.remaining.saturating_sub(cost),
            reset_secs: u32::try_from(reset.div_ceil(1_000_000)).unwrap_or(u32::MAX),
        }
    });
    Decision { views: views.collect(), refused, shared }
}

fn wait_of(look: &Look) -> u64 {
    if look.wait == u64::MAX { 0 } else { look.wait }
}

/// When the first charge of a rested limit comes back.
fn first_return(charge: &Charge<'_>) -> u64 {
    match charge.quota {
        super::Quota::Bucket { micros_per_token, .. } => micros_per_token,
        super::Quota::Window { micros, .. } => micros,
    }
}
