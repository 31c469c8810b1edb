//! How fast the door sends, and whom a burst delays.

use super::house::{House, quick};
use crate::{signal::tests::house::unlimited, telegram::SendConfig};
use portcullis_domain::Post;
use portcullis_engine::messages::{Sending, now_ms};
use portcullis_testkit::telegram::{Fault, Limits, Options, Rates, Rule, Telegram};
use std::time::Duration;
use tokio::time::Instant;

/// A house of the usual pace, with a double that counts to the message.
async fn house() -> House {
    let double =
        Telegram::with(Options { rates: Rates::Exact, limits: Limits::default(), ..Options::default() })
            .await;
    let mut config = quick(&double);
    config.send = SendConfig { typing_after_secs: 60, ..SendConfig::default() };
    House::with(double, config, unlimited()).await
}

async fn write(house: &House, chat: i64, text: &str, class: u8) {
    let how = Sending { caller: format!("tg:{chat}"), class, expires_at: now_ms() + 600_000 };
    let rows = house.doors.compose(&format!("telegram:{chat}"), &[Post::text(text)], &how).unwrap();
    assert!(house.store.outbox().add(&rows, house.messages.rows()).await.unwrap());
}

// news.md, must show 6
#[tokio::test]
async fn a_flood_leaves_at_the_allowed_pace_each_chat_in_order_and_a_pause_is_kept() {
    let house = house().await;
    let people: Vec<_> = (0..40).map(|index| house.double.person(&format!("P{index}"))).collect();
    house.double.fault(Rule::new("sendMessage", 1, Fault::retry_after(4)).to(people[7].id));
    for index in 0..5 {
        for person in &people {
            write(&house, person.id, &format!("message {index}"), 0).await;
        }
    }
    let began = Instant::now();
    house.doors.wake("telegram:1");
    house.settle().await;
    let took = began.elapsed();
    for person in &people {
        let expected: Vec<String> = (0..5).map(|index| format!("message {index}")).collect();
        assert_eq!(house.texts(person), expected);
    }
    assert!(took >= Duration::from_secs(6), "200 messages at 30 a second: {took:?}");
    assert!(took <= Duration::from_secs(18), "{took:?}");
    house.end().await;
}

// news.md, must show 7
#[tokio::test]
async fn a_burst_of_digests_does_not_delay_an_answer() {
    let house = house().await;
    let people: Vec<_> = (0..150).map(|index| house.double.person(&format!("P{index}"))).collect();
    let ann = house.double.person("Ann");
    for person in &people {
        write(&house, person.id, "digest", 3).await;
    }
    house.doors.wake("telegram:1");
    house.double.until("the burst is under way", |double| double.sent().len() >= 30).await;
    let asked = Instant::now();
    house.double.say(&ann, "and me?");
    house.double.sent_count(ann.id, 1).await;
    let waited = asked.elapsed();
    assert!(house.double.sent().len() < 140, "the burst goes on");
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
    house.settle().await;
    house.end().await;
}

// news.md, must show 6
#[tokio::test]
async fn a_pause_that_telegram_asked_for_is_kept_by_the_next_process() {
    let mut house = house().await;
    let ann = house.double.person("Ann");
    // Told while only the progress of some work was shown: no row of the outbox knows of it.
    house.double.fault(Rule::new("sendMessage", 1, Fault::retry_after(4)).to(ann.id));
    house.double.say(&ann, "/work 1");
    house.double.until("it is told", |double| double.calls_of("sendMessage").len() == 1).await;
    house
        .settled("telegram", async |store| {
            store.pauses().held("telegram", now_ms()).await.unwrap().len() == 1
        })
        .await;
    house.close().await;
    house.open();
    let sent = house.double.sent_count(ann.id, 1).await;
    assert_eq!(sent[0].text, "worked");
    house.settle().await;
    // The double notes whoever comes before the end of a wait.
    house.end().await;
}

#[tokio::test]
async fn what_a_killed_process_left_standing_of_its_progress_is_taken_away_by_the_next() {
    let mut house = house().await;
    let ann = house.double.person("Ann");
    house.double.say(&ann, "hello");
    let left = house.double.sent_count(ann.id, 1).await.remove(0).id;
    house.close().await;
    let row = ["telegram", &format!("telegram:{}", ann.id), &left.to_string(), "a killed process"];
    house.store.pauses().shows(row, now_ms()).await.unwrap();
    house.open();
    house.double.until("it is gone", |double| double.deletions().len() == 1).await;
    assert_eq!(house.double.deletions()[0].id, left);
    house
        .settled("nothing is left", async |store| {
            store.pauses().left("telegram", "").await.unwrap().is_empty()
        })
        .await;
    // What is seen of work that goes on is noted while it stands, and no longer.
    house.double.say(&ann, "/work 3");
    house
        .settled("it is noted", async |store| store.pauses().left("telegram", "").await.unwrap().len() == 1)
        .await;
    house
        .double
        .until("it is answered", |double| double.sent().iter().any(|sent| sent.text == "worked"))
        .await;
    house
        .settled("it is forgotten", async |store| {
            store.pauses().left("telegram", "").await.unwrap().is_empty()
        })
        .await;
    house.end().await;
}
