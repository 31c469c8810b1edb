//! The cases that hold on SQLite and on PostgreSQL alike.

use super::{Place, batches, key, row, sums, usage};
use crate::{
    ExceptionRow, GroupBy, HoldRow, KeyOrigin, LedgerPrice, LedgerRow, NewKey, RaiseRow, RevocationKind,
    Spent, Store, StoreError, SumBy, SumRow, UsageQuery,
};
use jiff::Timestamp;
use portcullis_domain::{HarmCategory, HarmThreshold, SafetyOverride};
use serde_json::json;
use std::collections::BTreeMap;

cases!(
    the_same_suite_holds_on_a_real_postgres;
    a_key_comes_back_as_it_was_kept_and_its_id_is_taken,
    a_key_is_revoked_once_and_stays_revoked,
    a_key_is_changed_by_whoever_saw_its_last_state_and_by_nobody_else,
    of_several_first_starts_exactly_one_makes_the_key,
    a_reader_of_changes_misses_none_while_replicas_write,
    revocations_keep_the_later_end_and_go_when_it_has_passed,
    tiers_and_budgets_are_kept_replaced_and_removed,
    a_note_is_kept_once,
    of_several_who_ask_for_a_lease_one_gets_it_until_it_ends_or_is_given_back,
    overrides_and_holds_are_kept_until_somebody_ends_them,
    exceptions_are_kept_until_somebody_ends_them_and_a_confirmation_is_used_once,
    two_replicas_add_up_their_usage_by_utc_day,
    a_batch_that_is_sent_twice_counts_once,
    what_an_earlier_process_left_in_the_journal_is_charged_once,
    a_reservation_is_charged_at_what_it_came_to_or_not_at_all,
    sums_are_over_the_subject_the_time_and_the_tier_asked_for,
    a_corrected_price_changes_money_as_if_it_had_held_from_the_start,
    old_rows_go_and_younger_ones_stay,
    raises_add_up_and_changed_budgets_are_kept,
    many_rows_of_usage_go_in_several_statements,
    everything_is_there_after_closing_and_opening_again,
);

async fn of_several_who_ask_for_a_lease_one_gets_it_until_it_ends_or_is_given_back(place: &Place) {
    let stores = [place.open("a").await, place.open("b").await];
    let [one, two] = [stores[0].leases(), stores[1].leases()];
    let (a, b) = tokio::join!(one.take("poll", "a", 1000, 2000), two.take("poll", "b", 1000, 2000));
    assert_ne!(a.unwrap(), b.unwrap());
    let first = one.holder("poll", 1000).await.unwrap().unwrap();
    let (first, second) = if first == "a" { ("a", "b") } else { ("b", "a") };
    assert!(one.take("poll", first, 1500, 2500).await.unwrap(), "its own it takes again");
    assert!(!two.take("poll", second, 2500, 9000).await.unwrap(), "it ends after its last moment");
    assert!(two.take("other", second, 2500, 9000).await.unwrap(), "each name is a lease of its own");
    assert!(one.renew("poll", first, 3000).await.unwrap());
    assert!(!two.renew("poll", second, 9000).await.unwrap());
    two.release("poll", second).await.unwrap();
    assert!(!two.take("poll", second, 3000, 9000).await.unwrap(), "what is another's cannot be given back");
    assert!(two.take("poll", second, 3001, 4000).await.unwrap());
    assert!(!one.renew("poll", first, 9000).await.unwrap(), "it was too late");
    two.release("poll", second).await.unwrap();
    assert_eq!(two.holder("poll", 3001).await.unwrap(), None);
    assert!(one.take("poll", first, 3001, 4000).await.unwrap());
    assert_eq!(one.holder("poll", 4001).await.unwrap(), None, "it lapsed");
}

