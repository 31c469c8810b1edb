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
use portcullis_telemetry::{Component, Gauge, Health, HealthState, Metrics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

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
    /// The level with the longest wait.
    pub scope: LimitScope,
    /// When the same request can pass, rounded up to 0.1 s.
    pub retry_after: Duration,
}

/// The outcome of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Every level after the decision.
    pub views: SmallVec<[LimitView; 5]>,
    /// Set when it refused; then nothing was charged.
    pub refused: Option<Refusal>,
    /// Whether all replicas counted together.
    pub shared: bool,
}

/// The store could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit store is away")]
pub struct StoreAway;

/// The future of a store's answer.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreAway>> + Send + 'a>>;

/// Where limits are counted.
pub trait LimitStore: Send + Sync {
    /// Looks at all, then charges all or none.
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision>;
    /// Gives back what a decision charged.
    fn refund<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()>;
}

/// `[limits]`, the part that says how limits are counted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Share of every limit that each process admits by itself while Redis is away, above 0, at most 1. With two
    /// replicas 0.5 keeps the total where it was. Default 0.5.
    pub fallback_share: f64,
    /// Callers, addresses and other subjects counted at once in memory; beyond it those at rest are forgotten first.
    /// Default 100000.
    pub max_keys: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { fallback_share: 0.5, max_keys: 100_000 }
    }
}

impl LimitsConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        if !(self.fallback_share > 0.0 && self.fallback_share <= 1.0) {
            let key = format!("{prefix}.fallback_share");
            out.push(Problem::new(key, "must be above 0 and at most 1", "leave the key out for 0.5"));
        }
        if self.max_keys < 1000 {
            let key = format!("{prefix}.max_keys");
            out.push(Problem::new(key, "must be at least 1000", "leave the key out for 100000"));
        }
    }
}

impl LimitStore for MemoryLimits {
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision> {
        let decision = self.decide_at(charges, now_micros());
        Box::pin(std::future::ready(Ok(decision)))
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()> {
        self.refund_at(charges, now_micros());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Microseconds of tokio's clock, which tests can pause. Begins well above zero, so that nothing underflows.
fn now_micros() -> u64 {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    1 << 40
        | u64::try_from(Instant::now().saturating_duration_since(origin).as_micros()).unwrap_or(u64::MAX >> 1)
}

struct Inner {
    memory: MemoryLimits,
    shared: Option<RedisLimits>,
    share: f64,
    away: AtomicBool,
    gauge: Gauge,
    health: Component,
}

/// The limits of one running Portcullis. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

impl Limits {
    /// Counts in Redis where there is one, else in memory.
    #[must_use]
    pub fn new(config: &LimitsConfig, shared: Option<Shared>, metrics: &Metrics, health: &Health) -> Self {
        Self(Arc::new(Inner {
            memory: MemoryLimits::new(config.max_keys),
            shared: shared.map(RedisLimits::new),
            share: config.fallback_share,
            away: AtomicBool::new(false),
            gauge: metrics.limits_fallback(),
            health: health.component("limits"),
        }))
    }

    /// Looks at all levels, then charges all or none. In memory this is ready at once.
    pub async fn decide(&self, charges: &[Charge<'_>]) -> Decision {
        let Some(shared) = &self.0.shared else { return self.0.memory.decide_at(charges, now_micros()) };
        if let Ok(decision) = shared.decide(charges).await {
            self.note(false);
            return decision;
        }
        self.note(true);
        self.0.memory.decide_at(&self.scaled(charges), now_micros())
    }

    /// Gives back what a decision charged.
    pub async fn refund(&self, charges: &[Charge<'_>]) {
        match &self.0.shared {
            None => self.0.memory.refund_at(charges, now_micros()),
            Some(shared) => {
                if shared.refund(charges).await.is_err() {
                    self.0.memory.refund_at(&self.scaled(charges), now_micros());
                }
            }
        }
    }

    fn scaled<'a>(&self, charges: &[Charge<'a>]) -> SmallVec<[Charge<'a>; 6]> {
        charges.iter().map(|charge| Charge { quota: charge.quota.share(self.0.share), ..*charge }).collect()
    }

    /// Says once that counting changed hands.
    fn note(&self, away: bool) {
        if self.0.away.swap(away, Ordering::Relaxed) == away {
            return;
        }
        self.0.gauge.set(i64::from(away));
        if away {
            let share = self.0.share;
            tracing::warn!(share, "redis is away: this process counts limits by itself; requests go on");
            let detail = format!("redis is away; this process admits {share} of each limit by itself");
            self.0.health.set(HealthState::Degraded, detail);
        } else {
            tracing::info!("redis is back: limits are shared again");
            self.0.health.set(HealthState::Healthy, "");
        }
    }
}
