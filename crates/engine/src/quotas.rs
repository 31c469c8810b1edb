//! Limits of what an app does for a message beside answering it: a digest that a command asks for, the calls it makes
//! to a model. Invariant: what is charged here is the caller's own use of that action and nothing else; the message
//! itself was charged at every level when it came in. Source: news.md sections 1 and 6, S0-06, S3-PERF-7.

use crate::{Admission, AdmissionConfig, pipeline::Inner};
use portcullis_domain::{Action, Caller, Failure, LimitScope};
use portcullis_resilience::limits::{Limits, LimitsConfig};
use portcullis_telemetry::{Health, Metrics};
use std::{fmt, sync::Arc, time::Duration};

/// The callers' own limits. Cheap to clone.
#[derive(Clone)]
pub struct Quotas(Held);

/// Who counts.
#[derive(Clone)]
enum Held {
    Nobody,
    Engine(Arc<Inner>),
    Own(Arc<(Admission, Limits)>),
}

impl Quotas {
    /// Without limits: for apps asked outside the pipeline.
    pub const OPEN: Self = Self(Held::Nobody);

    /// Of a running engine.
    pub(crate) fn new(engine: &Arc<Inner>) -> Self {
        Self(Held::Engine(engine.clone()))
    }

    /// Held to these limits, counted here alone: for apps asked outside the pipeline whose callers are bound nonetheless.
    #[must_use]
    pub fn alone(config: &AdmissionConfig) -> Self {
        let limits = Limits::new(&LimitsConfig::default(), None, &Metrics::new(), &Health::new());
        Self(Held::Own(Arc::new((Admission::new(config), limits))))
    }

    /// Charges one use of an action to a caller; nothing where the action has no limit.
    ///
    /// # Errors
    /// How long until there is one again; then nothing was charged.
    pub async fn charge(&self, caller: &Caller, action: Action) -> Result<(), Duration> {
        let (admission, limits) = match &self.0 {
            Held::Nobody => return Ok(()),
            Held::Engine(engine) => (&engine.admission, &engine.limits),
            Held::Own(own) => (&own.0, &own.1),
        };
        let subjects = admission.subjects(caller, action);
        let charges = admission.charges(caller, action, &subjects);
        let own: Vec<_> = charges.into_iter().filter(|charge| charge.scope == LimitScope::Action).collect();
        if own.is_empty() {
            return Ok(());
        }
        match limits.decide(&own).await.refused {
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