async fn overrides_and_holds_are_kept_until_somebody_ends_them(place: &Place) {
    let store = place.open("a").await;
    let first = SafetyOverride {
        provider: "gemini".into(),
        category: HarmCategory::DangerousContent,
        threshold: HarmThreshold::BlockOnlyHigh,
        since_ms: 1_700_000_000_000,
        until_ms: 1_700_000_600_000,
        reason: "incident 7".into(),
        by: "key:ops".into(),
    };
    let second =
        SafetyOverride { threshold: HarmThreshold::Off, since_ms: first.since_ms + 1, ..first.clone() };
    let overrides = store.safety_overrides();
    overrides.set(&first).await.unwrap();
    overrides.set(&second).await.unwrap();
    assert_eq!(overrides.list().await.unwrap(), std::slice::from_ref(&second));
    assert!(!overrides.remove(&first).await.unwrap(), "another has taken its place");
    let hold = |lane| HoldRow { dependency: "gemini".into(), lane, until_ms: first.until_ms };
    store.holds().replace(&[hold(0), hold(1)]).await.unwrap();
    store.holds().replace(&[hold(1)]).await.unwrap();
    assert_eq!(store.holds().list().await.unwrap(), [hold(1)]);
    store.holds().replace(&[]).await.unwrap();
    assert_eq!(store.holds().list().await.unwrap(), []);
    assert!(overrides.remove(&second).await.unwrap() && !overrides.remove(&second).await.unwrap());
    assert_eq!(overrides.list().await.unwrap(), []);
}

async fn exceptions_are_kept_until_somebody_ends_them_and_a_confirmation_is_used_once(place: &Place) {
    let stores = [place.open("a").await, place.open("b").await];
    let row = |id: &str, caller: Option<&str>, digest: Option<&str>| ExceptionRow {
        id: id.into(),
        caller: caller.map(Into::into),
        digest: digest.map(Into::into),
        since_ms: 1_700_000_000_000,
        until_ms: 1_700_000_600_000,
        reason: "a course on attacks".into(),
        by: "key:ops".into(),
    };
    let rows = [row("x-1", Some("key:a"), None), row("x-2", None, Some("ab"))];
    for row in &rows {
        stores[0].guard_exceptions().add(row).await.unwrap();
    }
    assert_eq!(stores[1].guard_exceptions().list().await.unwrap(), rows);
    assert!(stores[1].guard_exceptions().remove("x-1").await.unwrap());
    assert!(!stores[0].guard_exceptions().remove("x-1").await.unwrap(), "one of two ends it");
    assert_eq!(stores[0].guard_exceptions().list().await.unwrap(), rows[1..]);

    let (a, b) = (stores[0].confirmations(), stores[1].confirmations());
    let (one, two) = tokio::join!(a.spend("proof", 2000, 1000), b.spend("proof", 2000, 1000));
    assert_ne!(one.unwrap(), two.unwrap(), "exactly one replica may use it");
    assert!(a.spend("other", 2000, 1000).await.unwrap());
    assert!(!b.spend("other", 2000, 2000).await.unwrap(), "it is remembered to its last moment");
    assert!(
        b.spend("proof", 9000, 2001).await.unwrap(),
        "what is over is forgotten: its time is checked elsewhere"
    );
}

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

async fn a_key_is_changed_by_whoever_saw_its_last_state_and_by_nobody_else(place: &Place) {
    let store = place.open("a").await;
    let made = store.keys().create(&key("one")).await.unwrap();
    let until = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
    let mut wanted = made.clone();
    wanted.key = NewKey { digest: [8; 32], bounds: json!({"team": "blue"}), ..wanted.key };
    wanted.old = Some((made.key.digest, until));
    let changed = store.keys().update(&wanted).await.unwrap().unwrap();
    assert!(changed.changed_seq > made.changed_seq);
    let found = store.keys().get("one").await.unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{changed:?}"));
    assert!(store.keys().update(&made).await.unwrap().is_none(), "somebody else was faster");
    assert_eq!(
        store.keys().changed_since(made.changed_seq).await.unwrap().keys.len(),
        1,
        "others hear of it"
    );
    store.keys().revoke("one", until).await.unwrap();
    let revoked = store.keys().get("one").await.unwrap().unwrap();
    assert!(store.keys().update(&revoked).await.unwrap().is_none(), "revoked is revoked");
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

async fn tiers_and_budgets_are_kept_replaced_and_removed(place: &Place) {
    let store = place.open("a").await;
    store.tiers().set("gold", &json!({"per_min": 5})).await.unwrap();
    store.tiers().set("gold", &json!({"per_min": 6})).await.unwrap();
    store.tiers().set("blue", &json!({"per_min": 1})).await.unwrap();
    let kept: Vec<_> =
        store.tiers().list().await.unwrap().into_iter().map(|t| (t.name, t.definition)).collect();
    assert_eq!(kept, [("blue".into(), json!({"per_min": 1})), ("gold".into(), json!({"per_min": 6}))]);
    assert!(store.tiers().remove("gold").await.unwrap());
    assert!(!store.tiers().remove("gold").await.unwrap());
    assert!(store.budgets().list().await.unwrap().is_empty(), "tiers are no budgets");
    let set = store.budgets().set("gold", &json!({"tokens": 1})).await.unwrap();
    let kept = store.budgets().list().await.unwrap();
    assert_eq!(
        (kept[0].name.as_str(), &kept[0].definition, kept[0].changed_seq),
        ("gold", &json!({"tokens": 1}), set)
    );
    assert!(store.budgets().remove("gold").await.unwrap());
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
        store.ledger().add(usage(before_midnight, "key:a", "fast", [10, 3]));
        store.ledger().add(usage(before_midnight, "key:a", "fast", [20, 4]));
        store.ledger().add(usage(before_midnight + 1, "key:a", "fast", [5, 5]));
    }
    let (ledger_one, ledger_two) = (one.ledger(), two.ledger());
    let (flush_one, flush_two) = tokio::join!(ledger_one.flush(), ledger_two.flush());
    flush_one.unwrap();
    flush_two.unwrap();
    one.ledger().flush().await.unwrap();
    let expected =
        [row("2026-11-21", "key:a", "fast", [4, 60, 14]), row("2026-11-22", "key:a", "fast", [2, 10, 10])];
    assert_eq!(sums(&one).await, expected);
}

