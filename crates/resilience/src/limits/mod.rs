//! Limits: one atomic decision over several levels. All are looked at, then all are charged or none. In memory, or in
//! Redis for all replicas together; when Redis is away, each process goes on by itself with a share of every quota.
//!
//! Invariant: at most the permitted number passes, and a refused request has cost nothing, in every store (one
//! conformance suite runs on both). Source: S4-RATE, S3-PERF-7, tools.md 4.2.

mod decide;
mod memory;
mod quota;
mod redis;
#[cfg(test)]
mod tests;

pub use memory::MemoryLimits;
pub use quota::{Look, Quota, SLOTS};
pub use redis::RedisLimits;

use crate::shared::Shared;
use portcullis_domain::{LimitScope, LimitView, Problem};
use portcullis_telemetry::{Health, HealthState, Metrics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// What one message costs at one level.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The level.
    pub scope: LimitScope,
    /// Who pays, at most a few hundred bytes.
    pub subject: &'a str,
    /// How much is allowed.
    pub quota: Quota,
    /// How much this costs, usually 1.
    pub cost: u32,
}

/// Why a decision refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The level with the longest wait; of equal ones the widest.
    pub scope: LimitScope,
    /// When the same request can pass, rounded up to 0.1 s.
    pub retry_after: Duration,
    /// No wait helps: the cost is above the whole quota. `retry_after` is then an hour.
    pub never: bool,
}

/// Who charged and when: what a refund needs to give back exactly that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether all replicas counted together.
    pub shared: bool,
    /// Microseconds of the clock of whoever counted.
    pub at: u64,
}

/// The outcome of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Every level after the decision, in the order of the charges.
    pub views: SmallVec<[LimitView; 5]>,
    /// Set when it refused; then nothing was charged.
    pub refused: Option<Refusal>,
    /// For giving back what was charged.
    pub receipt: Receipt,
}

/// The store could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit store is away")]
pub struct StoreAway;

/// The future of a store's answer.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreAway>> + Send + 'a>>;

/// Where limits are counted. The charges of one decision name different limits: scope, subject and kind of quota
/// (of windows also the length) are never all the same. A cost of 0 looks without charging.
pub trait LimitStore: Send + Sync {
    /// Looks at all, then charges all or none.
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision>;
    /// Gives back what the decision of that receipt charged. A limit never holds more than its quota.
    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], receipt: Receipt) -> StoreFuture<'a, ()>;
    /// Forgets what was used of these limits.
    fn clear<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()>;
}

/// `[limits]`, the part that says how limits are counted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Share of every limit that each process admits by itself while Redis is away, above 0, at most 1. With two
    /// replicas 0.5 keeps the total where it was. Default 0.5.
    pub fallback_share: f64,
    /// Most limits of callers and addresses kept in memory at once, about 200 bytes each; beyond it those at rest
    /// are forgotten first. Default 100000.
    pub max_keys: usize,
    /// Seconds after which a limit in memory that is at rest and not drawn from is forgotten. Default 3600.
    pub idle_secs: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { fallback_share: 0.5, max_keys: 100_000, idle_secs: 3_600 }
    }
}

impl LimitsConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut problem = |key: &str, message: &str, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
        };
        if !(self.fallback_share > 0.0 && self.fallback_share <= 1.0) {
            problem("fallback_share", "must be above 0 and at most 1", "leave the key out for 0.5");
        }
        if self.max_keys < 1000 {
            problem("max_keys", "must be at least 1000", "leave the key out for 100000");
        }
        if self.idle_secs == 0 {
            problem("idle_secs", "must be at least 1", "leave the key out for 3600");
        }
    }
}

impl LimitStore for MemoryLimits {
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision> {
        let decision = self.decide_at(charges, self.now());
        Box::pin(std::future::ready(Ok(decision)))
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], receipt: Receipt) -> StoreFuture<'a, ()> {
        self.refund_at(charges, receipt, self.now());
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()> {
        self.clear_at(charges, self.now());
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Inner {
    memory: MemoryLimits,
    shared: Option<RedisLimits>,
    share: f64,
}

/// The limits of one running Portcullis. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

impl Limits {
    /// Counts in Redis where there is one, else in memory.
    #[must_use]
    pub fn new(config: &LimitsConfig, shared: Option<Shared>, metrics: &Metrics, health: &Health) -> Self {
        let share = config.fallback_share;
        if let Some(shared) = &shared {
            let (gauge, health) = (metrics.limits_fallback(), health.component("limits"));
            shared.on_change(move |away| {
                gauge.set(i64::from(away));
                if away {
                    tracing::warn!(
                        share,
                        "redis is away: this process counts limits by itself; requests go on"
                    );
                    let detail =
                        format!("redis is away; this process admits {share} of each limit by itself");
                    health.set(HealthState::Degraded, detail);
                } else {
                    tracing::info!("redis is back: limits are shared again");
                    health.set(HealthState::Healthy, "");
                }
            });
        }
        let (memory, shared) = (MemoryLimits::new(config), shared.map(RedisLimits::new));
        Self(Arc::new(Inner { memory, shared, share }))
    }

    /// Looks at all levels, then charges all or none. In memory this is ready at once; while Redis is known to be
    /// away it is too; a Redis that does not answer costs at most `redis.timeout_ms`.
    pub async fn decide(&self, charges: &[Charge<'_>]) -> Decision {
        let memory = &self.0.memory;
        let Some(shared) = &self.0.shared else { return memory.decide_at(charges, memory.now()) };
        match shared.decide(charges).await {
            Ok(decision) => decision,
            Err(StoreAway) => memory.decide_at(&self.scaled(charges), memory.now()),
        }
    }

    /// Gives back what a decision charged, where it was charged. What Redis charged and cannot be told to give back
    /// is lost to the caller until it refills.
    pub async fn refund(&self, charges: &[Charge<'_>], receipt: Receipt) {
        let memory = &self.0.memory;
        match &self.0.shared {
            Some(shared) if receipt.shared => {
                if let Err(away) = shared.refund(charges, receipt).await {
                    tracing::debug!(%away, "a charge was not given back");
                }
            }
            Some(_) => memory.refund_at(&self.scaled(charges), receipt, memory.now()),
            None => memory.refund_at(charges, receipt, memory.now()),
        }
    }

    /// Gives back what was charged in memory, without waiting. What Redis charged comes back when its window slides on.
    pub fn give_back(&self, charges: &[Charge<'_>], receipt: Receipt) {
        let memory = &self.0.memory;
        match &self.0.shared {
            Some(_) if receipt.shared => {}
            Some(_) => memory.refund_at(&self.scaled(charges), receipt, memory.now()),
            None => memory.refund_at(charges, receipt, memory.now()),
        }
    }

    /// Forgets what was used of these limits, here and in Redis.
    ///
    /// # Errors
    /// Redis cannot be told; what is counted here is forgotten all the same.
    pub async fn clear(&self, charges: &[Charge<'_>]) -> Result<(), StoreAway> {
        let memory = &self.0.memory;
        memory.clear_at(charges, memory.now());
        match &self.0.shared {
            Some(shared) => shared.clear(charges).await,
            None => Ok(()),
        }
    }

    fn scaled<'a>(&self, charges: &[Charge<'a>]) -> SmallVec<[Charge<'a>; 6]> {
        charges.iter().map(|charge| Charge { quota: charge.quota.share(self.0.share), ..*charge }).collect()
    }
}
