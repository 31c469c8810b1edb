//! What the guards cost a call that they let through: breaker, budget, pacing, bulkhead, time-out and record, around
//! an attempt that does nothing. Requirement: the "Speed and memory" (every check on).

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot run must say so and end")]

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_domain::{Action, Deadline};
use portcullis_resilience::{
    CallCtx, Class, Dependency, DependencyPolicy, GuardConfig, Learn, breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy, pacing::PacePolicy,
};
use portcullis_telemetry::{Alerts, Metrics};
use std::{hint::black_box, time::Duration};

fn dependency(pace: PacePolicy) -> Dependency {
    let policy = DependencyPolicy {
        name: "bench".into(),
        breaker: BreakerPolicy { failures: 5, reset: Duration::from_secs(60) },
        bulkhead: BulkheadPolicy { concurrency: 16, queue: 64 },
        pace,
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: Duration::from_secs(60),
        hold: Duration::from_secs(900),
        guard: GuardConfig::default(),
    };
    Dependency::new(policy, &Metrics::new(), &Alerts::silent())
}

fn call(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ctx = runtime.block_on(async {
        CallCtx {
            deadline: Deadline::after(Duration::from_secs(86_400)),
            caller: "key:0123456789".into(),
            weight: 2,
            action: Action::Chat,
            tokens: 0,
            tried: 0,
            others: false,
        }
    });
    let limited = PacePolicy { per_min: Some(u32::MAX), tokens_per_min: Some(u32::MAX) };
    for (name, pace) in [("no limit a minute", PacePolicy::default()), ("limits a minute", limited)] {
        let dependency = runtime.block_on(async { dependency(pace) });
        criterion.bench_function(&format!("one guarded call, {name}"), |bench| {
            bench.iter(|| {
                runtime.block_on(async {
                    let send = |_| async { Ok::<_, (Class, ())>(black_box(1)) };
                    let guarded = dependency.call(&ctx, send).await.expect("let through");
                    guarded.permit.finish(Class::Ok);
                });
            });
        });
    }
    criterion.bench_function("an empty block_on, to be subtracted", |bench| {
        bench.iter(|| runtime.block_on(async { black_box(1) }));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = call
}
criterion_main!(benches);
