//! A call from outside in, in paused time.

mod lanes;

use super::*;
use futures_util::{FutureExt as _, future::join_all};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> DependencyPolicy {
    DependencyPolicy {
        name: "double".into(),
        breaker: BreakerPolicy { failures: 4, reset: Duration::from_secs(120) },
        bulkhead: BulkheadPolicy { concurrency: 2, queue: 4 },
        pace: PacePolicy::default(),
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: Duration::from_secs(60),
        hold: Duration::from_secs(900),
        guard: GuardConfig::default(),
    }
}

/// One attempt a call, room for many.
fn once() -> DependencyPolicy {
    DependencyPolicy {
        bulkhead: BulkheadPolicy { concurrency: 100, queue: 100 },
        guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
        ..policy()
    }
}

fn dependency(policy: DependencyPolicy) -> Dependency {
    Dependency::new(policy, &Metrics::new(), &Alerts::silent())
}

fn ctx(secs: u64) -> CallCtx {
    ctx_of("a", secs)
}

fn ctx_of(caller: &str, secs: u64) -> CallCtx {
    let deadline = Deadline::after(Duration::from_secs(secs));
    CallCtx {
        deadline,
        caller: caller.into(),
        weight: 1,
        action: Action::Chat,
        tokens: 10,
        tried: 0,
        others: false,
    }
}

/// Another target is ready to take over.
fn with_others(secs: u64) -> CallCtx {
    CallCtx { others: true, ..ctx(secs) }
}

/// Calls that fail so many times with that class, then work; counts what was sent, and when.
struct Double {
    sent: AtomicU32,
    fail: u32,
    class: Class,
    times: Mutex<Vec<Instant>>,
}

impl Double {
    const fn new(fail: u32, class: Class) -> Self {
        Self { sent: AtomicU32::new(0), fail, class, times: Mutex::new(Vec::new()) }
    }

    async fn answer(&self) -> Result<&'static str, (Class, &'static str)> {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        self.times.lock().push(Instant::now());
        sleep(Duration::from_millis(10)).await;
        if before < self.fail { Err((self.class, "no")) } else { Ok("yes") }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }
}

type Answer = Result<&'static str, CallError<&'static str>>;

async fn call(dependency: &Dependency, double: &Double, secs: u64) -> Answer {
    let guarded = dependency.call(&ctx(secs), |_| double.answer()).await?;
    guarded.permit.finish(Class::Ok);
    Ok(guarded.value)
}

