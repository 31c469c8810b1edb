//! One conformance suite, run on every store, and what the two together can show.
//!
//! req: S4-RATE

use super::*;
use crate::shared::{
    RedisConfig, Surroundings,
    tests::{around, until},
};
use LimitScope::{Action, Global, Ip, Tier, User};
use futures_util::future::join_all;
use portcullis_telemetry::ComponentStatus;
use portcullis_testkit::redis;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const HOUR: Duration = Duration::from_secs(3_600);

fn charge(scope: LimitScope, subject: &str, quota: Quota) -> Charge<'_> {
    Charge { scope, subject, quota, cost: 1 }
}

/// Patient with a busy machine.
fn connect(url: &str) -> (Shared, Surroundings) {
    let around = around();
    let config = RedisConfig {
        timeout_ms: 5_000,
        connect_timeout_ms: 5_000,
        breaker_failures: 3,
        probe_ms: 50,
        breaker_reset_secs: 1,
        ..RedisConfig::default()
    };
    (Shared::new(url, &config, &around).unwrap(), around)
}

fn passed(decisions: &[Decision]) -> usize {
    decisions.iter().filter(|decision| decision.refused.is_none()).count()
}

/// What every store must do. Quotas refill so slowly that nothing comes back during the suite.
async fn conforms(store: &dyn LimitStore) {
    all_are_charged_or_none(store).await;
    what_was_charged_can_be_given_back(store).await;
    costs_of_nothing_and_of_too_much(store).await;
    the_longest_wait_is_named(store).await;
    two_hundred_at_once(store).await;
}

async fn all_are_charged_or_none(store: &dyn LimitStore) {
    let five = [
        charge(Global, "all", Quota::bucket(100, 0.001)),
        charge(Ip, "a", Quota::bucket(50, 0.001)),
        charge(User, "a", Quota::bucket(40, 0.001)),
        charge(Tier, "a", Quota::window(7, HOUR)),
        charge(Action, "a", Quota::window(30, HOUR)),
    ];
    for left in (0..7).rev() {
        let decision = store.decide(&five).await.unwrap();
        assert_eq!(decision.refused, None);
        assert_eq!(decision.views[3].remaining, left);
        assert_eq!((decision.views[3].quota, decision.views[3].window_secs), (7, 3_600));
        assert!(decision.views.iter().all(|view| view.reset_secs > 0), "{decision:?}");
    }
    for _ in 0..3 {
        let decision = store.decide(&five).await.unwrap();
        let refused = decision.refused.unwrap();
        assert_eq!((refused.scope, refused.never), (Tier, false));
        let wait = refused.retry_after;
        assert!(wait > Duration::ZERO && wait <= HOUR + HOUR / 12 + Duration::from_millis(100), "{wait:?}");
        assert_eq!(wait.as_millis() % 100, 0, "rounded up to a tenth of a second");
        let reset = u64::from(decision.views[3].reset_secs);
        assert!(wait.as_secs_f64().ceil() as u64 >= reset, "Retry-After is never earlier than t");
        for view in decision.views {
            assert_eq!(view.remaining, view.quota - 7, "nothing was charged: {view:?}");
        }
    }
    let other = [five[0], charge(Ip, "b", five[1].quota), charge(Tier, "b", five[3].quota)];
    assert_eq!(store.decide(&other).await.unwrap().refused, None, "another caller is not affected");
}

async fn what_was_charged_can_be_given_back(store: &dyn LimitStore) {
    let three = [
        charge(Global, "refund", Quota::bucket(3, 0.001)),
        Charge { cost: 2, ..charge(User, "refund", Quota::bucket(6, 0.001)) },
        charge(Tier, "refund", Quota::window(3, HOUR)),
    ];
    let mut receipts = Vec::new();
    for _ in 0..3 {
        receipts.push(store.decide(&three).await.unwrap().receipt);
    }
    assert!(store.decide(&three).await.unwrap().refused.is_some());
    for receipt in receipts.drain(..2) {
        store.refund(&three, receipt).await.unwrap();
    }
    let left = |decision: Decision| decision.views.iter().map(|view| view.remaining).collect::<Vec<_>>();
    assert_eq!(left(store.decide(&three).await.unwrap()), [1, 2, 1]);
    let last = store.decide(&three).await.unwrap();
    assert_eq!(last.refused, None);
    assert!(store.decide(&three).await.unwrap().refused.is_some(), "two came back, not more");
    for _ in 0..5 {
        store.refund(&three, last.receipt).await.unwrap();
    }
    let look = three.map(|charge| Charge { cost: 0, ..charge });
    let left = left(store.decide(&look).await.unwrap());
    assert!(left.iter().zip(three).all(|(left, charge)| *left <= charge.quota.most()), "{left:?}");
    let unknown = [charge(User, "nobody", Quota::bucket(6, 0.001)), charge(Tier, "nobody", three[2].quota)];
    store.refund(&unknown, last.receipt).await.unwrap();
    assert_eq!(store.decide(&unknown).await.unwrap().views[0].remaining, 5);
}

