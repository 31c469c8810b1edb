//! `getUpdates`: the queue, waiting, abuse, conflicts, numbers.

use super::{direct, done, double, words};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

fn ids(updates: &Value) -> Vec<i64> {
    updates.as_array().unwrap().iter().map(|update| update["update_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_offset_confirms_what_is_below_it_and_nothing_else_does() {
    let double = double().await;
    let anna = double.person("Anna");
    let first = double.say(&anna, "1").update.unwrap();
    for text in ["2", "3", "4", "5"] {
        double.say(&anna, text);
    }
    let get =
        |offset: i64, limit: i64| direct(&double, "getUpdates", json!({"offset": offset, "limit": limit}));
    assert_eq!(ids(&get(0, 2).await.unwrap()), [first, first + 1]);
    // Below the queue: its head.
    assert_eq!(ids(&get(first - 100, 3).await.unwrap()), [first, first + 1, first + 2]);
    assert_eq!(double.pending(), 5);
    assert_eq!(ids(&get(first + 2, 100).await.unwrap()), [first + 2, first + 3, first + 4]);
    assert_eq!(double.pending(), 3);
    // Far above it: its head again, and nothing is confirmed.
    assert_eq!(ids(&get(first + 1000, 100).await.unwrap()), [first + 2, first + 3, first + 4]);
    // The last two stay.
    assert_eq!(ids(&get(-2, 100).await.unwrap()), [first + 3, first + 4]);
    assert_eq!(double.pending(), 2);
    assert_eq!(ids(&get(first + 5, 100).await.unwrap()), Vec::<i64>::new());
    assert_eq!(double.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_what_comes_and_at_most_fifty_seconds() {
    let double = Arc::new(double().await);
    let begun = Instant::now();
    let none = direct(&double, "getUpdates", json!({"timeout": 3000})).await.unwrap();
    assert_eq!((ids(&none).len(), begun.elapsed()), (0, Duration::from_secs(50)));
    let anna = double.person("Anna");
    let polling = direct(&double, "getUpdates", json!({"offset": 5, "timeout": 50}));
    let saying = async {
        sleep(Duration::from_secs(20)).await;
        double.say(&anna, "hello");
    };
    let (got, ()) = tokio::join!(polling, saying);
    assert_eq!((ids(&got.unwrap()).len(), begun.elapsed()), (1, Duration::from_secs(70)));
}

#[tokio::test(start_paused = true)]
async fn asking_the_same_too_often_is_slowed_down() {
    let double = double().await;
    let anna = double.person("Anna");
    assert_eq!(ids(&direct(&double, "getUpdates", json!({})).await.unwrap()).len(), 0);
    let begun = Instant::now();
    assert_eq!(ids(&direct(&double, "getUpdates", json!({"timeout": 1})).await.unwrap()).len(), 0);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    double.say(&anna, "1");
    double.say(&anna, "2");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ids(&direct(&double, "getUpdates", json!({})).await.unwrap()).len(), 2);
    assert_eq!(ids(&direct(&double, "getUpdates", json!({})).await.unwrap()).len(), 1);
    // Another offset is another question.
    assert_eq!(ids(&direct(&double, "getUpdates", json!({"offset": 1})).await.unwrap()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn messages_live_a_day_and_presses_two_and_a_half_minutes() {
    let double = double().await;
    let anna = double.person("Anna");
    double.say(&anna, "1");
    double.press_stale(&anna, anna.id, 1, "x");
    let get = || async { ids(&direct(&double, "getUpdates", json!({"timeout": 1})).await.unwrap()).len() };
    double.advance(Duration::from_secs(149));
    assert_eq!(get().await, 2);
    double.advance(Duration::from_secs(2));
    assert_eq!(get().await, 1);
    double.advance(Duration::from_secs(86_300));
    assert_eq!(get().await, 0);
}

#[tokio::test]
async fn only_kinds_that_are_asked_for_are_kept() {
    let double = double().await;
    let anna = double.person("Anna");
    done(&double, "getUpdates", json!({"allowed_updates": ["message"]})).await;
    let said = double.say(&anna, "1");
    assert!(said.update.is_some() && double.edit(&said, "2").is_none() && double.block(&anna).is_none());
    // Remembered, until told otherwise.
    done(&double, "getUpdates", json!({"offset": 1})).await;
    assert_eq!(double.edit(&said, "3"), None);
    done(&double, "getUpdates", json!({"offset": 2, "allowed_updates": []})).await;
    assert!(double.edit(&said, "4").is_some() && double.unblock(&anna).is_some());
    assert_eq!(double.raw_update("chat_member", &json!({"chat": {"id": anna.id}})), None);
}

#[tokio::test(start_paused = true)]
async fn a_second_poll_ends_the_first_and_conflicts_are_answered_three_seconds_apart() {
    let double = Arc::new(double().await);
    let poll = |offset: i64| direct(&double, "getUpdates", json!({"timeout": 50, "offset": offset}));
    let later = |secs: u64| {
        let poll = poll(i64::try_from(secs).unwrap());
        async move {
            sleep(Duration::from_secs(secs)).await;
            (poll.await, Instant::now())
        }
    };
    let begun = Instant::now();
    let (first, second, third) = tokio::join!(later(1), later(2), later(3));
    let other =
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    assert_eq!((words(first.0), first.1 - begun), ((409, other.into()), Duration::from_secs(2)));
    // The next conflict comes within 3 s of it, and waits as long.
    assert_eq!((words(second.0), second.1 - begun), ((409, other.into()), Duration::from_secs(6)));
    assert!(third.0.is_ok());
    assert_eq!(double.violations(), ["two connections poll", "two connections poll"]);
}

#[tokio::test(start_paused = true)]
async fn polls_and_webhooks_exclude_each_other() {
    let double = Arc::new(double().await);
    let set = json!({"url": "http://127.0.0.1:9/hook", "secret_token": "s"});
    let setting = async {
        sleep(Duration::from_secs(1)).await;
        direct(&double, "setWebhook", set).await
    };
    let (polled, set) = tokio::join!(direct(&double, "getUpdates", json!({"timeout": 50})), setting);
    assert_eq!(words(polled), (409, "Conflict: terminated by setWebhook request".into()));
    assert!(set.is_ok());
    let active = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the \
                  webhook first";
    let begun = Instant::now();
    assert_eq!(words(direct(&double, "getUpdates", json!({})).await), (409, active.into()));
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    direct(&double, "deleteWebhook", json!({})).await.unwrap();
    assert!(direct(&double, "getUpdates", json!({})).await.is_ok());
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_rival_ends_a_poll_without_being_held_against_the_bot() {
    let double = Arc::new(double().await);
    assert!(!double.rival_polls());
    let rival = async {
        double.until("a poll", |double| double.polled()).await;
        assert!(double.rival_polls());
    };
    let (polled, ()) = tokio::join!(direct(&double, "getUpdates", json!({"timeout": 50})), rival);
    assert_eq!(words(polled).0, 409);
    double.rival_sets_webhook("https://elsewhere.example/hook");
    assert_eq!(double.webhook().as_deref(), Some("https://elsewhere.example/hook"));
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn numbers_may_begin_anew_lower() {
    let double = double().await;
    let anna = double.person("Anna");
    let last = double.say(&anna, "1").update.unwrap();
    done(&double, "getUpdates", json!({"offset": last + 1})).await;
    double.restart_updates_at(1234);
    double.say(&anna, "2");
    // The offset of before is far above the queue now.
    assert_eq!(ids(&done(&double, "getUpdates", json!({"offset": last + 1, "timeout": 1})).await), [1234]);
}

#[tokio::test]
async fn a_client_that_goes_away_polls_no_more() {
    let double = Arc::new(double().await);
    let poll = direct(&double, "getUpdates", json!({"timeout": 50}));
    assert!(tokio::time::timeout(Duration::from_millis(20), poll).await.is_err());
    assert!(!double.polled());
    direct(&double, "getUpdates", json!({"offset": 1})).await.unwrap();
    assert_eq!(double.violations(), Vec::<String>::new());
}
