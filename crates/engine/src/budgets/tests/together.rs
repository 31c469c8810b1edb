//! Two processes over one real Redis: never more than the budget together, whatever dies in between.

use super::whole::{House, house, ledger_sum, reserve, status, used};
use futures_util::future::join_all;
use portcullis_resilience::shared::{RedisConfig, Shared, Surroundings};
use portcullis_telemetry::{Alerts, Health, Metrics};
use std::{path::Path, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const TEN: &str = r#"{"ten":{"scope":"global","tokens":1000}}"#;

struct Replica {
    house: House,
    stop: CancellationToken,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn replica(folder: &Path, url: &str) -> Replica {
    let stop = CancellationToken::new();
    let around = Surroundings {
        metrics: Metrics::new(),
        health: Health::new(),
        alerts: Alerts::silent(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    };
    let config = RedisConfig { timeout_ms: 2_000, probe_ms: 50, ..RedisConfig::default() };
    let shared = Shared::new(url, &config, &around).unwrap();
    let house = house(folder, TEN, Some(shared)).await;
    house.budgets.follow(&around.tasks, stop.clone());
    Replica { house, stop }
}

async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came: {what}");
}

/// What all have spent and reserved, as Redis says.
async fn shared_sum(replica: &Replica) -> (u64, u64) {
    // A look that reserves nothing brings the counter up to date.
    if let Some(nothing) = reserve(&replica.house.budgets, "look", 0).await {
        nothing.release();
    }
    status(&replica.house.budgets, "ten", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_spend_the_budget_once_and_a_killed_one_is_charged_when_it_is_back() {
    let Some(redis) = portcullis_testkit::redis::start().await else { return };
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (replica(a.path(), &redis.url()).await, replica(b.path(), &redis.url()).await);
    let asks = join_all((0..200).map(|n| {
        let budgets = if n % 2 == 0 { &one.house.budgets } else { &two.house.budgets };
        reserve(budgets, "x", 100)
    }))
    .await;
    let mut held: Vec<_> = asks.into_iter().enumerate().filter_map(|(n, it)| Some((n, it?))).collect();
    assert_eq!(held.len(), 10, "of 200 over two replicas exactly ten are paid");
    assert_eq!(shared_sum(&one).await, (0, 1000));
    // Some end, dearer or cheaper; those of the second that still run die with it.
    let (mut spent, mut lost) = (0, 0);
    for (n, reserved) in held.drain(..) {
        if n % 2 == 0 {
            reserved.settle(used(30, 0));
            spent += 30;
        } else {
            std::mem::forget(reserved);
            lost += 100;
        }
    }
    two.house.store.forget();
    drop(two);
    until("what has ended is in redis", async || shared_sum(&one).await == (spent, lost)).await;
    let left = 1000 - spent - lost;
    assert!(reserve(&one.house.budgets, "x", left + 1).await.is_none());

    let two = replica(b.path(), &redis.url()).await;
    assert_eq!(shared_sum(&two).await, (spent + lost, 0), "charged as reserved");
    let more = reserve(&two.house.budgets, "x", left).await.unwrap();
    more.settle(used(left, 0));
    until("settled", async || shared_sum(&one).await == (1000, 0)).await;
    assert!(reserve(&one.house.budgets, "x", 1).await.is_none());
    let sums = (ledger_sum(&one.house).await.0, ledger_sum(&two.house).await.0);
    assert_eq!(sums.0 + sums.1, 1000, "the ledgers together say what redis says: {sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_replica_spends_its_share_of_the_rest_and_tells_it_afterwards() {
    let Some(mut redis) = portcullis_testkit::redis::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let one = replica(folder.path(), &redis.url()).await;
    reserve(&one.house.budgets, "x", 200).await.unwrap().settle(used(200, 0));
    until("redis has it", async || shared_sum(&one).await == (200, 0)).await;
    let running = reserve(&one.house.budgets, "x", 100).await.unwrap();
    redis.kill();
    // 700 are left, of which it may spend half.
    assert!(reserve(&one.house.budgets, "x", 351).await.is_none());
    let alone = reserve(&one.house.budgets, "x", 350).await.unwrap();
    assert!(reserve(&one.house.budgets, "x", 1).await.is_none());
    alone.settle(used(340, 0));
    running.settle(used(90, 0));
    // The data is gone with the server: counters come from the ledger again.
    let redis = redis.restart().await;
    until("counted together again", async || shared_sum(&one).await == (630, 0)).await;
    assert!(reserve(&one.house.budgets, "x", 371).await.is_none());
    let rest = reserve(&one.house.budgets, "x", 370).await.unwrap();
    rest.settle(used(370, 0));
    assert_eq!(ledger_sum(&one.house).await.0, 1000);
    drop(redis);
}
