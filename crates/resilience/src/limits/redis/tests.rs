//! The script against memory, step by step, with the clock of the test in place of the server's: both must agree to
//! the digit. And what only Redis can show: one slot, keys that expire, names that do not collide.

use super::{super::MemoryLimits, *};
use crate::limits::LimitsConfig;
use portcullis_domain::LimitScope::{self, Action, Global, Ip, Tier, User};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use redis::aio::MultiplexedConnection;
use std::time::Duration;

/// The scripts as they are, except for where the time comes from.
struct Virtual {
    decide: Script,
    refund: Script,
    connection: MultiplexedConnection,
}

impl Virtual {
    fn new(connection: MultiplexedConnection) -> Self {
        let body = DECIDE.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
        assert_ne!(body, DECIDE);
        Self { decide: script(&body), refund: script(REFUND), connection }
    }

    async fn decide(&mut self, charges: &[Charge<'_>], now: u64) -> Decision {
        let mut call = decide_call(&self.decide, charges);
        call.arg(now / 1_000_000).arg(now % 1_000_000);
        let numbers: Vec<i64> = call.invoke_async(&mut self.connection).await.unwrap();
        let mut decision = read(charges, &numbers).unwrap();
        assert_eq!(decision.receipt, Receipt { shared: true, at: now });
        decision.receipt.shared = false;
        decision
    }

    async fn refund(&mut self, charges: &[Charge<'_>], at: u64) {
        refund_call(&self.refund, charges, at).invoke_async::<i64>(&mut self.connection).await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { user: usize, cost: u32, after: u64 },
    Refund { back: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![Just(0), 0_u64..3_000_000, 0_u64..40_000_000];
    let ask = (0_usize..3, 0_u32..5, after).prop_map(|(user, cost, after)| Step::Ask { user, cost, after });
    let refund = (0_usize..6).prop_map(|back| Step::Refund { back });
    vec(prop_oneof![6 => ask, 1 => refund], 1..150)
}

/// Three users of two addresses. What each level costs differs, so that each is the tightest at times.
fn charges(user: usize, cost: u32, run: &str) -> [Charge<'_>; 5] {
    const USERS: [&str; 3] = ["a", "b", "c"];
    let charge = |scope, subject, quota, cost| Charge { scope, subject, quota, cost };
    [
        charge(Global, run, Quota::bucket(17, 0.9), cost),
        charge(Ip, USERS[user / 2], Quota::bucket(11, 0.37), cost),
        charge(User, USERS[user], Quota::bucket(6, 1.0 / 3.0), cost),
        charge(Tier, USERS[user], Quota::window(9, Duration::from_secs(30)), 1),
        charge(Action, USERS[user], Quota::window(7, Duration::from_micros(9_999_999)), cost.min(2)),
    ]
}

// req: S4-RATE
#[tokio::test(flavor = "multi_thread")]
async fn memory_and_the_script_agree_on_every_decision_to_the_digit() {
    let Some(server) = portcullis_testkit::redis::start().await else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let both = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
        runner.run(&steps(), |steps| {
            let connection = connection.clone();
            runtime.block_on(agree(connection, steps))
        })
    });
    both.await.unwrap().unwrap();
}

async fn agree(mut connection: MultiplexedConnection, steps: Vec<Step>) -> Result<(), TestCaseError> {
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    let mut shared = Virtual::new(connection);
    let memory = MemoryLimits::new(&LimitsConfig::default());
    // Not a round number; large as a server's clock.
    let (mut now, mut charged) = (1_795_000_000_123_457_u64, Vec::new());
    for step in steps {
        match step {
            Step::Ask { user, cost, after } => {
                now += after;
                let charges = charges(user, cost, "all");
                let (one, other) = (memory.decide_at(&charges, now), shared.decide(&charges, now).await);
                prop_assert_eq!(&one, &other);
                if one.refused.is_none() {
                    charged.push((user, cost, one.receipt));
                }
            }
            Step::Refund { back } => {
                let Some(index) = charged.len().checked_sub(back + 1) else { continue };
                let (user, cost, receipt) = charged.remove(index);
                let charges = charges(user, cost, "all");
                memory.refund_at(&charges, receipt, now);
                shared.refund(&charges, receipt.at).await;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_another_program_left_under_a_name_of_ours_is_no_obstacle() {
    let Some(server) = portcullis_testkit::redis::start().await else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let charges = charges(0, 1, "all");
    for charge in &charges {
        redis::cmd("SET")
            .arg(key(charge))
            .arg("not a number")
            .query_async::<()>(&mut connection)
            .await
            .unwrap();
    }
    let mut shared = Virtual::new(connection);
    let fresh = MemoryLimits::new(&LimitsConfig::default());
    let now = 1_795_000_000_000_000;
    assert_eq!(shared.decide(&charges, now).await, fresh.decide_at(&charges, now));
}

#[test]
fn keys_share_one_hash_tag_whatever_the_subject_is_called_and_never_collide() {
    let window = |secs| Quota::window(1, Duration::from_secs(secs));
    let bucket = Quota::bucket(1, 1.0);
    let charge = |scope: LimitScope, subject, quota| Charge { scope, subject, quota, cost: 1 };
    let keys = [
        charge(User, "}{x}", bucket),
        charge(User, "", bucket),
        charge(User, "b:", bucket),
        charge(User, "x", bucket),
        charge(User, "x", window(60)),
        charge(User, "x", window(3_600)),
        charge(Tier, "x", window(60)),
    ]
    .map(|charge| key(&charge));
    for (index, one) in keys.iter().enumerate() {
        let tag = one.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        assert_eq!(tag, Some("portcullis"), "{one}");
        assert!(!keys[..index].contains(one), "{one}");
    }
}
