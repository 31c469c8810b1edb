//! Held accounts over a restart: who has no credit at a provider has none a minute later either, and asking again would
//! only be refused. Invariant: a hold is restored for what is left of its time and not for longer; a key that was
//! refused is not kept held, because a restart reads keys again. Losing this list costs one refused call a key.

use jiff::Timestamp;
use portcullis_resilience::{Hold, Registry};
use portcullis_store::{HoldRow, Result, Store};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often it is seen whether something changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An end that moved by less is the same end.
const SAME_MS: i64 = 2_000;

/// Holds what was held before the restart.
///
/// # Errors
/// A store that is away.
pub async fn restore(registry: &Registry, store: &Store) -> Result<()> {
    let now = Timestamp::now().as_millisecond();
    for row in store.holds().list().await? {
        let left = u64::try_from(row.until_ms - now).unwrap_or(0);
        if let Some(dependency) = registry.get(&row.dependency).filter(|_| left > 0) {
            tracing::warn!(dependency = row.dependency, lane = row.lane, "account still held");
            let remaining = Duration::from_millis(left);
            dependency.restore_hold(&Hold { lane: row.lane as usize, remaining });
        }
    }
    Ok(())
}

/// Keeps what is held, until `stop`.
pub fn keep(registry: Registry, store: Store, tasks: &TaskTracker, stop: CancellationToken) {
    drop(tasks.spawn(async move {
        Box::pin(stop.run_until_cancelled(keep_on(&registry, &store))).await;
    }));
}

async fn keep_on(registry: &Registry, store: &Store) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What an earlier process left is written over at the first look, if it differs.
    let mut kept: Option<Vec<HoldRow>> = store.holds().list().await.ok();
    loop {
        ticks.tick().await;
        let held = held(registry);
        if kept.as_ref().is_some_and(|kept| same(kept, &held)) {
            continue;
        }
        match store.holds().replace(&held).await {
            Ok(()) => kept = Some(held),
            // Tried again at the next look; the store itself says that it is away.
            Err(error) => tracing::debug!(%error, "holds cannot be kept just now"),
        }
    }
}

fn held(registry: &Registry) -> Vec<HoldRow> {
    let now = Timestamp::now().as_millisecond();
    let mut rows = Vec::new();
    for dependency in registry.all() {
        for hold in dependency.holds() {
            let left = i64::try_from(hold.remaining.as_millis()).unwrap_or(i64::MAX);
            rows.push(HoldRow {
                dependency: dependency.name().to_owned(),
                lane: u32::try_from(hold.lane).unwrap_or(u32::MAX),
                until_ms: now.saturating_add(left),
            });
        }
    }
    rows
}

fn same(kept: &[HoldRow], held: &[HoldRow]) -> bool {
    let like = |one: &HoldRow, other: &HoldRow| {
        (&one.dependency, one.lane) == (&other.dependency, other.lane)
            && (one.until_ms - other.until_ms).abs() < SAME_MS
    };
    kept.len() == held.len() && held.iter().all(|one| kept.iter().any(|other| like(one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::store;
    use portcullis_domain::{Action, Deadline};
    use portcullis_resilience::{
        CallCtx, Class, Dependency, DependencyPolicy, GuardConfig, Learn, breaker::BreakerPolicy,
        bulkhead::BulkheadPolicy, pacing::PacePolicy,
    };
    use portcullis_store::StoreConfig;
    use portcullis_telemetry::{Alerts, Metrics};
    use tempfile::TempDir;

    fn registry() -> (Registry, Dependency) {
        let policy = DependencyPolicy {
            name: "double".into(),
            breaker: BreakerPolicy { failures: 5, reset: Duration::from_secs(60) },
            bulkhead: BulkheadPolicy { concurrency: 2, queue: 2 },
            pace: PacePolicy::default(),
            lanes: 2,
            learn: Learn::Off,
            attempt_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(900),
            guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
        };
        let dependency = Dependency::new(policy, &Metrics::new(), &Alerts::silent());
        let registry = Registry::new();
        registry.add(dependency.clone());
        (registry, dependency)
    }

    // req: S2-3.7
    #[tokio::test]
    async fn an_account_without_credit_is_still_held_after_a_restart_for_what_was_left() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder.path().join("data"), &StoreConfig::default(), None).await;
        let (registry, before) = self::registry();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        keep(registry, store.clone(), &tasks, stop.clone());
        let ctx = CallCtx {
            deadline: Deadline::after(Duration::from_secs(5)),
            caller: "a".into(),
            weight: 1,
            action: Action::Chat,
            tokens: 1,
            tried: 0,
            others: false,
        };
        let send = |_| async { Err::<(), _>((Class::Exhausted { until: None }, ())) };
        assert!(before.call(&ctx, send).await.is_err());
        let kept = async {
            while store.holds().list().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), kept).await.unwrap();
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        let (registry, after) = self::registry();
        restore(&registry, &store).await.unwrap();
        assert_eq!(after.status().lanes_held, 1);
        let left = after.holds()[0].remaining;
        assert!(left <= Duration::from_secs(900) && left > Duration::from_secs(800), "{left:?}");
    }
}
