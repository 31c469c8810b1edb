//! A call from outside in, in paused time.

use super::*;
use crate::{breaker::BreakerState, pacing::PacePolicy};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::sleep;

fn policy() -> DependencyPolicy {
    DependencyPolicy {
        name: "double".into(),
        breaker: BreakerPolicy { failures: 4, reset: Duration::from_secs(120) },
        bulkhead: BulkheadPolicy { concurrency: 2, queue: 4 },
        pace: PacePolicy::default(),
        attempts: 3,
        attempt_timeout: Duration::from_secs(60),
        pace_wait: Duration::from_secs(5),
        hold: Duration::from_secs(900),
    }
}

fn dependency(policy: DependencyPolicy) -> Dependency {
    Dependency::new(policy, &Metrics::new(), &Alerts::silent())
}

fn ctx(secs: u64) -> CallCtx {
    CallCtx {
        deadline: Deadline::after(Duration::from_secs(secs)),
        caller: "a".into(),
        weight: 1,
        action: Action::Chat,
        tokens: 10,
    }
}

/// Calls that fail so many times with that class, then work; counts what was sent.
struct Double {
    sent: AtomicU32,
    fail: u32,
    class: Class,
}

impl Double {
    const fn new(fail: u32, class: Class) -> Self {
        Self { sent: AtomicU32::new(0), fail, class }
    }

