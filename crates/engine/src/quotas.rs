//! Limits of what an app does for a message beside answering it: a digest that a command asks for, the calls it makes
//! to a model. Invariant: what is charged here is the caller's own use of that action and nothing else; the message
//! itself was charged at every level when it came in. Source: news.md sections 1 and 6, S0-06, S3-PERF-7.

use crate::pipeline::Inner;
use portcullis_domain::{Action, Caller, Failure, LimitScope};
use std::{fmt, sync::Arc, time::Duration};

/// The callers' own limits. Cheap to clone.
#[derive(Clone)]
pub struct Quotas(Option<Arc<Inner>>);

impl Quotas {
    /// Without limits: for apps asked outside the pipeline.
    pub const OPEN: Self = Self(None);

    /// Of a running engine.
    pub(crate) fn new(engine: &Arc<Inner>) -> Self {
        Self(Some(engine.clone()))
    }

    /// Charges one use of an action to a caller; nothing where the action has no limit.
    ///
    /// # Errors
    /// How long until there is one again; then nothing was charged.
    pub async fn charge(&self, caller: &Caller, action: Action) -> Result<(), Duration> {
        let Some(engine) = &self.0 else { return Ok(()) };
        let subjects = engine.admission.subjects(caller, action);
        let charges = engine.admission.charges(caller, action, &subjects);
        let own: Vec<_> = charges.into_iter().filter(|charge| charge.scope == LimitScope::Action).collect();
        if own.is_empty() {
            return Ok(());
        }
        match engine.limits.decide(&own).await.refused {
            None => Ok(()),
            Some(refusal) => Err(refusal.retry_after),
        }
    }

    /// The same, as the failure that a person is told.
    ///
    /// # Errors
    /// `RateLimited`.
    pub async fn spend(&self, caller: &Caller, action: Action) -> Result<(), Failure> {
        let refused = |retry_after| Failure::RateLimited { scope: LimitScope::Action, retry_after };
        self.charge(caller, action).await.map_err(refused)
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Quotas")
    }
}