async fn costs_of_nothing_and_of_too_much(store: &dyn LimitStore) {
    for quota in [Quota::bucket(7, 0.001), Quota::window(7, HOUR)] {
        let cost = |cost| [Charge { cost, ..charge(User, "cost", quota) }];
        let refused = store.decide(&cost(8)).await.unwrap();
        assert_eq!(refused.refused.map(|refusal| refusal.never), Some(true), "it can never fit: {refused:?}");
        assert_eq!(refused.views[0].remaining, 7);
        assert_eq!(store.decide(&cost(7)).await.unwrap().refused, None);
        let looked = store.decide(&cost(0)).await.unwrap();
        assert_eq!(
            (looked.refused, looked.views[0].remaining),
            (None, 0),
            "looking is free and always allowed"
        );
        assert!(store.decide(&cost(1)).await.unwrap().refused.is_some());
    }
    assert_eq!(store.decide(&[]).await.unwrap().refused, None);
}

async fn the_longest_wait_is_named(store: &dyn LimitStore) {
    let waits = |user, tier| {
        let user = Quota::bucket(1, user);
        [charge(User, "waits", user), charge(Tier, "waits", Quota::window(1, tier))]
    };
    let (short, long) = (Duration::from_secs(100), Duration::from_secs(100_000));
    assert_eq!(store.decide(&waits(0.001, long)).await.unwrap().refused, None);
    let refused = store.decide(&waits(0.001, long)).await.unwrap().refused.unwrap();
    assert_eq!(refused.scope, Tier);
    assert!(refused.retry_after > long - Duration::from_secs(60), "{refused:?}");
    let refused = store.decide(&waits(0.001, short)).await.unwrap().refused.unwrap();
    assert_eq!(refused.scope, User, "a tier window of another length is another limit");
    assert!(refused.retry_after <= Duration::from_secs(1_000), "{refused:?}");
}

async fn two_hundred_at_once(store: &dyn LimitStore) {
    let race = [
        charge(Global, "race", Quota::bucket(1_000, 0.001)),
        charge(Ip, "race", Quota::bucket(100, 0.001)),
        charge(User, "race", Quota::bucket(90, 0.001)),
        charge(Tier, "race", Quota::window(53, HOUR)),
        charge(Action, "race", Quota::window(80, HOUR)),
    ];
    let all = join_all((0..200).map(|_| store.decide(&race))).await;
    let all: Vec<Decision> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(passed(&all), 53, "exactly the permitted number of 200 at once");
    let look = race.map(|charge| Charge { cost: 0, ..charge });
    let looked = store.decide(&look).await.unwrap();
    assert!(looked.views.iter().all(|view| view.remaining == view.quota - 53), "{looked:?}");
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&MemoryLimits::new(&LimitsConfig::default())).await;
}

#[tokio::test]
async fn redis_conforms_and_its_keys_expire() {
    let Some(server) = redis::start().await else { return };
    let (shared, _around) = connect(&server.url());
    conforms(&RedisLimits::new(shared)).await;
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert!(keys.len() >= 20, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("{portcullis}:"), "{key}");
        let life: i64 = ::redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(life > 0, "{key} lives for ever");
    }
}

#[tokio::test]
async fn a_cluster_takes_every_decision_because_its_keys_share_a_slot() {
    let Some(server) = redis::start_cluster().await else { return };
    let (shared, _around) = connect(&server.url());
    conforms(&RedisLimits::new(shared)).await;
}

// req: S3-PERF-7
#[tokio::test]
async fn two_processes_over_one_redis_admit_the_permitted_number_together() {
    let Some(server) = redis::start().await else { return };
    let ((one, a), (two, b)) = (connect(&server.url()), connect(&server.url()));
    let config = LimitsConfig::default();
    let one = Limits::new(&config, Some(one), &a.metrics, &a.health);
    let two = Limits::new(&config, Some(two), &b.metrics, &b.health);
    let charges = [
        charge(Global, "all", Quota::bucket(1_000, 0.001)),
        charge(Ip, "x", Quota::bucket(120, 0.001)),
        charge(User, "x", Quota::bucket(61, 0.001)),
        charge(Tier, "x", Quota::window(100, HOUR)),
        charge(Action, "x", Quota::window(100, HOUR)),
    ];
    let all = (0..200).map(|index| if index % 2 == 0 { one.decide(&charges) } else { two.decide(&charges) });
    let all = join_all(all).await;
    assert!(all.iter().all(|decision| decision.receipt.shared));
    assert_eq!(passed(&all), 61);
}