async fn a_batch_that_is_sent_twice_counts_once(place: &Place) {
    let spool = place.data_dir("a").join("spool");
    let store = place.open("a").await;
    store.ledger().add(usage(0, "key:a", "fast", [2, 3]));
    store.ledger().secure_all().await;
    let file = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.extension() == Some("journal".as_ref())).unwrap();
    let content = std::fs::read(&file).unwrap();
    store.ledger().flush().await.unwrap();
    assert!(!file.exists());
    store.close().await;
    // As after an answer that got lost: the batch is in the store and still in the spool.
    crate::files::write_private(&file, &content).unwrap();
    let store = place.open("a").await;
    store.ledger().recover().await.unwrap();
    store.ledger().flush().await.unwrap();
    assert!(!file.exists());
    assert_eq!(sums(&store).await, [row("1970-01-01", "key:a", "fast", [1, 2, 3])]);
}

/// A store that ends as `kill -9` ends it: nothing is flushed, only the lock on the spool is let go.
fn killed(store: Store) {
    store.forget();
    drop(store);
}

async fn what_an_earlier_process_left_in_the_journal_is_charged_once(place: &Place) {
    let spool = place.data_dir("a").join("spool");
    let store = place.open("a").await;
    let ledger = store.ledger();
    let ids = [ledger.next_id(), ledger.next_id(), ledger.next_id(), ledger.next_id()];
    for (id, caller) in ids.into_iter().zip(["key:settled", "key:released", "key:running", "key:unsecured"]) {
        if caller == "key:unsecured" {
            assert!(ledger.secure(ids[2]).await);
            assert!(ledger.settle(ids[0], Spent { input: 7, output: 1, ..Spent::default() }).is_some());
            ledger.release(ids[1]);
            ledger.secure_all().await;
        }
        ledger.open(id, usage(0, caller, "fast", [100, 100]));
    }
    killed(store);
    let mut torn = std::fs::OpenOptions::new().append(true).open(newest(&spool)).unwrap();
    std::io::Write::write_all(&mut torn, b"[\"settled\",\"1-1\",{").unwrap();

    let store = place.open("a").await;
    let recovered = store.ledger().recover().await.unwrap();
    let shown: Vec<_> =
        recovered.iter().map(|left| (&*left.row.caller, left.reserved, left.charged)).collect();
    assert_eq!(
        shown,
        [
            ("key:settled", [200, 200], true),
            ("key:released", [200, 200], false),
            ("key:running", [200, 200], true)
        ]
    );
    assert!(recovered[2].row.estimated);
    // Killed again before anything was stored.
    store.ledger().secure_all().await;
    killed(store);
    let store = place.open("a").await;
    store.ledger().recover().await.unwrap();
    for _ in 0..2 {
        store.ledger().flush().await.unwrap();
    }
    let expected = [
        row("1970-01-01", "key:running", "fast", [1, 100, 100]),
        row("1970-01-01", "key:settled", "fast", [1, 7, 1]),
    ];
    assert_eq!(sums(&store).await, expected);
    assert_eq!(batches(&spool), 0);
}

