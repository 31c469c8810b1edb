//! Several keys, what they learn, what holds them, and an operator's hand.

use super::*;
use crate::pacing::{Learned, Told};

fn lanes(count: usize, per_min: Option<u32>) -> Dependency {
    let pace = PacePolicy { per_min, tokens_per_min: None };
    dependency(DependencyPolicy { lanes: count, pace, learn: Learn::Lower, ..once() })
}

/// Makes a call that ends so; the lane it went with.
async fn lane_of(dependency: &Dependency, ctx: CallCtx, class: Class) -> Option<usize> {
    let lane = Mutex::new(None);
    let send = |attempt: Attempt| {
        *lane.lock() = Some(attempt.lane);
        async move { if class == Class::Ok { Ok(()) } else { Err((class, ())) } }
    };
    if let Ok(guarded) = dependency.call(&ctx, send).await {
        guarded.permit.finish(Class::Ok);
    }
    lane.into_inner()
}

fn limit(limit: u32) -> Learned {
    Learned { requests: Told { limit: Some(limit), ..Told::default() }, ..Learned::default() }
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn a_key_without_credit_is_held_while_the_other_goes_on() {
    let dependency = lanes(2, None);
    assert_eq!(lane_of(&dependency, ctx(60), Class::Exhausted { until: None }).await, Some(0));
    let status = dependency.status();
    assert_eq!((status.held, status.lanes, status.lanes_held), (false, 2, 1));
    for _ in 0..20 {
        assert_eq!(lane_of(&dependency, ctx(60), Class::Ok).await, Some(1));
        sleep(SECOND * 40).await;
    }
    sleep(SECOND * 100).await;
    assert_eq!(dependency.status().lanes_held, 0, "its time is over");
    let both: Vec<_> =
        [lane_of(&dependency, ctx(60), Class::Ok).await, lane_of(&dependency, ctx(60), Class::Ok).await]
            .into();
    assert!(both.contains(&Some(0)) && both.contains(&Some(1)), "{both:?}");
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn a_held_account_with_alternatives_sends_nothing_until_it_is_released() {
    let dependency = lanes(2, None);
    for _ in 0..2 {
        lane_of(&dependency, with_others(60), Class::Exhausted { until: None }).await;
    }
    for _ in 0..80 {
        assert_eq!(lane_of(&dependency, with_others(60), Class::Ok).await, None);
        sleep(SECOND * 11).await;
    }
    assert_eq!(dependency.holds().len(), 2);
    assert!(dependency.release_hold());
    assert!(lane_of(&dependency, with_others(60), Class::Ok).await.is_some());
    assert!(!dependency.release_hold(), "nothing was held");
}

#[tokio::test(start_paused = true)]
async fn one_key_told_to_wait_leaves_the_other_at_work() {
    let dependency = lanes(2, None);
    let wait = Class::RateLimited { retry_after: Some(SECOND * 30) };
    assert_eq!(lane_of(&dependency, ctx(60), wait).await, Some(0));
    for _ in 0..5 {
        assert_eq!(lane_of(&dependency, with_others(60), Class::Ok).await, Some(1));
    }
    assert!(!dependency.status().paused);
}

// req: S0-03
#[tokio::test(start_paused = true)]
async fn two_keys_have_twice_the_calls_a_minute_and_not_one_more() {
    let dependency = lanes(2, Some(5));
    let mut used = [0; 2];
    for _ in 0..30 {
        if let Some(lane) = lane_of(&dependency, with_others(60), Class::Ok).await {
            used[lane] += 1;
        }
    }
    assert_eq!(used, [5, 5]);
}

// req: S0-03
#[tokio::test(start_paused = true)]
async fn a_limit_told_by_the_provider_counts_for_its_own_key_from_the_next_call_on() {
    let dependency = lanes(2, Some(10));
    dependency.learn(1, &limit(4));
    dependency.learn(7, &limit(1));
    let mut used = [0; 2];
    for _ in 0..30 {
        if let Some(lane) = lane_of(&dependency, with_others(60), Class::Ok).await {
            used[lane] += 1;
        }
    }
    assert_eq!(used, [10, 3]);
    assert_eq!(dependency.status().learned_per_min, 4);
    sleep(SECOND * 600).await;
    assert_eq!(dependency.status().learned_per_min, 0, "faded");
}

// req: S0-03
#[tokio::test(start_paused = true)]
async fn calls_in_line_for_a_place_go_by_the_limit_learned_meanwhile() {
    let bulkhead = BulkheadPolicy { concurrency: 1, queue: 100 };
    let pace = PacePolicy { per_min: Some(20), tokens_per_min: None };
    let guard = GuardConfig { pace_wait_ms: 600_000, ..once().guard };
    let dependency = dependency(DependencyPolicy { bulkhead, pace, guard, learn: Learn::Lower, ..once() });
    let times = Mutex::new(Vec::new());
    let send = |_: Attempt| async {
        times.lock().push(Instant::now());
        sleep(SECOND).await;
        dependency.learn(0, &limit(4));
        Ok::<(), (Class, ())>(())
    };
    join_all((0..12).map(|_| async { drop(dependency.call(&ctx(900), send).await) })).await;
    let times = times.into_inner();
    assert_eq!(times.len(), 12);
    for window in times.windows(4) {
        assert!(window[3] - window[0] >= SECOND * 60, "{:?}", window[3] - window[0]);
    }
}

// req: S2-3.7
#[tokio::test(start_paused = true)]
async fn what_was_held_before_a_restart_is_held_after_it_for_what_was_left() {
    let before = lanes(2, None);
    lane_of(&before, ctx(60), Class::Exhausted { until: Some(SECOND * 900) }).await;
    lane_of(&before, ctx(60), Class::BadKey).await;
    lane_of(&before, ctx(60), Class::BadKey).await;
    assert_eq!(before.status().lanes_held, 2);
    sleep(SECOND * 100).await;
    let holds = before.holds();
    assert_eq!(holds, [Hold { lane: 0, remaining: SECOND * 800 }], "a restart reads refused keys again");
    let after = lanes(2, None);
    after.restore_hold(&holds[0]);
    after.restore_hold(&Hold { lane: 9, remaining: SECOND });
    assert_eq!((after.status().lanes_held, after.holds()), (1, holds));
}

// req: S4-BRK
#[tokio::test(start_paused = true)]
async fn an_operators_hand_on_the_breaker_stays_until_it_is_taken_away() {
    let dependency = lanes(1, None);
    dependency.open_breaker();
    assert_eq!(lane_of(&dependency, ctx(60), Class::Ok).await, None);
    sleep(SECOND * 10_000).await;
    assert_eq!(lane_of(&dependency, ctx(60), Class::Ok).await, None, "no probe opens what a hand closed");
    dependency.close_breaker();
    for _ in 0..30 {
        assert!(lane_of(&dependency, ctx(60), Class::HardFailure).await.is_some());
    }
    let status = dependency.status();
    assert!(status.manual && status.breaker == BreakerState::Closed);
    dependency.hear(Some(SECOND * 60));
    assert_eq!(dependency.status().breaker, BreakerState::Closed, "nor what another replica found");
    dependency.auto_breaker();
    assert!(!dependency.status().manual);
    for _ in 0..4 {
        assert!(lane_of(&dependency, ctx(60), Class::HardFailure).await.is_some());
    }
    assert_eq!(dependency.status().breaker, BreakerState::Open);
}