fn component(around: &Surroundings, name: &str) -> ComponentStatus {
    around.health.snapshot().into_iter().find(|component| component.name == name).unwrap()
}

// req: S3-PERF-7
// req: S4-BRK
#[tokio::test(flavor = "multi_thread")]
async fn when_redis_dies_under_load_limits_go_on_at_their_share_and_are_shared_again_when_it_is_back() {
    let Some(mut server) = redis::start().await else { return };
    let (shared, around) = connect(&server.url());
    let limits = Limits::new(&LimitsConfig::default(), Some(shared.clone()), &around.metrics, &around.health);
    let plenty = [charge(Global, "plenty", Quota::bucket(1_000_000_000, 0.001))];
    let stop = CancellationToken::new();
    let load = TaskTracker::new();
    for _ in 0..8 {
        let (limits, stop) = (limits.clone(), stop.clone());
        load.spawn(async move {
            while !stop.is_cancelled() {
                assert_eq!(limits.decide(&plenty).await.refused, None, "requests go on");
                tokio::task::yield_now().await;
            }
        });
    }
    until(async || limits.decide(&plenty).await.receipt.shared).await;
    server.kill();
    until(async || shared.is_away()).await;
    let own = [charge(User, "u", Quota::bucket(20, 0.001))];
    let all = join_all((0..30).map(|_| limits.decide(&own))).await;
    assert!(all.iter().all(|decision| !decision.receipt.shared));
    assert_eq!(passed(&all), 10, "half of the limit, by this process alone");
    assert_eq!(around.metrics.limits_fallback().get(), 1);
    assert_eq!(around.health.overall(), HealthState::Degraded);
    assert!(around.health.is_ready(), "degraded is not unready");
    assert!(component(&around, "limits").detail.contains("0.5"));
    assert!(component(&around, "redis").detail.contains("does not answer"));
    let _server = server.restart().await;
    until(async || limits.decide(&own).await.receipt.shared).await;
    assert_eq!(around.metrics.limits_fallback().get(), 0);
    assert_eq!(around.health.overall(), HealthState::Healthy);
    stop.cancel();
    load.close();
    load.wait().await;
}

#[tokio::test]
async fn what_memory_charged_while_redis_was_away_is_never_given_back_by_redis() {
    let Some(mut server) = redis::start().await else { return };
    let (shared, around) = connect(&server.url());
    let limits = Limits::new(&LimitsConfig::default(), Some(shared), &around.metrics, &around.health);
    let charges = [charge(User, "u", Quota::bucket(4, 0.001)), charge(Tier, "u", Quota::window(4, HOUR))];
    server.kill();
    until(async || around.metrics.limits_fallback().get() == 1).await;
    let alone = limits.decide(&charges).await;
    assert_eq!((alone.refused, alone.receipt.shared, alone.views[0].remaining), (None, false, 1));
    let _server = server.restart().await;
    until(async || around.metrics.limits_fallback().get() == 0).await;
    assert_eq!(limits.decide(&charges).await.views[0].remaining, 3);
    limits.refund(&charges, alone.receipt).await;
    let look = charges.map(|charge| Charge { cost: 0, ..charge });
    let looked = limits.decide(&look).await;
    assert!(looked.receipt.shared && looked.views.iter().all(|view| view.remaining == 3), "{looked:?}");
}

// req: S4-BRK
#[tokio::test]
async fn a_frozen_redis_costs_a_bounded_wait_and_then_none() {
    let Some(mut server) = redis::start().await else { return };
    let around = around();
    let config = RedisConfig { timeout_ms: 300, probe_ms: 60_000, ..RedisConfig::default() };
    let shared = Shared::new(&server.url(), &config, &around).unwrap();
    let limits = Limits::new(&LimitsConfig::default(), Some(shared.clone()), &around.metrics, &around.health);
    let charges = [charge(User, "u", Quota::bucket(1_000, 0.001))];
    until(async || limits.decide(&charges).await.receipt.shared).await;
    server.freeze();
    let mut waited = 0;
    while !shared.is_away() {
        let decision = limits.decide(&charges).await;
        assert!(!decision.receipt.shared && decision.refused.is_none());
        waited += 1;
    }
    // The first probe in the background may be frozen too, and then counts as one.
    assert!((4..=5).contains(&waited), "not asked any more after five time-outs: {waited}");
    use futures_util::FutureExt as _;
    let decision = limits.decide(&charges).now_or_never().expect("ready without waiting for anything");
    assert_eq!(decision.refused, None);
    server.thaw();
}