    async fn answer(&self) -> Result<&'static str, (Class, &'static str)> {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
        if before < self.fail { Err((self.class, "no")) } else { Ok("yes") }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn call(
    dependency: &Dependency,
    double: &Double,
    secs: u64,
) -> Result<&'static str, CallError<&'static str>> {
    let guarded = dependency.call(&ctx(secs), |_| double.answer()).await?;
    guarded.permit.finish(Class::Ok);
    Ok(guarded.value)
}

// req: S2-2.2
#[tokio::test(start_paused = true)]
async fn two_failures_are_retried_and_a_third_is_told() {
    let dependency = dependency(policy());
    let double = Double::new(2, Class::HardFailure);
    assert_eq!(call(&dependency, &double, 60).await.unwrap(), "yes");
    let double = Double::new(9, Class::HardFailure);
    let failed = call(&dependency, &double, 60).await;
    assert!(matches!(failed, Err(CallError::Failed { class: Class::HardFailure, error: Some("no") })));
    assert_eq!(double.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_did_wrong_or_cannot_be_mended_is_not_repeated() {
    for class in [Class::CallerFault, Class::Blocked, Class::BadKey, Class::TargetUnfit] {
        let double = Double::new(9, class);
        assert!(call(&dependency(policy()), &double, 60).await.is_err());
        assert_eq!(double.sent(), 1, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_longer_than_the_deadline_is_given_up_now() {
    let double = Double::new(9, Class::RateLimited { retry_after: Some(Duration::from_secs(30)) });
    let begun = Instant::now();
    let failed = call(&dependency(policy()), &double, 20).await;
    assert!(matches!(failed, Err(CallError::Failed { class: Class::RateLimited { .. }, .. })));
    assert!(begun.elapsed() < Duration::from_secs(1));
    let double = Double::new(1, Class::RateLimited { retry_after: Some(Duration::from_secs(3)) });
    let begun = Instant::now();
    assert!(call(&dependency(policy()), &double, 20).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(3), "what it asked for is honoured");
}

// req: S4-BRK
#[tokio::test(start_paused = true)]
async fn an_open_breaker_fails_calls_without_sending_and_admits_one_probe_after_its_time() {
    let dependency = dependency(DependencyPolicy { attempts: 1, ..policy() });
    let double = Double::new(4, Class::HardFailure);
    for _ in 0..4 {
        assert!(call(&dependency, &double, 60).await.is_err());
    }
    assert_eq!(dependency.status().breaker, BreakerState::Open);
    assert!(matches!(call(&dependency, &double, 60).await, Err(CallError::Open { .. })));
    assert_eq!(double.sent(), 4);
    sleep(Duration::from_secs(120)).await;
    let all = futures_util::future::join_all((0..10).map(|_| call(&dependency, &double, 60))).await;
    assert_eq!(all.iter().filter(|result| result.is_ok()).count(), 1, "exactly one probe");
    assert_eq!(double.sent(), 5);
    assert_eq!(dependency.status().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_is_given_back_and_frees_its_place() {
    let dependency = dependency(DependencyPolicy { attempts: 1, ..policy() });
    let double = Double::new(4, Class::HardFailure);
    for _ in 0..4 {
        assert!(call(&dependency, &double, 60).await.is_err());
    }
    sleep(Duration::from_secs(120)).await;
    let probe = tokio::time::timeout(Duration::from_millis(1), call(&dependency, &double, 60)).await;
    assert!(probe.is_err(), "the caller went away");
    assert_eq!(dependency.status().in_use, 0);
    assert_eq!(call(&dependency, &double, 60).await.unwrap(), "yes");
}

#[tokio::test(start_paused = true)]
async fn a_streamed_value_keeps_its_place_and_may_still_fail() {
    let dependency = dependency(policy());
    let double = Double::new(0, Class::Ok);
    let open = dependency.call(&ctx(60), |_| double.answer()).await.unwrap();
    assert_eq!(dependency.status().in_use, 1);
    open.permit.finish(Class::HardFailure);
    assert_eq!(dependency.status().in_use, 0);
    for _ in 0..3 {
        let open = dependency.call(&ctx(60), |_| double.answer()).await.unwrap();
        open.permit.finish(Class::HardFailure);
    }
    assert_eq!(dependency.status().breaker, BreakerState::Open, "late failures count");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_and_the_deadline_is_the_callers() {
    let dependency = dependency(DependencyPolicy { attempts: 1, ..policy() });
    let begun = Instant::now();
    let hung = dependency.call(&ctx(5), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
    assert!(matches!(hung, Err(CallError::DeadlineExceeded)));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    let hung = dependency.call(&ctx(500), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
    assert!(matches!(hung, Err(CallError::Failed { class: Class::HardFailure, error: None })));
    assert_eq!(dependency.status().in_use, 0);
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn an_exhausted_account_is_held_but_probed_by_a_real_call_and_released_when_it_works() {
    let dependency = dependency(policy());
    let double = Double::new(1, Class::Exhausted { until: None });
    assert!(call(&dependency, &double, 60).await.is_err());
    assert!(dependency.status().held);
    assert!(matches!(call(&dependency, &double, 60).await, Err(CallError::Open { .. })));
    assert_eq!(double.sent(), 1);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(call(&dependency, &double, 60).await.unwrap(), "yes");
    assert!(!dependency.status().held);
}

#[tokio::test(start_paused = true)]
async fn one_refused_key_is_no_outage_and_two_hold_the_account() {
    let dependency = dependency(policy());
    let double = Double::new(2, Class::BadKey);
    assert!(call(&dependency, &double, 60).await.is_err());
    assert!(!dependency.status().held);
    assert!(call(&dependency, &double, 60).await.is_err());
    assert!(dependency.status().held);
}

#[tokio::test(start_paused = true)]
async fn after_ten_thousand_mixed_outcomes_everything_is_at_rest() {
    let dependency = dependency(DependencyPolicy {
        breaker: BreakerPolicy { failures: 0, reset: Duration::from_secs(1) },
        bulkhead: BulkheadPolicy { concurrency: 8, queue: 20_000 },
        attempts: 1,
        ..policy()
    });
    let classes = [
        Class::HardFailure,
        Class::CallerFault,
        Class::RateLimited { retry_after: Some(Duration::ZERO) },
        Class::Cancelled,
    ];
    let calls = (0..10_000_usize).map(|index| {
        let dependency = &dependency;
        async move {
            let ctx = ctx(100_000);
            let answer = dependency.call(&ctx, |_| async {
                sleep(Duration::from_millis(index as u64 % 7)).await;
                if index % 5 == 0 { Ok(()) } else { Err((classes[index % 4], ())) }
            });
            match index % 11 {
                0 => drop(tokio::time::timeout(Duration::from_millis(3), answer).await),
                _ => drop(answer.await),
            }
        }
    });
    futures_util::future::join_all(calls).await;
    let status = dependency.status();
    assert_eq!((status.in_use, status.waiting), (0, 0));
}
