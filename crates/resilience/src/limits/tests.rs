//! One conformance suite, run on every store, and what only one of them can show.
//!
//! req: S4-RATE

use super::*;
use crate::shared::{RedisConfig, Shared, Surroundings};
use portcullis_domain::LimitScope::{Action, Global, Ip, Tier, User};
use portcullis_telemetry::Alerts;
use portcullis_testkit::redis;
use proptest::prelude::*;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

fn charge(scope: LimitScope, subject: &str, quota: Quota) -> Charge<'_> {
    Charge { scope, subject, quota, cost: 1 }
}

fn around() -> Surroundings {
    Surroundings {
        metrics: Metrics::new(),
        health: Health::new(),
        alerts: Alerts::silent(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

fn connect(url: &str) -> (Shared, Surroundings) {
    let around = around();
    let config = RedisConfig { timeout_ms: 5_000, probe_ms: 50, ..RedisConfig::default() };
    (Shared::new(url, &config, &around).unwrap(), around)
}

/// What every store must do. Quotas refill so slowly that nothing comes back during the suite.
async fn conforms(store: &dyn LimitStore, tag: &str) {
    let name = |part: &str| format!("{tag}-{part}");
    let minute = Duration::from_secs(3_600);
    let (all, a, b) = (name("all"), name("a"), name("b"));
    let five = [
        charge(Global, &all, Quota::bucket(100, 0.001)),
        charge(Ip, &a, Quota::bucket(50, 0.001)),
        charge(User, &a, Quota::bucket(40, 0.001)),
        charge(Tier, &a, Quota::window(7, minute)),
        charge(Action, &a, Quota::window(30, minute)),
    ];
    for left in (0..7).rev() {
        let decision = store.decide(&five).await.unwrap();
        assert_eq!(decision.refused, None);
        assert_eq!(decision.views[3].remaining, left);
        assert_eq!((decision.views[3].quota, decision.views[3].window_secs), (7, 3_600));
        assert!(decision.views.iter().all(|view| view.reset_secs > 0), "{decision:?}");
    }
    let refused = store.decide(&five).await.unwrap();
    assert_eq!(refused.refused.map(|refusal| refusal.scope), Some(Tier));
    for (view, used) in refused.views.iter().zip([7, 7, 7, 7, 7]) {
        assert_eq!(view.remaining, view.quota - used, "nothing was charged: {view:?}");
    }
    let wait = refused.refused.unwrap().retry_after;
    assert!(wait > Duration::ZERO && wait <= minute + minute / 12 + Duration::from_millis(100), "{wait:?}");
    assert_eq!(wait.as_millis() % 100, 0, "rounded up to a tenth of a second");

    store.refund(&five).await.unwrap();
    assert_eq!(store.decide(&five).await.unwrap().refused, None, "one came back");
    assert!(store.decide(&five).await.unwrap().refused.is_some());

    let other =
        [five[0], charge(Ip, &b, Quota::bucket(50, 0.001)), charge(Tier, &b, Quota::window(7, minute))];
    assert_eq!(store.decide(&other).await.unwrap().refused, None, "another caller is not affected");

    let dear = [Charge { cost: 8, ..charge(Tier, &b, Quota::window(7, minute)) }];
    assert!(store.decide(&dear).await.unwrap().refused.is_some(), "what never fits is refused, not admitted");
    let free = [Charge { cost: 0, ..charge(Tier, &b, Quota::window(7, minute)) }];
    assert_eq!(store.decide(&free).await.unwrap().refused, None, "looking costs nothing");

    let c = name("c");
    let race = [charge(Global, &c, Quota::bucket(1_000, 0.001)), charge(Tier, &c, Quota::window(53, minute))];
    let all = futures_util::future::join_all((0..200).map(|_| store.decide(&race))).await;
    let passed = all.iter().filter(|decision| decision.as_ref().unwrap().refused.is_none()).count();
    assert_eq!(passed, 53, "exactly the permitted number of 200 at once");
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&MemoryLimits::new(1_000), "m").await;
}

#[tokio::test]
async fn redis_conforms_and_its_keys_share_a_slot_and_expire() {
    let Some(server) = redis::start().await else { return };
    let (shared, _around) = connect(&server.url());
    conforms(&RedisLimits::new(shared), "r").await;
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert!(keys.len() >= 8, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("{portcullis}:"), "one hash tag, so one slot of a cluster: {key}");
        let life: i64 = ::redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(life > 0, "{key} lives for ever");
    }
}

#[tokio::test]
async fn two_processes_over_one_redis_admit_the_permitted_number_together() {
    let Some(server) = redis::start().await else { return };
    let ((one, _a), (two, _b)) = (connect(&server.url()), connect(&server.url()));
    let (one, two) = (RedisLimits::new(one), RedisLimits::new(two));
    let charges = [charge(Global, "x", Quota::bucket(61, 0.001))];
    let all = futures_util::future::join_all(
        (0..200).map(|index| if index % 2 == 0 { one.decide(&charges) } else { two.decide(&charges) }),
    );
    let passed = all.await.iter().filter(|decision| decision.as_ref().unwrap().refused.is_none()).count();
    assert_eq!(passed, 61);
}

// req: S3-PERF-7
#[tokio::test]
async fn when_redis_dies_limits_go_on_at_their_share_and_are_shared_again_when_it_is_back() {
    let Some(mut server) = redis::start().await else { return };
    let (shared, around) = connect(&server.url());
    let limits = Limits::new(&LimitsConfig::default(), Some(shared), &around.metrics, &around.health);
    let charges = [charge(User, "u", Quota::bucket(20, 0.001))];
    assert!(limits.decide(&charges).await.shared);
    server.kill();
    let mut passed = 0;
    for _ in 0..30 {
        let decision = limits.decide(&charges).await;
        assert!(!decision.shared);
        passed += usize::from(decision.refused.is_none());
    }
    assert_eq!(passed, 10, "half of the limit, by this process alone");
    assert_eq!(around.metrics.limits_fallback().get(), 1);
    assert_eq!(around.health.overall(), HealthState::Degraded);
    let _server = server.restart().await;
    let resumed = async {
        while !limits.decide(&charges).await.shared {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), resumed).await.expect("without a restart");
    assert_eq!(around.metrics.limits_fallback().get(), 0);
    assert_eq!(around.health.overall(), HealthState::Healthy);
}

#[tokio::test]
async fn a_frozen_redis_costs_a_bounded_wait_and_then_none() {
    let Some(mut server) = redis::start().await else { return };
    let around = around();
    let config = RedisConfig { timeout_ms: 50, ..RedisConfig::default() };
    let shared = Shared::new(&server.url(), &config, &around).unwrap();
    let limits = Limits::new(&LimitsConfig::default(), Some(shared.clone()), &around.metrics, &around.health);
    let charges = [charge(User, "u", Quota::bucket(1_000, 0.001))];
    limits.decide(&charges).await;
    server.freeze();
    for _ in 0..10 {
        assert_eq!(limits.decide(&charges).await.refused, None);
    }
    assert!(shared.is_away(), "after five time-outs it is not asked any more");
    server.thaw();
}

#[test]
fn memory_is_bounded_and_what_is_in_use_is_not_forgotten_for_what_is_at_rest() {
    let limits = MemoryLimits::new(1_024);
    let busy = [charge(User, "busy", Quota::bucket(5, 0.001))];
    for _ in 0..5 {
        limits.decide_at(&busy, 1_000_000);
    }
    for index in 0..100_000_u64 {
        let subject = format!("passing-{index}");
        limits.decide_at(&[charge(User, &subject, Quota::bucket(5, 1_000.0))], 1_000_000 + index * 2_000);
    }
    assert!(limits.len() <= 2_048, "{}", limits.len());
    assert!(limits.decide_at(&busy, 300_000_000).refused.is_some(), "still out of tokens");
}

#[derive(Clone, Debug)]
enum Step {
    Ask { user: usize, cost: u32, after: u64 },
    Refund,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0_usize..3, 1_u32..3, 0_u64..30_000_000).prop_map(|(user, cost, after)| Step::Ask {
        user,
        cost,
        after,
    });
    proptest::collection::vec(prop_oneof![9 => ask, 1 => Just(Step::Refund)], 1..120)
}