fn newest(spool: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension() == Some("journal".as_ref())).max().unwrap()
}

async fn a_reservation_is_charged_at_what_it_came_to_or_not_at_all(place: &Place) {
    let store = place.open("a").await;
    let ledger = store.ledger();
    let (paid, freed, long) = (ledger.next_id(), ledger.next_id(), ledger.next_id());
    for id in [paid, freed, long] {
        ledger.open(id, usage(0, "key:a", "fast", [50, 50]));
    }
    ledger.release(freed);
    let spent = Spent { input: 10, cached: 12, output: 2, micros: 9, estimated: true };
    let settled = ledger.settle(paid, spent).unwrap();
    assert_eq!(
        (settled.cached, settled.micros, settled.estimated),
        (10, 9, true),
        "cached is a part of input"
    );
    assert_eq!(ledger.settle(paid, spent), None, "only once");
    assert_eq!(ledger.settle(freed, spent), None);
    ledger.flush().await.unwrap();
    // What is still open goes on into the next file.
    assert_eq!(batches(&place.data_dir("a").join("spool")), 1);
    killed(store);
    let store = place.open("a").await;
    assert_eq!(store.ledger().recover().await.unwrap().len(), 1);
    store.ledger().flush().await.unwrap();
    assert_eq!(sums(&store).await, [row("1970-01-01", "key:a", "fast", [2, 60, 52])]);
}

async fn sums_are_over_the_subject_the_time_and_the_tier_asked_for(place: &Place) {
    let store = place.open("a").await;
    for (at, caller, team, tier) in [
        (1000, "key:a", "blue", "premium"),
        (2000, "key:a", "blue", "authenticated"),
        (2000, "key:b", "blue", "authenticated"),
        (3000, "jwt:c", "", "authenticated"),
    ] {
        let team = (!team.is_empty()).then(|| team.into());
        let row = LedgerRow { team, tier: tier.into(), ..usage(at, caller, "fast", [1, 2]) };
        store.ledger().add(row);
    }
    store.ledger().flush().await.unwrap();
    let shown = async |by, since, tier| {
        let sums = store.ledger().sums(by, since, tier).await.unwrap();
        let mut sums: Vec<_> =
            sums.into_iter().map(|SumRow { subject, tokens, micros }| (subject, tokens, micros)).collect();
        sums.sort();
        sums
    };
    let sum = |subject: &str, rows: u64| (subject.to_owned(), 3 * rows, 3 * rows);
    assert_eq!(shown(SumBy::Team, 0, None).await, [sum("", 1), sum("blue", 3)]);
    assert_eq!(shown(SumBy::Team, 1001, None).await, [sum("", 1), sum("blue", 2)]);
    assert_eq!(shown(SumBy::Caller, 0, Some("premium")).await, [sum("key:a", 1)]);
    assert_eq!(shown(SumBy::Key, 0, None).await, [sum("", 1), sum("a", 2), sum("b", 1)]);
    assert_eq!(shown(SumBy::All, 2000, None).await, [sum("", 3)]);
    assert_eq!(shown(SumBy::All, 9000, None).await, [sum("", 0)]);
    let query = UsageQuery { by: vec![GroupBy::Team, GroupBy::Tier], from: 0, to: 2001, limit: 10 };
    let groups = store.ledger().usage(&query).await.unwrap();
    let groups: Vec<_> =
        groups.into_iter().map(|sum| (sum.group.join("/"), sum.requests, sum.micros)).collect();
    assert_eq!(groups, [("blue/authenticated".to_owned(), 2, 6), ("blue/premium".to_owned(), 1, 3)]);
    let all = store.ledger().usage(&UsageQuery { by: vec![], ..query }).await.unwrap();
    assert_eq!((all.len(), all[0].requests), (1, 3));
}

