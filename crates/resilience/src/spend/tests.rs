//! The scripts on a real Redis against a list of everything that ever happened, with the clock of the test in place of
//! the server's.

use super::*;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use redis::aio::MultiplexedConnection;

/// The scripts as they are, except for where the time of reservations comes from.
struct Virtual {
    reserve: Script,
    settle: Script,
    connection: MultiplexedConnection,
}

const HOUR_AWAY: i64 = 4_000_000_000_000;
const LIFE: Duration = Duration::from_secs(60);

impl Virtual {
    fn new(connection: MultiplexedConnection) -> Self {
        let body = RESERVE.replace("redis.call('TIME')", "{ARGV[#ARGV], 0}");
        assert_ne!(body, RESERVE);
        let script = |body: &str| Script::new(&format!("{COMMON}{body}"));
        Self { reserve: script(&body), settle: script(SETTLE), connection }
    }

    async fn reserve(
        &mut self,
        lease: Lease<'_>,
        budgets: &[(SpendCounter<'_>, SpendLimit)],
        now: u64,
    ) -> SpendAnswer {
        let mut call = reserve_call(&self.reserve, lease, LIFE, budgets);
        call.arg(now);
        let numbers: Vec<i64> = call.invoke_async(&mut self.connection).await.unwrap();
        read_reserve(&numbers, budgets.len()).unwrap().unwrap()
    }

    async fn settle(&mut self, rows: &[Settlement<'_>]) -> Vec<Seen> {
        let call = settle_call(&self.settle, rows);
        let numbers: Vec<i64> = call.invoke_async(&mut self.connection).await.unwrap();
        numbers[1..].chunks_exact(4).map(seen).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        both: bool,
        ask: [u64; 2],
        after: u64,
    },
    /// Settled, perhaps twice, perhaps after its lease has run out.
    Settle {
        which: usize,
        spent: [u64; 2],
        twice: bool,
    },
    /// Of a reservation that Redis never saw.
    Stranger {
        spent: [u64; 2],
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amounts = || [0_u64..200, 0_u64..100];
    let after = prop_oneof![3 => Just(0), 2 => 0_u64..30, 1 => 0_u64..90];
    let reserve =
        (any::<bool>(), amounts(), after).prop_map(|(both, ask, after)| Step::Reserve { both, ask, after });
    let settle = (0_usize..6, amounts(), any::<bool>()).prop_map(|(which, spent, twice)| Step::Settle {
        which,
        spent,
        twice,
    });
    let stranger = amounts().prop_map(|spent| Step::Stranger { spent });
    vec(prop_oneof![5 => reserve, 4 => settle, 1 => stranger], 1..60)
}

/// One reservation that was granted.
struct Granted {
    id: String,
    both: bool,
    asked: [u64; 2],
    until: u64,
    settled: Option<[u64; 2]>,
}

fn sum(rows: impl Iterator<Item = [u64; 2]>) -> [u64; 2] {
    rows.fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
}

const COUNTERS: [SpendCounter<'static>; 2] = [
    SpendCounter { budget: "all", subject: "", start: 0, end: None },
    SpendCounter { budget: "one", subject: "}{x:1", start: 5, end: Some(HOUR_AWAY) },
];
const LIMITS: [SpendLimit; 2] = [
    SpendLimit { tokens: Some(3_000), micros: Some(1_200), refuse: true },
    SpendLimit { tokens: Some(900), micros: None, refuse: true },
];

async fn agree(mut connection: MultiplexedConnection, steps: Vec<Step>) -> Result<(), TestCaseError> {
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    redis::cmd("SET").arg(EPOCH).arg(77).query_async::<()>(&mut connection).await.unwrap();
    let mut redis = Virtual::new(connection);
    let (mut now, mut granted, mut strange) = (1_000_u64, Vec::<Granted>::new(), [0, 0]);
    for (number, step) in steps.into_iter().enumerate() {
        let id = format!("id-{number}");
        match step {
            Step::Reserve { both, ask, after } => {
                now += after;
                let count = 1 + usize::from(both);
                let budgets: Vec<_> = COUNTERS.into_iter().zip(LIMITS).take(count).collect();
                let model = |place: usize| {
                    let mine = || granted.iter().filter(move |it| place == 0 || it.both);
                    let spent = sum(mine().filter_map(|it| it.settled));
                    let spent = if place == 0 { sum([spent, strange].into_iter()) } else { spent };
                    let held = mine().filter(|it| it.settled.is_none() && it.until > now);
                    Seen { spent, reserved: sum(held.map(|it| it.asked)) }
                };
                let over = |place: &usize| {
                    let (seen, limit) = (model(*place), LIMITS[*place]);
                    let beyond = |most: Option<u64>, at: usize| {
                        most.is_some_and(|most| seen.spent[at] + seen.reserved[at] + ask[at] > most)
                    };
                    beyond(limit.tokens, 0) || beyond(limit.micros, 1)
                };
                let refused = (0..count).find(over);
                let answer = redis.reserve(Lease { id: &id, reserved: ask }, &budgets, now).await;
                prop_assert_eq!(answer.refused, refused);
                for place in 0..count {
                    let mut expected = model(place);
                    if refused.is_none() {
                        expected.reserved = sum([expected.reserved, ask].into_iter());
                    }
                    prop_assert_eq!(answer.seen[place], expected, "budget {}", place);
                }
                if refused.is_none() {
                    granted.push(Granted { id, both, asked: ask, until: now + 60, settled: None });
                }
            }
            Step::Settle { which, spent, twice } => {
                let mut open: Vec<_> = granted.iter_mut().filter(|it| it.settled.is_none()).collect();
                let count = open.len().max(1);
                let Some(it) = open.get_mut(which % count) else { continue };
                let rows: Vec<Settlement<'_>> = COUNTERS
                    .into_iter()
                    .take(1 + usize::from(it.both))
                    .map(|counter| {
                        let lease = Lease { id: &it.id, reserved: it.asked };
                        Settlement { counter, lease, epoch: 77, spent }
                    })
                    .collect();
                let first = redis.settle(&rows).await;
                if twice {
                    prop_assert_eq!(redis.settle(&rows).await, first, "once is enough");
                }
                it.settled = Some(spent);
            }
            Step::Stranger { spent } => {
                let lease = Lease { id: &id, reserved: [9, 9] };
                let row = Settlement { counter: COUNTERS[0], lease, epoch: 0, spent };
                let first = redis.settle(&[row]).await;
                prop_assert_eq!(redis.settle(&[row]).await, first, "once is enough");
                strange = sum([strange, spent].into_iter());
            }
        }
    }
    Ok(())
}

// req: S4-RATE
#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_equal_a_naive_model_whatever_ends_late_or_twice_or_never() {
    let Some(server) = portcullis_testkit::redis::start().await else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let both = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
        runner.run(&steps(), |steps| runtime.block_on(agree(connection.clone(), steps)))
    });
    both.await.unwrap().unwrap();
}

#[test]
fn keys_share_one_hash_tag_whatever_the_subject_is_called_and_never_collide() {
    let counter = |budget, subject, start| SpendCounter { budget, subject, start, end: None };
    let counters =
        [counter("a", "}{x}", 0), counter("a", "", 0), counter("a", "b:0", 0), counter("a", "", 1)];
    let keys: Vec<String> = counters.iter().flat_map(|counter| [counter.key(), counter.leases()]).collect();
    for (index, key) in keys.iter().enumerate() {
        assert!(key.starts_with("{portcullis}:budget"), "{key}");
        assert!(!keys[..index].contains(key), "{key}");
    }
}
