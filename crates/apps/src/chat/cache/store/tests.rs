//! The memory against a naive list.

use super::{super::key, *};
use bytes::Bytes;
use portcullis_domain::{Caller, Scopes, Tier};
use portcullis_resilience::shared::{RedisConfig, Surroundings};
use portcullis_telemetry::{Alerts, Health, Metrics};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use tokio_util::sync::CancellationToken;

fn named(number: u8) -> Key {
    let caller = Caller::new("key:a".into(), Tier::Authenticated, Scopes::NONE, Ipv4Addr::LOCALHOST.into());
    key::once(&caller, &number.to_string())
}

fn entry(bytes: usize) -> Arc<Entry> {
    Arc::new(Entry {
        stream: false,
        body: Bytes::from(vec![b'x'; bytes]),
        made: 0,
        target: None,
        degraded: None,
        dropped: vec![],
        print: None,
    })
}

proptest! {
    #[test]
    fn memory_holds_the_most_recently_used_within_its_bound_and_nothing_after_its_time(
        steps in prop::collection::vec((0_u8..12, prop::option::of(0_usize..900), 0_u64..40), 1..200),
    ) {
        const MOST: usize = 4000;
        let (memory, mut now) = (Memory::new(MOST), Instant::now());
        // Least recently used first: key, size, end.
        let mut naive: Vec<(u8, usize, Instant)> = Vec::new();
        for (number, put, wait) in steps {
            now += Duration::from_secs(wait);
            let life = Duration::from_secs(100);
            if let Some(bytes) = put {
                naive.retain(|(other, ..)| *other != number);
                naive.push((number, entry(bytes).size(), now + life));
                while naive.iter().map(|(_, size, _)| size).sum::<usize>() > MOST {
                    naive.remove(0);
                }
                memory.put(named(number), entry(bytes), life, now);
            } else {
                let found = naive.iter().position(|(other, ..)| *other == number);
                let known = found.map(|at| naive.remove(at)).filter(|(.., until)| *until > now);
                naive.extend(known);
                prop_assert_eq!(memory.get(&named(number), now).map(|entry| entry.size()), known.map(|known| known.1));
            }
            let slots = memory.slots.lock();
            prop_assert!(slots.bytes <= MOST);
            prop_assert_eq!(slots.bytes, naive.iter().map(|(_, size, _)| size).sum::<usize>());
            prop_assert_eq!((slots.by_key.len(), slots.by_use.len()), (naive.len(), naive.len()));
        }
    }
}

#[test]
fn what_is_larger_than_the_memory_is_not_kept_and_throws_nothing_out() {
    let (memory, now, life) = (Memory::new(2000), Instant::now(), Duration::from_secs(1));
    memory.put(named(1), entry(10), life, now);
    memory.put(named(2), entry(2000), life, now);
    assert!(memory.get(&named(1), now).is_some() && memory.get(&named(2), now).is_none());
}

#[tokio::test]
async fn replicas_share_what_they_keep_through_redis_and_do_without_it_when_it_is_away() {
    let Some(mut server) = portcullis_testkit::redis::start().await else { return };
    let replica = || {
        let around = Surroundings {
            metrics: Metrics::new(),
            health: Health::new(),
            alerts: Alerts::silent(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let config = RedisConfig { timeout_ms: 5_000, connect_timeout_ms: 5_000, ..RedisConfig::default() };
        let shared = Shared::new(&server.url(), &config, &around).unwrap();
        Store::new(1_000_000, Some(shared), around.tasks)
    };
    let (one, two, life) = (replica(), replica(), Duration::from_secs(600));
    let kept = Arc::new(Entry { made: super::super::entry::now(), ..Entry::clone(&entry(40)) });
    one.put(named(1), kept.clone(), life);
    let patience = async {
        while two.get(&named(1), life).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience).await.expect("in time");
    assert_eq!(two.here(&named(1)), Some(kept.clone()), "kept here too from then on");
    server.kill();
    one.put(named(2), kept.clone(), life);
    assert_eq!(one.get(&named(2), life).await, Some(kept.clone()));
    assert_eq!((two.get(&named(2), life).await, two.get(&named(1), life).await), (None, Some(kept)));
}