async fn a_corrected_price_changes_money_as_if_it_had_held_from_the_start(place: &Place) {
    let store = place.open("a").await;
    let right = LedgerPrice { input: 150_000, cached: 75_001, output: 600_000 };
    let rows = [[3, 1], [1_000_001, 7], [0, 0], [12_345, 67_890]];
    for (n, counts) in (0..).zip(rows) {
        let price = (n % 2 == 0).then_some(LedgerPrice { input: 1, cached: 1, output: 1 });
        store.ledger().add(LedgerRow { cached: counts[0] / 3, price, ..usage(n, "key:a", "m", counts) });
        store.ledger().add(usage(n, "key:a", "other", counts));
    }
    store.ledger().flush().await.unwrap();
    let expected: u64 = rows[1..].iter().map(|[input, output]| right.cost(*input, input / 3, *output)).sum();
    let sum = async || store.ledger().sums(SumBy::All, 0, None).await.unwrap()[0].micros;
    let before = sum().await;
    let (changed, by) = store.ledger().reprice(("openai", "m"), (1, 100), right).await.unwrap();
    assert_eq!(changed, 3);
    assert_eq!(i64::try_from(sum().await).unwrap(), i64::try_from(before).unwrap() + by);
    let by = vec![GroupBy::Model];
    let query = UsageQuery { by, from: 1, to: 100, limit: 10 };
    let groups = store.ledger().usage(&query).await.unwrap();
    assert_eq!((groups[0].micros, groups[0].unpriced), (i64::try_from(expected).unwrap(), 0));
}

async fn old_rows_go_and_younger_ones_stay(place: &Place) {
    let store = place.open("a").await;
    for at in 0..10 {
        store.ledger().add(usage(at, "key:a", "fast", [1, 0]));
    }
    store.ledger().flush().await.unwrap();
    assert_eq!(store.ledger().purge(4).await.unwrap(), 4);
    assert_eq!(sums(&store).await[0].1, [6, 6, 0]);
}

async fn raises_add_up_and_changed_budgets_are_kept(place: &Place) {
    let store = place.open("a").await;
    let raise = |window_start, tokens| RaiseRow {
        budget: "team".into(),
        subject: "blue".into(),
        window_start,
        tokens,
        micros: 5,
    };
    for raise in [raise(0, 1), raise(7, 10), raise(7, 20)] {
        store.ledger().raise(&raise).await.unwrap();
    }
    let mut found = store.ledger().raises().await.unwrap();
    found.sort_by_key(|raise| raise.window_start);
    assert_eq!(found, [raise(0, 1), RaiseRow { micros: 10, ..raise(7, 30) }]);
    store.ledger().forget_raises(8).await.unwrap();
    assert_eq!(store.ledger().raises().await.unwrap(), [raise(0, 1)], "a window without end is not over");
    store.ledger().set_budget("a", Some(&json!({"tokens": 1}))).await.unwrap();
    store.ledger().set_budget("a", Some(&json!({"tokens": 2}))).await.unwrap();
    store.ledger().set_budget("b", Some(&json!({}))).await.unwrap();
    store.ledger().set_budget("b", None).await.unwrap();
    assert_eq!(store.ledger().budgets().await.unwrap(), [("a".to_owned(), json!({"tokens": 2}))]);
}

async fn many_rows_of_usage_go_in_several_statements(place: &Place) {
    let store = place.open("a").await;
    for n in 0..1201 {
        store.ledger().add(usage(0, &format!("key:{n}"), "fast", [1, 1]));
    }
    store.ledger().flush().await.unwrap();
    assert_eq!(sums(&store).await.len(), 1201);
}

async fn everything_is_there_after_closing_and_opening_again(place: &Place) {
    let config = crate::StoreConfig::default();
    let (store, _) = place.open_with("a", &config).await;
    store.keys().create(&key("one")).await.unwrap();
    store.ledger().add(usage(0, "key:one", "fast", [1, 1]));
    store.close().await;
    let store: Store = place.open("a").await;
    assert!(store.keys().get("one").await.unwrap().is_some());
    assert_eq!(sums(&store).await.len(), 1, "closing flushes");
}

#[tokio::test]
async fn every_write_waits_for_the_disk_once_the_tables_are_made() {
    let place = Place::sqlite();
    let store = place.open("a").await;
    let crate::db::Pools::Sqlite { write, .. } = &store.0.db.pools else { panic!("SQLite") };
    let level: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(write).await.unwrap();
    assert_eq!(level, 2, "FULL");
}
