//! The registry in paused time, and two replicas over a real Redis.

use super::*;
use crate::{
    GuardConfig,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    dependency::{CallCtx, CallError, Class, DependencyPolicy},
    pacing::{Learn, PacePolicy},
    shared::{RedisConfig, Surroundings},
};
use portcullis_domain::{Action, Deadline};
use portcullis_telemetry::{Alerts, Metrics};

fn dependency(name: &str, reset: Duration) -> Dependency {
    let policy = DependencyPolicy {
        name: name.into(),
        breaker: BreakerPolicy { failures: 4, reset },
        bulkhead: BulkheadPolicy { concurrency: 2, queue: 4 },
        pace: PacePolicy::default(),
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: Duration::from_secs(60),
        hold: Duration::from_secs(900),
        guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
    };
    Dependency::new(policy, &Metrics::new(), &Alerts::silent())
}

async fn call(dependency: &Dependency, class: Class) -> Result<(), CallError<()>> {
    let deadline = Deadline::after(Duration::from_secs(60));
    let ctx = CallCtx {
        deadline,
        caller: "a".into(),
        weight: 1,
        action: Action::Chat,
        tokens: 1,
        tried: 0,
        others: false,
    };
    let guarded = dependency
        .call(&ctx, |_| async move { if class == Class::Ok { Ok(()) } else { Err((class, ())) } })
        .await?;
    guarded.permit.finish(Class::Ok);
    Ok(())
}

async fn open(dependency: &Dependency) {
    for _ in 0..4 {
        assert!(call(dependency, Class::HardFailure).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_names_every_dependency_once_with_its_state() {
    let registry = Registry::new();
    registry.add(dependency("kimi", Duration::from_secs(120)));
    registry.add(dependency("glm", Duration::from_secs(120)));
    registry.add(dependency("kimi", Duration::from_secs(120)));
    open(&registry.get("glm").unwrap()).await;
    let names: Vec<_> = registry.snapshot().into_iter().map(|status| (status.name, status.breaker)).collect();
    assert_eq!(names, [("glm".into(), BreakerState::Open), ("kimi".into(), BreakerState::Closed)]);
    let glm = serde_json::to_value(registry.get("glm").unwrap().status()).unwrap();
    assert_eq!((&glm["breaker"], &glm["resumes_in_secs"]), (&"open".into(), &120.into()));
    assert!(registry.get("openai").is_none());
}

// req: S4-BRK
#[tokio::test(start_paused = true)]
async fn health_says_which_dependency_fails_and_that_it_works_again() {
    let (registry, health) = (Registry::new(), Health::new());
    registry.add(dependency("kimi", Duration::from_secs(120)));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    registry.start(None, health.clone(), &tasks, &stop);
    let state =
        || health.snapshot().into_iter().find(|part| part.name == "outbound:kimi").map(|part| part.state);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state(), Some(HealthState::Healthy));
    open(&registry.get("kimi").unwrap()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((state(), health.is_ready()), (Some(HealthState::Degraded), true));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(call(&registry.get("kimi").unwrap(), Class::Ok).await.is_ok());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state(), Some(HealthState::Healthy));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// A replica: its own registry and connection.
struct Replica {
    kimi: Dependency,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Replica {
    fn start(url: &str, reset: Duration) -> Self {
        let (metrics, health, tasks, stop) =
            (Metrics::new(), Health::new(), TaskTracker::new(), CancellationToken::new());
        let around = Surroundings {
            metrics,
            health: health.clone(),
            alerts: Alerts::silent(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let config = RedisConfig { timeout_ms: 1_000, probe_ms: 50, ..RedisConfig::default() };
        let shared = Shared::new(url, &config, &around).unwrap();
        let registry = Registry::new();
        let kimi = dependency("kimi", reset);
        registry.add(kimi.clone());
        registry.start(Some(shared), health, &tasks, &stop);
        Self { kimi, stop, tasks }
    }

    async fn until(&self, state: BreakerState) {
        let reached = async {
            while self.kimi.status().breaker != state {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the state is reached");
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

// req: S4-BRK
#[tokio::test]
async fn a_breaker_that_opens_on_one_replica_opens_on_the_others_and_on_those_that_start_later() {
    let Some(server) = portcullis_testkit::redis::start().await else { return };
    let reset = Duration::from_secs(600);
    let (first, second) = (Replica::start(&server.url(), reset), Replica::start(&server.url(), reset));
    // Listening has begun once what is said is heard.
    let heard = async {
        loop {
            open(&first.kimi).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            if second.kimi.status().breaker == BreakerState::Open {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("it is heard");
    let third = Replica::start(&server.url(), reset);
    third.until(BreakerState::Open).await;
    assert!(third.kimi.status().resumes_in_secs <= 600);
    for replica in [first, second, third] {
        replica.end().await;
    }
}

#[tokio::test]
async fn a_probe_that_works_lets_the_others_probe_at_once() {
    let Some(server) = portcullis_testkit::redis::start().await else { return };
    let patient = Replica::start(&server.url(), Duration::from_secs(600));
    let quick = Replica::start(&server.url(), Duration::from_millis(50));
    open(&patient.kimi).await;
    let worked = async {
        loop {
            open_again(&quick.kimi).await;
            if patient.kimi.status().breaker == BreakerState::HalfOpen {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), worked).await.expect("it is heard");
    assert!(call(&patient.kimi, Class::Ok).await.is_ok());
    assert_eq!(patient.kimi.status().breaker, BreakerState::Closed);
    quick.end().await;
    patient.end().await;
}

/// Opens, waits its short time, and closes by a probe.
async fn open_again(dependency: &Dependency) {
    for _ in 0..4 {
        drop(call(dependency, Class::HardFailure).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(call(dependency, Class::Ok).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn losing_redis_changes_nothing_locally() {
    let Some(mut server) = portcullis_testkit::redis::start().await else { return };
    let replica = Replica::start(&server.url(), Duration::from_millis(50));
    server.kill();
    open(&replica.kimi).await;
    assert_ne!(replica.kimi.status().breaker, BreakerState::Closed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(call(&replica.kimi, Class::Ok).await.is_ok());
    assert_eq!(replica.kimi.status().breaker, BreakerState::Closed);
    replica.end().await;
}
