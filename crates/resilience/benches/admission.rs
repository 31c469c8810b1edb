//! One admission decision over five levels, as every request pays it: in memory (at most 1 µs) and through Redis (one
//! round trip). Limits are so high that none refuses. Requirement: the "Speed and memory".

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot run must say so and end")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use portcullis_domain::LimitScope;
use portcullis_resilience::{
    limits::{Charge, Limits, LimitsConfig, Quota},
    shared::{RedisConfig, Shared, Surroundings},
};
use portcullis_telemetry::{Alerts, Health, Metrics};
use std::{hint::black_box, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Callers that take turns: far more than fit the nearest cache.
const CALLERS: usize = 10_000;

fn charges<'a>(address: &'a str, caller: &'a str) -> [Charge<'a>; 5] {
    let bucket = Quota::bucket(u32::MAX, 1e6);
    let window = Quota::window(u32::MAX, Duration::from_secs(60));
    let charge = |scope, subject, quota| Charge { scope, subject, quota, cost: 1 };
    [
        charge(LimitScope::Global, "", bucket),
        charge(LimitScope::Ip, address, bucket),
        charge(LimitScope::User, caller, bucket),
        charge(LimitScope::Tier, caller, window),
        charge(LimitScope::Action, caller, window),
    ]
}

fn admission(criterion: &mut Criterion) {
    let (metrics, health) = (Metrics::new(), Health::new());
    let memory = Limits::new(&LimitsConfig::default(), None, &metrics, &health);
    criterion.bench_function("five levels, memory, one caller", |bench| {
        let asked = charges("192.0.2.7", "key:0123456789");
        bench.iter(|| {
            let decision = memory.decide(black_box(&asked)).now_or_never().expect("ready at once");
            assert!(decision.refused.is_none());
            decision
        });
    });
    let names: Vec<(String, String)> =
        (0..CALLERS).map(|n| (format!("192.0.{}.{}", n / 256, n % 256), format!("key:{n:010}"))).collect();
    let mut turn = 0;
    criterion.bench_function("five levels, memory, 10,000 callers in turn", |bench| {
        bench.iter_batched(
            || {
                turn = (turn + 7_919) % CALLERS;
                charges(&names[turn].0, &names[turn].1)
            },
            |asked| {
                let decision = memory.decide(black_box(&asked)).now_or_never().expect("ready at once");
                assert!(decision.refused.is_none());
                decision
            },
            BatchSize::SmallInput,
        );
    });
    redis(criterion, &metrics, &health);
}

/// The floor of a round trip is measured beside it, so that "one round trip" can be read off the table.
fn redis(criterion: &mut Criterion, metrics: &Metrics, health: &Health) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let Some(server) = runtime.block_on(portcullis_testkit::redis::start()) else { return };
    let around = Surroundings {
        metrics: metrics.clone(),
        health: health.clone(),
        alerts: Alerts::silent(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let entered = runtime.enter();
    let shared = Shared::new(&server.url(), &RedisConfig::default(), &around).expect("a valid URL");
    let limits = Limits::new(&LimitsConfig::default(), Some(shared.clone()), metrics, health);
    drop(entered);
    let asked = charges("192.0.2.7", "key:0123456789");
    assert!(runtime.block_on(limits.decide(&asked)).receipt.shared, "Redis decides");
    criterion.bench_function("bare GET, Redis", |bench| {
        bench.iter(|| runtime.block_on(shared.get("absent")).expect("an answer"));
    });
    criterion.bench_function("five levels, Redis", |bench| {
        bench.iter(|| {
            let decision = runtime.block_on(limits.decide(black_box(&asked)));
            assert!(decision.receipt.shared && decision.refused.is_none());
        });
    });
    around.stop.cancel();
}

criterion_group!(benches, admission);
criterion_main!(benches);
