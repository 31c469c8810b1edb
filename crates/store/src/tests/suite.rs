//! The cases that hold on SQLite and on PostgreSQL alike.

use super::{Place, batches, key, sums, usage};
use crate::{KeyOrigin, RevocationKind, Store, StoreError};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

/// Names the cases once: a test each on SQLite, one test with all of them on PostgreSQL.
macro_rules! cases {
    ($($(#[$mark:meta])* $name:ident),* $(,)?) => {
        mod sqlite {
            $($(#[$mark])* #[tokio::test] async fn $name() { super::$name(&super::Place::sqlite()).await; })*
        }

        // req: S3-BUG-5, S4-KEYS
        #[tokio::test]
        async fn the_same_suite_holds_on_a_real_postgres() {
            let Some(server) = portcullis_testkit::postgres::start().await else { return };
            $($name(&Place::postgres(server.database().await)).await;)*
        }
    };
}

cases!(
    a_key_comes_back_as_it_was_kept_and_its_id_is_taken,
    a_key_is_revoked_once_and_stays_revoked,
    of_several_first_starts_exactly_one_makes_the_key,
    a_reader_of_changes_misses_none_while_replicas_write,
    revocations_keep_the_later_end_and_go_when_it_has_passed,
    tiers_are_kept_replaced_and_removed,
    a_note_is_kept_once,
    two_replicas_add_up_their_usage_by_utc_day,
    a_batch_that_is_sent_twice_counts_once,
    usage_from_the_spool_is_taken_up_at_the_next_flush,
    many_rows_of_usage_go_in_several_statements,
    everything_is_there_after_closing_and_opening_again,
);

async fn a_key_comes_back_as_it_was_kept_and_its_id_is_taken(place: &Place) {
    let store = place.open("a").await;
    store.keys().create(&key("one")).await.unwrap();
    let found = store.keys().get("one").await.unwrap().unwrap();
    assert_eq!(format!("{:?}", found.key), format!("{:?}", key("one")));
    assert_eq!(found.revoked_at, None);
    assert!(matches!(store.keys().create(&key("one")).await, Err(StoreError::Exists)));
    assert!(store.keys().get("two").await.unwrap().is_none());
    assert!(store.keys().any_made().await.unwrap());
}

async fn a_key_is_revoked_once_and_stays_revoked(place: &Place) {
    let store = place.open("a").await;
    store.keys().create(&key("one")).await.unwrap();
    let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
    assert!(store.keys().revoke("one", now).await.unwrap());
    assert!(!store.keys().revoke("one", Timestamp::now()).await.unwrap());
    assert!(!store.keys().revoke("nobody", now).await.unwrap());
    assert_eq!(store.keys().get("one").await.unwrap().unwrap().revoked_at, Some(now));
    assert!(store.keys().any_made().await.unwrap(), "taking the last key away does not open the door");
}

async fn of_several_first_starts_exactly_one_makes_the_key(place: &Place) {
    let (one, two) = (place.open("a").await, place.open("b").await);
    let first = |id: &str| crate::NewKey { origin: KeyOrigin::First, ..key(id) };
    let (keys_one, keys_two) = (one.keys(), two.keys());
    let (first_one, first_two) = (first("one"), first("two"));
    let (made_one, made_two) =
        tokio::join!(keys_one.create_first(&first_one), keys_two.create_first(&first_two));
    assert_ne!(made_one.unwrap(), made_two.unwrap());
    assert_eq!(one.keys().list(10).await.unwrap().len(), 1);
    assert!(!one.keys().any_made().await.unwrap(), "the key of the first start does not count");
}

async fn a_reader_of_changes_misses_none_while_replicas_write(place: &Place) {
    const EACH: usize = 20;
    let replicas = [place.open("a").await, place.open("b").await];
    let reader = place.open("c").await;
    let writers = tokio_util::task::TaskTracker::new();
    for (number, store) in replicas.into_iter().cycle().take(4).enumerate() {
        writers.spawn(async move {
            for n in 0..EACH {
                let id = format!("{number}-{n}");
                store.keys().create(&key(&id)).await.unwrap();
                let until = Timestamp::from_millisecond(1_900_000_000_000).unwrap();
                store.revocations().add(RevocationKind::Jti, &id, until).await.unwrap();
            }
        });
    }
    writers.close();
    let (mut cursor, mut seen, mut at_rest) = (0, BTreeMap::<String, usize>::new(), false);
    while !at_rest {
        at_rest = writers.is_empty();
        let changes = reader.keys().changed_since(cursor).await.unwrap();
        for id in changes.keys.into_iter().map(|row| row.key.id) {
            *seen.entry(format!("key {id}")).or_default() += 1;
        }
        for id in changes.revocations.into_iter().map(|row| row.value) {
            *seen.entry(format!("jti {id}")).or_default() += 1;
        }
        cursor = changes.cursor;
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.len(), 4 * EACH * 2);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert_eq!(cursor, reader.newest_change().await.unwrap());
}

async fn revocations_keep_the_later_end_and_go_when_it_has_passed(place: &Place) {
    let store = place.open("a").await;
    let at = |ms| Timestamp::from_millisecond(ms).unwrap();
    for until in [1000, 3000, 2000] {
        store.revocations().add(RevocationKind::Sub, "eve", at(until)).await.unwrap();
    }
    store.revocations().add(RevocationKind::Jti, "eve", at(500)).await.unwrap();
    let changes = store.keys().changed_since(0).await.unwrap();
    let found: Vec<_> = changes.revocations.iter().map(|row| (row.kind, row.until)).collect();
    assert_eq!(found, [(RevocationKind::Sub, at(3000)), (RevocationKind::Jti, at(500))]);
    assert_eq!(store.revocations().purge(at(500)).await.unwrap(), 1);
    assert_eq!(store.revocations().purge(at(2999)).await.unwrap(), 0);
    assert_eq!(store.revocations().purge(at(3000)).await.unwrap(), 1);
}

async fn tiers_are_kept_replaced_and_removed(place: &Place) {
    let store = place.open("a").await;
    store.tiers().set("gold", &json!({"per_min": 5})).await.unwrap();
    store.tiers().set("gold", &json!({"per_min": 6})).await.unwrap();
    store.tiers().set("blue", &json!({"per_min": 1})).await.unwrap();
    let kept: Vec<_> =
        store.tiers().list().await.unwrap().into_iter().map(|t| (t.name, t.definition)).collect();
    assert_eq!(kept, [("blue".into(), json!({"per_min": 1})), ("gold".into(), json!({"per_min": 6}))]);
    assert!(store.tiers().remove("gold").await.unwrap());
    assert!(!store.tiers().remove("gold").await.unwrap());
}

async fn a_note_is_kept_once(place: &Place) {
    let (one, two) = (place.open("a").await, place.open("b").await);
    assert_eq!(one.note("pepper").await.unwrap(), None);
    let (kept_one, kept_two) = tokio::join!(one.note_once("pepper", "x"), two.note_once("pepper", "y"));
    assert_eq!(kept_one.unwrap(), kept_two.unwrap());
}

async fn two_replicas_add_up_their_usage_by_utc_day(place: &Place) {
    let (one, two) = (place.open("a").await, place.open("b").await);
    let before_midnight = 1_795_305_599_999;
    for store in [&one, &two] {
        store.usage().add(&usage(before_midnight, "key:a", "fast", [1, 10, 3]));
        store.usage().add(&usage(before_midnight, "key:a", "fast", [1, 20, 4]));
        store.usage().add(&usage(before_midnight + 1, "key:a", "fast", [1, 5, 5]));
    }
    let (usage_one, usage_two) = (one.usage(), two.usage());
    let (flush_one, flush_two) = tokio::join!(usage_one.flush(), usage_two.flush());
    flush_one.unwrap();
    flush_two.unwrap();
    one.usage().flush().await.unwrap();
    let row = |day: &str, counts| (day.to_owned(), "key:a".to_owned(), "fast".to_owned(), counts);
    assert_eq!(sums(&one).await, [row("2026-11-22", [2, 10, 10]), row("2026-11-21", [4, 60, 14])]);
}

async fn a_batch_that_is_sent_twice_counts_once(place: &Place) {
    let store = place.open("a").await;
    // As after an answer that got lost: the batch is in the store and still in the spool.
    let batch = json!({"id": "0000000000001-a", "rows": {"2026-01-01": {"key:a": {"fast": [1, 2, 3]}}}});
    let spooled = place.data_dir("a").join("spool/0000000000001-a.json");
    for _ in 0..2 {
        crate::files::write_private(&spooled, batch.to_string().as_bytes()).unwrap();
        store.usage().flush().await.unwrap();
        assert!(!spooled.exists());
    }
    assert_eq!(sums(&store).await[0].3, [1, 2, 3]);
}

async fn usage_from_the_spool_is_taken_up_at_the_next_flush(place: &Place) {
    let store = place.open("a").await;
    let spool = place.data_dir("a").join("spool");
    for n in 1..4_u64 {
        let id = format!("000000000000{n}-a");
        let batch = json!({"id": id, "rows": {"2026-01-01": {"key:a": {"fast": [n, 0, 0]}}}});
        crate::files::write_private(&spool.join(format!("{id}.json")), batch.to_string().as_bytes()).unwrap();
    }
    crate::files::write_private(&spool.join("0000000000000-a.json"), b"{torn").unwrap();
    store.usage().add(&usage(1_767_225_600_000, "key:a", "fast", [10, 0, 0]));
    store.usage().flush().await.unwrap();
    assert_eq!(sums(&store).await[0].3, [16, 0, 0]);
    assert_eq!(batches(&spool), 0);
    assert!(spool.join("0000000000000-a.unreadable").exists(), "it is kept for somebody to look at");
}

async fn many_rows_of_usage_go_in_several_statements(place: &Place) {
    let store = place.open("a").await;
    for n in 0..1201 {
        store.usage().add(&usage(0, &format!("key:{n}"), "fast", [1, 1, 1]));
    }
    store.usage().flush().await.unwrap();
    assert_eq!(store.usage().report("1970-01-01", "1970-01-01", 5000).await.unwrap().len(), 1201);
}

async fn everything_is_there_after_closing_and_opening_again(place: &Place) {
    let config = crate::StoreConfig::default();
    let (store, _) = place.open_with("a", &config).await;
    store.keys().create(&key("one")).await.unwrap();
    store.usage().add(&usage(0, "key:one", "fast", [1, 1, 1]));
    store.close().await;
    let store: Store = place.open("a").await;
    assert!(store.keys().get("one").await.unwrap().is_some());
    assert_eq!(sums(&store).await.len(), 1, "closing flushes");
}