proptest! {
    /// The naive model remembers every charge of three levels; the store must agree on each decision.
    #[test]
    fn memory_agrees_with_a_naive_model_and_charges_nothing_when_it_refuses(steps in steps()) {
        const USERS: [&str; 3] = ["a", "b", "c"];
        let store = MemoryLimits::new(1_000);
        let (global, user) = (Quota::bucket(6, 0.2), Quota::bucket(3, 0.1));
        let mut now = 10_000_000_000_u64;
        let (mut global_level, mut levels) = ((6_000_000_i64, now), [(3_000_000_i64, now); 3]);
        let mut last: Option<(usize, u32)> = None;
        let refill = |level: &mut (i64, u64), now: u64, per: i64, most: i64| {
            let back = i64::try_from(now - level.1).unwrap() * 1_000_000 / per;
            let exact = (level.0 + back).min(most);
            *level = (exact, now);
        };
        for step in steps {
            match step {
                Step::Ask { user: index, cost, after } => {
                    // Whole multiples of the slower interval keep the model free of rounding.
                    now += after / 10_000_000 * 10_000_000;
                    refill(&mut global_level, now, 5_000_000, 6_000_000);
                    refill(&mut levels[index], now, 10_000_000, 3_000_000);
                    let need = i64::from(cost) * 1_000_000;
                    let fits = global_level.0 >= need && levels[index].0 >= need;
                    let charges = [
                        Charge { cost, ..charge(Global, "g", global) },
                        Charge { cost, ..charge(User, USERS[index], user) },
                    ];
                    let decision = store.decide_at(&charges, now);
                    prop_assert_eq!(decision.refused.is_none(), fits);
                    if fits {
                        global_level.0 -= need;
                        levels[index].0 -= need;
                        last = Some((index, cost));
                    }
                    let left = u32::try_from(levels[index].0 / 1_000_000).unwrap();
                    prop_assert_eq!(decision.views[1].remaining, left);
                }
                Step::Refund => {
                    let Some((index, cost)) = last.take() else { continue };
                    let charges = [
                        Charge { cost, ..charge(Global, "g", global) },
                        Charge { cost, ..charge(User, USERS[index], user) },
                    ];
                    store.refund_at(&charges, now);
                    refill(&mut global_level, now, 5_000_000, 6_000_000);
                    refill(&mut levels[index], now, 10_000_000, 3_000_000);
                    global_level.0 = (global_level.0 + i64::from(cost) * 1_000_000).min(6_000_000);
                    levels[index].0 = (levels[index].0 + i64::from(cost) * 1_000_000).min(3_000_000);
                }
            }
        }
    }
}