async fn open(dependency: &Dependency) -> Double {
    let double = Double::new(4, Class::HardFailure);
    for _ in 0..4 {
        assert!(call(dependency, &double, 60).await.is_err());
    }
    assert_eq!(dependency.status().breaker, BreakerState::Open);
    double
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

// req: S2-2.2
#[tokio::test(start_paused = true)]
async fn waits_between_attempts_are_within_the_backoff() {
    for _ in 0..50 {
        let double = Double::new(9, Class::HardFailure);
        assert!(call(&dependency(policy()), &double, 60).await.is_err());
        let times = double.times.lock().clone();
        let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let slack = Duration::from_millis(12);
        assert!(waits[0] <= Duration::from_millis(500) + slack && waits[1] <= SECOND + slack, "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_did_wrong_or_cannot_be_mended_is_not_repeated() {
    let exhausted = Class::Exhausted { until: None };
    for class in [Class::CallerFault, Class::Blocked, Class::BadKey, Class::TargetUnfit, exhausted] {
        let double = Double::new(9, class);
        assert!(call(&dependency(policy()), &double, 60).await.is_err());
        assert_eq!(double.sent(), 1, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_another_target_is_ready_there_is_one_attempt() {
    let (dependency, double) = (dependency(policy()), Double::new(9, Class::HardFailure));
    assert!(dependency.call(&with_others(60), |_| double.answer()).await.is_err());
    assert_eq!(double.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_made_elsewhere_count_but_one_is_always_made() {
    for (tried, sent) in [(0, 3), (1, 2), (2, 1), (9, 1), (u32::MAX, 1)] {
        let double = Double::new(9, Class::HardFailure);
        let ctx = CallCtx { tried, ..ctx(60) };
        assert!(dependency(policy()).call(&ctx, |_| double.answer()).await.is_err());
        assert_eq!(double.sent(), sent, "{tried}");
    }
}

// req: S2-2.2
#[tokio::test(start_paused = true)]
async fn a_wait_that_the_dependency_asks_for_is_honoured_and_one_beyond_the_deadline_given_up_now() {
    let double = Double::new(9, Class::RateLimited { retry_after: Some(SECOND * 30) });
    let begun = Instant::now();
    let failed = call(&dependency(policy()), &double, 20).await;
    assert!(matches!(failed, Err(CallError::Failed { class: Class::RateLimited { .. }, .. })));
    assert!(begun.elapsed() < SECOND);
    let double = Double::new(1, Class::RateLimited { retry_after: Some(SECOND * 3) });
    let begun = Instant::now();
    assert!(call(&dependency(policy()), &double, 20).await.is_ok());
    assert!(begun.elapsed() >= SECOND * 3 && begun.elapsed() < SECOND * 4);
    let double = Double::new(1, Class::Overloaded { retry_after: Some(Duration::ZERO) });
    let begun = Instant::now();
    assert!(call(&dependency(policy()), &double, 20).await.is_ok());
    assert!(begun.elapsed() >= LEAST_WAIT, "never at once");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_deadline() {
    let (dependency, double) = (dependency(policy()), Double::new(0, Class::Ok));
    assert!(matches!(call(&dependency, &double, 0).await, Err(CallError::DeadlineExceeded)));
    assert_eq!(double.sent(), 0);
}

// req: S2-2.2
#[tokio::test(start_paused = true)]
async fn in_a_storm_the_dependency_gets_a_fifth_more_and_the_floor() {
    let metrics = Metrics::new();
    let policy = DependencyPolicy {
        breaker: BreakerPolicy { failures: 0, reset: SECOND },
        bulkhead: BulkheadPolicy { concurrency: 10_000, queue: 100 },
        ..policy()
    };
    let dependency = Dependency::new(policy, &metrics, &Alerts::silent());
    let double = Double::new(u32::MAX, Class::HardFailure);
    let calls = (0..3_000_u64).map(|index| {
        let (dependency, double) = (&dependency, &double);
        async move {
            sleep(Duration::from_millis(index * 10)).await;
            call(dependency, double, 60).await.is_err()
        }
    });
    assert!(join_all(calls).await.into_iter().all(|failed| failed));
    assert!(double.sent() <= 3_000 + 600 + 30, "{}", double.sent());
    assert!(metrics.render().contains("retry_budget_exhausted_total{provider=\"double\"}"));
}

// req: S4-BRK, S2-2.3
#[tokio::test(start_paused = true)]
async fn an_open_breaker_fails_calls_without_sending_and_admits_one_probe_after_its_time() {
    let dependency = dependency(once());
    let double = open(&dependency).await;
    let refused = call(&dependency, &double, 60).await;
    assert!(matches!(refused, Err(CallError::Open { retry_after }) if retry_after > SECOND * 119));
    assert_eq!(double.sent(), 4);
    sleep(Duration::from_secs(120)).await;
    let all = join_all((0..10).map(|_| call(&dependency, &double, 60))).await;
    assert_eq!(all.iter().filter(|result| result.is_ok()).count(), 1, "exactly one probe");
    assert_eq!(double.sent(), 5);
    assert_eq!(dependency.status().breaker, BreakerState::Closed);
}

// req: S4-BRK
#[tokio::test(start_paused = true)]
async fn each_change_of_the_breaker_is_in_the_metrics() {
    let metrics = Metrics::new();
    let dependency = Dependency::new(once(), &metrics, &Alerts::silent());
    let double = open(&dependency).await;
    let state = metrics.breaker_state("double");
    assert_eq!(state.get(), 2);
    sleep(Duration::from_secs(120)).await;
    assert_eq!((dependency.status().breaker, state.get()), (BreakerState::HalfOpen, 1));
    assert!(call(&dependency, &double, 60).await.is_ok());
    assert_eq!(state.get(), 0);
    let text = metrics.render();
    for to in ["open", "half_open", "closed"] {
        let line = format!("breaker_transitions_total{{dependency=\"double\",to=\"{to}\"}} 1");
        assert!(text.contains(&line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_queued_before_it_opened_is_not_sent_while_it_is_open() {
    let dependency =
        dependency(DependencyPolicy { bulkhead: BulkheadPolicy { concurrency: 4, queue: 100 }, ..once() });
    let double = Double::new(u32::MAX, Class::HardFailure);
    let all = join_all((0..50).map(|_| call(&dependency, &double, 60))).await;
    assert_eq!(double.sent(), 4, "the four that opened it");
    assert_eq!(all.iter().filter(|answer| matches!(answer, Err(CallError::Open { .. }))).count(), 46);
}

#[tokio::test(start_paused = true)]
async fn one_failure_of_any_kind_is_no_outage() {
    let rate_limited = Class::RateLimited { retry_after: Some(Duration::from_secs(30)) };
    for class in [Class::HardFailure, rate_limited, Class::Overloaded { retry_after: None }, Class::BadKey] {
        let (dependency, double) = (dependency(once()), Double::new(1, class));
        let failed = call(&dependency, &double, 20).await;
        assert!(
            matches!(failed, Err(CallError::Failed { error: Some("no"), .. })),
            "{class:?}: it is passed on"
        );
        assert!(call(&dependency, &double, 20).await.is_ok(), "{class:?}: the very next call is tried");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_says_wait_is_tried_once_in_a_while_only() {
    let dependency = dependency(once());
    let double = Double::new(u32::MAX, Class::RateLimited { retry_after: Some(SECOND * 300) });
    assert!(call(&dependency, &double, 20).await.is_err());
    assert!(dependency.status().paused);
    assert!(
        matches!(call(&dependency, &double, 20).await, Err(CallError::Failed { .. })),
        "the next one is tried"
    );
    for _ in 0..10 {
        let refused = call(&dependency, &double, 20).await;
        assert!(matches!(refused, Err(CallError::Paced { retry_after }) if retry_after > SECOND * 200));
    }
    assert_eq!(double.sent(), 2);
    sleep(SECOND * 30).await;
    assert!(call(&dependency, &double, 20).await.is_err());
    assert_eq!(double.sent(), 3);
    let passed_on = dependency.call(&with_others(20), |_| double.answer()).await;
    assert!(matches!(passed_on, Err(CallError::Paced { .. })));
}

#[tokio::test(start_paused = true)]
async fn rate_limits_never_open_the_breaker() {
    let policy = DependencyPolicy { guard: GuardConfig { probe_secs: 1, ..once().guard }, ..once() };
    let dependency = dependency(policy);
    let double = Double::new(u32::MAX, Class::RateLimited { retry_after: Some(Duration::from_millis(100)) });
    for _ in 0..100 {
        assert!(matches!(call(&dependency, &double, 20).await, Err(CallError::Failed { .. })));
    }
    assert_eq!((double.sent(), dependency.status().breaker), (100, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_is_given_back_and_frees_its_place() {
    let dependency = dependency(once());
    let double = open(&dependency).await;
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
async fn a_streamed_probe_does_not_hold_up_everybody_else() {
    let dependency = dependency(once());
    let double = open(&dependency).await;
    sleep(Duration::from_secs(120)).await;
    let stream = dependency.call(&ctx(600), |_| double.answer()).await.unwrap();
    assert!(call(&dependency, &double, 60).await.is_ok());
    stream.permit.finish(Class::HardFailure);
    assert_eq!(dependency.status().breaker, BreakerState::Open, "it was on probation");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_permit_frees_the_place_and_counts_as_nothing() {
    let dependency = dependency(policy());
    let double = Double::new(0, Class::Ok);
    for _ in 0..10 {
        drop(dependency.call(&ctx(60), |_| double.answer()).await.unwrap());
    }
    let status = dependency.status();
    assert_eq!((status.in_use, status.breaker), (0, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_and_the_deadline_is_the_callers() {
    let dependency = dependency(once());
    let begun = Instant::now();
    let hung = dependency.call(&ctx(5), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
    assert!(matches!(hung, Err(CallError::DeadlineExceeded)));
    assert_eq!(begun.elapsed(), SECOND * 5);
    let hung = dependency.call(&ctx(500), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
    assert!(matches!(hung, Err(CallError::Failed { class: Class::HardFailure, error: None })));
    assert_eq!(begun.elapsed(), SECOND * 65);
    assert_eq!(dependency.status().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn callers_without_patience_cannot_open_the_breaker_for_everybody() {
    let dependency = dependency(once());
    for _ in 0..20 {
        let hung = dependency.call(&ctx(1), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
        assert!(matches!(hung, Err(CallError::DeadlineExceeded)));
    }
    assert_eq!(dependency.status().breaker, BreakerState::Closed);
    for _ in 0..4 {
        let hung = dependency.call(&ctx(40), |_| std::future::pending::<Result<(), (Class, ())>>()).await;
        assert!(matches!(hung, Err(CallError::DeadlineExceeded)));
    }
    assert_eq!(dependency.status().breaker, BreakerState::Open, "half an attempt's time is a fair chance");
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn an_exhausted_account_is_held_but_probed_by_a_real_call_and_released_when_it_works() {
    let dependency = dependency(policy());
    let double = Double::new(1, Class::Exhausted { until: None });
    assert!(call(&dependency, &double, 60).await.is_err());
    assert!(dependency.status().held);
    assert!(matches!(call(&dependency, &double, 60).await, Err(CallError::Open { .. })));
    sleep(SECOND * 30).await;
    let passed_on = dependency.call(&with_others(60), |_| double.answer()).await;
    assert!(matches!(passed_on, Err(CallError::Open { .. })), "not tried while another target is left");
    assert_eq!(double.sent(), 1);
    assert_eq!(call(&dependency, &double, 60).await.unwrap(), "yes");
    assert!(!dependency.status().held);
}

#[tokio::test(start_paused = true)]
async fn a_held_account_is_free_again_after_its_time() {
    let dependency = dependency(policy());
    let double = Double::new(u32::MAX, Class::Exhausted { until: Some(SECOND * 100) });
    assert!(call(&dependency, &double, 60).await.is_err());
    assert_eq!(dependency.status().resumes_in_secs, 100);
    sleep(SECOND * 100).await;
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

// req: S0-03
#[tokio::test(start_paused = true)]
async fn calls_are_delayed_to_keep_the_limit_a_minute_and_given_up_beyond_five_seconds() {
    let pace = PacePolicy { per_min: Some(10), tokens_per_min: None };
    let dependency = dependency(DependencyPolicy { pace, ..once() });
    let double = Double::new(0, Class::Ok);
    for _ in 0..10 {
        assert!(call(&dependency, &double, 600).await.is_ok());
    }
    let begun = Instant::now();
    let paced = call(&dependency, &double, 600).await;
    assert!(matches!(paced, Err(CallError::Paced { retry_after }) if retry_after > SECOND * 50));
    assert_eq!(begun.elapsed(), Duration::ZERO, "given up at once");
    sleep(Duration::from_secs(57)).await;
    assert!(call(&dependency, &double, 600).await.is_ok());
    let times = double.times.lock().clone();
    assert!(times[10] - times[0] >= Duration::from_secs(60), "{:?}", times[10] - times[0]);
}

// req: S0-03
#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_than_the_limit_even_when_calls_queue_for_places_first() {
    let pace = PacePolicy { per_min: Some(20), tokens_per_min: None };
    let guard = GuardConfig { pace_wait_ms: 200_000, ..once().guard };
    let bulkhead = BulkheadPolicy { concurrency: 3, queue: 1_000 };
    let dependency = dependency(DependencyPolicy { pace, guard, bulkhead, ..once() });
    let times = Mutex::new(Vec::new());
    let calls = (0..150_u64).map(|index| {
        let (dependency, times) = (&dependency, &times);
        async move {
            sleep(Duration::from_millis(index * 700 % 40_000)).await;
            let send = |_| async {
                times.lock().push(Instant::now());
                sleep(Duration::from_millis(200 + index * 37 % 9_000)).await;
                Ok::<(), (Class, ())>(())
            };
            drop(dependency.call(&ctx(100_000), send).await);
        }
    });
    join_all(calls).await;
    let times = times.into_inner();
    assert!(times.len() > 40, "{}", times.len());
    for window in times.windows(21) {
        assert!(window[20] - window[0] >= Duration::from_secs(60));
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_waits_for_the_minute_does_not_take_every_opening() {
    let pace = PacePolicy { per_min: Some(2), tokens_per_min: None };
    let guard = GuardConfig { pace_wait_ms: 600_000, ..once().guard };
    let bulkhead = BulkheadPolicy { concurrency: 100, queue: 1_000 };
    let dependency = dependency(DependencyPolicy { pace, guard, bulkhead, ..once() });
    let order = Mutex::new(Vec::new());
    let one = |caller: &'static str| {
        let (dependency, order) = (&dependency, &order);
        async move {
            let send = |_| async { Ok::<(), (Class, ())>(()) };
            if let Ok(guarded) = dependency.call(&ctx_of(caller, 500), send).await {
                order.lock().push(caller);
                guarded.permit.finish(Class::Ok);
            }
        }
    };
    let mut flood = join_all((0..50).map(|_| Box::pin(one("flood"))));
    assert!((&mut flood).now_or_never().is_none());
    tokio::join!(flood, one("quiet"));
    let place = order.lock().iter().position(|caller| *caller == "quiet").unwrap();
    assert!(place <= 4, "behind the two of this minute, the one whose turn it is, and one more: {place}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_got_no_place_has_not_used_the_minute() {
    let pace = PacePolicy { per_min: Some(2), tokens_per_min: None };
    let bulkhead = BulkheadPolicy { concurrency: 1, queue: 0 };
    let dependency = dependency(DependencyPolicy { pace, bulkhead, ..once() });
    let double = Double::new(0, Class::Ok);
    let held = dependency.call(&ctx(60), |_| double.answer()).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(call(&dependency, &double, 60).await, Err(CallError::Full { .. })));
    }
    held.permit.finish(Class::Ok);
    assert!(call(&dependency, &double, 60).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn tokens_are_settled_by_what_it_really_took() {
    let pace = PacePolicy { per_min: None, tokens_per_min: Some(15) };
    let dependency = dependency(DependencyPolicy { pace, ..once() });
    let double = Double::new(0, Class::Ok);
    let mut first = dependency.call(&ctx(60), |_| double.answer()).await.unwrap();
    assert!(
        matches!(call(&dependency, &double, 60).await, Err(CallError::Paced { .. })),
        "10 and 10 are too many"
    );
    first.permit.settle(5);
    first.permit.finish(Class::Ok);
    assert!(call(&dependency, &double, 60).await.is_ok());
}

// req: S0-03
#[tokio::test(start_paused = true)]
async fn what_was_refused_has_taken_a_call_of_the_minute_but_no_tokens() {
    let pace = PacePolicy { per_min: Some(10), tokens_per_min: Some(100) };
    let refusals = [
        Class::RateLimited { retry_after: Some(SECOND) },
        Class::Overloaded { retry_after: None },
        Class::Exhausted { until: Some(SECOND) },
        Class::BadKey,
        Class::TargetUnfit,
        Class::CallerFault,
    ];
    for (class, free) in refusals
        .map(|class| (class, true))
        .into_iter()
        .chain([(Class::HardFailure, false), (Class::Blocked, false)])
    {
        let dependency = dependency(DependencyPolicy { pace, ..once() });
        let double = Double::new(1, class);
        let large = CallCtx { tokens: 85, ..ctx(600) };
        assert!(dependency.call(&large, |_| double.answer()).await.is_err(), "{class:?}");
        sleep(SECOND * 2).await;
        let next = dependency.call(&large, |_| double.answer()).await;
        assert_eq!(next.is_ok(), free, "{class:?}: {next:?}");
    }
    let pace = PacePolicy { per_min: Some(2), tokens_per_min: Some(100) };
    let dependency = dependency(DependencyPolicy { pace, ..once() });
    let double = Double::new(1, Class::CallerFault);
    assert!(call(&dependency, &double, 600).await.is_err());
    assert!(call(&dependency, &double, 600).await.is_ok());
    assert!(matches!(call(&dependency, &double, 600).await, Err(CallError::Paced { .. })), "two were sent");
}

// req: S0-02
#[tokio::test(start_paused = true)]
async fn of_81_calls_16_run_64_wait_and_the_last_is_refused_with_a_time_to_come_back() {
    let bulkhead = BulkheadPolicy { concurrency: 16, queue: 64 };
    let dependency = dependency(DependencyPolicy { bulkhead, ..once() });
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let calls = (0..81).map(|_| {
        let (dependency, inside, most) = (&dependency, &inside, &most);
        async move {
            let send = |_| async {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(SECOND).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok::<(), (Class, ())>(())
            };
            dependency.call(&ctx(100), send).await.map(|guarded| guarded.permit.finish(Class::Ok))
        }
    });
    let all = join_all(calls).await;
    let refused = all
        .iter()
        .filter(|answer| matches!(answer, Err(CallError::Full { retry_after }) if *retry_after >= SECOND));
    assert_eq!((most.load(Ordering::SeqCst), refused.count()), (16, 1));
    assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 80);
}

#[tokio::test(start_paused = true)]
async fn after_ten_thousand_mixed_outcomes_everything_is_at_rest() {
    let metrics = Metrics::new();
    let policy = DependencyPolicy {
        breaker: BreakerPolicy { failures: 50, reset: Duration::from_millis(5) },
        bulkhead: BulkheadPolicy { concurrency: 8, queue: 20_000 },
        ..once()
    };
    let dependency = Dependency::new(policy, &metrics, &Alerts::silent());
    let classes = [
        Class::HardFailure,
        Class::CallerFault,
        Class::RateLimited { retry_after: Some(Duration::ZERO) },
        Class::Cancelled,
    ];
    let calls = (0..10_000_usize).map(|index| {
        let dependency = &dependency;
        async move {
            let ctx = ctx_of(["a", "b", "c"][index % 3], 100_000);
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
    join_all(calls).await;
    let status = dependency.status();
    assert_eq!((status.in_use, status.waiting), (0, 0));
    assert_eq!((metrics.gate_in_use("double").get(), metrics.queue_depth("double").get()), (0, 0));
    let guards = dependency.0.guards.lock();
    assert!(guards.lanes.are_at_rest(), "no room is lost");
}

/// The defaults of S4-BRK that live in this crate; those of providers and of the store are tested where they live.
// req: S4-BRK
#[test]
fn the_breaker_of_redis_opens_after_five_failures() {
    assert_eq!(crate::shared::RedisConfig::default().breaker_failures, 5);
}

#[tokio::test(start_paused = true)]
async fn another_policy_bites_on_the_next_call_and_what_the_breaker_found_stays() {
    let dependency = dependency(policy());
    open(&dependency).await;
    let wider = DependencyPolicy {
        breaker: BreakerPolicy { failures: 9, reset: Duration::from_secs(60) },
        bulkhead: BulkheadPolicy { concurrency: 5, queue: 0 },
        ..policy()
    };
    dependency.reconfigure(wider.clone());
    let status = dependency.status();
    assert_eq!((status.breaker, status.capacity), (BreakerState::Open, 5));
    assert!(status.resumes_in_secs <= 60, "no longer than the new reset: {status:?}");
    dependency
        .reconfigure(DependencyPolicy { breaker: BreakerPolicy { failures: 0, ..wider.breaker }, ..wider });
    assert_eq!(dependency.status().breaker, BreakerState::Closed, "switched off");
    let double = Double::new(0, Class::Ok);
    assert_eq!(call(&dependency, &double, 60).await.unwrap(), "yes");
}

#[tokio::test(start_paused = true)]
async fn more_room_serves_those_in_line_and_a_new_pace_counts_what_was_sent() {
    let dependency = dependency(once());
    dependency.reconfigure(DependencyPolicy {
        bulkhead: BulkheadPolicy { concurrency: 1, queue: 9 },
        pace: PacePolicy { per_min: Some(100), tokens_per_min: None },
        ..once()
    });
    let double = Double::new(0, Class::Ok);
    let begun = Instant::now();
    let three = join_all((0..3).map(|_| call(&dependency, &double, 60)));
    let widen = async {
        sleep(Duration::from_millis(1)).await;
        let pace = PacePolicy { per_min: Some(3), tokens_per_min: None };
        dependency.reconfigure(DependencyPolicy { pace, ..once() });
    };
    let (answers, ()) = tokio::join!(three, widen);
    assert!(answers.iter().all(Result::is_ok));
    assert!(begun.elapsed() < Duration::from_millis(20), "the second and third did not wait for the first");
    assert!(matches!(call(&dependency, &double, 1).await, Err(CallError::Paced { .. })), "all three count");
}
