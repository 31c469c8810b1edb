//! Answers that are kept and given again, so that the same question is not paid twice: exact (the same request),
//! semantic (one that means the same; off by default), shared while under way (coalescing), and under an
//! `Idempotency-Key`.
//!
//! Invariants: a request that may not be kept costs nothing here, not even a digest; nobody is given what another
//! scope asked for; errors, cut, filtered and degraded answers are not kept, and answers with tool calls not if the
//! question was suspicious; what is given again costs no tokens. Source: gateway design section 12.

mod config;
mod differs;
mod entry;
mod flights;
mod key;
mod meanings;
mod replay;
mod serve;
mod store;
#[cfg(test)]
mod tests;

pub use config::{CacheConfig, CacheScope, SemanticConfig};

use flights::Flights;
use meanings::Meanings;
use portcullis_resilience::shared::Shared;
use std::sync::Arc;
use store::Store;
use tokio_util::task::TaskTracker;

/// What is kept, and how. Cheap to clone; outlives reloads of the settings.
#[derive(Clone)]
pub struct Answers {
    config: Arc<CacheConfig>,
    kept: Arc<Kept>,
}

struct Kept {
    store: Store,
    /// Whole answers that are being got, by what they are kept under.
    exact: Flights,
    /// Requests under way that came with an `Idempotency-Key`.
    once: Flights,
    meanings: Meanings,
    tasks: TaskTracker,
}

impl Answers {
    /// Nothing is kept yet. `shared`: where replicas share it. `tasks`: where calls with an `Idempotency-Key` go on
    /// when their caller hangs up.
    #[must_use]
    pub fn new(config: &CacheConfig, shared: Option<Shared>, tasks: TaskTracker) -> Self {
        let kept = Kept {
            store: Store::new(config.max_bytes, shared, tasks.clone()),
            exact: Flights::default(),
            once: Flights::default(),
            meanings: Meanings::default(),
            tasks,
        };
        Self { config: Arc::new(config.clone()), kept: Arc::new(kept) }
    }

    /// The same answers under other settings.
    #[must_use]
    pub fn changed(&self, config: &CacheConfig) -> Self {
        self.kept.store.set_max_bytes(config.max_bytes);
        Self { config: Arc::new(config.clone()), kept: self.kept.clone() }
    }
}
